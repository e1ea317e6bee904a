//! Names of things: storage keys, digests, request ids.

use std::cmp::Ordering;
use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::slot::Slot;

/// What a [`Key`] names. The domain is part of the derivation, so that equal words in two domains never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Domain {
    /// An ordered set of chunks, named by a pin and a password hash.
    Transfer,
    /// One offer and one answer, named by a session id.
    Negotiation,
    /// A short word that resolves to a negotiation.
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
    IdempotencyKey,
    /// A socket session, named by its id.
    Socket,
    /// A room, named by its name.
    Room,
    /// A one-time ticket, named by its text.
    Ticket,
    /// A list of what credentials are worth nothing any more.
    Revocations,
    /// A log of who changed what.
    Audit,
    /// A list of devices that are let in, or may be.
    Registrations,
}

/// A storage key: SHA-256 over a domain and the words that name the thing.
///
/// The words themselves (pins, hashes, codes) are secrets of the clients and are not kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// The lowest one.
    pub(super) const FIRST: Self = Self([0; 32]);
    /// The highest one.
    pub(super) const LAST: Self = Self([u8::MAX; 32]);

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

    /// The same, but in this slot: what belongs to something else lies where that lies. The slot's bits take the place of
    /// the first bits of the hash, of which enough are left.
    pub fn placed(slot: Slot, domain: Domain, parts: &[&[u8]]) -> Self {
        let Self(mut bytes) = Self::derive(domain, parts);
        slot.write(&mut bytes);
        Self(bytes)
    }

    /// The slot that the key lies in.
    pub fn slot(&self) -> Slot {
        Slot::read(&self.0)
    }
}

/// SHA-256 of a body.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

/// All of it, in hexadecimal digits.
impl fmt::LowerHex for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What keys and digests have in common: 32 even bytes, compared often and coded often.
macro_rules! hashed {
    ($name:ident) => {
        impl $name {
            /// As 32 bytes, for instance to spell it as an id.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// One that was spelled out by `as_bytes` before, or computed elsewhere.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }
        }

        /// Shows four bytes only: a whole transfer key is a capability and does not belong in a log.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:02x}{:02x}{:02x}{:02x}…", self.0[0], self.0[1], self.0[2], self.0[3])
            }
        }

        /// By the bytes from the left. The first eight nearly always decide, and as a number they do so at once.
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                let head = |hash: &Self| hash.0.first_chunk().map(|head| u64::from_be_bytes(*head));
                head(self).cmp(&head(other)).then_with(|| self.0.cmp(&other.0))
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        /// As one run of bytes and not as 32 numbers, which a codec would take one by one.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_bytes(HashBytes).map(Self)
            }
        }
    };
}

hashed!(Key);
hashed!(Digest);

struct HashBytes;

impl Visitor<'_> for HashBytes {
    type Value = [u8; 32];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("32 bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<[u8; 32], E> {
        bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))
    }
}

/// Names one command for ever: which node's run it came from, and its place in that run.
///
/// Minted at the edge, kept over every retry; see [`retry_dedup`](super::retry_dedup).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// A random number drawn once per run of a node.
    pub origin: u64,
    /// Counts the commands of that run, from 1.
    pub seq: u64,
}
