//! Transfers: ordered chunks from one sender to one receiver.

use serde::{Deserialize, Serialize};

use super::body::Body;
use super::id::Digest;
use super::keyed_command::Leased;
use super::leader_rules::Owner;

mod store;

pub(super) use store::{Acknowledgement, Chunk, Transfer, Transfers};

/// A command about the transfer under a key, which is derived from pin and password hash
/// ([`Domain::Transfer`](super::id::Domain::Transfer)).
pub type Op = Leased<Action>;

/// What can be done to a transfer. New actions are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Begin, or find begun with the same total.
    Open {
        /// 1..=[`limits::TRANSFER_CHUNKS_MAX`](super::limits::TRANSFER_CHUNKS_MAX).
        total: u16,
    },
    /// Store one chunk.
    Put {
        /// 0-based, below the total.
        index: u16,
        /// The total as the sender knows it; begins the transfer if there is none. `None`: it must exist.
        total: Option<u16>,
        /// SHA-256 of the body.
        digest: Digest,
        /// How a relay client spells the body.
        encoding: Encoding,
        /// The bytes.
        body: Body,
    },
    /// Deliver the lowest undelivered chunk; or free the transfer if it is acknowledged.
    Take,
    /// The receiver has everything. `existing`: refuse where there is no transfer, else remember it anyway.
    Acknowledge {
        /// Whether an absent transfer is refused.
        existing: bool,
    },
    /// Drop the transfer and all its chunks.
    Discard,
    /// Live on; nothing else.
    Touch,
}

/// A chunk before it is put: what its place and its weight depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewChunk {
    /// As in [`Action::Put`].
    pub index: u16,
    /// As in [`Action::Put`].
    pub total: Option<u16>,
    /// The length of its body.
    pub bytes: u32,
    /// Who would have it on its account.
    pub owner: Owner,
    /// Whether its outcome is to be remembered under an idempotency key.
    pub remembered: bool,
}

/// How a chunk is spelled in relay's JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// The body is the bytes of which `data` is the canonical padded base64 (RFC 4648, section 4).
    Base64,
    /// The body is `data` itself, as UTF-8.
    Text,
}

/// What happened to a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It lives.
    Opened {
        /// Whether this call began it.
        created: bool,
    },
    /// The chunk is stored.
    Stored,
    /// The very same chunk was stored before.
    Duplicate,
    /// The lowest undelivered chunk; it counts as delivered from now on.
    Chunk {
        /// 0-based.
        index: u16,
        /// Of how many.
        total: u16,
        /// How a relay client spells it.
        encoding: Encoding,
        /// The bytes.
        body: Body,
    },
    /// Nothing to deliver yet.
    Waiting,
    /// Everything was delivered.
    Done,
    /// No transfer lives under the key.
    Absent,
    /// The acknowledgement is remembered.
    Acknowledged,
    /// It is gone.
    Discarded,
    /// It lives on.
    Touched,
}

/// Why nothing happened to a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The index holds other bytes.
    Conflict,
    /// The chunk was delivered already.
    Delivered,
    /// The transfer was begun with another total.
    TotalMismatch,
    /// The index is not below the total, or the total is out of range.
    OutOfRange,
    /// No transfer lives under the key.
    Absent,
}

/// What a reader sees of a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Of how many chunks it consists.
    pub total: u16,
    /// Inclusive ranges of the stored indices, ascending.
    pub received: Vec<(u16, u16)>,
    /// How many chunks were delivered.
    pub delivered: u16,
    /// Whether some chunk is stored and undelivered.
    pub available: bool,
    /// Whether the receiver acknowledged it.
    pub acknowledged: bool,
    /// When it expires, in milliseconds since the Unix epoch.
    pub expires_ms: u64,
}
