//! The calls of `POST /api/relay`.
//!
//! Bodies are put together by hand: pins, codes and chunk text consist of letters that JSON does not escape, and a
//! serializer would cost more than the rest of the request.

use std::borrow::Cow;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use hyper::Uri;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Client, Error, Reply, Request};

/// The two words under which a transfer lives. Both are letters, digits, dashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The pin.
    pub pin: String,
    /// The password's hash.
    pub password_hash: String,
}

/// What `receive` brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// The lowest undelivered chunk.
    Chunk {
        /// 0-based.
        index: u32,
        /// Of how many.
        total: u32,
        /// Where the text lies within the reply.
        data: Bytes,
    },
    /// Nothing to deliver yet.
    Waiting,
    /// All are delivered.
    Done,
    /// Nothing lives under that pair.
    Expired,
}

/// A polled signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who sent it.
    pub from: String,
    /// `offer`, `answer`, `ice-candidate`.
    pub kind: String,
    /// The JSON text of the payload as it arrived.
    pub payload: String,
}

#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
    #[serde(borrow)]
    chunk: Option<ChunkBody<'a>>,
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    duplicate: bool,
    #[serde(borrow, rename = "peerId")]
    peer_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    messages: Option<Vec<MessageBody<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChunkBody<'a> {
    chunk_index: u32,
    total_chunks: u32,
    #[serde(borrow)]
    data: Cow<'a, str>,
}

#[derive(Deserialize)]
struct MessageBody<'a> {
    #[serde(borrow)]
    from: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    payload: &'a RawValue,
}

const PATH: &str = "/api/relay";
const STORED: &[u8] = br#"{"status":"waiting"}"#;

fn relay(body: impl Into<Bytes>) -> Request {
    Request::post(Uri::from_static(PATH), body)
}

fn parse(reply: &Reply) -> Result<Status<'_>, Error> {
    let refused = |code: &str| Error::Refused { status: reply.status, code: code.to_owned() };
    let parsed: Result<Status<'_>, _> = serde_json::from_slice(&reply.body);
    match parsed {
        Ok(Status { error: Some(code), .. }) => Err(refused(&code)),
        Ok(status) if reply.status == 200 => Ok(status),
        Ok(_) | Err(_) if reply.status != 200 => Err(refused("unnamed")),
        Ok(_) | Err(_) => Err(Error::Malformed("not the JSON of the contract")),
    }
}

impl Client {
    /// Uploads one chunk; says whether the server had it already. Safe to retry: the same bytes again are a success.
    pub async fn send(
        &mut self,
        at: usize,
        transfer: &Transfer,
        index: u32,
        total: u32,
        data: impl FnOnce(&mut Vec<u8>),
    ) -> Result<bool, Error> {
        let reply = self.exchange(at, &Self::send_request(transfer, index, total, data)).await?;
        Self::sent(&reply)
    }

    /// The request of [`Client::send`].
    pub fn send_request(
        transfer: &Transfer,
        index: u32,
        total: u32,
        data: impl FnOnce(&mut Vec<u8>),
    ) -> Request {
        let Transfer { pin, password_hash } = transfer;
        let mut body = Vec::with_capacity(512);
        write!(
            body,
            r#"{{"action":"send","pin":"{pin}","passwordHash":"{password_hash}","chunkIndex":{index},"totalChunks":{total},"data":""#
        )
        .expect("a vector takes everything");
        data(&mut body);
        body.extend_from_slice(b"\"}");
        relay(body)
    }

