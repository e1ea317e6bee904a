//! Relay's chunk actions: `send`, `receive`, `ack`, `ack-status`.

use actix_web::HttpResponse;
use bytes::Bytes;
use conclave_cluster::state;
use conclave_cluster::state::allowance::{Charge, Tier};
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::Digest;
use conclave_cluster::state::outcome::Outcome;
use conclave_cluster::state::transfer::{self, Action, Encoding, View};

use super::hand_out::{Seen, Source, hand_out};
use super::{Awaited, Request, bytes_of, change, chunk_base64};
use crate::access::tier_limits::millis;
use crate::actors::StateKey;
use crate::json_field::Integer;
use crate::service::transfer_keep_alive::{keep_alive, late};
use crate::transport::request::context::Context;
use crate::transport::request::error::{Code, Error};
use crate::transport::request::fields::{ChunkIndex, Data, PasswordHash, TotalChunks, TransferPin};
use crate::transport::request::query;
use crate::transport::request::reply::fixed;

/// What `send` asks for: one chunk, at its place.
pub(super) struct Sent {
    target: StateKey,
    index: u16,
    total: u16,
    encoding: Encoding,
    digest: Digest,
    body: Body,
}

/// Reads it.
pub(super) fn sent(ctx: &Context, request: &Request<'_>, body: &Bytes) -> Result<Sent, Error> {
    let chunk = Chunk::of(request)?;
    let target = ctx.namespace().transfer(chunk.pin, chunk.password_hash);
    let (encoding, bytes) = chunk_base64::decode(bytes_of(body, &request.data));
    let Chunk { index, total, .. } = chunk;
    Ok(Sent { target, index, total, encoding, digest: Digest::of(&bytes), body: Body::new(bytes) })
}

/// `send`: stores one chunk.
pub(super) async fn send(ctx: &Context, charge: Option<Charge>, sent: Sent) -> Result<HttpResponse, Error> {
    let Sent { target, index, total, encoding, digest, body } = sent;
    let op = ask(ctx, &target, Action::Put { index, total: Some(total), digest, encoding, body });
    let asked: [&[u8]; 4] =
        [&index.to_be_bytes(), &total.to_be_bytes(), &[encoding as u8], digest.as_bytes()];
    change(ctx, "send", target, &asked, charge, op).await
}

/// A chunk as it was asked for, checked.
#[derive(Debug)]
struct Chunk<'a> {
    pin: &'a str,
    password_hash: &'a str,
    index: u16,
    total: u16,
}

impl<'a> Chunk<'a> {
    fn of(request: &'a Request<'_>) -> Result<Self, Code> {
        let pin = request.pin.filled().ok_or(Code::MissingFields)?;
        let password_hash = request.password_hash.filled().ok_or(Code::MissingFields)?;
        let index = number(request.chunk_index.integer())?;
        let total = number(request.total_chunks.integer())?;
        let data = request.data.filled().ok_or(Code::MissingFields)?;
        let fits = TransferPin::fits(pin) && PasswordHash::fits(password_hash) && Data::fits(data);
        let index = index.and_then(ChunkIndex::of);
        let total = total.and_then(TotalChunks::of);
        let (Some(index), Some(total), true) = (index, total, fits) else {
            return Err(Code::InvalidChunk);
        };
        if index >= total {
            return Err(Code::InvalidChunk);
        }
        Ok(Self { pin, password_hash, index, total })
    }
}

/// `None` is a number that is no index; something that is no number counts as missing.
fn number(integer: Integer) -> Result<Option<i64>, Code> {
    match integer {
        Integer::Is(integer) => Ok(Some(integer)),
        Integer::Unfit => Ok(None),
        Integer::Absent | Integer::Other => Err(Code::MissingFields),
    }
}

/// What `receive` asks for.
pub(super) fn awaited(ctx: &Context, request: &Request<'_>) -> Result<Awaited, Error> {
    let target = pair(ctx, request, Code::MissingPinOrPasswordHash)?;
    Ok(Awaited { target, wait: query::wait_field(request.wait_ms)? })
}

/// `receive`: delivers the lowest undelivered chunk.
pub(super) async fn receive(
    ctx: &mut Context,
    charge: Option<Charge>,
    Awaited { target, wait }: Awaited,
) -> Result<HttpResponse, Error> {
    let ttl_ms = u64::from(millis(ctx.ttl().chunk));
    let source = Source {
        action: "receive",
        target,
        look: (state::query::Transfer(target.key), state::query::Now),
        seen: |found| seen(found, ttl_ms),
        take: ask(ctx, &target, Action::Take),
        is_empty: |outcome| {
            matches!(outcome, Outcome::Transfer(transfer::Outcome::Waiting | transfer::Outcome::Absent))
        },
    };
    hand_out(ctx, charge, source, wait).await
}

