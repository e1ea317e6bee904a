//! JSON: text messages to requests, answers and events to text messages.

mod id_scan;
mod request;
mod writer;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytestring::ByteString;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::mailbox;

use crate::actors::room::{Broadcast, Event};
use crate::service::room_format::{BYTES, public_name};

pub(super) use id_scan::IdScan;
pub(super) use request::read;
pub(super) use writer::{Writer, error};

/// A signal that waited.
pub(super) fn signal(message: &mailbox::Message) -> ByteString {
    Writer::push("signal").value("seq", message.seq).signal(message).done()
}

/// What happened in a room.
pub(super) fn room_event(room: &str, note: &Broadcast) -> ByteString {
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
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn data_comes_back_byte_for_byte() {
        let member = Key::from_bytes([0xab; 32]);
        let said = |data: &'static [u8]| {
            let event = Event::Volatile { member, data: Bytes::from_static(data), at_ms: 9 };
            room_event("a\"b", &Broadcast::new(1, event))
        };
        assert_eq!(
            said(br#"J{ "z":1.0 }"#),
            r#"{"push":"message","room":"a\"b","volatile":true,"from":"abababababababab","data":{ "z":1.0 },"at":9}"#
        );
        assert!(said(b"B\x00\xff").contains(r#""base64":"AP8=""#));
    }
}
