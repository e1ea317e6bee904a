//! A small server of the realtime contract, in memory, that can also break it. All nodes share one state.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use conclave_sigma::{Frame, decode, encode};
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::nodes::Nodes;

/// In which way the contract is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Faultless,
    /// One message or signal reaches nobody.
    LoseOne,
    /// One comes twice.
    DoubleOne,
    /// One byte of one is another.
    CorruptOne,
    /// One offset is left out.
    SkipAnOffset,
    /// Every connection is closed with 1012 after so many messages or signals; nothing is lost.
    CloseEvery(u64),
    /// The same, and the session is unknown afterwards.
    CloseAndForget(u64),
    /// The first upgrade is refused with 503 and `Retry-After: 0`.
    FullOnce,
}

pub(crate) struct Realtime {
    pub(crate) nodes: Nodes,
    pub(crate) state: Arc<State>,
}

pub(crate) struct State {
    manner: Manner,
    broken: AtomicU64,
    pub(crate) upgrades: AtomicU64,
    pub(crate) acks: AtomicU64,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    rooms: HashMap<String, Room>,
    sessions: HashMap<String, Kept>,
    mailboxes: HashMap<String, Mailbox>,
}

/// What a session comes back to.
#[derive(Default, Clone)]
struct Kept {
    room: Option<String>,
    peer: Option<String>,
}

#[derive(Default)]
struct Room {
    offset: u64,
    history: Vec<(u64, String, Bytes)>,
    members: HashMap<String, UnboundedSender<Out>>,
    seen: HashSet<(String, u64)>,
}

#[derive(Default)]
struct Mailbox {
    seq: u64,
    waiting: BTreeMap<u64, Value>,
    holder: Option<UnboundedSender<Out>>,
}

/// What goes to one connection.
enum Out {
    Message { offset: u64, payload: Bytes },
    Signal(Value),
}

impl Realtime {
    pub(crate) async fn start(nodes: usize, manner: Manner) -> Self {
        let state = Arc::new(State {
            manner,
            broken: AtomicU64::new(0),
            upgrades: AtomicU64::new(0),
            acks: AtomicU64::new(0),
            tables: Mutex::default(),
        });
        let shared = state.clone();
        let nodes = Nodes::start(nodes, move |_, request| serve(shared.clone(), request)).await;
        Self { nodes, state }
    }
}

async fn serve(
    state: Arc<State>,
    mut request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    if request.uri().path() != "/api/v1/socket" {
        let body = request.into_body().collect().await?.to_bytes();
        let signal: Value = serde_json::from_slice(&body).unwrap();
        state.tables().post(&state, signal);
        return Ok(Response::new(r#"{"status":"queued"}"#.into()));
    }
    if state.upgrades.fetch_add(1, Ordering::SeqCst) == 0 && state.manner == Manner::FullOnce {
        let full = Response::builder().status(503).header("Retry-After", "0");
        return Ok(full.body(Full::default()).unwrap());
    }
    let key = derive_accept_key(request.headers()["sec-websocket-key"].as_bytes());
    let query = request.uri().query().unwrap_or_default();
    let room = query.split('&').find_map(|pair| pair.strip_prefix("room=")).map(str::to_owned);
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let stream = TokioIo::new(upgrade.await.unwrap());
        let stream = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        let (send, outgoing) = unbounded_channel();
        let connection =
            Connection { state, send, room, peer: None, session: None, binary: false, delivered: 0 };
        connection.run(stream, outgoing).await;
    });
    let switching = Response::builder().status(101);
    let switching = switching.header("Upgrade", "websocket").header("Connection", "Upgrade");
    Ok(switching.header("Sec-WebSocket-Accept", key).body(Full::default()).unwrap())
}

impl State {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap()
    }

    /// True once, and not at the very beginning, for the manner it is about.
    fn breaks(&self, manner: Manner) -> bool {
        self.manner == manner && self.broken.fetch_add(1, Ordering::SeqCst) == 5
    }

    fn damaged(&self, payload: &[u8]) -> Bytes {
        let mut payload = payload.to_vec();
        if self.breaks(Manner::CorruptOne) {
            let last = payload.len() - 5;
            payload[last] = if payload[last] == b'A' { b'B' } else { b'A' };
        }
        payload.into()
    }

    /// How often something is to be delivered.
    fn times(&self) -> usize {
        if self.breaks(Manner::LoseOne) {
            return 0;
        }
        if self.breaks(Manner::DoubleOne) { 2 } else { 1 }
    }
}

