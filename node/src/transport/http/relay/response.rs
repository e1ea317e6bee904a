//! Outcomes in relay's words. A job's outcome is told in the same ones.

use std::fmt::Write as _;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use conclave_cluster::state::invite_code;
use conclave_cluster::state::mailbox::{self, Message};
use conclave_cluster::state::outcome::{Outcome, Refusal};
use conclave_cluster::state::transfer::{self, Encoding};

use super::chunk_base64;
use crate::json_field::text_of;
use crate::service::{self, signaling};
use crate::transport::request::context::Context;
use crate::transport::request::error::{Code, Error};
use crate::transport::request::reply::{fixed, json, push_string};

/// The response to an outcome of a relay action.
pub(crate) fn answer(outcome: Result<Outcome, service::Error>, ctx: &Context) -> Result<HttpResponse, Error> {
    match outcome {
        Ok(Outcome::Transfer(outcome)) => {
            if outcome == transfer::Outcome::Stored {
                ctx.shared.metrics.chunks_stored.increment(1);
            }
            Ok(transferred(outcome))
        }
        Ok(Outcome::Mailbox(mailbox::Outcome::Queued { .. })) => Ok(fixed(r#"{"status":"queued"}"#)),
        Ok(Outcome::Mailbox(mailbox::Outcome::Messages(messages))) => {
            Ok(json(StatusCode::OK, messages_body(&messages)))
        }
        Ok(Outcome::Rendezvous(invite_code::Outcome::Registered)) => {
            let seconds = ctx.ttl().register.as_secs();
            Ok(json(StatusCode::OK, format!(r#"{{"status":"registered","ttlSec":{seconds}}}"#)))
        }
        // None of relay's actions comes to one of these.
        Ok(
            Outcome::Mailbox(mailbox::Outcome::Acknowledged { .. })
            | Outcome::Rendezvous(invite_code::Outcome::Withdrawn)
            | Outcome::Spent
            | Outcome::Negotiation(_)
            | Outcome::Device(_)
            | Outcome::NodeIdentity(_)
            | Outcome::Incarnation(_)
            | Outcome::Socket(_)
            | Outcome::Room(_)
            | Outcome::Claim(_)
            | Outcome::Ticket(_)
            | Outcome::Handoff(_)
            | Outcome::Placement(_)
            | Outcome::Leased { .. }
            | Outcome::Reset { .. }
            | Outcome::Revocation(_)
            | Outcome::Registration(_)
            | Outcome::Audit(_),
        ) => Err(Code::Internal.into()),
        Err(service::Error::Refused(Refusal::Transfer(refusal))) => Err(refused(refusal).into()),
        Err(error) => Err(error.into()),
    }
}

fn transferred(outcome: transfer::Outcome) -> HttpResponse {
    use transfer::Outcome as O;
    match outcome {
        O::Opened { .. } | O::Stored | O::Waiting | O::Touched => fixed(r#"{"status":"waiting"}"#),
        O::Duplicate => fixed(r#"{"status":"waiting","duplicate":true}"#),
        O::Chunk { index, total, encoding, body } => {
            json(StatusCode::OK, chunk_body(index, total, encoding, body.bytes()))
        }
        O::Done => fixed(r#"{"status":"done"}"#),
        O::Absent => fixed(r#"{"status":"expired"}"#),
        O::Acknowledged | O::Discarded => fixed(r#"{"ok":true}"#),
    }
}

/// What the refusals of chunks are called here, since existing clients know them so.
fn refused(refusal: transfer::Refusal) -> Code {
    match refusal {
        transfer::Refusal::Conflict | transfer::Refusal::Delivered => Code::DuplicateChunk,
        transfer::Refusal::TotalMismatch => Code::TotalChunksMismatch,
        transfer::Refusal::OutOfRange | transfer::Refusal::Absent => Code::InvalidChunk,
    }
}

/// Written by hand, since a chunk is most of a response and is copied only once this way.
fn chunk_body(index: u16, total: u16, encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(96 + chunk_base64::encoded_len(bytes.len()));
    let head = format!(
        r#"{{"status":"chunkAvailable","chunk":{{"chunkIndex":{index},"totalChunks":{total},"data":"#
    );
    body.extend_from_slice(head.as_bytes());
    match encoding {
        Encoding::Base64 => {
            body.push(b'"');
            chunk_base64::encode(bytes, &mut body);
            body.push(b'"');
        }
        Encoding::Text => push_string(&mut body, &text_of(bytes)),
    }
    body.extend_from_slice(b"}}");
    body
}

fn messages_body(messages: &[Message]) -> String {
    let mut body = r#"{"messages":["#.to_owned();
    for (target, message) in messages.iter().enumerate() {
        body.push_str(if target == 0 { "{" } else { ",{" });
        signaling::push_fields(&mut body, message);
        // Writing to a string cannot fail.
        let _ = write!(body, r#","timestamp":{}}}"#, message.at_ms);
    }
    body.push_str("]}");
    body
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use conclave_cluster::state::body::Body;
    use conclave_cluster::state::mailbox::Kind;
    use serde_json::{Value, json};

    use super::super::description::{
        Acknowledged, ChunkAvailable, ChunkRefused, Messages, Outcome as Word, PeerFound, Registered, Waiting,
    };
    use super::*;

    /// Reads an answer as the type that describes it, which has each of its fields and no other.
    fn read<T: serde::de::DeserializeOwned + serde::Serialize>(body: impl AsRef<[u8]>) -> T {
        let (all, read): (Value, T) =
            (serde_json::from_slice(body.as_ref()).unwrap(), serde_json::from_slice(body.as_ref()).unwrap());
        assert_eq!(serde_json::to_value(&read).unwrap(), all);
        read
    }

    #[test]
    fn answers_are_what_the_document_says() {
        let chunk: ChunkAvailable = read(chunk_body(3, 9, Encoding::Base64, b"\x00\xff"));
        assert_eq!((chunk.chunk.chunk_index, chunk.chunk.total_chunks), (3, 9));
        for fixed in [r#"{"status":"waiting"}"#, r#"{"status":"waiting","duplicate":true}"#] {
            read::<Waiting>(fixed);
        }
        for fixed in [r#"{"status":"done"}"#, r#"{"status":"expired"}"#, r#"{"status":"queued"}"#] {
            read::<Word>(fixed);
        }
        assert!(read::<Acknowledged>(r#"{"ok":true}"#).ok);
        assert_eq!(read::<Registered>(r#"{"status":"registered","ttlSec":300}"#).ttl_sec, 300);
        assert_eq!(read::<PeerFound>(r#"{"peerId":"alice"}"#).peer_id, "alice");
        let refused = Error::from(Code::InvalidChunk).text("id-1", false, true);
        assert_eq!(read::<ChunkRefused>(refused).error, "invalid_chunk");
        let message = Message {
            seq: 1,
            from: "a".to_owned(),
            kind: Kind::Bye,
            payload: Body::new(Bytes::from_static(b"[1]")),
            at_ms: 7,
            expires_ms: 0,
        };
        assert_eq!(read::<Messages>(messages_body(&[message])).messages[0].payload, json!([1]));
    }

    #[test]
    fn a_chunk_is_spelled_as_it_was_sent() {
        let spelled = |encoding, bytes: &[u8]| -> Value {
            serde_json::from_slice(&chunk_body(3, 9, encoding, bytes)).unwrap()
        };
        let expected = |data: &str| json!({"status": "chunkAvailable", "chunk": {"chunkIndex": 3, "totalChunks": 9, "data": data}});
        assert_eq!(spelled(Encoding::Base64, b"\x00\xff"), expected("AP8="));
        assert_eq!(spelled(Encoding::Base64, b"abc"), expected("YWJj"));
        assert_eq!(spelled(Encoding::Text, "\"ä\n".as_bytes()), expected("\"ä\n"));
    }

    #[test]
    fn payloads_come_back_byte_for_byte() {
        let message = |kind, payload: &'static str| Message {
            seq: 1,
            from: "a\"b".to_owned(),
            kind,
            payload: Body::new(Bytes::from_static(payload.as_bytes())),
            at_ms: 1_700_000_000_123,
            expires_ms: 0,
        };
        let body =
            messages_body(&[message(Kind::Offer, "{ \"x\":1.0 }"), message(Kind::IceCandidate, "null")]);
        assert_eq!(
            body,
            r#"{"messages":[{"from":"a\"b","type":"offer","payload":{ "x":1.0 },"timestamp":1700000000123},{"from":"a\"b","type":"ice-candidate","payload":null,"timestamp":1700000000123}]}"#
        );
        assert_eq!(messages_body(&[]), r#"{"messages":[]}"#);
    }
}
