//! An HTTP/1.1 client for the contract: cheap per request, and safe to retry.
//!
//! A [`Client`] belongs to one worker and keeps one connection per target. A request that fails on the way is tried
//! again at the next target, a 503 with `Retry-After` is followed; everything else is the caller's to judge.

mod connection;
mod error;
mod raw;
mod relay;
mod session;
mod stream;
mod tally;
mod target;
pub mod trust;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Uri};
use tokio::time::Instant;

pub use connection::Connection;
pub use error::{Error, Fault};
pub use raw::{NoReply, Raw, RawReply};
pub use relay::{Message, Received, Transfer};
pub use session::Envelope;
pub use stream::Stream;
pub use tally::{Tally, Tried};
pub use target::{BadTarget, Target};

/// How patient a client is.
#[derive(Debug, Clone)]
pub struct Options {
    /// For one try at one target, the connection included.
    pub timeout: Duration,
    /// For one request with all its tries.
    pub patience: Duration,
    /// Whether `receive` and `poll` carry an `Idempotency-Key`, so that a lost reply is given again. The server
    /// remembers each for two minutes, and only so many of them.
    pub idempotent: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), patience: Duration::from_secs(20), idempotent: true }
    }
}

/// One request; cloning shares the body.
#[derive(Debug, Clone)]
pub struct Request {
    /// GET, POST, PUT or DELETE.
    pub method: Method,
    /// Path and query only.
    pub path: Uri,
    /// What the body is.
    pub content_type: Option<HeaderValue>,
    /// The whole body.
    pub body: Bytes,
    /// Names this request over all its tries.
    pub idempotency_key: Option<HeaderValue>,
    /// All other headers but `Host`.
    pub headers: HeaderMap,
    /// What the server may wait before it answers, added to the time-out.
    pub wait: Duration,
}

impl Request {
    /// A POST of JSON, or of nothing.
    pub fn post(path: Uri, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self { content_type: (!body.is_empty()).then_some(JSON), body, ..Self::bare(Method::POST, path) }
    }

    /// A request without a body.
    pub fn bare(method: Method, path: Uri) -> Self {
        Self {
            method,
            path,
            content_type: None,
            body: Bytes::new(),
            idempotency_key: None,
            headers: HeaderMap::new(),
            wait: Duration::ZERO,
        }
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// Whether an earlier try may have been carried out without our learning of it.
    pub retried: bool,
}

impl Reply {
    /// How long the server asks to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        self.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
    }
}

/// A target, and the connection to it.
struct Peer {
    target: Target,
    /// Boxed, since it moves in and out with every request and is large.
    connection: Option<Box<Connection>>,
    down_until: Option<Instant>,
}

/// One worker's connections to all targets.
pub struct Client {
    peers: Vec<Peer>,
    options: Options,
    tally: Arc<Tally>,
    name: String,
    keys: u64,
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// How long a target that refused a connection is left alone, if there is another.
const DOWN: Duration = Duration::from_millis(250);
/// Between rounds over all targets.
const ROUND_PAUSE: Duration = Duration::from_millis(20);
/// The longest `Retry-After` that is followed to the letter.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

impl Client {
    /// A client of these targets, of which there must be one or more. `name` makes its idempotency keys unlike any
    /// other client's: letters, digits and dashes.
    pub fn new(targets: &[Target], options: Options, tally: Arc<Tally>, name: String) -> Self {
        assert!(!targets.is_empty(), "a client needs a target");
        let peer = |target: &Target| Peer { target: target.clone(), connection: None, down_until: None };
        Self { peers: targets.iter().map(peer).collect(), options, tally, name, keys: 0 }
    }

    /// How many targets there are.
    pub fn targets(&self) -> usize {
        self.peers.len()
    }

    /// Sends a request, to the target numbered `prefer` modulo their count if possible, until there is a reply other
    /// than 503 with `Retry-After` or patience ends. The caller makes sure that the request may be repeated.
    pub async fn exchange(&mut self, prefer: usize, request: &Request) -> Result<Reply, Error> {
        let give_up = Instant::now() + self.options.patience;
        let mut at = self.choose(prefer);
        let mut retried = false;
        let mut failures = 0;
        loop {
            let outcome = self.attempt(at, request).await;
            let (pause, verdict) = match outcome {
                Ok(reply) => match reply.retry_after() {
                    Some(pause) if reply.status == 503 => {
                        (pause.min(RETRY_AFTER_MAX), Ok(Reply { retried, ..reply }))
                    }
                    Some(_) | None => return Ok(Reply { retried, ..reply }),
                },
                Err(fault) => {
                    retried |= fault != Fault::Connect;
                    failures += 1;
                    let round_over = failures % self.peers.len() == 0;
                    (if round_over { ROUND_PAUSE } else { Duration::ZERO }, Err(Error::Unreachable(fault)))
                }
            };
            if Instant::now() + pause >= give_up {
                return verdict;
            }
            match verdict {
                Ok(_) => self.tally.followed_retry_after(),
                Err(_) => self.tally.failed_over(),
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            at = self.choose(at + 1);
        }
    }

    /// Sends a request to one target, once.
    pub async fn attempt(&mut self, at: usize, request: &Request) -> Result<Reply, Fault> {
        let count = self.peers.len();
        let peer = &mut self.peers[at % count];
        // Taken out and put back only when whole: a request that was cut short leaves its connection unusable.
        let kept = peer.connection.take();
        let target = &peer.target;
        let call = async {
            let mut connection = match kept {
                Some(connection) => connection,
                None => Box::new(Connection::open(target).await?),
            };
            let reply = connection.exchange(request).await?;
            Ok((connection, reply))
        };
        let outcome = tokio::time::timeout(self.options.timeout + request.wait, call).await;
        match outcome.unwrap_or(Err(Fault::Timeout)) {
            Ok((connection, reply)) => {
                peer.connection = connection.reusable().then_some(connection);
                peer.down_until = None;
                self.tally.answered(reply.status, request.body.len(), reply.body.len());
                Ok(reply)
            }
            Err(fault) => {
                if fault == Fault::Connect {
                    peer.down_until = Some(Instant::now() + DOWN);
                }
                self.tally.failed(fault);
                Err(fault)
            }
        }
    }

    /// The preferred target, or the next one that is not known to be down; the preferred one if all are.
    fn choose(&self, prefer: usize) -> usize {
        let count = self.peers.len();
        let up = |at: &usize| match self.peers[at % count].down_until {
            None => true,
            Some(until) => Instant::now() >= until,
        };
        (prefer..prefer + count).find(up).unwrap_or(prefer) % count
    }

    /// A fresh idempotency key, if this client uses any.
    fn key(&mut self) -> Option<HeaderValue> {
        self.options.idempotent.then(|| {
            self.keys += 1;
            let key = format!("{}-{:x}", self.name, self.keys);
            HeaderValue::from_maybe_shared(Bytes::from(key)).expect("names are letters, digits and dashes")
        })
    }
}
