//! Text messages to requests.

use bytes::Bytes;
use bytestring::ByteString;
use conclave_cluster::state::limits::PAYLOAD_BYTES_MAX;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::operations::{Code, ID_BYTES_MAX, Id, Op, Position, Resume, Target};
use crate::json_field::{Integer, Raw, Text, chars, is_portable};
use crate::service::name_lengths::{PEER_CHARS_MAX, ROOM_CHARS_MAX};
use crate::service::signaling::kind_of;
use crate::service::storage_keys::is_invite_code;
use crate::transport::request::body::kept;

/// Characters of a session id.
const SESSION_CHARS_MAX: usize = 128;

/// All fields of all ops: a message is read once, and a field that its op does not have is refused by name.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Raw<'a>,
    #[serde(borrow)]
    op: Text<'a>,
    #[serde(borrow)]
    token: Option<Text<'a>>,
    #[serde(borrow)]
    resume: Option<Raw<'a>>,
    #[serde(borrow)]
    peer_id: Option<Text<'a>>,
    #[serde(borrow)]
    invite_code: Option<Text<'a>>,
    #[serde(borrow)]
    to: Option<Text<'a>>,
    #[serde(rename = "type", borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow, deserialize_with = "there")]
    payload: Option<Raw<'a>>,
    #[serde(borrow)]
    seq: Option<Raw<'a>>,
    #[serde(borrow)]
    room: Option<Text<'a>>,
    #[serde(borrow)]
    epoch: Option<Raw<'a>>,
    #[serde(borrow)]
    offset: Option<Raw<'a>>,
    #[serde(borrow, deserialize_with = "there")]
    data: Option<Raw<'a>>,
    volatile: Option<bool>,
    #[serde(borrow)]
    message_id: Option<Raw<'a>>,
    #[serde(borrow)]
    transfer: Option<Text<'a>>,
    #[serde(borrow)]
    session: Option<Text<'a>>,
}

/// `null` is a value, too.
fn there<'de: 'a, 'a, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Raw<'a>>, D::Error> {
    Raw::deserialize(from).map(Some)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Past<'a> {
    #[serde(borrow, default)]
    session: Text<'a>,
    #[serde(borrow, default)]
    epoch: Option<Raw<'a>>,
    #[serde(borrow, default)]
    offset: Option<Raw<'a>>,
}

/// Only the id, for the answer to a message that is wrong otherwise.
#[derive(Debug, Default, Deserialize)]
struct OnlyId<'a> {
    #[serde(borrow, default)]
    id: Raw<'a>,
}

/// Reads a message. The id comes back also where the rest is wrong.
pub(in crate::transport::ws) fn read(text: &ByteString) -> (Id, Result<Op, Code>) {
    // An array would be taken for the fields in their order.
    if !is_object(text) {
        return (None, Err(Code::InvalidJson));
    }
    match serde_json::from_str::<Fields<'_>>(text) {
        Ok(fields) => {
            let id = match id(fields.id) {
                Ok(id) => id,
                Err(code) => return (None, Err(code)),
            };
            (id, fields.op(text))
        }
        Err(error) => {
            let id = serde_json::from_str::<OnlyId<'_>>(text);
            let object = id.is_ok();
            let id = id.ok().and_then(|only| self::id(only.id).ok()).flatten();
            let code = if object { wrong_field(&error) } else { Code::InvalidJson };
            (id, Err(code))
        }
    }
}

fn is_object(text: &str) -> bool {
    text.trim_ascii_start().starts_with('{')
}

/// Why an object's fields are not those they should be.
fn wrong_field(error: &serde_json::Error) -> Code {
    let unknown = error.is_data() && error.to_string().starts_with("unknown field");
    if unknown { Code::UnknownField } else { Code::InvalidInput }
}

fn id(id: Raw<'_>) -> Result<Id, Code> {
    let Some(raw) = id.0.map(RawValue::get).filter(|raw| *raw != "null") else { return Ok(None) };
    let spelled = raw.starts_with(['"', '-']) || raw.starts_with(|first: char| first.is_ascii_digit());
    // Copied: it is kept until the answer, and a slice would keep the whole text.
    if spelled && raw.len() <= ID_BYTES_MAX { Ok(Some(raw.into())) } else { Err(Code::InvalidInput) }
}

