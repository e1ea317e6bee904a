//! A small server with the contract's semantics, in memory, that can also break them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::model::{Answer, Asked, Tables, refuse, say};
use super::nodes::Nodes;

/// In which way the contract is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Faultless,
    /// One byte of one delivered chunk is another.
    CorruptOneByte,
    /// The first request is refused with 503 and `Retry-After: 0`.
    OverloadedOnce,
    /// Every so many requests are carried out and their connection dropped without a reply, which is nobody's fault.
    LoseReplies {
        every: u64,
    },
    /// The same, and what is said again under its idempotency key is done again.
    LoseRepliesForgetfully {
        every: u64,
    },
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
    /// One node reads from a copy that is brought up to date only now and then.
    ReadsAreStale,
    /// Now and then an envelope is said to be stored and is not.
    DropsEnvelopes,
    /// Now and then a signal is said to be queued and is not.
    DropsSignals,
    /// Now and then a chunk is said to be stored and is not.
    DropsChunks,
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
    /// Payloads of signals are others.
    CorruptsSignals,
}

/// All nodes of a stand-in cluster share one state.
pub(crate) struct StandIn {
    pub(crate) nodes: Nodes,
    pub(crate) state: Arc<State>,
}

pub(crate) struct State {
    pub(crate) manner: Manner,
    pub(crate) requests: AtomicU64,
    pub(crate) sends: AtomicU64,
    /// What `GET /cluster/status` answers.
    pub(crate) status: Mutex<Value>,
    /// The process without which no write is taken.
    pub(crate) leader: Mutex<Option<u32>>,
    dice: AtomicU64,
    busy: AtomicU64,
    tables: Mutex<Tables>,
    /// What a node knows whose reads are stale.
    copy: Mutex<Tables>,
    asked: Notify,
    changed: Notify,
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
            dice: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            tables: Mutex::default(),
            copy: Mutex::default(),
            asked: Notify::new(),
            changed: Notify::new(),
        });
        let shared = state.clone();
        let nodes = Nodes::start(nodes, move |node, request| serve(shared.clone(), node, request)).await;
        Self { nodes, state }
    }

    /// All nodes, as `--target` takes them.
    pub(crate) fn targets(&self) -> String {
        self.nodes.urls.join(",")
    }

    /// Waits until there were so many requests.
    pub(crate) async fn asked(&self, requests: u64) {
        while self.state.requests.load(Ordering::SeqCst) < requests {
            self.state.asked.notified().await;
        }
    }
}

/// Why a request gets no reply at all.
#[derive(Debug, thiserror::Error)]
#[error("dropped on purpose")]
struct Dropped;

async fn serve(
    state: Arc<State>,
    node: usize,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Dropped> {
    let number = state.requests.fetch_add(1, Ordering::SeqCst);
    state.asked.notify_one();
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Dropped)?.to_bytes();
    let refused = |seconds: &str| {
        let response = Response::builder().status(503).header("Retry-After", seconds);
        response.body(refuse(503, "overloaded").1.into()).unwrap()
    };
    match state.manner {
        Manner::OverloadedOnce if number == 0 => return Ok(refused("0")),
        Manner::Slow { takes } => tokio::time::sleep(takes).await,
        Manner::Busy { at_most, takes } => {
            let busy = state.busy.fetch_add(1, Ordering::SeqCst);
            if busy < at_most {
                tokio::time::sleep(takes).await;
            }
            state.busy.fetch_sub(1, Ordering::SeqCst);
            if busy >= at_most {
                return Ok(refused("1"));
            }
        }
        _ => {}
    }
    let asked = Asked {
        node,
        method: head.method.as_str(),
        path: &head.uri.path().split('/').skip(1).collect::<Vec<_>>(),
        query: head.uri.query().unwrap_or_default(),
        body: &body,
        said: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let key = head.headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
    let (status, text) = state.answer(&asked, key).await;
    if let Manner::LoseReplies { every } | Manner::LoseRepliesForgetfully { every } = state.manner
        && number % every == every - 1
    {
        return Err(Dropped);
    }
    Ok(Response::builder().status(status).body(text.into()).unwrap())
}

impl State {
    /// True now and then, if this is the manner.
    pub(crate) fn slips(&self, manner: Manner) -> bool {
        self.manner == manner && self.dice.fetch_add(1, Ordering::SeqCst) % 8 == 7
    }

    /// True once, if this is the manner.
    pub(crate) fn slips_once(&self, manner: Manner) -> bool {
        self.manner == manner && self.dice.fetch_add(1, Ordering::SeqCst) == 0
    }

    /// Answers under an idempotency key, and waits for as long as was asked for while there is nothing.
    async fn answer(&self, asked: &Asked<'_>, key: Option<String>) -> Answer {
        let forgets = matches!(self.manner, Manner::LoseRepliesForgetfully { .. });
        let key = key.filter(|_| !forgets);
        let wait = asked.said["waitMs"].as_u64().or_else(|| asked.parameter("waitMs")?.parse().ok());
        let give_up = Instant::now() + Duration::from_millis(wait.unwrap_or_default());
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let answer = self.answer_once(asked, key.as_ref(), Instant::now() >= give_up);
            match answer {
                Some(answer) => return answer,
                // Late is as good: the next look is the last one.
                None => _ = timeout_at(give_up, changed).await,
            }
        }
    }

    /// `None` if there is nothing and it shall be waited for.
    fn answer_once(&self, asked: &Asked<'_>, key: Option<&String>, last: bool) -> Option<Answer> {
        if self.manner == Manner::ReadsAreStale && asked.node == 1 && asked.method == "GET" {
            let mut copy = self.copy.lock().unwrap();
            if self.dice.fetch_add(1, Ordering::SeqCst) % 32 == 31 {
                *copy = self.tables.lock().unwrap().clone();
            }
            return Some(copy.clone().answer(self, asked));
        }
        let mut tables = self.tables.lock().unwrap();
        if let Some(answer) = key.and_then(|key| tables.memos.get(key)) {
            return Some(answer.clone());
        }
        let answer = tables.answer(self, asked);
        let is_nothing =
            answer == refuse(404, "not_found") || answer == say(200, &serde_json::json!({"messages": []}));
        if is_nothing && !last {
            return None;
        }
        if let Some(key) = key {
            tables.memos.insert(key.clone(), answer.clone());
        }
        if asked.method == "POST" {
            self.changed.notify_waiters();
        }
        Some(answer)
    }
}
