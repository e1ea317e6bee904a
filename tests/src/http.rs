//! A small HTTP/1.1 client: one request, one reply, and the difference between no answer and a bad one. It comes again
//! after a 503, as the contract asks of clients, unless a test wants to see that 503.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::events::Events;

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
    base: SocketAddr,
    from: IpAddr,
    idle: Arc<Idle>,
}

/// A connection, and the task that drives it.
type Dialed = (SendRequest<Full<Bytes>>, http1::Connection<TokioIo<TcpStream>, Full<Bytes>>);

#[derive(Debug, Default)]
struct Idle(Mutex<BTreeMap<SocketAddr, Vec<SendRequest<Full<Bytes>>>>>);

impl Api {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.base
    }

    /// The API under `url`, which is `http://ADDRESS:PORT`.
    pub fn new(url: &str) -> Self {
        Self { base: address(url), from: Ipv4Addr::LOCALHOST.into(), idle: Arc::default() }
    }

    /// The same API for a client with another address, which has allowances of its own.
    pub fn seen_from(&self, from: IpAddr) -> Self {
        Self { base: self.base, from, idle: Arc::default() }
    }

    /// Begins a request.
    pub fn call(&self, method: Method, path: &str) -> Call {
        Call {
            api: self.clone(),
            method,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            patience: PATIENCE,
        }
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

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, NoAnswer> {
        let (sender, connection) = self.dial().await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn dial(&self) -> Result<Dialed, NoAnswer> {
        let stream = self.stream().await?;
        http1::handshake(TokioIo::new(stream)).await.map_err(no_answer)
    }

    /// A connection from this client's address, on which nothing was said yet.
    pub async fn stream(&self) -> Result<TcpStream, NoAnswer> {
        let socket = TcpSocket::new_v4().map_err(no_answer)?;
        if self.from != IpAddr::V4(Ipv4Addr::LOCALHOST) {
            socket.bind(SocketAddr::new(self.from, 0)).map_err(no_answer)?;
        }
        let stream = socket.connect(self.base).await.map_err(no_answer)?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    fn kept(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.0.lock().expect("nobody panics while holding it");
        let list = idle.get_mut(&self.base)?;
        while let Some(sender) = list.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.0.lock().expect("nobody panics while holding it");
        idle.entry(self.base).or_default().push(sender);
    }
}

/// A request about to be made.
#[derive(Debug, Clone)]
pub struct Call {
    api: Api,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    patience: Duration,
}

impl Call {
    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("tests send valid header values");
        self.headers.append(HeaderName::from_static(name), value);
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
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
        let what = format!("{} {}", self.method, self.path);
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
        let (mut sender, connection) = self.api.dial().await.expect("the node listens");
        let driven = tokio::spawn(async {
            let _ = connection.await;
        });
        let response = sender.send_request(self.into_request()).await.expect("an answer comes");
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            return Ok(Events::new(body, driven));
        }
        let body = body.collect().await.expect("the whole answer comes").to_bytes();
        Err(Reply { status: head.status.as_u16(), headers: head.headers, body })
    }

    fn into_request(self) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(self.path)
            .body(Full::new(self.body))
            .expect("tests ask for valid paths");
        *request.headers_mut() = self.headers;
        let host = HeaderValue::from_str(&self.api.base.to_string()).expect("an address is a valid header");
        request.headers_mut().insert("host", host);
        request
    }

    async fn exchange(self) -> Result<Reply, NoAnswer> {
        let api = self.api.clone();
        let mut request = self.into_request();

        // A kept connection may have been closed by the server a moment ago. What was certainly not sent is sent again
        // on a new one; anything else is the caller's to judge.
        let (response, sender) = loop {
            let (mut sender, fresh) = match api.kept() {
                Some(sender) => (sender, false),
                None => (api.connect().await?, true),
            };
            match sender.try_send_request(request).await {
                Ok(response) => break (response, sender),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !fresh => request = unsent,
                    _ => return Err(no_answer(error.into_error())),
                },
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(no_answer)?.to_bytes();
        api.keep(sender);
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
    }
}

/// What a node answered.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
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
        assert_eq!(self.status, status, "body: {}", self.text());
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

    /// How long the server asks to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after")?.parse().ok().map(Duration::from_secs)
    }
}

fn no_answer(error: impl std::error::Error) -> NoAnswer {
    NoAnswer(error.to_string())
}

fn address(url: &str) -> SocketAddr {
    let authority =
        url.strip_prefix("http://").expect("nodes of tests speak plain HTTP").trim_end_matches('/');
    authority.parse().expect("nodes of tests are named by address and port")
}
