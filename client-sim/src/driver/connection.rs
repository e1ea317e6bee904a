//! A connection that asks for as little of the processor as can be: the generator of an overload must not be what is
//! overloaded.
//!
//! It writes requests whose bytes are put together in place. A reply in chunks counts as a failure of its own.

use std::io::Write as _;
use std::ops::Range;
use std::time::Duration;

use bytes::Buf;
use tokio::time::Instant;

use crate::client::{NoReply, Raw, RawReply, Stream, Target};
use crate::content::Content;
use crate::workload::transfer;

/// A connection that was not used for so long is opened anew: servers close those that stay silent.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// Ends a body, behind its chunk.
const END: &[u8] = b"\"}";
/// What a kept chunk is answered with.
const STORED: &[u8] = b"\"status\":\"waiting\"";

/// How one request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Stored.
    Done,
    /// The server said no, with this status.
    Refused(u16),
    /// Something else, in a word.
    Failed(&'static str),
}

/// The uploads of one connection: transfers of their own, chunk after chunk.
#[derive(Debug, Clone)]
pub(crate) struct Uploads {
    content: Content,
    run: u64,
    connection: u64,
    size: usize,
    chunks: u32,
    sent: u64,
}

/// One connection, opened when it is needed, with one request in flight.
#[derive(Debug)]
pub(crate) struct LoadConnection {
    target: Target,
    stream: Option<Raw<Stream>>,
    used: Instant,
    uploads: Uploads,
    request: Request,
}

/// One upload on its way out. The chunk itself is not copied: with buffers of their own, thousands of connections would touch
/// hundreds of megabytes for the first time in the very moment that is measured.
#[derive(Debug, Default)]
struct Request {
    head: Vec<u8>,
    /// The body's beginning, up to where the rest of its chunk follows.
    body: Vec<u8>,
}

impl Uploads {
    /// Chunks of so many bytes, in transfers of so many chunks that no other run has.
    pub(crate) fn new(seed: u64, size: usize, chunks: u32) -> Self {
        Self { content: Content::new(seed), run: rand::random(), connection: 0, size, chunks, sent: 0 }
    }

    /// Puts the next chunk into a request and returns what comes before [`END`]. A refused one is not tried again: whoever
    /// is overloaded gets new wishes, not old ones.
    fn next(&mut self, host: &str, Request { head, body }: &mut Request) -> &[u8] {
        let chunks = u64::from(self.chunks);
        let (flow, index) = ((self.connection << 32) | (self.sent / chunks), (self.sent % chunks) as u32);
        self.sent += 1;
        let pair = transfer(self.run, flow);
        body.clear();
        write!(
            body,
            r#"{{"action":"send","pin":"{}","passwordHash":"{}","chunkIndex":{index},"totalChunks":{chunks},"data":""#,
            pair.pin, pair.password_hash
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

/// Connections with these numbers, spread over the targets in turn; none of them is open yet.
pub(crate) fn connections(
    targets: &[Target],
    numbers: Range<usize>,
    uploads: &Uploads,
) -> Vec<LoadConnection> {
    let connection = |number: usize| LoadConnection {
        target: targets[number % targets.len()].clone(),
        stream: None,
        used: Instant::now(),
        uploads: Uploads { connection: number as u64, ..uploads.clone() },
        request: Request::default(),
    };
    numbers.map(connection).collect()
}

impl LoadConnection {
    /// Connects, unless there is a connection that the server can't have closed meanwhile for being idle.
    pub(crate) async fn open(&mut self) -> bool {
        if self.stream.is_none() || self.used.elapsed() > IDLE_MAX {
            self.used = Instant::now();
            self.stream = Stream::open(&self.target).await.ok().map(Raw::over);
        }
        self.stream.is_some()
    }

    /// Sends the next upload and waits for its reply, for so long.
    pub(crate) async fn fire_within(&mut self, time: Duration) -> Outcome {
        let fired = tokio::time::timeout(time, self.fire()).await;
        fired.unwrap_or_else(|_| {
            // After a request that was cut short it is of no more use.
            self.stream = None;
            Outcome::Failed("timeout")
        })
    }

    async fn fire(&mut self) -> Outcome {
        if !self.open().await {
            return Outcome::Failed("connect");
        }
        // Taken out and put back only when whole.
        let Some(mut stream) = self.stream.take() else { return Outcome::Failed("connect") };
        let rest = self.uploads.next(self.target.address(), &mut self.request);
        let Request { head, body } = &self.request;
        let bytes = Buf::chain(head.as_slice(), body.as_slice()).chain(rest).chain(END);
        if stream.send(bytes).await.is_err() {
            return Outcome::Failed("io");
        }
        let (outcome, is_last) = match stream.reply(true).await {
            Ok(reply) => (outcome(&reply), reply.is_last() || reply.length.is_none()),
            Err(NoReply::Closed) => return Outcome::Failed("io"),
            Err(NoReply::TooLong) => return Outcome::Failed("reply too long"),
        };
        self.stream = (!is_last).then_some(stream);
        self.used = Instant::now();
        outcome
    }
}

/// What a reply says of an upload.
fn outcome(reply: &RawReply<'_>) -> Outcome {
    match (reply.length, reply.status) {
        (None, _) => Outcome::Failed("reply without length"),
        (_, 200) if reply.body.windows(STORED.len()).any(|part| part == STORED) => Outcome::Done,
        (_, 200) => Outcome::Failed("another answer than stored"),
        (_, other) => Outcome::Refused(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_stored_is_done() {
        let reply = RawReply { status: 200, head: b"", length: Some(2), body: b"{}" };
        let whole = RawReply { body: br#"{"status":"waiting"}"#, ..reply };
        assert_eq!(outcome(&whole), Outcome::Done);
        assert_eq!(outcome(&reply), Outcome::Failed("another answer than stored"));
        assert_eq!(outcome(&RawReply { status: 503, ..reply }), Outcome::Refused(503));
        let chunked = RawReply { length: None, ..whole };
        assert_eq!(outcome(&chunked), Outcome::Failed("reply without length"));
    }

    #[test]
    fn no_two_uploads_are_alike() {
        let mut uploads = Uploads::new(1, 64, 2);
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
