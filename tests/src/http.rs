//! A small HTTP/1.1 client: one request, one reply, and the difference between no answer and a bad one. It comes again
//! after a 503, as the contract asks of clients, unless a test wants to see that 503.

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use conclave_client::http::{self, Connection, Fault, Request, Target};
use http_body_util::BodyExt;
use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::events::Events;
use crate::leaks;

/// Longer than the longest wait a request may ask for (25 s): a reply later than this is a defect.
const PATIENCE: Duration = Duration::from_secs(40);

/// For how long a request comes again after 503. A busy machine may hold an election at any time; one that takes this
/// long is a defect.
const PURSUIT: Duration = Duration::from_secs(30);

/// No reply came: the connection was refused, broke, or stayed silent. Whether the request was carried out is unknown.
#[derive(Debug)]
pub struct NoAnswer(pub String);

/// One node's API, seen from one client address. Clones share their kept-alive connections.
#[derive(Debug, Clone)]
pub struct Api {
    target: Target,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Api {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.target.address().parse().expect("nodes of tests are named by address and port")
    }

    /// The API under `url`, which is `http://ADDRESS:PORT`.
    pub fn new(url: &str) -> Self {
        Self { target: url.parse().expect("nodes of tests have URLs"), idle: Arc::default() }
    }

    /// The same API for a client with another address, which has allowances of its own.
    pub fn seen_from(&self, from: IpAddr) -> Self {
        Self { target: self.target.clone().seen_from(from), idle: Arc::default() }
    }

    /// Begins a request.
    pub fn call(&self, method: Method, path: &str) -> Call {
        let path = path.parse().expect("tests ask for valid paths");
        Call { api: self.clone(), request: Request::bare(method, path), patience: PATIENCE }
    }

    /// Begins a GET.
    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    /// Begins a DELETE.
    pub fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }

    /// Begins a POST of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Call {
        self.call(Method::POST, path).json(body.to_string())
    }

    /// Begins a PUT of raw bytes.
    pub fn put(&self, path: &str, body: impl Into<Bytes>) -> Call {
        self.call(Method::PUT, path).header("content-type", "application/octet-stream").body(body)
    }

    /// Begins a POST to `/api/relay`.
    pub fn relay(&self, body: &Value) -> Call {
        self.post("/api/relay", body)
    }

    /// The node, for other connections of this client.
    pub fn target(&self) -> &Target {
        &self.target
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().expect("nobody panics while holding it")
    }
}

/// A request about to be made.
#[derive(Debug, Clone)]
pub struct Call {
    api: Api,
    request: Request,
    patience: Duration,
}

impl Call {
    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("tests send valid header values");
        self.request.headers.append(HeaderName::from_static(name), value);
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.request.body = body.into();
        self
    }

    /// Sets the body to this text, valid or not, and calls it JSON.
    pub fn json(self, text: impl Into<Bytes>) -> Self {
        self.header("content-type", "application/json").body(text)
    }

    /// Gives up sooner or later than usual.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Puts the request under an `Idempotency-Key` of its own, so that what a lost answer held is not lost.
    pub fn keyed(self) -> Self {
        self.header("idempotency-key", &Uuid::new_v4().to_string())
    }

    /// Makes the request, and the very same again for as long as the node asks for that by 503 and `Retry-After`;
    /// panics where no answer comes.
    ///
    /// After a 503 the outcome is unknown: what consumes should be [`keyed`](Self::keyed).
    pub async fn send(self) -> Reply {
        let began = Instant::now();
        loop {
            let reply = self.clone().once().await;
            match reply.retry_after() {
                Some(pause) if reply.status == 503 && began.elapsed() + pause < PURSUIT => sleep(pause).await,
                Some(_) | None => return reply,
            }
        }
    }

    /// Makes the request once, whatever the answer; panics where none comes.
    pub async fn once(self) -> Reply {
        let what = format!("{} {}", self.request.method, self.request.path);
        match self.attempt().await {
            Ok(reply) => reply,
            Err(NoAnswer(why)) => panic!("{what}: no answer: {why}"),
        }
    }

    /// Makes the request once.
    pub async fn attempt(self) -> Result<Reply, NoAnswer> {
        let patience = self.patience;
        match timeout(patience, self.exchange()).await {
            Ok(result) => result,
            Err(_) => Err(NoAnswer(format!("silence for {patience:?}"))),
        }
    }

    /// Makes the request on a connection of its own, and leaves the answer's body open.
    ///
    /// # Errors
    /// The whole reply, if it is no success.
    pub async fn open(self) -> Result<Events, Reply> {
        let mut connection = Connection::open(&self.api.target).await.expect("the node listens");
        let response = connection.send(&self.request).await.expect("an answer comes");
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            return Ok(Events::new(body, connection));
        }
        let body = connection.drive(body.collect()).await.expect("the connection is up");
        let body = body.expect("the whole answer comes").to_bytes();
        Err(Reply(http::Reply { status: head.status.as_u16(), headers: head.headers, body, retried: false }))
    }

    async fn exchange(self) -> Result<Reply, NoAnswer> {
        let no_answer = |fault: Fault| NoAnswer(fault.to_string());
        // A kept connection may have been closed by the server a moment ago. What was certainly not sent is sent again
        // on a new one; anything else is the caller's to judge.
        loop {
            let kept = self.api.idle().pop();
            let fresh = kept.is_none();
            let mut connection = match kept {
                Some(connection) => connection,
                None => Connection::open(&self.api.target).await.map_err(no_answer)?.spawned(),
            };
            match connection.exchange(&self.request).await {
                Ok(reply) => {
                    self.api.idle().push(connection);
                    if reply.status >= 400 {
                        leaks::told(&reply.body);
                    }
                    return Ok(Reply(reply));
                }
                Err(Fault::Closed) if !fresh => {}
                Err(fault) => return Err(no_answer(fault)),
            }
        }
    }
}

/// What a node answered.
#[derive(Debug, Clone)]
pub struct Reply(http::Reply);

impl Deref for Reply {
    type Target = http::Reply;

    fn deref(&self) -> &http::Reply {
        &self.0
    }
}

impl Reply {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("not JSON ({error}), status {}: {}", self.status, self.text()),
        }
    }

    /// Asserts the status, and returns the body as JSON.
    #[track_caller]
    pub fn status(&self, status: u16) -> Value {
        assert_eq!(self.0.status, status, "body: {}", self.text());
        self.json()
    }

    /// Asserts 200, and returns the body as JSON.
    #[track_caller]
    pub fn ok(&self) -> Value {
        self.status(200)
    }

    /// Asserts a refusal with this status and code in the one shape all errors have, and returns its body.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> Value {
        let body = self.status(status);
        assert_eq!(body["error"], code, "body: {body}");
        assert!(
            body["message"].as_str().is_some_and(|message| !message.is_empty()),
            "a sentence says why: {body}"
        );
        assert_eq!(
            body["requestId"].as_str(),
            self.header("x-request-id"),
            "body and header name one request"
        );
        body
    }
}