impl Fields<'_> {
    fn op(mut self, text: &ByteString) -> Result<Op, Code> {
        let Text::String(name) = std::mem::take(&mut self.op) else { return Err(Code::MissingFields) };
        let op = match name.as_ref() {
            "hello" => Op::Hello {
                token: self.token.take().map(|token| filled(Some(token), usize::MAX)).transpose()?,
                resume: self.resume.take().and_then(|raw| raw.0).map(Past::read).transpose()?,
            },
            "claim" => Op::Claim {
                peer: filled(self.peer_id.take(), PEER_CHARS_MAX)?,
                invite_code: match self.invite_code.take() {
                    None | Some(Text::Absent) => None,
                    code => Some(invite_code(code)?),
                },
            },
            "lookup" => Op::Lookup { invite_code: invite_code(self.invite_code.take())? },
            "signal" => {
                let to = filled(self.to.take(), PEER_CHARS_MAX)?;
                let kind = filled(self.kind.take(), usize::MAX)?;
                let kind = kind_of(&kind).ok_or(Code::InvalidSignalType)?;
                Op::Signal { to, kind, payload: value(text, self.payload.take())? }
            }
            "ack" => Op::Ack { seq: number(self.seq.take())?.ok_or(Code::MissingFields)? },
            "join" => Op::Join {
                room: filled(self.room.take(), ROOM_CHARS_MAX)?,
                from: position(self.epoch.take(), self.offset.take())?,
            },
            "leave" => Op::Leave { room: optional(self.room.take(), ROOM_CHARS_MAX)? },
            "publish" => Op::Publish {
                room: optional(self.room.take(), ROOM_CHARS_MAX)?,
                data: value(text, self.data.take())?,
                volatile: self.volatile.take().unwrap_or(false),
                message_id: number(self.message_id.take())?,
            },
            "members" => Op::Members { room: optional(self.room.take(), ROOM_CHARS_MAX)? },
            "watch" => Op::Watch(self.target()?),
            "unwatch" => Op::Unwatch(self.target()?),
            "renew" => Op::Renew { token: filled(self.token.take(), usize::MAX)? },
            "ping" => Op::Ping,
            "bye" => Op::Bye,
            _ => return Err(Code::UnknownOp),
        };
        // What was not taken belongs to other ops.
        let taken = self.token.is_none()
            && self.resume.is_none()
            && self.peer_id.is_none()
            && self.invite_code.is_none()
            && self.to.is_none()
            && self.kind.is_none()
            && self.payload.is_none()
            && self.seq.is_none()
            && self.room.is_none()
            && self.epoch.is_none()
            && self.offset.is_none()
            && self.data.is_none()
            && self.volatile.is_none()
            && self.message_id.is_none()
            && self.transfer.is_none()
            && self.session.is_none();
        if taken { Ok(op) } else { Err(Code::UnknownField) }
    }

    fn target(&mut self) -> Result<Target, Code> {
        match (self.transfer.take(), self.session.take()) {
            (Some(id), None) => Ok(Target::Transfer(filled(Some(id), 64)?)),
            (None, Some(id)) => Ok(Target::Negotiation(filled(Some(id), 64)?)),
            (None, None) | (Some(_), Some(_)) => Err(Code::MissingFields),
        }
    }
}

impl Past<'_> {
    fn read(raw: &RawValue) -> Result<Resume, Code> {
        if !is_object(raw.get()) {
            return Err(Code::InvalidInput);
        }
        let past: Past<'_> = serde_json::from_str(raw.get()).map_err(|error| wrong_field(&error))?;
        Ok(Resume {
            session: filled(Some(past.session), SESSION_CHARS_MAX)?,
            from: position(past.epoch, past.offset)?,
        })
    }
}

fn filled(text: Option<Text<'_>>, chars_max: usize) -> Result<String, Code> {
    match text {
        Some(Text::String(text)) if !text.is_empty() => {
            if chars(&text) <= chars_max {
                Ok(text.into_owned())
            } else {
                Err(Code::InvalidInput)
            }
        }
        _ => Err(Code::MissingFields),
    }
}

fn optional(text: Option<Text<'_>>, chars_max: usize) -> Result<Option<String>, Code> {
    match text {
        None | Some(Text::Absent) => Ok(None),
        text => filled(text, chars_max).map(Some),
    }
}

fn invite_code(code: Option<Text<'_>>) -> Result<String, Code> {
    let code = filled(code, usize::MAX)?;
    if is_invite_code(&code) { Ok(code) } else { Err(Code::InvalidInviteCode) }
}

fn number(raw: Option<Raw<'_>>) -> Result<Option<u64>, Code> {
    // Beyond what a signed number holds, too.
    if let Some(number) = raw.and_then(|raw| raw.0).and_then(|raw| raw.get().parse().ok()) {
        return Ok(Some(number));
    }
    match raw.map_or(Integer::Absent, Raw::integer) {
        Integer::Absent => Ok(None),
        Integer::Is(number) => u64::try_from(number).map(Some).map_err(|_| Code::InvalidInput),
        Integer::Other | Integer::Unfit => Err(Code::InvalidInput),
    }
}

fn position(epoch: Option<Raw<'_>>, offset: Option<Raw<'_>>) -> Result<Option<Position>, Code> {
    match (number(epoch)?, number(offset)?) {
        (Some(epoch), Some(offset)) => Ok(Some(Position { epoch, offset })),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => Err(Code::MissingFields),
    }
}

