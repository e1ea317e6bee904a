//! Everything that can be asked of the state, each about one key.

use serde::{Deserialize, Serialize};

use super::codec::{self, at_most};
use super::id::{Key, RequestId};
use super::limits::{COMMANDS_PER_PROPOSAL_MAX, FLOORS_PER_PROPOSAL_MAX};
use super::rules::{Owner, Rules};
use super::{
    allowance, claim, device, exchange, host, mailbox, member, rendezvous, room, socket, ticket, transfer,
};

/// A wish about one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Names this command over all its retries.
    pub id: RequestId,
    /// What it costs its client; spent in the same step that carries the command out, or nothing happens.
    pub charge: Option<allowance::Charge>,
    /// On whose account it stores what it stores; `None`: on nobody's, as what nodes do by themselves.
    pub owner: Option<Owner>,
    /// Under which name a caller may ask for the same outcome again.
    pub memo: Option<Memo>,
    /// What is wished.
    pub ask: Ask,
}

/// A caller's own name for a command (`Idempotency-Key`, a job id), and how long its outcome is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memo {
    /// Derived from the caller's key and from what it asks, so that a key used twice for two things is two memos.
    pub key: Key,
    /// For how many milliseconds from now the outcome is kept.
    pub ttl_ms: u32,
}

/// What is wished of which part of the state. New kinds are added at the end: the order is the disk format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Nothing but the charge: how reads are paid, in bulk.
    Spend,
    /// About chunks.
    Transfer(transfer::Ask),
    /// About an offer and its answer.
    Exchange(exchange::Ask),
    /// About a peer's signals.
    Mailbox(mailbox::Ask),
    /// About an invite code.
    Rendezvous(rendezvous::Ask),
    /// About a user's devices.
    Device(device::Ask),
    /// About a node of the cluster itself.
    Member(member::Ask),
    /// About a run of a node that holds sockets.
    Host(host::Ask),
    /// About a socket session.
    Socket(socket::Ask),
    /// About a room.
    Room(room::Ask),
    /// About who a mailbox is pushed to.
    Claim(claim::Ask),
    /// About a one-time ticket.
    Ticket(ticket::Ask),
    /// Nothing but the charge, which is refused if it is not all there.
    Pay,
}

/// A stamped batch of commands: what one log entry carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The version byte it is encoded with. A change of what apply decides is keyed by it, so that an entry means the
    /// same to every build that reads it, from whatever snapshot it came.
    #[serde(skip)]
    pub version: u8,
    /// The leader's clock when it made the batch, in milliseconds since the Unix epoch.
    pub stamp_ms: u64,
    /// The leader's bounds; in the log so that every replica refuses alike.
    pub rules: Rules,
    /// Per origin the lowest sequence number that may still be retried; outcomes below it are forgotten.
    #[serde(deserialize_with = "at_most::<_, _, { FLOORS_PER_PROPOSAL_MAX }>")]
    pub floors: Vec<(u64, u64)>,
    /// In the order in which they are carried out.
    #[serde(deserialize_with = "at_most::<_, _, { COMMANDS_PER_PROPOSAL_MAX }>")]
    pub commands: Vec<Command>,
}

impl Default for Proposal {
    fn default() -> Self {
        Self {
            version: codec::WRITTEN,
            stamp_ms: 0,
            rules: Rules::default(),
            floors: Vec::new(),
            commands: Vec::new(),
        }
    }
}

impl Ask {
    /// Whether the wish frees, or hands out what is stored already. Such wishes are heard though the storage is
    /// full, since they are what empties it; what they leave behind is bounded by what they found.
    pub(super) fn relieves(&self) -> bool {
        match self {
            Self::Spend | Self::Pay => true,
            Self::Transfer(ask) => match ask.verb {
                transfer::Verb::Open { .. } | transfer::Verb::Put { .. } => false,
                transfer::Verb::Take
                | transfer::Verb::Acknowledge { .. }
                | transfer::Verb::Discard
                | transfer::Verb::Touch => true,
            },
            Self::Exchange(ask) => match ask.verb {
                exchange::Verb::Create { .. } | exchange::Verb::Put { .. } => false,
                exchange::Verb::Delete => true,
            },
            Self::Mailbox(ask) => match ask.verb {
                mailbox::Verb::Push { .. } => false,
                mailbox::Verb::Drain { .. } | mailbox::Verb::Acknowledge { .. } => true,
            },
            Self::Socket(ask) => match ask.verb {
                socket::Verb::Open { .. } | socket::Verb::Enter { .. } | socket::Verb::Hold { .. } => false,
                socket::Verb::Resume { .. }
                | socket::Verb::Detach { .. }
                | socket::Verb::Close { .. }
                | socket::Verb::Mark { .. } => true,
            },
            Self::Room(ask) => match ask.verb {
                room::Verb::Join { .. } | room::Verb::Publish { .. } => false,
                room::Verb::Detach { .. } | room::Verb::Leave { .. } => true,
            },
            Self::Claim(ask) => match ask.verb {
                claim::Verb::Take { .. } => false,
                claim::Verb::Detach { .. } | claim::Verb::Release { .. } => true,
            },
            Self::Ticket(ask) => match ask.verb {
                ticket::Verb::Issue { .. } => false,
                ticket::Verb::Redeem => true,
            },
            Self::Rendezvous(ask) => match ask.verb {
                rendezvous::Verb::Register { .. } => false,
                rendezvous::Verb::Withdraw { .. } => true,
            },
            Self::Device(_) | Self::Member(_) | Self::Host(_) => false,
        }
    }
}