    /// Reads the reply of [`Client::send_request`].
    pub fn sent(reply: &Reply) -> Result<bool, Error> {
        if reply.status == 200 && reply.body.as_ref() == STORED {
            return Ok(false);
        }
        match parse(reply) {
            Ok(Status { status: Some(status), duplicate, .. }) if status == "waiting" => Ok(duplicate),
            Ok(_) => Err(Error::Malformed("send without status waiting")),
            // Delivered to the receiver between the try whose reply was lost and this one.
            Err(Error::Refused { status: 200, code }) if code == "duplicate_chunk" && reply.retried => {
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the next chunk. Carries an idempotency key, so that a lost reply is given again and nothing is skipped.
    pub async fn receive(
        &mut self,
        at: usize,
        transfer: &Transfer,
        wait: Duration,
    ) -> Result<Received, Error> {
        let mut request = relay(pair("receive", transfer, wait));
        request.idempotency_key = self.key();
        request.wait = wait;
        let reply = self.exchange(at, &request).await?;
        let parsed = parse(&reply)?;
        match (parsed.status.as_deref(), parsed.chunk) {
            (Some("chunkAvailable"), Some(ChunkBody { chunk_index, total_chunks, data })) => {
                let data = match data {
                    Cow::Borrowed(text) => reply.body.slice_ref(text.as_bytes()),
                    Cow::Owned(text) => Bytes::from(text),
                };
                Ok(Received::Chunk { index: chunk_index, total: total_chunks, data })
            }
            (Some("waiting"), None) => Ok(Received::Waiting),
            (Some("done"), None) => Ok(Received::Done),
            (Some("expired"), None) => Ok(Received::Expired),
            _ => Err(Error::Malformed("receive with an unknown status")),
        }
    }

    /// Says that everything has been received. Safe to retry.
    pub async fn ack(&mut self, at: usize, transfer: &Transfer) -> Result<(), Error> {
        let reply = self.exchange(at, &relay(pair("ack", transfer, Duration::ZERO))).await?;
        if parse(&reply)?.ok { Ok(()) } else { Err(Error::Malformed("ack without ok")) }
    }

    /// Holds an invite code for a peer. Safe to retry: the same peer renews.
    pub async fn register(&mut self, at: usize, code: &str, peer: &str) -> Result<(), Error> {
        let body = format!(r#"{{"action":"register","inviteCode":"{code}","peerId":"{peer}"}}"#);
        let reply = self.exchange(at, &relay(body)).await?;
        match parse(&reply)?.status.as_deref() {
            Some("registered") => Ok(()),
            _ => Err(Error::Malformed("register without status registered")),
        }
    }

    /// Who holds an invite code.
    pub async fn lookup(&mut self, at: usize, code: &str) -> Result<String, Error> {
        let body = format!(r#"{{"action":"lookup","inviteCode":"{code}"}}"#);
        let reply = self.exchange(at, &relay(body)).await?;
        let peer = parse(&reply)?.peer_id.ok_or(Error::Malformed("lookup without peerId"))?;
        Ok(peer.into_owned())
    }

    /// Queues a signal; says whether it may be there twice, because a reply was lost on the way.
    pub async fn signal(&mut self, at: usize, to: &str, message: &Message) -> Result<bool, Error> {
        let Message { from, kind, payload } = message;
        let body = format!(
            r#"{{"action":"signal","from":"{from}","to":"{to}","type":"{kind}","payload":{payload}}}"#
        );
        let reply = self.exchange(at, &relay(body)).await?;
        match parse(&reply)?.status.as_deref() {
            Some("queued") => Ok(reply.retried),
            _ => Err(Error::Malformed("signal without status queued")),
        }
    }

    /// Takes what waits for a peer, in its order. Carries an idempotency key like [`Client::receive`].
    pub async fn poll(&mut self, at: usize, peer: &str, wait: Duration) -> Result<Vec<Message>, Error> {
        let mut body = format!(r#"{{"action":"poll","peerId":"{peer}""#);
        push_wait(&mut body, wait);
        let mut request = relay(body);
        request.idempotency_key = self.key();
        request.wait = wait;
        let reply = self.exchange(at, &request).await?;
        let messages = parse(&reply)?.messages.ok_or(Error::Malformed("poll without messages"))?;
        let own = |message: MessageBody<'_>| Message {
            from: message.from.into_owned(),
            kind: message.kind.into_owned(),
            payload: message.payload.get().to_owned(),
        };
        Ok(messages.into_iter().map(own).collect())
    }
}

fn pair(action: &str, transfer: &Transfer, wait: Duration) -> String {
    let Transfer { pin, password_hash } = transfer;
    let mut body = format!(r#"{{"action":"{action}","pin":"{pin}","passwordHash":"{password_hash}""#);
    push_wait(&mut body, wait);
    body
}

/// Closes the body, with `waitMs` only if asked for: other servers need not know it.
fn push_wait(body: &mut String, wait: Duration) {
    if !wait.is_zero() {
        body.push_str(&format!(r#","waitMs":{}"#, wait.as_millis()));
    }
    body.push('}');
}
