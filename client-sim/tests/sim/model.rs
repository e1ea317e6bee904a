//! A server that keeps the contract because it does one thing at a time, in memory, and one flaw that can be planted in it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// Replies are lost now and then, which is nobody's fault.
    LosesReplies,
    /// One node reads from a copy that is brought up to date only now and then.
    ReadsAreStale,
    /// Now and then an envelope is said to be stored and is not.
    DropsEnvelopes,
    /// Now and then a signal is said to be queued and is not.
    DropsSignals,
    /// Now and then a chunk is said to be stored and is not.
    DropsChunks,
    /// Replies are lost, and what is said again under its name is done again.
    RepeatsRetries,
    /// Now and then a chunk is handed out and not taken.
    GivesChunksTwice,
    /// Now and then a pin is given to a second session.
    GivesPinsTwice,
    /// Now and then a code is given to a second peer.
    GivesCodesTwice,
    /// Now and then the last signal comes first.
    ReordersSignals,
    /// Chunks are handed out highest first.
    TakesHighestFirst,
    /// Now and then a byte of an envelope is another.
    CorruptsEnvelopes,
}

/// All nodes share one state.
pub(crate) struct Model {
    urls: Vec<String>,
    nodes: Vec<AbortHandle>,
    server: Arc<Server>,
}

#[derive(Default, Clone)]
struct Tables {
    sessions: HashMap<String, Session>,
    pins: HashMap<String, String>,
    codes: HashMap<String, Value>,
    mailboxes: HashMap<String, Vec<Value>>,
    transfers: HashMap<String, Transfer>,
    said: HashMap<String, bool>,
    memos: HashMap<String, Answer>,
}

#[derive(Default, Clone)]
struct Session {
    envelopes: HashMap<String, Value>,
}

#[derive(Default, Clone)]
struct Transfer {
    total: u64,
    chunks: BTreeMap<u64, Vec<u8>>,
    delivered: Vec<u64>,
    acknowledged: bool,
}

type Answer = (u16, Vec<u8>);

struct Server {
    flaw: Flaw,
    tables: Mutex<Tables>,
    copy: Mutex<Tables>,
    requests: AtomicU64,
    dice: AtomicU64,
    asked: Notify,
}

impl Model {
    /// Waits until there were so many requests.
    pub(crate) async fn asked(&self, requests: u64) {
        while self.server.requests.load(Ordering::Relaxed) < requests {
            self.server.asked.notified().await;
        }
    }

    pub(crate) async fn start(nodes: usize, flaw: Flaw) -> Self {
        let server = Arc::new(Server {
            flaw,
            tables: Mutex::default(),
            copy: Mutex::default(),
            requests: AtomicU64::new(0),
            dice: AtomicU64::new(0),
            asked: Notify::new(),
        });
        let (mut urls, mut handles) = (Vec::new(), Vec::new());
        for node in 0..nodes {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            urls.push(format!("http://{}", listener.local_addr().unwrap()));
            handles.push(tokio::spawn(accept(listener, server.clone(), node)).abort_handle());
        }
        Self { urls, nodes: handles, server }
    }

    /// All nodes, as `--target` takes them.
    pub(crate) fn targets(&self) -> String {
        self.urls.join(",")
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.nodes.iter().for_each(AbortHandle::abort);
    }
}

