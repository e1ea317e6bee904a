//! Names of things: storage keys, digests, request ids.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What a [`Key`] names. The domain is part of the derivation, so that equal words in two domains never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Domain {
    /// An ordered set of chunks, named by a pin and a password hash.
    Transfer,
    /// One offer and one answer, named by a session id.
    Exchange,
    /// A short word that resolves to an exchange.
    Pin,
    /// A peer's waiting signals.
    Mailbox,
    /// An invite code that resolves to a peer.
    Rendezvous,
    /// A user's devices.
    Devices,
    /// A client, as allowances count it.
    Client,
    /// A remembered outcome, named by a caller's `Idempotency-Key`.
    Memo,
}

/// A storage key: SHA-256 over a domain and the words that name the thing.
///
/// The words themselves (pins, hashes, codes) are secrets of the clients and are not kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key([u8; 32]);

impl Key {
    /// Derives the key of `parts` in `domain`. Each part is prefixed by its length, so no two lists collide.
    pub fn derive(domain: Domain, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        hash.update([domain as u8]);
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// The key as 32 bytes, for instance to spell it as a transfer id.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A key that was spelled out by [`Key::as_bytes`] before.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// Shows four bytes only: a whole transfer key is a capability and does not belong in a log.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}{:02x}{:02x}…", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// SHA-256 of a body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest as 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A digest that was computed elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}{:02x}{:02x}…", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// Names one command for ever: which node's run it came from, and its place in that run.
///
/// Minted at the edge, kept over every retry; see [`replay`](super::replay).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// A random number drawn once per run of a node.
    pub origin: u64,
    /// Counts the commands of that run, from 1.
    pub seq: u64,
}
