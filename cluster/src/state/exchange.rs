//! Exchanges: one WebRTC offer and one answer (the API says "session").

use serde::{Deserialize, Serialize};

use super::body::Body;
use super::id::Key;

/// A wish about the exchange under `key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Derived from the session id ([`Domain::Exchange`](super::id::Domain::Exchange)).
    pub key: Key,
    /// How long the exchange lives from this touch on.
    pub ttl_ms: u32,
    /// What is wished.
    pub verb: Verb,
}

/// What can be done to an exchange. New verbs are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// Begin, and let `pin` resolve to `id` if no live exchange holds it.
    Create {
        /// The session id, a UUID as a number.
        id: u128,
        /// Derived from the pin ([`Domain::Pin`](super::id::Domain::Pin)).
        pin: Option<Key>,
    },
    /// Store one side's envelope, over an earlier one.
    Put {
        /// Whose.
        role: Role,
        /// Ciphertext, as JSON text.
        envelope: Body,
    },
    /// End it.
    Delete,
}

/// The two sides of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// The side that opens.
    Offer,
    /// The side that replies.
    Answer,
}

/// What happened to an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It lives.
    Created,
    /// The envelope is stored.
    Stored,
    /// It is gone.
    Deleted,
}

/// Why nothing happened to an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Another live exchange holds the pin.
    PinInUse,
    /// No exchange lives under the key.
    Expired,
}

/// What a pin resolves to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// A live exchange's session id.
    Live(u128),
    /// The exchange it named is gone.
    Expired,
    /// Nothing is known of it.
    Unknown,
}

/// What a reader sees of one side of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Envelope {
    /// It is there.
    Present(Body),
    /// The exchange lives, this side has not spoken.
    Missing,
    /// No exchange lives under the key.
    Expired,
}
