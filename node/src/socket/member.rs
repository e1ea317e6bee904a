//! A member of a room whose connection ends here: what the room's actor tells it, in the connection's own encoding.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use bytestring::ByteString;
use conclave_cluster::state::id::Key;

use super::close::{Code, Reason};
use super::json;
use super::outbox::{Frame, Outbox};
use super::sigma;
use crate::actors::room::{Event, Listener, Note};

/// What is said to a client that has just come in, now that it is known who else is there.
pub(super) type Greeting = Box<dyn FnOnce(&BTreeSet<Key>) -> Vec<Frame> + Send>;

/// How the client is told.
#[derive(Debug, Clone)]
pub(super) enum Tongue {
    /// In JSON, under the name by which the client knows the room.
    Json(Arc<str>),
    /// In FlatBuffers, where there is only one room.
    Sigma,
}

impl Tongue {
    /// Spells an event, unless somebody did before; `None` if it has no spelling.
    pub(super) fn spell(&self, note: &Note) -> Option<Frame> {
        match self {
            Self::Json(room) => {
                let text = note.text.get_or_init(|| json::room_event(room, note).into_bytes());
                ByteString::try_from(text.clone()).ok().map(Frame::Text)
            }
            Self::Sigma => {
                let bytes = note.binary.get_or_init(|| sigma::room_event(note).unwrap_or_default());
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
    pub(super) fn pass(&self, outbox: &Outbox, offset: u64) {
        match self {
            Self::Sigma => outbox.pass(offset),
            // Clients that speak JSON say themselves how far they are.
            Self::Json(_) => {}
        }
    }
}

/// The listener.
pub(super) struct Ear {
    outbox: Outbox,
    tongue: Tongue,
    // A std mutex: nothing is awaited while it is held.
    greeting: Mutex<Option<Greeting>>,
}

impl Ear {
    pub(super) fn new(outbox: Outbox, tongue: Tongue, greeting: Greeting) -> Self {
        Self { outbox, tongue, greeting: Mutex::new(Some(greeting)) }
    }
}

impl Listener for Ear {
    fn begin(&self, members: &BTreeSet<Key>) {
        let greeting = self.greeting.lock().unwrap_or_else(PoisonError::into_inner).take();
        for frame in greeting.map(|greeting| greeting(members)).unwrap_or_default() {
            self.outbox.push(frame);
        }
    }

    fn hear(&self, note: &Note) -> bool {
        match self.tongue.spell(note) {
            Some(frame) => self.outbox.push(frame),
            None => !self.outbox.is_ending(),
        }
    }

    fn pass(&self, offset: u64) {
        self.tongue.pass(&self.outbox, offset);
    }

    fn lose(&self) {
        self.outbox.end(Reason::new(Code::LATER, "rejoin the room"));
    }
}
