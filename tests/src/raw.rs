//! A connection on which every byte is the test's own.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::Api;

/// For an answer, and for the end of a connection.
pub const PATIENCE: Duration = Duration::from_secs(25);

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection.
pub struct Raw(Box<dyn Stream>);

impl Raw {
    /// Connects to a node.
    pub async fn open(api: &Api) -> Self {
        let stream = TcpStream::connect(api.address()).await.expect("the node listens");
        stream.set_nodelay(true).expect("a socket has options");
        Self::over(stream)
    }

    /// Over a connection that is there already.
    pub fn over(stream: impl Stream + 'static) -> Self {
        Self(Box::new(stream))
    }

    /// Sends bytes. That they arrive is not promised: the other side may have closed.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref()).await;
        let _ = self.0.flush().await;
    }

    /// Sends nothing more; what comes can still be read.
    pub async fn finish(&mut self) {
        let _ = self.0.shutdown().await;
    }

    /// Everything that comes until the other side closes, which it must.
    pub async fn rest(&mut self) -> String {
        let mut read = Vec::new();
        // A reset is an end, too.
        let _ =
            timeout(PATIENCE, self.0.read_to_end(&mut read)).await.expect("the connection is closed in time");
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Everything that comes until this was said.
    pub async fn until(&mut self, said: &str) -> String {
        let mut read = String::new();
        let look = async {
            let mut piece = [0; 4096];
            while !read.contains(said) {
                let count = self.0.read(&mut piece).await.expect("the connection is up");
                assert!(count > 0, "closed after {read:?}");
                read.push_str(&String::from_utf8_lossy(&piece[..count]));
            }
        };
        timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("{said:?} comes in time"));
        read
    }
}

/// A connection on which one request follows another, each after the answer to the one before.
pub struct Exchange {
    connection: Raw,
    read: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head, in lower case.
    pub head: String,
    /// Its body, as far as its length was said.
    pub body: String,
}

impl Exchange {
    /// Over a connection.
    pub fn over(connection: Raw) -> Self {
        Self { connection, read: Vec::new() }
    }

    /// Sends a request and reads the answer; `None` if the other side closed before it was whole.
    pub async fn ask(&mut self, request: &str) -> Option<Answer> {
        self.connection.send(request).await;
        timeout(PATIENCE, self.answer(request.starts_with("HEAD "))).await.expect("an answer comes in time")
    }

    async fn answer(&mut self, is_head: bool) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.read[..end]).to_ascii_lowercase();
        let said = head
            .split("\r\ncontent-length: ")
            .nth(1)
            .and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        let length = if is_head { 0 } else { said.unwrap_or(0) };
        while self.read.len() < end + length {
            self.more().await?;
        }
        let body = String::from_utf8_lossy(&self.read[end..end + length]).into_owned();
        self.read.drain(..end + length);
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, head, body })
    }

    async fn more(&mut self) -> Option<()> {
        let mut piece = [0; 4096];
        let count = self.connection.0.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        self.read.extend_from_slice(&piece[..count]);
        Some(())
    }
}

impl Answer {
    /// Whether the connection is over with it.
    pub fn is_last(&self) -> bool {
        self.head.contains("\r\nconnection: close") || self.status == 101
    }
}

/// The status of each answer in what was read.
pub fn statuses(read: &str) -> Vec<u16> {
    let answers =
        read.match_indices("HTTP/1.1 ").filter_map(|(at, start)| read.get(at + start.len()..)?.get(..3));
    answers.filter_map(|status| status.parse().ok()).collect()
}