impl Tables {
    fn publish(&mut self, state: &State, name: &str, session: &str, id: u64, payload: &[u8], volatile: bool) {
        let room = self.rooms.get_mut(name).unwrap();
        if !volatile && !room.seen.insert((session.to_owned(), id)) {
            return;
        }
        if !volatile {
            room.offset += if state.breaks(Manner::SkipAnOffset) { 2 } else { 1 };
        }
        let offset = if volatile { 0 } else { room.offset };
        let payload = state.damaged(payload);
        if !volatile {
            room.history.push((offset, session.to_owned(), payload.clone()));
        }
        let times = state.times();
        for (member, send) in &room.members {
            for _ in 0..if member == session { 0 } else { times } {
                // A member whose connection is gone reads the history later.
                let _ = send.send(Out::Message { offset, payload: payload.clone() });
            }
        }
    }

    fn enter(&mut self, name: &str, session: &str, send: &UnboundedSender<Out>, after: Option<u64>) -> u64 {
        self.sessions.entry(session.to_owned()).or_default().room = Some(name.to_owned());
        let room = self.rooms.entry(name.to_owned()).or_default();
        let missed = room
            .history
            .iter()
            .filter(|(offset, from, _)| after.is_some_and(|after| *offset > after) && from != session);
        for (offset, _, payload) in missed {
            send.send(Out::Message { offset: *offset, payload: payload.clone() }).unwrap();
        }
        room.members.insert(session.to_owned(), send.clone());
        room.offset
    }

    fn claim(&mut self, peer: &str, session: &str, send: &UnboundedSender<Out>) {
        self.sessions.entry(session.to_owned()).or_default().peer = Some(peer.to_owned());
        let mailbox = self.mailboxes.entry(peer.to_owned()).or_default();
        for signal in mailbox.waiting.values() {
            send.send(Out::Signal(signal.clone())).unwrap();
        }
        mailbox.holder = Some(send.clone());
    }

    fn post(&mut self, state: &State, mut signal: Value) {
        let mailbox = self.mailboxes.entry(signal["to"].as_str().unwrap().to_owned()).or_default();
        mailbox.seq += 1;
        let payload = state.damaged(signal["payload"].as_str().unwrap().as_bytes());
        signal["payload"] = std::str::from_utf8(&payload).unwrap().into();
        signal["push"] = "signal".into();
        signal["seq"] = mailbox.seq.into();
        mailbox.waiting.insert(mailbox.seq, signal.clone());
        for _ in 0..state.times() {
            if let Some(holder) = &mailbox.holder {
                let _ = holder.send(Out::Signal(signal.clone()));
            }
        }
    }
}

struct Connection {
    state: Arc<State>,
    send: UnboundedSender<Out>,
    room: Option<String>,
    peer: Option<String>,
    session: Option<String>,
    binary: bool,
    delivered: u64,
}

type Stream = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

