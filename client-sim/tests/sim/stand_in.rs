//! A small server with the contract's semantics, in memory, that can also break them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use conclave_client_sim::sample::is_dead;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// In which way the contract is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Faultless,
    /// One byte of one delivered chunk is another.
    CorruptOneByte,
    /// One acknowledged chunk is forgotten.
    ForgetOneChunk,
    /// The first request is refused with 503 and `Retry-After: 0`.
    OverloadedOnce,
    /// Every so many requests are carried out and their connection dropped without a reply.
    LoseReplies {
        every: u64,
    },
    /// The same, and idempotency keys are ignored.
    LoseRepliesForgetfully {
        every: u64,
    },
    /// Polls bring the last signal first.
    ReorderSignals,
    /// One byte of signals' payloads is another.
    CorruptSignals,
    /// Sends are refused for good.
    Refuse,
    /// Each answer takes so long.
    Slow {
        takes: Duration,
    },
    /// So many sends are carried out at a time, each taking so long; more are refused at once.
    Busy {
        at_most: u64,
        takes: Duration,
    },
}

/// All nodes of a stand-in cluster share one state.
pub(crate) struct StandIn {
    pub(crate) urls: Vec<String>,
    pub(crate) state: Arc<State>,
    nodes: Vec<AbortHandle>,
}

pub(crate) struct State {
    pub(crate) manner: Manner,
    pub(crate) requests: AtomicU64,
    pub(crate) sends: AtomicU64,
    /// What `GET /cluster/status` answers.
    pub(crate) status: Mutex<Value>,
    /// The process without which no write is taken.
    pub(crate) leader: Mutex<Option<u32>>,
    broken: AtomicU64,
    busy: AtomicU64,
    tables: Mutex<Tables>,
    changed: Notify,
}

#[derive(Default)]
struct Tables {
    transfers: HashMap<String, Transfer>,
    peers: HashMap<String, String>,
    mailboxes: HashMap<String, Vec<(String, String, Box<RawValue>)>>,
    sessions: HashMap<String, HashMap<String, Value>>,
    pins: HashMap<String, String>,
    memos: HashMap<String, (u16, String)>,
}

#[derive(Default)]
struct Transfer {
    total: u64,
    chunks: BTreeMap<u64, String>,
    delivered: HashSet<u64>,
    acknowledged: bool,
}

impl StandIn {
    /// Starts so many nodes.
    pub(crate) async fn start(nodes: usize, manner: Manner) -> Self {
        let state = Arc::new(State {
            manner,
            requests: AtomicU64::new(0),
            sends: AtomicU64::new(0),
            status: Mutex::new(Value::Null),
            leader: Mutex::new(None),
            broken: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            tables: Mutex::default(),
            changed: Notify::new(),
        });
        let (mut urls, mut handles) = (Vec::new(), Vec::new());
        for _ in 0..nodes {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            urls.push(format!("http://{}", listener.local_addr().unwrap()));
            handles.push(tokio::spawn(accept(listener, state.clone())).abort_handle());
        }
        Self { urls, state, nodes: handles }
    }

