//! What Raft nodes say to each other, as structs of our own. Their layout is versioned by the link's handshake.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::disk_traits::{LogId, Membership, Payload, Record, SnapshotMeta, Vote};
use crate::state::slot::CellId;
use crate::wire::Outgoing;

/// The kinds of frames that nodes exchange.
pub(crate) mod kind {
    pub(crate) const APPEND: u8 = 1;
    pub(crate) const VOTE: u8 = 2;
    pub(crate) const PRE_VOTE: u8 = 3;
    pub(crate) const SNAPSHOT: u8 = 4;
    pub(crate) const TRANSFER: u8 = 5;
    pub(crate) const FORWARD: u8 = 6;
    pub(crate) const READ_INDEX: u8 = 7;
    pub(crate) const STATUS: u8 = 8;
    pub(crate) const ENROLLED: u8 = 9;
    pub(crate) const ADMIN: u8 = 10;
    pub(crate) const CAST: u8 = 11;
    /// As `FORWARD`, with the traces of the batch in front of its header.
    pub(crate) const FORWARD_TRACED: u8 = 12;
    /// Whether a node is a member.
    pub(crate) const MEMBER: u8 = 13;
    /// Whether a leader is lost.
    pub(crate) const LEADER_LOST: u8 = 14;
    /// A leader that hears no majority says so.
    pub(crate) const UNHEARD: u8 = 15;
    /// The leader tells a front that it leads, and who is where.
    pub(crate) const BEACON: u8 = 16;
    /// Questions about the state.
    pub(crate) const ASK: u8 = 17;
    /// What changed since the last such request.
    pub(crate) const RING: u8 = 18;
    /// A client's tokens, from one node to another.
    pub(crate) const GIVE: u8 = 19;
    /// Found a cell with these members.
    pub(crate) const FOUND: u8 = 20;
    /// A node that hears no leader asks whether it was removed.
    pub(crate) const STANDING: u8 = 21;
    pub(crate) const FAILED: u8 = 255;

    /// Whether such a request is about a cell, and served by its members only.
    pub(crate) fn is_within_a_cell(kind: u8) -> bool {
        matches!(
            kind,
            APPEND
                | VOTE
                | PRE_VOTE
                | SNAPSHOT
                | TRANSFER
                | FORWARD
                | FORWARD_TRACED
                | READ_INDEX
                | LEADER_LOST
                | UNHEARD
                | ASK
                | RING
        )
    }
}

/// Bytes of one decoded header.
const HEADER_BYTES_MAX: usize = 1 << 20;

/// A frame that does not mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame")]
pub(crate) struct Malformed;

pub(crate) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(message, bincode::config::standard())
        .expect("our messages have no unserializable part")
}

/// A request of one member of a cell to another. A member of another cell refuses it.
pub(crate) fn within(cell: CellId, request: Outgoing) -> Outgoing {
    Outgoing { cell: cell.number(), ..request }
}

/// A frame that carries nothing, and is about no cell.
pub(crate) fn bare(kind: u8) -> Outgoing {
    Outgoing { kind, cell: 0, header: Vec::new(), payload: Vec::new() }
}

/// A frame that carries a message.
pub(crate) fn of<T: Serialize>(kind: u8, message: &T) -> Outgoing {
    Outgoing { header: encode(message), ..bare(kind) }
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    let config = bincode::config::standard().with_limit::<HEADER_BYTES_MAX>();
    match bincode::serde::decode_from_slice(bytes, config) {
        Ok((message, read)) if read == bytes.len() => Ok(message),
        Ok(_) | Err(_) => Err(Malformed),
    }
}

/// Entries to append, or none: a heartbeat.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Append {
    pub(super) vote: Vote,
    pub(super) previous: Option<LogId>,
    pub(super) commit: Option<LogId>,
    pub(super) entries: Vec<EntryHead>,
}

/// An entry without its bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EntryHead {
    id: LogId,
    content: Content,
}

#[derive(Debug, Serialize, Deserialize)]
enum Content {
    Blank,
    Membership(Membership),
    /// Lengths of the header and of the bodies, which follow in the frame's payload.
    Proposal(u32, u32),
}

/// Splits entries into their heads and the bytes that follow.
pub(super) fn split(records: Vec<Record>) -> (Vec<EntryHead>, Vec<Bytes>) {
    let mut payload = Vec::new();
    let heads = records
        .into_iter()
        .map(|record| {
            let content = match record.payload {
                Payload::Blank => Content::Blank,
                Payload::Membership(membership) => Content::Membership(membership),
                Payload::Proposal { header, bodies } => {
                    let lengths = (header.len() as u32, bodies.iter().map(Bytes::len).sum::<usize>() as u32);
                    payload.push(header);
                    payload.extend(bodies);
                    Content::Proposal(lengths.0, lengths.1)
                }
            };
            EntryHead { id: record.id, content }
        })
        .collect();
    (heads, payload)
}

/// Puts entries together again; the bytes stay slices of `payload`.
pub(super) fn join(heads: Vec<EntryHead>, mut payload: Bytes) -> Result<Vec<Record>, Malformed> {
    let mut take = |len: u32| {
        let len = len as usize;
        (payload.len() >= len).then(|| payload.split_to(len)).ok_or(Malformed)
    };
    heads
        .into_iter()
        .map(|head| {
            let payload = match head.content {
                Content::Blank => Payload::Blank,
                Content::Membership(membership) => Payload::Membership(membership),
                Content::Proposal(header, bodies) => {
                    Payload::Proposal { header: take(header)?, bodies: vec![take(bodies)?] }
                }
            };
            Ok(Record { id: head.id, payload })
        })
        .collect()
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum AppendReply {
    Success,
    Partial(Option<LogId>),
    Conflict,
    HigherVote(Vote),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ballot {
    pub(super) vote: Vote,
    pub(super) last: Option<LogId>,
    pub(super) transfer: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BallotReply {
    pub(super) vote: Vote,
    pub(super) granted: bool,
    pub(super) last: Option<LogId>,
}

/// One piece of a snapshot; the bytes are the frame's payload.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SnapshotPart {
    pub(super) vote: Vote,
    pub(super) meta: SnapshotMeta,
    pub(super) offset: u64,
    /// Bytes of the whole snapshot.
    pub(super) total: u64,
    pub(super) last: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum SnapshotReply {
    /// The next piece, please.
    More,
    /// The offset was not the expected one.
    Restart,
    /// It is installed, or refused by this higher vote.
    Done(Vote),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Transfer {
    pub(super) from: Vote,
    pub(super) to: u64,
    pub(super) last: Option<LogId>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum TransferReply {
    Accepted,
    VoteChanged { expected: Vote, actual: Vote },
    LogNotFlushed { expected: Option<LogId>, actual: Option<LogId> },
}
