//! Rendezvous: invite codes that resolve to peers.

use serde::{Deserialize, Serialize};

use super::id::Key;

/// A wish about the invite code under `key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Derived from the invite code ([`Domain::Rendezvous`](super::id::Domain::Rendezvous)).
    pub key: Key,
    /// What is wished.
    pub verb: Verb,
}

/// What can be done to an invite code. New verbs are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// Let the code resolve to `peer`; the same peer again renews.
    Register {
        /// The peer id that a lookup gives.
        peer: String,
        /// How long the registration lives.
        ttl_ms: u32,
    },
}

/// What happened to an invite code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It resolves to the peer.
    Registered,
}

/// Why nothing happened to an invite code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Another peer holds it.
    InUse,
}
