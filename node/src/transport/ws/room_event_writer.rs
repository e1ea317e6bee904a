//! A member of a room whose connection ends here: what the room's actor tells it, in the connection's own encoding.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use bytestring::ByteString;
use conclave_cluster::state::id::Key;

use super::close::{Code, Reason};
use super::json;
use super::outbound_queue::{Frame, OutboundQueue};
use super::sigma_flatbuffers;
use crate::actors::room::{Broadcast, Event, Listener};
use crate::admission::buffers::Buffers;

/// What is said to a client that has just come in, now that it is known who else is there.
pub(super) type Greeting = Box<dyn FnOnce(&BTreeSet<Key>) -> Vec<Frame> + Send>;

/// How the client is told.
#[derive(Debug, Clone)]
pub(super) enum Wire {
    /// In JSON, under the name by which the client knows the room.
    Json(Arc<str>),
    /// In FlatBuffers, where there is only one room.
    Sigma,
}

impl Wire {
    /// Spells an event, unless somebody did before; `None` if it has no spelling.
    /// What it is spelled in is counted once, for all who are told.
    pub(super) fn spell(&self, note: &Broadcast, buffers: &Buffers) -> Option<Frame> {
        match self {
            Self::Json(room) => {
                let text = note.text.get_or_init(|| buffers.keep(json::room_event(room, note).into_bytes()));
                ByteString::try_from(text.clone()).ok().map(Frame::Text)
            }
            Self::Sigma => {
                let spelled = || sigma_flatbuffers::room_event(note).map(|bytes| buffers.keep(bytes));
                let bytes = note.binary.get_or_init(|| spelled().unwrap_or_default());
                let frame = match &note.event {
                    Event::Message(message) => Frame::Numbered(Bytes::clone(bytes), message.offset),
                    Event::Volatile { .. } | Event::Joined(_) | Event::Left(_) => {
                        Frame::Binary(Bytes::clone(bytes))
                    }
                };
                (!bytes.is_empty()).then_some(frame)
            }
        }
    }

    /// Passes over a message of the client's own.
    pub(super) fn pass(&self, outbound: &OutboundQueue, offset: u64) {
        match self {
            Self::Sigma => outbound.pass(offset),
            // Clients that speak JSON say themselves how far they are.
            Self::Json(_) => {}
        }
    }
}

/// The listener.
pub(super) struct RoomSubscriber {
    outbound: OutboundQueue,
    encoding: Wire,
    // A std mutex: nothing is awaited while it is held.
    greeting: Mutex<Option<Greeting>>,
}

impl RoomSubscriber {
    pub(super) fn new(outbound: OutboundQueue, encoding: Wire, greeting: Greeting) -> Self {
        Self { outbound, encoding, greeting: Mutex::new(Some(greeting)) }
    }
}

impl Listener for RoomSubscriber {
    fn begin(&self, members: &BTreeSet<Key>) {
        let greeting = self.greeting.lock().unwrap_or_else(PoisonError::into_inner).take();
        for frame in greeting.map(|greeting| greeting(members)).unwrap_or_default() {
            self.outbound.push(frame);
        }
    }

    fn hear(&self, note: &Broadcast) -> bool {
        match self.encoding.spell(note, self.outbound.account().all()) {
            Some(frame) => self.outbound.push_shared(frame),
            None => !self.outbound.is_ending(),
        }
    }

    fn pass(&self, offset: u64) {
        self.encoding.pass(&self.outbound, offset);
    }

    fn lose(&self) {
        self.outbound.end(Reason::new(Code::LATER, "rejoin the room"));
    }
}