    /// All nodes, as `--target` takes them.
    pub(crate) fn targets(&self) -> String {
        self.urls.join(",")
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.nodes.iter().for_each(AbortHandle::abort);
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let state = state.clone();
        let service = service_fn(move |request| serve(state.clone(), request));
        tokio::spawn(async move {
            // An error is a client that went away, or the dropped connection that was asked for.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Why a request gets no reply at all.
#[derive(Debug, thiserror::Error)]
#[error("dropped on purpose")]
struct Dropped;

impl From<Infallible> for Dropped {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

async fn serve(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Dropped> {
    let number = state.requests.fetch_add(1, Ordering::SeqCst);
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Dropped)?.to_bytes();
    let key = head.headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
    let path = head.uri.path().to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    if state.manner == Manner::OverloadedOnce && number == 0 {
        let body = r#"{"error":"overloaded","message":"Later.","requestId":"1"}"#;
        return Ok(Response::builder().status(503).header("Retry-After", "0").body(body.into()).unwrap());
    }
    if let Manner::Slow { takes } = state.manner {
        tokio::time::sleep(takes).await;
    }
    if let Manner::Busy { at_most, takes } = state.manner {
        let busy = state.busy.fetch_add(1, Ordering::SeqCst);
        if busy < at_most {
            tokio::time::sleep(takes).await;
        }
        state.busy.fetch_sub(1, Ordering::SeqCst);
        if busy >= at_most {
            let (status, text) = error(503, "overloaded");
            let response = Response::builder().status(status).header("Retry-After", "1");
            return Ok(response.body(text.into()).unwrap());
        }
    }
    let forgetful = matches!(state.manner, Manner::LoseRepliesForgetfully { .. });
    let remembered =
        key.as_ref().filter(|_| !forgetful).and_then(|key| state.tables().memos.get(key).cloned());
    let (status, text) = match remembered {
        Some(memo) => memo,
        None => state.answer(&head.method, &path, &query, &body).await,
    };
    if let Some(key) = key {
        state.tables().memos.insert(key, (status, text.clone()));
    }
    if let Manner::LoseReplies { every } | Manner::LoseRepliesForgetfully { every } = state.manner
        && number % every == every - 1
    {
        return Err(Dropped);
    }
    Ok(Response::builder().status(status).body(text.into()).unwrap())
}

type Answer = (u16, String);

fn ok(value: &Value) -> Answer {
    (200, value.to_string())
}

fn error(status: u16, code: &str) -> Answer {
    (status, json!({"error": code, "message": "No.", "requestId": "1"}).to_string())
}

#[derive(serde::Deserialize)]
struct Signal {
    from: String,
    to: String,
    r#type: String,
    payload: Box<RawValue>,
}

impl State {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap()
    }

    /// True once.
    fn break_once(&self) -> bool {
        self.broken.fetch_add(1, Ordering::SeqCst) == 0
    }

    async fn answer(&self, method: &Method, path: &str, query: &str, body: &[u8]) -> Answer {
        let parts: Vec<_> = path.split('/').skip(1).collect();
        match parts.as_slice() {
            ["api", "relay"] => self.relay(body).await,
            ["api", "v1", "sessions", rest @ ..] => self.session(method, rest, query, body).await,
            ["cluster", "status"] => ok(&self.status.lock().unwrap()),
            ["readyz"] => ok(&json!({})),
            ["metrics"] => {
                (200, format!("fsyncs_total{{node=\"1\"}} {}\n", self.sends.load(Ordering::SeqCst)))
            }
            _ => error(404, "not_found"),
        }
    }

    async fn relay(&self, body: &[u8]) -> Answer {
        let request: Value = serde_json::from_slice(body).unwrap();
        let word = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
        let pair = word("pin") + "/" + &word("passwordHash");
        match word("action").as_str() {
            "send" => self.send(&pair, &request),
            "receive" => self.receive(&pair),
            "ack" => {
                self.tables().transfers.entry(pair).or_default().acknowledged = true;
                ok(&json!({"ok": true}))
            }
            "register" => {
                self.tables().peers.insert(word("inviteCode"), word("peerId"));
                ok(&json!({"status": "registered", "ttlSec": 30}))
            }
            "lookup" => match self.tables().peers.get(&word("inviteCode")) {
                Some(peer) => ok(&json!({"peerId": peer})),
                None => error(404, "peer_not_found"),
            },
            "signal" => {
                let Signal { from, to, r#type, payload } = serde_json::from_slice(body).unwrap();
                self.tables().mailboxes.entry(to).or_default().push((from, r#type, payload));
                self.changed.notify_waiters();
                ok(&json!({"status": "queued"}))
            }
            "poll" => {
                let peer = word("peerId");
                let take = || self.tables().mailboxes.remove(&peer);
                let found = self.wait(request["waitMs"].as_u64(), take).await;
                self.messages(found.unwrap_or_default())
            }
            _ => error(404, "unknown_action"),
        }
    }

    fn send(&self, pair: &str, request: &Value) -> Answer {
        self.sends.fetch_add(1, Ordering::SeqCst);
        if self.manner == Manner::Refuse {
            return error(429, "rate_limit_exceeded");
        }
        if self.leader.lock().unwrap().is_some_and(is_dead) {
            return error(503, "no_leader");
        }
        let (index, total) =
            (request["chunkIndex"].as_u64().unwrap(), request["totalChunks"].as_u64().unwrap());
        let data = request["data"].as_str().unwrap();
        let mut tables = self.tables();
        let transfer = tables.transfers.entry(pair.to_owned()).or_default();
        transfer.total = total;
        if transfer.delivered.contains(&index) {
            return error(200, "duplicate_chunk");
        }
        match transfer.chunks.get(&index) {
            Some(known) if known == data => return ok(&json!({"status": "waiting", "duplicate": true})),
            Some(_) => return error(200, "duplicate_chunk"),
            None => {}
        }
        if self.manner == Manner::ForgetOneChunk && self.break_once() {
            return ok(&json!({"status": "waiting"}));
        }
        transfer.chunks.insert(index, data.to_owned());
        ok(&json!({"status": "waiting"}))
    }

    fn receive(&self, pair: &str) -> Answer {
        let mut tables = self.tables();
        let Some(transfer) = tables.transfers.get_mut(pair) else { return ok(&json!({"status": "expired"})) };
        if let Some((index, mut data)) = transfer.chunks.pop_first() {
            transfer.delivered.insert(index);
            if self.manner == Manner::CorruptOneByte && self.break_once() {
                let middle = data.len() / 2;
                let other = if &data[middle..=middle] == "A" { "B" } else { "A" };
                data.replace_range(middle..=middle, other);
            }
            let chunk = json!({"chunkIndex": index, "totalChunks": transfer.total, "data": data});
            return ok(&json!({"status": "chunkAvailable", "chunk": chunk}));
        }
        if (transfer.delivered.len() as u64) < transfer.total {
            return ok(&json!({"status": "waiting"}));
        }
        if transfer.acknowledged {
            tables.transfers.remove(pair);
        }
        ok(&json!({"status": "done"}))
    }

    fn messages(&self, mut found: Vec<(String, String, Box<RawValue>)>) -> Answer {
        if self.manner == Manner::ReorderSignals {
            found.reverse();
        }
        let message = |(from, kind, payload): &(String, String, Box<RawValue>)| {
            let mut payload = payload.get().to_owned();
            if self.manner == Manner::CorruptSignals {
                payload.insert(1, ' ');
            }
            format!(r#"{{"from":"{from}","type":"{kind}","payload":{payload},"timestamp":1}}"#)
        };
        let messages: Vec<_> = found.iter().map(message).collect();
        (200, format!(r#"{{"messages":[{}]}}"#, messages.join(",")))
    }

    async fn session(&self, method: &Method, path: &[&str], query: &str, body: &[u8]) -> Answer {
        let parameter = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next()
        };
        match (method.as_str(), path) {
            ("POST", []) => {
                let request: Value = serde_json::from_slice(body).unwrap();
                let id = uuid::Uuid::new_v4().to_string();
                let mut tables = self.tables();
                let pin = request["pin"].as_str().unwrap().to_owned();
                if tables.pins.contains_key(&pin) {
                    return error(409, "pin_in_use");
                }
                tables.pins.insert(pin, id.clone());
                tables.sessions.insert(id.clone(), HashMap::new());
                ok(&json!({"sessionId": id, "ttlSec": 180}))
            }
            ("GET", ["resolve"]) => match self.tables().pins.get(&parameter("pin").unwrap()) {
                Some(id) => ok(&json!({"sessionId": id})),
                None => error(404, "pin_not_found"),
            },
            ("POST", [id, part]) => {
                let envelope = serde_json::from_slice(body).unwrap();
                self.tables().sessions.get_mut(*id).unwrap().insert((*part).to_owned(), envelope);
                self.changed.notify_waiters();
                ok(&json!({"status": "ok", "ttlSec": 180}))
            }
            ("GET", [id, part]) => {
                let find = || self.tables().sessions.get(*id)?.get(*part).cloned();
                let wait = parameter("waitMs").map(|ms| ms.parse().unwrap());
                match self.wait(wait, find).await {
                    Some(envelope) => ok(&json!({"envelope": envelope})),
                    None => error(404, "not_found"),
                }
            }
            ("DELETE", [id]) => match self.tables().sessions.remove(*id) {
                Some(_) => ok(&json!({"status": "deleted"})),
                None => error(410, "session_expired"),
            },
            _ => error(404, "not_found"),
        }
    }

    /// Looks until there is something or the time has passed.
    async fn wait<T>(&self, ms: Option<u64>, look: impl Fn() -> Option<T>) -> Option<T> {
        let found = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(found) = look() {
                    return found;
                }
                changed.await;
            }
        };
        match ms {
            Some(ms) => tokio::time::timeout(Duration::from_millis(ms), found).await.ok(),
            None => look(),
        }
    }
}