/// A value's text, byte for byte.
fn value(text: &ByteString, raw: Option<Raw<'_>>) -> Result<Bytes, Code> {
    let raw = raw.and_then(|raw| raw.0).ok_or(Code::MissingFields)?.get();
    if raw.len() > PAYLOAD_BYTES_MAX {
        return Err(Code::PayloadTooLarge);
    }
    if !is_portable(raw) {
        return Err(Code::InvalidInput);
    }
    Ok(kept(text.as_bytes(), raw.as_bytes()))
}

#[cfg(test)]
mod damaged_tests;

#[cfg(test)]
mod tests {
    use conclave_cluster::state::mailbox::Kind;

    use super::*;

    fn op(text: &'static str) -> Result<Op, Code> {
        read(&ByteString::from_static(text)).1
    }

    #[test]
    fn every_op_is_read() {
        assert_eq!(op(r#"{"op":"ping"}"#), Ok(Op::Ping));
        assert_eq!(op(r#"{"op":"bye"}"#), Ok(Op::Bye));
        assert_eq!(op(r#"{"op":"renew","token":"a.b.c"}"#), Ok(Op::Renew { token: "a.b.c".into() }));
        assert_eq!(op(r#"{"op":"hello"}"#), Ok(Op::Hello { token: None, resume: None }));
        let Ok(Op::Hello { resume: Some(resume), .. }) =
            op(r#"{"op":"hello","resume":{"session":"s","epoch":1,"offset":2}}"#)
        else {
            panic!("a resume")
        };
        assert_eq!(resume.from, Some(Position { epoch: 1, offset: 2 }));
        assert_eq!(
            op(r#"{"op":"signal","to":"b","type":"offer","payload":{"x": 1e2}}"#),
            Ok(Op::Signal {
                to: "b".into(),
                kind: Kind::Offer,
                payload: Bytes::from_static(br#"{"x": 1e2}"#)
            })
        );
        assert_eq!(
            op(r#"{"op":"publish","data":null,"volatile":true,"messageId":7}"#),
            Ok(Op::Publish {
                room: None,
                data: Bytes::from_static(b"null"),
                volatile: true,
                message_id: Some(7)
            })
        );
        assert_eq!(op(r#"{"op":"watch","session":"x"}"#), Ok(Op::Watch(Target::Negotiation("x".into()))));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, code) in [
            ("[]", Code::InvalidJson),
            (r#" ["i", "ping"]"#, Code::InvalidJson),
            (r#"{"op":"hello","resume":["s"]}"#, Code::InvalidInput),
            (r#"{"op":"hello","resume":{"session":"s","wings":2}}"#, Code::UnknownField),
            ("{", Code::InvalidJson),
            ("7", Code::InvalidJson),
            ("{}", Code::MissingFields),
            (r#"{"op":7}"#, Code::MissingFields),
            (r#"{"op":"fly"}"#, Code::UnknownOp),
            (r#"{"op":"ping","wings":2}"#, Code::UnknownField),
            (r#"{"op":"ping","room":"r"}"#, Code::UnknownField),
            (r#"{"op":"publish"}"#, Code::MissingFields),
            (r#"{"op":"renew"}"#, Code::MissingFields),
            (r#"{"op":"renew","token":7}"#, Code::MissingFields),
            (r#"{"op":"renew","token":"t","resume":{"session":"s"}}"#, Code::UnknownField),
            (r#"{"op":"publish","data":1,"volatile":"yes"}"#, Code::InvalidInput),
            (r#"{"op":"join","room":""}"#, Code::MissingFields),
            (r#"{"op":"join","room":"r","epoch":1}"#, Code::MissingFields),
            (r#"{"op":"ack","seq":-1}"#, Code::InvalidInput),
            (r#"{"op":"lookup","inviteCode":"abc"}"#, Code::InvalidInviteCode),
            (r#"{"op":"signal","to":"b","type":"x","payload":1}"#, Code::InvalidSignalType),
            (r#"{"id":[],"op":"ping"}"#, Code::InvalidInput),
            (r#"{"op":"watch","transfer":"x","session":"y"}"#, Code::MissingFields),
        ] {
            assert_eq!(op(text), Err(code), "{text}");
        }
        let room = ByteString::from(format!(r#"{{"op":"join","room":"{}"}}"#, "r".repeat(129)));
        assert_eq!(read(&room).1, Err(Code::InvalidInput));
    }

    #[test]
    fn an_id_comes_back_as_it_was_spelled() {
        for (text, expected) in [
            (r#"{"id":"a\u0062","op":"ping"}"#, Some(r#""a\u0062""#)),
            (r#"{"op":"ping","id":-1.50}"#, Some("-1.50")),
            (r#"{"op":"ping","id":null}"#, None),
            (r#"{"id":3,"op":"ping","x":1}"#, Some("3")),
        ] {
            let (id, _) = read(&ByteString::from_static(text));
            assert_eq!(id.as_deref(), expected, "{text}");
        }
    }
}
