//! JSON: text messages to requests, answers and events to text messages.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::limits::PAYLOAD_BYTES_MAX;
use conclave_cluster::state::mailbox;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::frame::{BYTES, Code, ID_BYTES_MAX, Id, Op, Position, Resume, Target, public_name};
use crate::actors::room::{Event, Note};
use crate::http::field::{Integer, Raw, Text, chars};
use crate::http::relay::{kind_name, kind_of};

/// Characters of a peer id.
const PEER_CHARS_MAX: usize = 256;
/// Characters of a room's name.
pub(super) const ROOM_CHARS_MAX: usize = 128;
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
pub(super) fn read(text: &ByteString) -> (Id, Result<Op, Code>) {
    // An array would be taken for the fields in their order.
    if !is_object(text) {
        return (None, Err(Code::InvalidJson));
    }
    match serde_json::from_str::<Fields<'_>>(text) {
        Ok(fields) => {
            let id = match id(text, fields.id) {
                Ok(id) => id,
                Err(code) => return (None, Err(code)),
            };
            (id, fields.op(text))
        }
        Err(error) => {
            let id = serde_json::from_str::<OnlyId<'_>>(text);
            let object = id.is_ok();
            let id = id.ok().and_then(|only| self::id(text, only.id).ok()).flatten();
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

fn id(text: &ByteString, id: Raw<'_>) -> Result<Id, Code> {
    let Some(raw) = id.0.map(RawValue::get).filter(|raw| *raw != "null") else { return Ok(None) };
    let spelled = raw.starts_with(['"', '-']) || raw.starts_with(|first: char| first.is_ascii_digit());
    if spelled && raw.len() <= ID_BYTES_MAX { Ok(Some(text.slice_ref(raw))) } else { Err(Code::InvalidInput) }
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
            "ping" => Op::Ping,
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
            (None, Some(id)) => Ok(Target::Exchange(filled(Some(id), 64)?)),
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
    let fits = code.len() == 8 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if fits { Ok(code) } else { Err(Code::InvalidInviteCode) }
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
    Ok(text.as_bytes().slice_ref(raw.as_bytes()))
}

/// Writes one message.
#[derive(Debug)]
pub(super) struct Writer(String);

impl Writer {
    /// The answer to a request that was carried out.
    pub(super) fn ok(id: &Id) -> Self {
        let mut writer = Self::answer(id);
        writer.0.push_str(r#""ok":true"#);
        writer
    }

    /// Something that was not asked for.
    pub(super) fn push(name: &'static str) -> Self {
        Self(format!(r#"{{"push":"{name}""#))
    }

    fn answer(id: &Id) -> Self {
        match id {
            Some(id) => Self(format!(r#"{{"id":{id},"#)),
            None => Self("{".to_owned()),
        }
    }

    /// A field with a string.
    pub(super) fn text(mut self, name: &'static str, value: &str) -> Self {
        self.name(name);
        let spelled = serde_json::to_string(value).expect("a string always serializes");
        self.0.push_str(&spelled);
        self
    }

    /// A field with a number or a truth.
    pub(super) fn value(mut self, name: &'static str, value: impl std::fmt::Display) -> Self {
        self.name(name);
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{value}");
        self
    }

    /// A field with JSON text as it is.
    fn raw(mut self, name: &'static str, json: &[u8]) -> Self {
        self.name(name);
        self.0.push_str(&String::from_utf8_lossy(json));
        self
    }

    /// A field with the names of members.
    pub(super) fn members<'a>(mut self, members: impl IntoIterator<Item = &'a Key>) -> Self {
        self.name("members");
        self.0.push('[');
        for (place, member) in members.into_iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let _ = write!(self.0, r#"{comma}"{}""#, public_name(member));
        }
        self.0.push(']');
        self
    }

    fn name(&mut self, name: &'static str) {
        self.0.push_str(",\"");
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    /// The message.
    pub(super) fn done(mut self) -> ByteString {
        self.0.push('}');
        self.0.into()
    }
}

/// The answer to a request that was not carried out.
pub(super) fn error(id: &Id, code: Code) -> ByteString {
    let (name, message) = code.spec();
    let mut writer = Writer::answer(id);
    let _ = write!(writer.0, r#""error":{{"code":"{name}","message":"{message}"}}"#);
    writer.done()
}

/// A signal that waited.
pub(super) fn signal(message: &mailbox::Message) -> ByteString {
    Writer::push("signal")
        .value("seq", message.seq)
        .text("from", &message.from)
        .text("type", kind_name(message.kind))
        .raw("payload", message.payload.bytes())
        .done()
}

/// What happened in a room.
pub(super) fn room_event(room: &str, note: &Note) -> ByteString {
    match &note.event {
        Event::Message(message) => {
            let writer = Writer::push("message").text("room", room);
            let writer = writer.value("epoch", note.epoch).value("offset", message.offset);
            said(writer, &message.member, message.data.bytes(), message.at_ms)
        }
        Event::Volatile { member, data, at_ms } => {
            let writer = Writer::push("message").text("room", room).value("volatile", true);
            said(writer, member, data, *at_ms)
        }
        Event::Joined(member) => {
            Writer::push("join").text("room", room).text("member", &public_name(member)).done()
        }
        Event::Left(member) => {
            Writer::push("leave").text("room", room).text("member", &public_name(member)).done()
        }
    }
}

fn said(writer: Writer, member: &Key, data: &[u8], at_ms: u64) -> ByteString {
    let writer = writer.text("from", &public_name(member));
    let writer = match data.split_first() {
        Some((&BYTES, bytes)) => writer.text("base64", &STANDARD.encode(bytes)),
        Some((_, json)) => writer.raw("data", json),
        None => writer,
    };
    writer.value("at", at_ms).done()
}

#[cfg(test)]
mod damaged;

#[cfg(test)]
mod tests {
    use conclave_cluster::state::mailbox::Kind;
    use serde_json::{Value, json};

    use super::*;

    fn op(text: &'static str) -> Result<Op, Code> {
        read(&ByteString::from_static(text)).1
    }

    #[test]
    fn every_op_is_read() {
        assert_eq!(op(r#"{"op":"ping"}"#), Ok(Op::Ping));
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
        assert_eq!(op(r#"{"op":"watch","session":"x"}"#), Ok(Op::Watch(Target::Exchange("x".into()))));
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
        let answer = error(&Some(ByteString::from_static("3")), Code::UnknownOp);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(3), &json!("unknown_op")));
    }

    #[test]
    fn data_comes_back_byte_for_byte() {
        let member = Key::from_bytes([0xab; 32]);
        let said = |data: &'static [u8]| {
            let event = Event::Volatile { member, data: Bytes::from_static(data), at_ms: 9 };
            room_event("a\"b", &Note::new(1, event))
        };
        assert_eq!(
            said(br#"J{ "z":1.0 }"#),
            r#"{"push":"message","room":"a\"b","volatile":true,"from":"abababababababab","data":{ "z":1.0 },"at":9}"#
        );
        assert!(said(b"B\x00\xff").contains(r#""base64":"AP8=""#));
    }

    #[test]
    fn answers_are_json() {
        let id = Some(ByteString::from_static("\"q\""));
        let answer = Writer::ok(&id).value("seq", 3).text("peerId", "ü\n").done();
        assert_eq!(answer, r#"{"id":"q","ok":true,"seq":3,"peerId":"ü\n"}"#);
        let members = Writer::ok(&None).members(&[Key::from_bytes([1; 32]), Key::from_bytes([2; 32])]).done();
        assert_eq!(members, r#"{"ok":true,"members":["0101010101010101","0202020202020202"]}"#);
    }
}
