//! Mailboxes: a peer's waiting signals.

use serde::{Deserialize, Serialize};

use super::body::Body;
use super::id::Key;

/// A wish about the mailbox under `key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Derived from the peer id ([`Domain::Mailbox`](super::id::Domain::Mailbox)).
    pub key: Key,
    /// What is wished.
    pub verb: Verb,
}

/// What can be done to a mailbox. New verbs are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// Queue one signal.
    Push {
        /// The sender's peer id, as the sender gave it.
        from: String,
        /// What kind of signal.
        kind: Kind,
        /// The payload's JSON text, byte for byte.
        payload: Body,
        /// How long the signal waits.
        ttl_ms: u32,
    },
    /// Hand out what waits, oldest first, up to `bytes_max` of payload (at least one), and forget it.
    Drain {
        /// Bound on the payload bytes of one answer.
        bytes_max: u32,
    },
}

/// What a signal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A session description that opens.
    Offer,
    /// A session description that replies.
    Answer,
    /// An ICE candidate.
    IceCandidate,
    /// The sender is ready.
    Ready,
    /// The sender leaves.
    Bye,
}

/// One waiting signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its number in this mailbox; grows by one.
    pub seq: u64,
    /// The sender's peer id.
    pub from: String,
    /// What kind of signal.
    pub kind: Kind,
    /// The payload's JSON text.
    pub payload: Body,
    /// When it was queued, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// When it expires.
    pub expires_ms: u64,
}

/// What happened to a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The signal waits.
    Queued {
        /// Its number.
        seq: u64,
    },
    /// What waited, oldest first.
    Messages(Vec<Message>),
}

/// Why nothing happened to a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// It holds as many signals, or bytes, as it may.
    Full,
}