impl Connection {
    async fn run(mut self, mut stream: Stream, mut outgoing: UnboundedReceiver<Out>) {
        loop {
            let answers = tokio::select! {
                biased;
                incoming = stream.next() => match incoming {
                    Some(Ok(Message::Text(text))) => self.text(&serde_json::from_str(&text).unwrap()),
                    Some(Ok(Message::Binary(bytes))) => self.frame(decode(&bytes).unwrap()),
                    Some(Ok(_)) => Vec::new(),
                    Some(Err(_)) | None => return,
                },
                Some(out) = outgoing.recv() => {
                    self.delivered += 1;
                    if let Manner::CloseEvery(every) | Manner::CloseAndForget(every) = self.state.manner
                        && self.delivered > every
                    {
                        return self.leave(stream).await;
                    }
                    vec![self.out(out)]
                }
            };
            for answer in answers {
                if stream.send(answer).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Closes for a restart. What was to be delivered is delivered after the resume.
    async fn leave(self, mut stream: Stream) {
        if matches!(self.state.manner, Manner::CloseAndForget(_)) {
            self.state.tables().sessions.clear();
        }
        let frame = CloseFrame { code: 1012.into(), reason: "".into() };
        let _ = stream.send(Message::Close(Some(frame))).await;
    }

    fn out(&self, out: Out) -> Message {
        match out {
            Out::Message { offset, payload } if self.binary => {
                Message::Binary(encode(&Frame::Data { payload, message_id: offset, timestamp: 1 }))
            }
            Out::Message { offset, payload } => {
                let data = std::str::from_utf8(&payload).unwrap();
                let message = match offset {
                    0 => json!({"push": "message", "room": "r", "data": data, "volatile": true}),
                    _ => {
                        json!({"push": "message", "room": "r", "epoch": 1, "offset": offset, "data": data})
                    }
                };
                Message::Text(message.to_string().into())
            }
            Out::Signal(signal) => Message::Text(signal.to_string().into()),
        }
    }

    fn frame(&mut self, frame: Frame) -> Vec<Message> {
        self.binary = true;
        let error = |code| vec![Message::Binary(encode(&Frame::Error { code, message: String::new() }))];
        let room = self.room.clone().unwrap_or_default();
        let state = self.state.clone();
        let mut tables = state.tables();
        match frame {
            Frame::Connect { session_id, .. } => {
                tables.enter(&room, &session_id, &self.send, None);
                self.session = Some(session_id);
                Vec::new()
            }
            Frame::Reconnect { session_id, last_message_id } => {
                if !tables.sessions.contains_key(&session_id) {
                    return error(404);
                }
                tables.enter(&room, &session_id, &self.send, Some(last_message_id));
                self.session = Some(session_id);
                Vec::new()
            }
            Frame::Data { payload, message_id, .. } => {
                let session = self.session.as_ref().unwrap();
                tables.publish(&state, &room, session, message_id, &payload, false);
                Vec::new()
            }
            Frame::Heartbeat { .. } => {
                vec![Message::Binary(encode(&Frame::Heartbeat { timestamp: 1 }))]
            }
            Frame::Disconnect { .. } | Frame::Error { .. } => error(400),
        }
    }

    fn text(&mut self, request: &Value) -> Vec<Message> {
        let state = self.state.clone();
        let mut tables = state.tables();
        let id = request["id"].clone();
        let answer = match request["op"].as_str().unwrap() {
            "hello" => {
                let old = request["resume"]["session"].as_str();
                let known = old.filter(|old| tables.sessions.contains_key(*old));
                let session = known.map_or_else(|| uuid::Uuid::new_v4().simple().to_string(), str::to_owned);
                let kept = tables.sessions.entry(session.clone()).or_default().clone();
                self.session = Some(session.clone());
                let recovered = known.is_some();
                let mut answer = json!({"id": id, "ok": true, "session": session, "recovered": recovered});
                if let Some(room) = kept.room {
                    let after = request["resume"]["offset"].as_u64();
                    tables.enter(&room, &session, &self.send, after);
                    answer["room"] = room.clone().into();
                    self.room = Some(room);
                }
                if let Some(peer) = kept.peer {
                    tables.claim(&peer, &session, &self.send);
                    self.peer = Some(peer);
                }
                answer
            }
            "join" => {
                let name = request["room"].as_str().unwrap().to_owned();
                let session = self.session.as_ref().unwrap();
                let offset = tables.enter(&name, session, &self.send, request["offset"].as_u64());
                self.room = Some(name);
                json!({"id": id, "ok": true, "epoch": 1, "offset": offset, "member": "m", "members": []})
            }
            "publish" => {
                let (session, room) = (self.session.as_ref().unwrap(), self.room.as_ref().unwrap());
                let payload = request["data"].as_str().unwrap().as_bytes();
                let volatile = request["volatile"] == true;
                let number = request["messageId"].as_u64().unwrap();
                tables.publish(&state, room, session, number, payload, volatile);
                json!({"id": id, "ok": true})
            }
            "claim" => {
                let peer = request["peerId"].as_str().unwrap().to_owned();
                tables.claim(&peer, self.session.as_ref().unwrap(), &self.send);
                self.peer = Some(peer);
                json!({"id": id, "ok": true})
            }
            "ack" => {
                self.state.acks.fetch_add(1, Ordering::SeqCst);
                let seq = request["seq"].as_u64().unwrap();
                let mailbox = tables.mailboxes.get_mut(self.peer.as_ref().unwrap()).unwrap();
                mailbox.waiting.retain(|waiting, _| *waiting > seq);
                json!({"id": id, "ok": true})
            }
            op => json!({"id": id, "error": {"code": "invalid_input", "message": op}}),
        };
        vec![Message::Text(answer.to_string().into())]
    }
}
