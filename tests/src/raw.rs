//! A connection on which every byte is the test's own.

use std::time::Duration;

use conclave_client::http;
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
pub struct Exchange(http::Raw<Box<dyn Stream>>);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head, in lower case.
    pub head: String,
    /// Its body, as far as its length was said.
    pub body: String,
    /// Whether the connection is over with it.
    pub is_last: bool,
}

impl Exchange {
    /// Over a connection.
    pub fn over(connection: Raw) -> Self {
        Self(http::Raw::over(connection.0))
    }

    /// Sends a request and reads the answer; `None` if the other side closed before it was whole.
    pub async fn ask(&mut self, request: &str) -> Option<Answer> {
        // That it arrives is not promised, and an answer may have come before.
        let _ = self.0.send(request.as_bytes()).await;
        let answer = self.0.reply(!request.starts_with("HEAD "));
        let reply = timeout(PATIENCE, answer).await.expect("an answer comes in time").ok()?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Some(Answer {
            status: reply.status,
            head: text(reply.head).to_ascii_lowercase(),
            body: text(reply.body),
            is_last: reply.is_last(),
        })
    }
}

/// The status of each answer in what was read.
pub fn statuses(read: &str) -> Vec<u16> {
    let answers =
        read.match_indices("HTTP/1.1 ").filter_map(|(at, start)| read.get(at + start.len()..)?.get(..3));
    answers.filter_map(|status| status.parse().ok()).collect()
}