/// What a receiver finds: a chunk, an acknowledged transfer to free, or nothing.
fn seen((view, now_ms): (Option<View>, u64), ttl_ms: u64) -> Seen {
    let Some(view) = view else { return Seen::Nothing { body: r#"{"status":"expired"}"#, late: false } };
    let done = view.delivered >= view.total;
    let late = late(&view, ttl_ms, now_ms);
    if view.available || (done && view.acknowledged) {
        Seen::Takeable
    } else if done {
        Seen::Over { body: r#"{"status":"done"}"#, late }
    } else {
        Seen::Nothing { body: r#"{"status":"waiting"}"#, late }
    }
}

/// `ack`: the receiver has everything.
pub(super) async fn ack(
    ctx: &Context,
    charge: Option<Charge>,
    request: &Request<'_>,
) -> Result<HttpResponse, Error> {
    let target = pair(ctx, request, Code::MissingFields)?;
    let op = ask(ctx, &target, Action::Acknowledge { existing: false });
    change(ctx, "ack", target, &[], charge, op).await
}

/// `ack-status`: whether the receiver said so.
pub(super) async fn ack_status(ctx: &Context, request: &Request<'_>) -> Result<HttpResponse, Error> {
    let target = pair(ctx, request, Code::MissingFields)?;
    ctx.pay(Tier::Poll)?;
    let ttl_ms = u64::from(millis(ctx.ttl().chunk));
    let transfer = (state::query::Transfer(target.key), state::query::Now);
    let (acknowledged, (view, now_ms)) = ctx.look((state::query::Acknowledged(target.key), transfer)).await?;
    let late = view.is_some_and(|view| late(&view, ttl_ms, now_ms));
    keep_alive(ctx.services(), target, ctx.ttl().chunk, late);
    Ok(fixed(if acknowledged { r#"{"acknowledged":true}"# } else { r#"{"acknowledged":false}"# }))
}

/// The transfer of a pin and a password hash, or `missing`.
fn pair(ctx: &Context, request: &Request<'_>, missing: Code) -> Result<StateKey, Error> {
    match (request.pin.filled(), request.password_hash.filled()) {
        (Some(pin), Some(password_hash)) => {
            let target = ctx.namespace().transfer(pin, password_hash);
            ctx.about(&target);
            Ok(target)
        }
        _ => Err(missing.into()),
    }
}

fn ask(ctx: &Context, target: &StateKey, action: Action) -> Op {
    let ttl_ms = millis(ctx.ttl().chunk);
    Op::Transfer(transfer::Op { key: target.key, ttl_ms, action })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(fields: &str) -> Result<(u16, u16), Code> {
        let body = format!("{{{fields}}}");
        let request: Request<'_> = serde_json::from_str(&body).unwrap();
        Chunk::of(&request).map(|chunk| (chunk.index, chunk.total))
    }

    fn numbered(index: &str, total: &str) -> Result<(u16, u16), Code> {
        chunk(&format!(
            r#""pin":"p","passwordHash":"h","data":"d","chunkIndex":{index},"totalChunks":{total}"#
        ))
    }

    #[test]
    fn indices_are_integers_below_the_total() {
        assert_eq!(numbered("0", "1"), Ok((0, 1)));
        assert_eq!(numbered("2047", "2048.0"), Ok((2047, 2048)));
        for (index, total) in [
            ("-1", "1"),
            ("1", "1"),
            ("0", "0"),
            ("0", "2049"),
            ("0.5", "2"),
            ("0", "1e999"),
            ("70000", "70001"),
        ] {
            assert_eq!(numbered(index, total), Err(Code::InvalidChunk), "{index} of {total}");
        }
    }

    #[test]
    fn what_is_absent_or_of_another_type_is_missing() {
        for (index, total) in [("\"0\"", "1"), ("0", "null"), ("[0]", "1"), ("true", "1")] {
            assert_eq!(numbered(index, total), Err(Code::MissingFields), "{index} of {total}");
        }
        for fields in [
            "",
            r#""pin":"p","passwordHash":"h","chunkIndex":0,"totalChunks":1"#,
            r#""pin":"p","passwordHash":"h","chunkIndex":0,"totalChunks":1,"data":"""#,
            r#""pin":"","passwordHash":"h","chunkIndex":0,"totalChunks":1,"data":"d""#,
            r#""pin":1,"passwordHash":"h","chunkIndex":0,"totalChunks":1,"data":"d""#,
            r#""pin":"p","chunkIndex":0,"totalChunks":1,"data":"d""#,
        ] {
            assert_eq!(chunk(fields), Err(Code::MissingFields), "{fields}");
        }
        // A missing field is reported before one that is out of range.
        let both = r#""pin":"p","passwordHash":"h","chunkIndex":-1,"totalChunks":1"#;
        assert_eq!(chunk(both), Err(Code::MissingFields));
    }

    #[test]
    fn long_words_are_out_of_range() {
        let sized = |pin: usize, hash: usize, data: usize| {
            let (pin, hash, data) = ("p".repeat(pin), "h".repeat(hash), "d".repeat(data));
            chunk(&format!(
                r#""pin":"{pin}","passwordHash":"{hash}","data":"{data}","chunkIndex":0,"totalChunks":1"#
            ))
        };
        assert_eq!(sized(128, 512, 49_152), Ok((0, 1)));
        assert_eq!(sized(129, 1, 1), Err(Code::InvalidChunk));
        assert_eq!(sized(1, 513, 1), Err(Code::InvalidChunk));
        assert_eq!(sized(1, 1, 49_153), Err(Code::InvalidChunk));
    }
}
