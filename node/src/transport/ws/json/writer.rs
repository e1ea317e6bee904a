//! One message that goes to a client, field by field.

use std::fmt::Write as _;

use bytestring::ByteString;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::mailbox::Message;

use super::super::operations::{Code, Id};
use crate::json_field::text_of;
use crate::service::room_format::public_name;
use crate::service::signaling::push_fields;

/// Writes one message.
#[derive(Debug)]
pub(in crate::transport::ws) struct Writer(String);

impl Writer {
    /// The answer to a request that was carried out.
    pub(in crate::transport::ws) fn ok(id: &Id) -> Self {
        let mut writer = Self::answer(id);
        writer.0.push_str(r#""ok":true"#);
        writer
    }

    /// Something that was not asked for.
    pub(in crate::transport::ws) fn push(name: &'static str) -> Self {
        Self(format!(r#"{{"push":"{name}""#))
    }

    fn answer(id: &Id) -> Self {
        match id {
            Some(id) => Self(format!(r#"{{"id":{id},"#)),
            None => Self("{".to_owned()),
        }
    }

    /// A field with a string.
    pub(in crate::transport::ws) fn text(mut self, name: &'static str, value: &str) -> Self {
        self.name(name);
        let spelled = serde_json::to_string(value).expect("a string always serializes");
        self.0.push_str(&spelled);
        self
    }

    /// A field with a number or a truth.
    pub(in crate::transport::ws) fn value(
        mut self,
        name: &'static str,
        value: impl std::fmt::Display,
    ) -> Self {
        self.name(name);
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{value}");
        self
    }

    /// The fields of a signal.
    pub(super) fn signal(mut self, signal: &Message) -> Self {
        self.0.push(',');
        push_fields(&mut self.0, signal);
        self
    }

    /// A field with JSON text as it is.
    pub(super) fn raw(mut self, name: &'static str, json: &[u8]) -> Self {
        self.name(name);
        self.0.push_str(&text_of(json));
        self
    }

    /// A field with the names of members.
    pub(in crate::transport::ws) fn members<'a>(
        mut self,
        members: impl IntoIterator<Item = &'a Key>,
    ) -> Self {
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
    pub(in crate::transport::ws) fn done(mut self) -> ByteString {
        self.0.push('}');
        self.0.into()
    }
}

/// The answer to a request that was not carried out.
pub(in crate::transport::ws) fn error(id: &Id, code: Code) -> ByteString {
    let (name, message) = code.spec();
    let mut writer = Writer::answer(id);
    let _ = write!(writer.0, r#""error":{{"code":"{name}","message":"{message}"}}"#);
    writer.done()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn answers_are_json() {
        let id = Some(ByteString::from_static("\"q\""));
        let answer = Writer::ok(&id).value("seq", 3).text("peerId", "ü\n").done();
        assert_eq!(answer, r#"{"id":"q","ok":true,"seq":3,"peerId":"ü\n"}"#);
        let members = Writer::ok(&None).members(&[Key::from_bytes([1; 32]), Key::from_bytes([2; 32])]).done();
        assert_eq!(members, r#"{"ok":true,"members":["0101010101010101","0202020202020202"]}"#);
    }

    #[test]
    fn an_error_has_the_id_of_what_was_asked() {
        let answer = error(&Some(ByteString::from_static("3")), Code::UnknownOp);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(3), &json!("unknown_op")));
    }
}
