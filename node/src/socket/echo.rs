//! The echo, for conformance tests: the very same connection, and messages given back as they came.

use super::close::Code;
use super::inlet::Message;
use super::outbox::Frame;
use super::upgrade::Ends;

pub(crate) async fn run(mut ends: Ends) {
    while let Some(message) = ends.messages.recv().await {
        let frame = match message {
            Message::Text(text) => Frame::Text(text),
            Message::Binary(bytes) => Frame::Binary(bytes),
            Message::Limited { .. } => continue,
            Message::Oversized { .. } => return ends.seat.outbox().end(Code::TOO_BIG),
        };
        let outbox = ends.seat.outbox();
        if !outbox.room().await || !outbox.push(frame) {
            return;
        }
    }
}
