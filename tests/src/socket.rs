//! Sockets, as a client uses them.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::http::Api;

/// For whatever should come.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// One open socket. Events that come while something else is awaited are kept.
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
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
        let authority = api.address().to_string();
        let url = format!("ws://{authority}{path}");
        let mut request = url.into_client_request().expect("the URL is one");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header's value"));
        }
        let stream = api.stream().await.expect("the node listens");
        match timeout(PATIENCE, tokio_tungstenite::client_async(request, stream)).await.expect("an answer") {
            Ok((stream, _)) => Ok(Self { stream, early: Vec::new(), asked: 0 }),
            Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("no socket: {error}"),
        }
    }

    /// Sends a message as it is.
    pub async fn send(&mut self, message: impl Into<Message>) {
        self.stream.send(message.into()).await.expect("the connection is up");
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
        loop {
            match self.next().await? {
                Message::Text(text) => return Ok(serde_json::from_str(&text).expect("every text is JSON")),
                Message::Binary(_) => panic!("a binary message on a socket for JSON"),
                _ => {}
            }
        }
    }

    /// The next text as it is.
    pub async fn next_text(&mut self) -> String {
        loop {
            if let Message::Text(text) =
                timeout(PATIENCE, self.next()).await.expect("a text").expect("it is open")
            {
                return text.to_string();
            }
        }
    }

    /// The next message, or the code with which the connection ended.
    pub async fn next(&mut self) -> Result<Message, Option<u16>> {
        match self.stream.next().await {
            Some(Ok(Message::Close(frame))) => Err(frame.map(|frame| u16::from(frame.code))),
            Some(Ok(message)) => Ok(message),
            Some(Err(_)) | None => Err(None),
        }
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
        self.close_with(1000).await;
    }

    /// Closes with a code.
    pub async fn close_with(self, code: u16) {
        let frame = tungstenite::protocol::CloseFrame { code: CloseCode::from(code), reason: "".into() };
        self.part(Some(frame)).await;
    }

    /// Closes without a code, as browsers' `close()` does.
    pub async fn close_without_code(self) {
        self.part(None).await;
    }

    async fn part(mut self, frame: Option<tungstenite::protocol::CloseFrame>) {
        // One that is closed already needs no closing.
        let _ = self.stream.close(frame).await;
        let _ = timeout(PATIENCE, self.end()).await;
    }
}
