//! Relay's chunk actions: `send`, `receive`, `ack`, `ack-status`.

use actix_web::HttpResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use conclave_cluster::state::State;
use conclave_cluster::state::allowance::{Charge, Tier};
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::{Ask, Memo};
use conclave_cluster::state::id::{Digest, Key};
use conclave_cluster::state::limits::{CHUNK_BYTES_MAX, TRANSFER_CHUNKS_MAX};
use conclave_cluster::state::outcome::{Answer, Outcome};
use conclave_cluster::state::transfer::{self, Encoding, Verb};

use super::super::call::Call;
use super::super::error::{Code, Error};
use super::super::lease::{keep_alive, late};
use super::super::query;
use super::super::reply::fixed;
use super::super::wait::Patience;
use super::{Request, answer, bytes_of, change};
use crate::access::allowance::millis;
use crate::actors::Place;
use crate::field::{Integer, chars};
use crate::service::keys;
use crate::service::limits::{PASSWORD_HASH_CHARS_MAX, TRANSFER_PIN_CHARS_MAX};

/// What `send` asks for: one chunk, at its place.
pub(super) fn sent(request: &Request<'_>, body: &Bytes) -> Result<(Place, Verb), Error> {
    let chunk = Chunk::of(request)?;
    let place = keys::transfer(chunk.pin, chunk.password_hash);
    let (encoding, bytes) = spelling(bytes_of(body, &request.data));
    let verb = Verb::Put {
        index: chunk.index,
        total: Some(chunk.total),
        digest: Digest::of(&bytes),
        encoding,
        body: Body::new(bytes),
    };
    Ok((place, verb))
}

/// `send`: stores one chunk.
pub(super) async fn send(
    call: &mut Call<'_>,
    charge: Option<Charge>,
    (place, verb): (Place, Verb),
) -> Result<HttpResponse, Error> {
    let ask = ask(call, &place, verb);
    change(call, "send", place, charge, ask).await
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
        let in_range = chars(pin) <= TRANSFER_PIN_CHARS_MAX
            && chars(password_hash) <= PASSWORD_HASH_CHARS_MAX
            && data.len() <= CHUNK_BYTES_MAX;
        let (Some(index), Some(total), true) = (index, total, in_range) else {
            return Err(Code::InvalidChunk);
        };
        if !(1..=TRANSFER_CHUNKS_MAX).contains(&total) || index >= total {
            return Err(Code::InvalidChunk);
        }
        Ok(Self { pin, password_hash, index, total })
    }
}

/// `None` is a number that is no index; something that is no number counts as missing.
fn number(integer: Integer) -> Result<Option<u16>, Code> {
    match integer {
        Integer::Is(integer) => Ok(u16::try_from(integer).ok()),
        Integer::Unfit => Ok(None),
        Integer::Absent | Integer::Other => Err(Code::MissingFields),
    }
}

/// Canonical base64 is stored as the bytes it spells, a quarter smaller; anything else as it stands. The decoder takes
/// nothing but what the encoder would write, so that the spelling can be had back.
fn spelling(data: Bytes) -> (Encoding, Bytes) {
    match STANDARD.decode(&data) {
        Ok(bytes) => (Encoding::Base64, Bytes::from(bytes)),
        Err(_) => (Encoding::Text, data),
    }
}