async fn accept(listener: TcpListener, server: Arc<Server>, node: usize) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let server = server.clone();
        let service = service_fn(move |request| serve(server.clone(), node, request));
        tokio::spawn(async move {
            // An error is a client that went away, or the reply that was lost on purpose.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Why a request gets no reply.
#[derive(Debug, thiserror::Error)]
#[error("lost on purpose")]
struct Lost;

async fn serve(
    server: Arc<Server>,
    node: usize,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Lost> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
    let number = server.requests.fetch_add(1, Ordering::Relaxed);
    server.asked.notify_one();
    let key = head.headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
    let query = head.uri.query().unwrap_or_default().to_owned();
    let path: Vec<&str> = head.uri.path().split('/').skip(1).collect();
    let (status, text) = server.answer(node, head.method.as_str(), &path, &query, &body, key);
    let loses = matches!(server.flaw, Flaw::LosesReplies | Flaw::RepeatsRetries);
    if loses && number % 37 == 36 {
        return Err(Lost);
    }
    Ok(Response::builder().status(status).body(text.into()).unwrap())
}

fn say(status: u16, value: &Value) -> Answer {
    (status, value.to_string().into_bytes())
}

fn refuse(status: u16, code: &str) -> Answer {
    say(status, &json!({"error": code, "message": "No.", "requestId": "1"}))
}

impl Server {
    /// True now and then, if this is the flaw.
    fn slips(&self, flaw: Flaw) -> bool {
        self.flaw == flaw && self.dice.fetch_add(1, Ordering::Relaxed) % 8 == 7
    }

    fn answer(
        &self,
        node: usize,
        method: &str,
        path: &[&str],
        query: &str,
        body: &[u8],
        key: Option<String>,
    ) -> Answer {
        if self.flaw == Flaw::ReadsAreStale && node == 1 && method == "GET" {
            let mut copy = self.copy.lock().unwrap();
            if self.dice.fetch_add(1, Ordering::Relaxed) % 32 == 31 {
                *copy = self.tables.lock().unwrap().clone();
            }
            return self.dispatch(&mut copy.clone(), method, path, query, body);
        }
        let mut tables = self.tables.lock().unwrap();
        let key = key.filter(|_| self.flaw != Flaw::RepeatsRetries);
        if let Some(answer) = key.as_ref().and_then(|key| tables.memos.get(key)) {
            return answer.clone();
        }
        let answer = self.dispatch(&mut tables, method, path, query, body);
        if let Some(key) = key {
            tables.memos.insert(key, answer.clone());
        }
        answer
    }

    fn dispatch(&self, tables: &mut Tables, method: &str, path: &[&str], query: &str, body: &[u8]) -> Answer {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        match (method, path) {
            ("POST", ["api", "relay"]) => self.relay(tables, &asked),
            ("POST", ["api", "v1", "sessions"]) => self.create(tables, asked["pin"].as_str()),
            ("GET", ["api", "v1", "sessions", "resolve"]) => {
                let pin = query.strip_prefix("pin=").unwrap();
                match tables.pins.get(pin).filter(|id| tables.sessions.contains_key(*id)) {
                    Some(id) => say(200, &json!({"sessionId": id})),
                    None => refuse(404, "pin_not_found"),
                }
            }
            (_, ["api", "v1", "sessions", id, rest @ ..]) => self.session(tables, method, id, rest, asked),
            ("POST", ["api", "v1", "transfers"]) => {
                let id = asked["pin"].as_str().unwrap().to_owned();
                let total = asked["totalChunks"].as_u64().unwrap();
                if !tables.transfers.contains_key(&id) {
                    tables.said.remove(&id);
                }
                tables.transfers.entry(id.clone()).or_insert(Transfer { total, ..Transfer::default() });
                say(201, &json!({"transferId": id, "ttlSec": 60}))
            }
            (_, ["api", "v1", "transfers", id, rest @ ..]) => self.transfer(tables, method, id, rest, body),
            _ => refuse(404, "not_found"),
        }
    }

    fn create(&self, tables: &mut Tables, pin: Option<&str>) -> Answer {
        let id = uuid::Uuid::new_v4().to_string();
        if let Some(pin) = pin {
            let live = tables.pins.get(pin).is_some_and(|id| tables.sessions.contains_key(id));
            if live && !self.slips(Flaw::GivesPinsTwice) {
                return refuse(409, "pin_in_use");
            }
            tables.pins.insert(pin.to_owned(), id.clone());
        }
        tables.sessions.insert(id.clone(), Session::default());
        say(200, &json!({"sessionId": id, "ttlSec": 180}))
    }

    fn session(&self, tables: &mut Tables, method: &str, id: &str, rest: &[&str], asked: Value) -> Answer {
        let Some(session) = tables.sessions.get_mut(id) else { return refuse(410, "session_expired") };
        match (method, rest) {
            ("POST", [part]) => {
                if !self.slips(Flaw::DropsEnvelopes) {
                    session.envelopes.insert((*part).to_owned(), asked);
                }
                say(200, &json!({"status": "ok", "ttlSec": 180}))
            }
            ("GET", [part]) => match session.envelopes.get(*part) {
                Some(envelope) => {
                    let mut envelope = envelope.clone();
                    if self.slips(Flaw::CorruptsEnvelopes) {
                        envelope["ct"] = envelope["ct"].as_str().unwrap().replacen('0', "1", 1).into();
                    }
                    say(200, &json!({"envelope": envelope}))
                }
                None => refuse(404, "not_found"),
            },
            _ => {
                tables.sessions.remove(id);
                say(200, &json!({"status": "deleted"}))
            }
        }
    }

    fn relay(&self, tables: &mut Tables, asked: &Value) -> Answer {
        let word = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
        match word("action").as_str() {
            "register" => {
                let holder = tables.codes.get(&word("inviteCode"));
                let taken = holder.is_some_and(|holder| *holder != asked["peerId"]);
                if taken && !self.slips(Flaw::GivesCodesTwice) {
                    return refuse(400, "invite_code_in_use");
                }
                tables.codes.insert(word("inviteCode"), asked["peerId"].clone());
                say(200, &json!({"status": "registered", "ttlSec": 30}))
            }
            "lookup" => match tables.codes.get(&word("inviteCode")) {
                Some(peer) => say(200, &json!({"peerId": peer})),
                None => refuse(404, "peer_not_found"),
            },
            "signal" => {
                if !self.slips(Flaw::DropsSignals) {
                    tables.mailboxes.entry(word("to")).or_default().push(asked.clone());
                }
                say(200, &json!({"status": "queued"}))
            }
            "poll" => {
                let mut messages = tables.mailboxes.remove(&word("peerId")).unwrap_or_default();
                if self.slips(Flaw::ReordersSignals) {
                    messages.reverse();
                }
                say(200, &json!({"messages": messages}))
            }
            "send" => {
                let index = asked["chunkIndex"].as_u64().unwrap();
                let data = STANDARD.decode(word("data")).unwrap();
                if !tables.transfers.contains_key(&word("pin")) {
                    tables.said.remove(&word("pin"));
                }
                let transfer = tables.transfers.entry(word("pin")).or_default();
                transfer.total = asked["totalChunks"].as_u64().unwrap();
                match self.put(transfer, index, data) {
                    Put::Stored => say(200, &json!({"status": "waiting"})),
                    Put::Same => say(200, &json!({"status": "waiting", "duplicate": true})),
                    Put::Other | Put::Delivered => {
                        say(200, &json!({"status": "waiting", "error": "duplicate_chunk"}))
                    }
                }
            }
            "receive" => self.receive(tables, &word("pin")),
            "ack" => {
                tables.said.insert(word("pin"), true);
                if let Some(transfer) = tables.transfers.get_mut(&word("pin")) {
                    transfer.acknowledged = true;
                }
                say(200, &json!({"ok": true}))
            }
            "ack-status" => {
                say(200, &json!({"acknowledged": tables.said.get(&word("pin")).is_some_and(|said| *said)}))
            }
            _ => refuse(404, "unknown_action"),
        }
    }

    fn put(&self, transfer: &mut Transfer, index: u64, data: Vec<u8>) -> Put {
        if transfer.delivered.contains(&index) {
            return Put::Delivered;
        }
        match transfer.chunks.get(&index) {
            Some(known) if *known == data => Put::Same,
            Some(_) => Put::Other,
            None => {
                if !self.slips(Flaw::DropsChunks) {
                    transfer.chunks.insert(index, data);
                }
                Put::Stored
            }
        }
    }

    fn receive(&self, tables: &mut Tables, pin: &str) -> Answer {
        let Some(transfer) = tables.transfers.get_mut(pin) else {
            return say(200, &json!({"status": "expired"}));
        };
        let mut waiting = transfer.chunks.keys().filter(|index| !transfer.delivered.contains(index));
        let next = if self.flaw == Flaw::TakesHighestFirst { waiting.next_back() } else { waiting.next() };
        if let Some(index) = next.copied() {
            let data = STANDARD.encode(&transfer.chunks[&index]);
            if !self.slips(Flaw::GivesChunksTwice) {
                transfer.delivered.push(index);
            }
            let chunk = json!({"chunkIndex": index, "totalChunks": transfer.total, "data": data});
            return say(200, &json!({"status": "chunkAvailable", "chunk": chunk}));
        }
        if (transfer.delivered.len() as u64) < transfer.total {
            return say(200, &json!({"status": "waiting"}));
        }
        if transfer.acknowledged {
            tables.transfers.remove(pin);
        }
        say(200, &json!({"status": "done"}))
    }

    fn transfer(&self, tables: &mut Tables, method: &str, id: &str, rest: &[&str], body: &[u8]) -> Answer {
        let Some(transfer) = tables.transfers.get_mut(id) else { return refuse(404, "not_found") };
        match (method, rest) {
            ("PUT", ["chunks", index]) => match self.put(transfer, index.parse().unwrap(), body.to_vec()) {
                Put::Stored => say(201, &json!({"status": "stored"})),
                Put::Same => say(200, &json!({"status": "stored", "duplicate": true})),
                Put::Other | Put::Delivered => refuse(409, "chunk_conflict"),
            },
            ("GET", ["chunks", index]) => match transfer.chunks.get(&index.parse().unwrap()) {
                Some(bytes) => (200, bytes.clone()),
                None => refuse(404, "not_found"),
            },
            ("GET", []) => {
                let received: Vec<_> = transfer.chunks.keys().map(|index| [index, index]).collect();
                let (delivered, acknowledged) = (transfer.delivered.len(), transfer.acknowledged);
                say(
                    200,
                    &json!({"totalChunks": transfer.total, "received": received, "delivered": delivered,
                            "acknowledged": acknowledged, "expiresAt": 1}),
                )
            }
            _ => {
                tables.said.insert(id.to_owned(), true);
                transfer.acknowledged = true;
                if transfer.chunks.len() as u64 == transfer.total {
                    transfer.delivered = transfer.chunks.keys().copied().collect();
                }
                say(200, &json!({"ok": true}))
            }
        }
    }
}

/// What became of a chunk.
enum Put {
    Stored,
    Same,
    Other,
    Delivered,
}
