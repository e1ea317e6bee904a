//! The echo, for conformance tests: the very same connection, and messages given back as they came.

use super::close::Code;
use super::inbound_queue::{Message, Weighed};
use super::outbound_queue::Frame;
use super::upgrade::Ends;

pub(crate) async fn run(mut ends: Ends) {
    while let Some(Weighed { message, .. }) = ends.messages.recv().await {
        let frame = match message {
            Message::Text(text) => Frame::Text(text),
            Message::Binary(bytes) => Frame::Binary(bytes),
            Message::Limited { .. } => continue,
            Message::Oversized { .. } => return ends.entry.outbound().end(Code::TOO_BIG),
        };
        let outbound = ends.entry.outbound();
        if !outbound.room().await || !outbound.push(frame) {
            return;
        }
    }
}