/// `receive`: delivers the lowest undelivered chunk.
pub(super) async fn receive(
    call: &mut Call<'_>,
    mut charge: Option<Charge>,
    request: &Request<'_>,
) -> Result<HttpResponse, Error> {
    let place = pair(call, request, Code::MissingPinOrPasswordHash)?;
    let wait = query::wait_field(request.wait_ms)?;
    let memo = call.memo("receive", &place)?;
    let ttl_ms = u64::from(millis(call.shared.services.terms.ttl.chunk));
    let look = |state: &State, now_ms: u64| Seen::of(state, &place.key, memo.as_ref(), ttl_ms, now_ms);

    call.wait_idly();
    let mut patience = Patience::new(call, place, wait).await?;
    let mut seen = call.shared.services.cluster.glance(look);
    if seen != Seen::Takeable {
        // Nothing for sure: this is a read, and leaves nothing in the log.
        call.pay(Tier::Poll)?;
        charge = None;
        seen = call.look(look).await?;
    }
    // From here on this replica is as new as this request, so that a glance at it is an answer.
    loop {
        match seen {
            Seen::Takeable => {
                let ask = ask(call, &place, Verb::Take);
                let outcome = call.take(place, charge.take(), memo, ask).await?;
                let empty = matches!(
                    outcome,
                    Ok(Outcome::Transfer(transfer::Outcome::Waiting | transfer::Outcome::Absent))
                );
                // Somebody else took it. Under a memo that is the answer for good.
                if !empty || memo.is_some() || !patience.another_look().await {
                    return answer(outcome, call.shared);
                }
            }
            Seen::Remembered(remembered) => {
                let outcome = call.settle(None, remembered)?;
                return answer(outcome, call.shared);
            }
            Seen::Done { late } => {
                keep_alive(call.shared, place, late);
                return Ok(fixed(r#"{"status":"done"}"#));
            }
            Seen::Waiting { late } => {
                keep_alive(call.shared, place, late);
                if !patience.another_look().await {
                    return Ok(fixed(r#"{"status":"waiting"}"#));
                }
            }
            Seen::Absent => {
                if !patience.another_look().await {
                    return Ok(fixed(r#"{"status":"expired"}"#));
                }
            }
        }
        seen = call.shared.services.cluster.glance(look);
    }
}

/// What a receiver finds.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// A chunk to deliver, or an acknowledged transfer to free.
    Takeable,
    /// The answer that was given under the same `Idempotency-Key`.
    Remembered(Answer),
    /// Everything was delivered.
    Done { late: bool },
    /// There will be more.
    Waiting { late: bool },
    /// No transfer lives under the pair.
    Absent,
}

impl Seen {
    fn of(state: &State, key: &Key, memo: Option<&Memo>, ttl_ms: u64, now_ms: u64) -> Self {
        if let Some(remembered) = memo.and_then(|memo| state.memo(&memo.key, now_ms)) {
            return Self::Remembered(remembered);
        }
        let Some(view) = state.transfer(key, now_ms) else { return Self::Absent };
        let done = view.delivered >= view.total;
        let late = late(&view, ttl_ms, now_ms);
        if view.available || (done && view.acknowledged) {
            Self::Takeable
        } else if done {
            Self::Done { late }
        } else {
            Self::Waiting { late }
        }
    }
}

/// `ack`: the receiver has everything.
pub(super) async fn ack(
    call: &mut Call<'_>,
    charge: Option<Charge>,
    request: &Request<'_>,
) -> Result<HttpResponse, Error> {
    let place = pair(call, request, Code::MissingFields)?;
    let ask = ask(call, &place, Verb::Acknowledge { existing: false });
    change(call, "ack", place, charge, ask).await
}

/// `ack-status`: whether the receiver said so.
pub(super) async fn ack_status(call: &mut Call<'_>, request: &Request<'_>) -> Result<HttpResponse, Error> {
    let place = pair(call, request, Code::MissingFields)?;
    call.pay(Tier::Poll)?;
    let ttl_ms = u64::from(millis(call.shared.services.terms.ttl.chunk));
    let (acknowledged, late) = call
        .look(|state, now_ms| {
            let view = state.transfer(&place.key, now_ms);
            let late = view.is_some_and(|view| late(&view, ttl_ms, now_ms));
            (state.acknowledged(&place.key, now_ms), late)
        })
        .await?;
    keep_alive(call.shared, place, late);
    Ok(fixed(if acknowledged { r#"{"acknowledged":true}"# } else { r#"{"acknowledged":false}"# }))
}

/// The transfer of a pin and a password hash, or `missing`.
fn pair(call: &mut Call<'_>, request: &Request<'_>, missing: Code) -> Result<Place, Error> {
    match (request.pin.filled(), request.password_hash.filled()) {
        (Some(pin), Some(password_hash)) => {
            let place = keys::transfer(pin, password_hash);
            call.about(&place);
            Ok(place)
        }
        _ => Err(missing.into()),
    }
}

fn ask(call: &Call<'_>, place: &Place, verb: Verb) -> Ask {
    let ttl_ms = millis(call.shared.services.terms.ttl.chunk);
    Ask::Transfer(transfer::Ask { key: place.key, ttl_ms, verb })
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

    #[test]
    fn only_canonical_base64_is_stored_as_bytes() {
        for canonical in ["AA==", "AAA=", "AAAA", "+/+/", "AP8="] {
            let (encoding, bytes) = spelling(Bytes::from_static(canonical.as_bytes()));
            assert_eq!(encoding, Encoding::Base64, "{canonical}");
            assert_eq!(STANDARD.encode(&bytes), canonical);
        }
        // Without padding, with stray bits or signs, of another alphabet, or no base64 at all.
        for other in ["AA", "AB==", "AAB=", "AA=", "A", "-_-_", "AAAA\n", " AAAA", "AA==AA==", "hello", "ä"]
        {
            let (encoding, bytes) = spelling(Bytes::from_static(other.as_bytes()));
            assert_eq!((encoding, &bytes[..]), (Encoding::Text, other.as_bytes()), "{other}");
        }
    }
}
