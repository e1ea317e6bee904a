//! Sockets, as a client uses them.

use std::time::Duration;

use conclave_client::socket::{Closed, Connection, Incoming, NoUpgrade};
use hyper::HeaderMap;
use hyper::header::HeaderName;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::http::Api;

/// For whatever should come.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// What is read at once.
const BUFFER_BYTES: usize = 8 << 10;

/// One open socket. Events that come while something else is awaited are kept.
pub struct Socket {
    connection: Connection,
    early: Vec<Value>,
    asked: u64,
}

impl Socket {
    /// Opens a socket for JSON.
    pub async fn open(api: &Api) -> Self {
        Self::at(api, "/api/v1/socket").await
    }

    /// Opens a socket at a path with a query.
    pub async fn at(api: &Api, path: &str) -> Self {
        Self::try_at(api, path, &[]).await.expect("the upgrade is accepted")
    }

    /// Tries to open one; the status if it is refused.
    pub async fn try_at(api: &Api, path: &str, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let value = |value: &str| value.parse().expect("a header's value");
        let headers = headers.iter().map(|(name, text)| (HeaderName::from_static(name), value(text)));
        let opened = Connection::open(api.target(), path, HeaderMap::from_iter(headers), BUFFER_BYTES);
        match timeout(PATIENCE, opened).await.expect("an answer") {
            Ok(connection) => Ok(Self { connection, early: Vec::new(), asked: 0 }),
            Err(NoUpgrade::Refused { status, .. }) => Err(status),
            Err(NoUpgrade::Fault(fault)) => panic!("no socket: {fault}"),
        }
    }

    /// Sends a message as it is.
    pub async fn send(&mut self, message: impl Into<Message>) {
        self.connection.send(message).await.expect("the connection is up");
    }

    /// Sends a request without waiting for the answer.
    pub async fn say(&mut self, request: &Value) {
        self.send(request.to_string()).await;
    }

    /// Asks, and returns the answer whatever it is.
    pub async fn ask(&mut self, mut request: Value) -> Value {
        self.asked += 1;
        let id = json!(self.asked);
        request["id"] = id.clone();
        self.say(&request).await;
        self.find(&format!("the answer to {request}"), |event| event["id"] == id).await
    }

    /// Asks for something that must succeed.
    pub async fn ok(&mut self, request: Value) -> Value {
        let answer = self.ask(request.clone()).await;
        assert_eq!(answer["ok"], true, "{request} was answered with {answer}");
        answer
    }

    /// Asks for something that must be refused with this code.
    pub async fn refused(&mut self, request: Value, code: &str) {
        let answer = self.ask(request.clone()).await;
        assert_eq!(answer["error"]["code"], code, "{request} was answered with {answer}");
    }

    /// The next event of a kind.
    pub async fn push(&mut self, kind: &str) -> Value {
        self.find(&format!("a push of {kind}"), |event| event["push"] == kind).await
    }

    /// The next answer or event that fits.
    pub async fn find(&mut self, what: &str, mut fits: impl FnMut(&Value) -> bool) -> Value {
        if let Some(place) = self.early.iter().position(&mut fits) {
            return self.early.remove(place);
        }
        loop {
            match timeout(PATIENCE, self.read()).await {
                Ok(Ok(event)) if fits(&event) => return event,
                Ok(Ok(event)) => self.early.push(event),
                Ok(Err(code)) => panic!("closed with {code:?} instead of {what}"),
                Err(_) => panic!("timed out waiting for {what}; there was {:?}", self.early),
            }
        }
    }

    /// Everything kept or read so far that nobody asked for, without waiting.
    pub fn early(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.early)
    }

    /// The next message as JSON, or the code with which the connection ended.
    pub async fn read(&mut self) -> Result<Value, Option<u16>> {
        match self.next().await? {
            Incoming::Text(text) => Ok(serde_json::from_slice(&text).expect("every text is JSON")),
            Incoming::Binary(_) => panic!("a binary message on a socket for JSON"),
        }
    }

    /// The next text as it is.
    pub async fn next_text(&mut self) -> String {
        let incoming = timeout(PATIENCE, self.next()).await.expect("a text").expect("it is open");
        let Incoming::Text(text) = incoming else { panic!("a binary message on a socket for JSON") };
        String::from_utf8(text.to_vec()).expect("a text is UTF-8")
    }

    /// The next message, or the code with which the connection ended, if there was one.
    pub async fn next(&mut self) -> Result<Incoming, Option<u16>> {
        let code = |Closed { code }| Some(code).filter(|code| !matches!(code, 1005 | 1006));
        self.connection.next().await.map_err(code)
    }

    /// The code with which the server ends the connection; whatever comes before is passed over.
    pub async fn end(&mut self) -> Option<u16> {
        let end = async {
            loop {
                if let Err(code) = self.next().await {
                    return code;
                }
            }
        };
        timeout(PATIENCE, end).await.expect("the server ends the connection")
    }

    /// Closes in good order.
    pub async fn close(self) {
        self.part(Some(1000)).await;
    }

    /// Closes with a code.
    pub async fn close_with(self, code: u16) {
        self.part(Some(code)).await;
    }

    /// Closes without a code, as browsers' `close()` does.
    pub async fn close_without_code(self) {
        self.part(None).await;
    }

    async fn part(mut self, code: Option<u16>) {
        self.connection.close(code).await;
        let _ = timeout(PATIENCE, self.end()).await;
    }
}
