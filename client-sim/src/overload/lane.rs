//! A connection that asks for as little of the processor as can be: the generator of an overload must not be what is
//! overloaded.
//!
//! It writes requests whose bytes are put together in place and looks for two things in a reply: its status and its
//! end. It knows `Content-Length` only; a reply in chunks counts as a failure of its own.

use std::io::Write as _;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::client::{Stream, Target};
use crate::content::Content;
use crate::workload::transfer;

/// A reply's head and body may not be longer.
const REPLY_BYTES_MAX: usize = 64 << 10;
/// A connection that was not used for so long is opened anew: servers close those that stay silent.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// Ends a body, behind its chunk.
const END: &[u8] = b"\"}";
/// What a kept chunk is answered with.
const STORED: &[u8] = b"\"status\":\"waiting\"";

/// How one request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Stored.
    Done,
    /// The server said no, with this status.
    Refused(u16),
    /// Something else, in a word.
    Failed(&'static str),
}

/// The uploads of one lane: transfers of their own, chunk after chunk.
#[derive(Debug, Clone)]
pub(super) struct Uploads {
    pub(super) content: Content,
    pub(super) run: u64,
    pub(super) lane: u64,
    pub(super) size: usize,
    pub(super) chunks: u32,
    pub(super) sent: u64,
}

/// One connection, opened when it is needed, with one request in flight.
#[derive(Debug)]
pub(super) struct Lane {
    target: Target,
    stream: Option<Stream>,
    used: Instant,
    uploads: Uploads,
    request: Request,
    reply: BytesMut,
}

/// One upload on its way out. The chunk itself is not copied: with buffers of their own, thousands of lanes would touch
/// hundreds of megabytes for the first time in the very moment that is measured.
#[derive(Debug, Default)]
struct Request {
    head: Vec<u8>,
    /// The body's beginning, up to where the rest of its chunk follows.
    body: Vec<u8>,
}

impl Uploads {
    /// Puts the next chunk into a request and returns what comes before [`END`]. A refused one is not tried again: whoever
    /// is overloaded gets new wishes, not old ones.
    fn next(&mut self, host: &str, Request { head, body }: &mut Request) -> &[u8] {
        let chunks = u64::from(self.chunks);
        let (flow, index) = ((self.lane << 32) | (self.sent / chunks), (self.sent % chunks) as u32);
        self.sent += 1;
        let place = transfer(self.run, flow);
        body.clear();
        write!(
            body,
            r#"{{"action":"send","pin":"{}","passwordHash":"{}","chunkIndex":{index},"totalChunks":{chunks},"data":""#,
            place.pin, place.password_hash
        )
        .expect("a vector takes everything");
        let rest = self.content.begin(flow, index, self.size, body);
        head.clear();
        write!(
            head,
            "POST /api/relay HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len() + rest.len() + END.len()
        )
        .expect("a vector takes everything");
        rest
    }
}

impl Lane {
    pub(super) fn new(target: Target, uploads: Uploads) -> Self {
        let (request, reply) = (Request::default(), BytesMut::with_capacity(2048));
        Self { target, stream: None, used: Instant::now(), uploads, request, reply }
    }

    /// Connects, unless there is a connection that the server can't have closed meanwhile for being idle.
    pub(super) async fn open(&mut self) -> bool {
        if self.stream.is_none() || self.used.elapsed() > IDLE_MAX {
            self.used = Instant::now();
            self.stream = Stream::open(&self.target).await.ok();
        }
        self.stream.is_some()
    }

    /// Forgets the connection, as after a request that was cut short.
    pub(super) fn hang_up(&mut self) {
        self.stream = None;
    }

    /// Sends the next upload and waits for its reply.
    pub(super) async fn fire(&mut self) -> Outcome {
        if !self.open().await {
            return Outcome::Failed("connect");
        }
        // Taken out and put back only when whole.
        let Some(mut stream) = self.stream.take() else { return Outcome::Failed("connect") };
        let rest = self.uploads.next(self.target.address(), &mut self.request);
        let Request { head, body } = &self.request;
        let mut bytes = Buf::chain(head.as_slice(), body.as_slice()).chain(rest).chain(END);
        if stream.write_all_buf(&mut bytes).await.is_err() || stream.flush().await.is_err() {
            return Outcome::Failed("io");
        }
        self.reply.clear();
        loop {
            match stream.read_buf(&mut self.reply).await {
                Ok(0) | Err(_) => return Outcome::Failed("io"),
                Ok(_) => {}
            }
            match read(&self.reply) {
                Read::More if self.reply.len() < REPLY_BYTES_MAX => {}
                Read::More => return Outcome::Failed("reply too long"),
                Read::Strange => return Outcome::Failed("reply without length"),
                Read::Whole { outcome, keep } => {
                    self.stream = keep.then_some(stream);
                    self.used = Instant::now();
                    return outcome;
                }
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Read {
    More,
    Strange,
    Whole { outcome: Outcome, keep: bool },
}

/// Looks at what has come of a reply (RFC 9112, sections 4 and 6.2).
fn read(reply: &[u8]) -> Read {
    let Some(head_len) = reply.windows(4).position(|four| four == b"\r\n\r\n") else { return Read::More };
    let Ok(head) = std::str::from_utf8(&reply[..head_len]) else { return Read::Strange };
    let status = head.get(9..12).and_then(|digits| digits.parse::<u16>().ok());
    let field = |name: &str| {
        let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    };
    let length = field("content-length").and_then(|length| length.parse::<usize>().ok());
    let (Some(status), Some(length)) = (status, length) else { return Read::Strange };
    let body = &reply[head_len + 4..];
    if body.len() < length {
        return Read::More;
    }
    let stored = || body.windows(STORED.len()).any(|part| part == STORED);
    let outcome = match status {
        200 if stored() => Outcome::Done,
        200 => Outcome::Failed("another answer than stored"),
        other => Outcome::Refused(other),
    };
    let keep = !field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Read::Whole { outcome, keep }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read_when_it_is_whole() {
        let reply = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 20\r\n\r\n{\"status\":\"waiting\"}";
        assert_eq!(read(&reply[..30]), Read::More);
        assert_eq!(read(&reply[..reply.len() - 1]), Read::More);
        assert_eq!(read(reply), Read::Whole { outcome: Outcome::Done, keep: true });
    }

    #[test]
    fn refusals_and_the_end_of_a_connection_are_seen() {
        let reply = b"HTTP/1.1 503 Service Unavailable\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(read(reply), Read::Whole { outcome: Outcome::Refused(503), keep: false });
        let other = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        let outcome = Outcome::Failed("another answer than stored");
        assert_eq!(read(other), Read::Whole { outcome, keep: true });
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), Read::Strange);
    }

    #[test]
    fn no_two_uploads_are_alike() {
        let content = Content::new(1);
        let mut uploads = Uploads { content, run: 1, lane: 3, size: 64, chunks: 2, sent: 0 };
        let mut bodies: Vec<_> = (0..5)
            .map(|_| {
                let mut request = Request::default();
                let rest = uploads.next("a:1", &mut request).to_vec();
                let body = [request.body, rest, END.to_vec()].concat();
                serde_json::from_slice::<serde_json::Value>(&body).unwrap();
                let head = String::from_utf8(request.head).unwrap();
                assert!(head.ends_with(&format!("Content-Length: {}\r\n\r\n", body.len())), "{head}");
                body
            })
            .collect();
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len(), 5);
    }
}
