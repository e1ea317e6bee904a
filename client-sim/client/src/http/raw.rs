//! Requests whose every byte is the caller's, and as much of the replies as it takes to find their end.
//!
//! It asks for as little of the processor as can be, and it says what no other client would. It knows `Content-Length`
//! only (RFC 9112, section 6.2).

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A reply's head and body may not be longer.
const REPLY_BYTES_MAX: usize = 16 << 20;

/// A connection on which one request follows another, each after the reply to the one before.
#[derive(Debug)]
pub struct Raw<S> {
    stream: S,
    read: BytesMut,
    /// Bytes of the last reply, which are forgotten with the next request.
    told: usize,
}

/// A reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawReply<'a> {
    /// Its status; 0 if there is none.
    pub status: u16,
    /// Its head, with the blank line behind.
    pub head: &'a [u8],
    /// What the length of its body is said to be.
    pub length: Option<usize>,
    /// Its body, as far as its length is said.
    pub body: &'a [u8],
}

/// Why there is no whole reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoReply {
    /// The other side closed, or the connection broke.
    #[error("io")]
    Closed,
    /// It is longer than any should be.
    #[error("reply too long")]
    TooLong,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// Over a connection that is there already.
    pub fn over(stream: S) -> Self {
        Self { stream, read: BytesMut::with_capacity(2048), told: 0 }
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// If the other side is gone.
    pub async fn send(&mut self, mut bytes: impl Buf) -> std::io::Result<()> {
        self.stream.write_all_buf(&mut bytes).await?;
        self.stream.flush().await
    }

    /// Reads the next reply; that to a HEAD request has no body.
    ///
    /// # Errors
    /// If the other side closes before it is whole, or it is too long.
    pub async fn reply(&mut self, has_body: bool) -> Result<RawReply<'_>, NoReply> {
        // Cleared where that is all there is, which keeps the buffer whole.
        match std::mem::take(&mut self.told) {
            told if told == self.read.len() => self.read.clear(),
            told => self.read.advance(told),
        }
        loop {
            let whole = parse(&self.read, has_body)
                .map(|RawReply { status, head, length, body }| (status, head.len(), length, body.len()));
            if let Some((status, head, length, body)) = whole {
                self.told = head + body;
                let (head, rest) = self.read.split_at(head);
                return Ok(RawReply { status, head, length, body: &rest[..body] });
            }
            if self.read.len() > REPLY_BYTES_MAX {
                return Err(NoReply::TooLong);
            }
            match self.stream.read_buf(&mut self.read).await {
                Ok(0) | Err(_) => return Err(NoReply::Closed),
                Ok(_) => {}
            }
        }
    }
}

impl RawReply<'_> {
    /// The value of a header field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let head = std::str::from_utf8(self.head).unwrap_or_default();
        let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    /// Whether the connection is over with it.
    pub fn is_last(&self) -> bool {
        self.status == 101
            || self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Looks at what has come of a reply; `None` if it is not whole.
fn parse(read: &[u8], has_body: bool) -> Option<RawReply<'_>> {
    let (head, rest) = read.split_at(read.windows(4).position(|four| four == b"\r\n\r\n")? + 4);
    let digits = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    let status = digits.and_then(|digits| digits.parse().ok()).unwrap_or_default();
    let mut reply = RawReply { status, head, length: None, body: &[] };
    reply.length = reply.field("content-length").and_then(|length| length.parse().ok());
    reply.body = rest.get(..reply.length.filter(|_| has_body).unwrap_or_default())?;
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read_when_it_is_whole() {
        let reply = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 20\r\n\r\n{\"status\":\"waiting\"}";
        assert_eq!(parse(&reply[..30], true), None);
        assert_eq!(parse(&reply[..reply.len() - 1], true), None);
        let whole = parse(reply, true).unwrap();
        assert_eq!((whole.status, whole.body, whole.is_last()), (200, &reply[39..], false));
        assert_eq!(parse(&reply[..39], false).unwrap().length, Some(20));
    }

    #[test]
    fn refusals_and_the_end_of_a_connection_are_seen() {
        let reply = b"HTTP/1.1 503 Service Unavailable\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n";
        let reply = parse(reply, true).unwrap();
        assert_eq!((reply.status, reply.is_last(), reply.length), (503, true, Some(0)));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert_eq!(parse(chunked, true).unwrap().length, None);
        assert_eq!(parse(b"\xff\xff\r\n\r\n", true).map(|reply| reply.status), Some(0));
    }
}
