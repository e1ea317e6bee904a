//! What members are told.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::room;

/// What happened in a room.
#[derive(Debug, Clone)]
pub enum Event {
    /// A message of the history.
    Message(Arc<room::Message>),
    /// A message that is in no history.
    Volatile {
        /// Who said it.
        member: Key,
        /// What was said, with the byte that says what it is.
        data: Bytes,
        /// When it passed here, in milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// Somebody is a member now.
    Joined(Key),
    /// Somebody is none any more.
    Left(Key),
}

/// An event on its way to all members of one node, with room for each of its spellings: whoever needs one first writes
/// it, for all the others.
#[derive(Debug)]
pub struct Broadcast {
    /// What happened.
    pub event: Event,
    /// Names the numbering.
    pub epoch: u64,
    /// As text.
    pub text: OnceLock<Bytes>,
    /// As bytes.
    pub binary: OnceLock<Bytes>,
}

impl Broadcast {
    /// An event of a room of that epoch.
    pub fn new(epoch: u64, event: Event) -> Self {
        Self { event, epoch, text: OnceLock::new(), binary: OnceLock::new() }
    }

    /// Whose message it is; its sender does not hear it.
    pub(super) fn sender(&self) -> Option<&Key> {
        match &self.event {
            Event::Message(message) => Some(&message.member),
            Event::Volatile { member, .. } => Some(member),
            Event::Joined(_) | Event::Left(_) => None,
        }
    }
}
