//! One WebSocket connection (RFC 6455).

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::HeaderMap;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::http::{Fault, Stream, Target};

/// The largest frame read, as [`conclave_sigma::Limits::FROM_SERVER`] plus what JSON adds.
const FRAME_BYTES_MAX: usize = 128 << 10;
/// What may wait to be written before writing is given up.
const WRITE_BYTES_MAX: usize = 8 << 20;

/// An open connection. Pings are answered as they are read.
pub struct Connection {
    stream: WebSocketStream<Stream>,
    unflushed: bool,
}

/// A frame from the server.
#[derive(Debug, Clone)]
pub enum Incoming {
    /// A text frame: JSON.
    Text(Bytes),
    /// A binary frame: FlatBuffers.
    Binary(Bytes),
}

/// Why there is no connection any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// The close code; 1006 where the connection broke without one (RFC 6455 §7.1.5).
    pub code: u16,
}

/// Why there is no connection at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoUpgrade {
    /// Nobody answered.
    Fault(Fault),
    /// The server answered with something other than 101.
    Refused {
        /// The HTTP status.
        status: u16,
        /// Where the server says so.
        retry_after: Option<Duration>,
    },
}

const BROKEN: Closed = Closed { code: 1006 };

impl Connection {
    /// Connects and upgrades. `buffer_bytes` is what is read at once, kept as long as the connection is.
    pub async fn open(
        target: &Target,
        path: &str,
        headers: HeaderMap,
        buffer_bytes: usize,
    ) -> Result<Self, NoUpgrade> {
        let stream = Stream::open(target).await.map_err(|_| NoUpgrade::Fault(Fault::Connect))?;
        let config = WebSocketConfig::default()
            .read_buffer_size(buffer_bytes)
            .write_buffer_size(buffer_bytes)
            .max_write_buffer_size(WRITE_BYTES_MAX)
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let url = format!("ws://{}{path}", target.address());
        let mut request = url.into_client_request().map_err(|_| NoUpgrade::Fault(Fault::Connect))?;
        request.headers_mut().extend(headers);
        match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
            Ok((stream, _)) => Ok(Self { stream, unflushed: false }),
            Err(Error::Http(response)) => {
                let header = response.headers().get("retry-after");
                let seconds = header.and_then(|value| value.to_str().ok()?.parse().ok());
                let status = response.status().as_u16();
                Err(NoUpgrade::Refused { status, retry_after: seconds.map(Duration::from_secs) })
            }
            Err(_) => Err(NoUpgrade::Fault(Fault::Io)),
        }
    }

    /// Puts a message where the next [`next`](Self::next) sends it from, together with what else is there.
    pub async fn feed(&mut self, message: impl Into<Message>) -> Result<(), Closed> {
        self.unflushed = true;
        self.stream.feed(message.into()).await.map_err(|_| BROKEN)
    }

    /// Sends a message, and what else is there.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), Closed> {
        self.feed(message).await?;
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Closed> {
        self.stream.flush().await.map_err(|_| BROKEN)?;
        self.unflushed = false;
        Ok(())
    }

    /// Sends what is to be sent, then waits for a frame. Loses nothing if it is dropped while it waits.
    pub async fn next(&mut self) -> Result<Incoming, Closed> {
        loop {
            if self.unflushed {
                self.flush().await?;
            }
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(Incoming::Text(text.into())),
                Some(Ok(Message::Binary(bytes))) => return Ok(Incoming::Binary(bytes)),
                Some(Ok(Message::Close(frame))) => {
                    // 1005 stands for a close frame without a code.
                    let closed = Closed { code: frame.map_or(1005, |frame| frame.code.into()) };
                    // The answer to the close; that the server is gone already is no news.
                    let _ = self.stream.flush().await;
                    return Err(closed);
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                    self.unflushed = true;
                }
                Some(Err(_)) | None => return Err(BROKEN),
            }
        }
    }

    /// Says good-bye, with a code if one is given, and does not wait for the answer.
    pub async fn close(&mut self, code: Option<u16>) {
        let frame = code.map(|code| CloseFrame { code: code.into(), reason: "".into() });
        // One that is closed already needs no closing.
        let _ = self.stream.close(frame).await;
    }
}
