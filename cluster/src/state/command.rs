//! Everything that can be asked of the state, each about one key.

use serde::{Deserialize, Serialize};

use super::codec::{self, at_most};
use super::id::{Key, RequestId};
use super::leader_rules::{Owner, Rules};
use super::limits::{COMMANDS_PER_PROPOSAL_MAX, FLOORS_PER_PROPOSAL_MAX};
use super::{
    allowance, audit, device, disk_binding, handoff, incarnation, invite_code, mailbox, mailbox_claim,
    negotiation, placement, registration, revocation, room, socket, ticket, transfer,
};

/// A command about one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Names this command over all its retries.
    pub id: RequestId,
    /// How its client pays for it.
    pub payment: allowance::Payment,
    /// On whose account it stores what it stores; `None`: on nobody's, as what nodes do by themselves.
    pub owner: Option<Owner>,
    /// Under which name a caller may ask for the same outcome again.
    pub idempotency_key: Option<IdempotencyKey>,
    /// What to do.
    pub op: Op,
}

/// A caller's own name for a command (`Idempotency-Key`, a job id), and how long its outcome is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey {
    /// Derived from the caller's key and from what it asks, so that a key used twice for two things is two idempotency keys.
    pub key: Key,
    /// For how many milliseconds from now the outcome is kept.
    pub ttl_ms: u32,
}

/// What to do to which part of the state. New kinds are added at the end: the order is the disk format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Nothing but the charge: how reads are paid, in bulk.
    Spend,
    /// About chunks.
    Transfer(transfer::Op),
    /// About an offer and its answer.
    Negotiation(negotiation::Op),
    /// About a peer's signals.
    Mailbox(mailbox::Op),
    /// About an invite code.
    Rendezvous(invite_code::Op),
    /// About a user's devices.
    Device(device::Op),
    /// About a node of the cluster itself.
    NodeIdentity(disk_binding::Op),
    /// About a run of a node that holds sockets.
    Incarnation(incarnation::Op),
    /// About a socket session.
    Socket(socket::Op),
    /// About a room.
    Room(room::Op),
    /// About who a mailbox is pushed to.
    Claim(mailbox_claim::Op),
    /// About a one-time ticket.
    Ticket(ticket::Op),
    /// Nothing but the charge, which is refused if it is not all there.
    Pay,
    /// About the slots of the cell.
    Handoff(handoff::Op),
    /// About the nodes that sit in no cell.
    Placement(placement::Op),
    /// Nothing but the charge, as much of it as is left: tokens for commands that other cells carry out.
    Lease {
        /// The id of the node that will use them.
        node: u64,
    },
    /// About what credentials are worth nothing any more.
    Revocation(revocation::Op),
    /// About who changed what.
    Audit(audit::Op),
    /// About devices that are let in.
    Registration(registration::Op),
    /// Forgets what a client spent, of every class of requests. What nodes leased of its windows stays theirs.
    Reset {
        /// Whose.
        client: Key,
    },
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

impl Op {
    /// The key it is about; none if it is about the cluster, a node, or nothing but its charge.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::Spend
            | Self::Pay
            | Self::NodeIdentity(_)
            | Self::Incarnation(_)
            | Self::Handoff(_)
            | Self::Placement(_)
            | Self::Lease { .. } => None,
            Self::Transfer(op) => Some(&op.key),
            Self::Negotiation(op) => Some(&op.key),
            Self::Mailbox(op) => Some(&op.key),
            Self::Rendezvous(op) => Some(&op.key),
            Self::Device(op) => Some(&op.key),
            Self::Socket(op) => Some(&op.key),
            Self::Room(op) => Some(&op.key),
            Self::Claim(op) => Some(&op.key),
            Self::Ticket(op) => Some(&op.key),
            Self::Revocation(op) => Some(&op.key),
            Self::Audit(op) => Some(&op.key),
            Self::Registration(op) => Some(&op.key),
            Self::Reset { client } => Some(client),
        }
    }

    /// Whether the command may linger, until it goes along with another one: it makes nobody else wait, and a log entry
    /// costs the same however little is in it.
    pub(crate) fn may_linger(&self) -> bool {
        matches!(self, Self::Mailbox(op) if matches!(op.action, mailbox::Action::Acknowledge { .. }))
    }

    /// Whether the command frees, or hands out what is stored already. Such commands are heard though the storage is
    /// full, since they are what empties it; what they leave behind is bounded by what they found.
    pub(super) fn allowed_when_full(&self) -> bool {
        match self {
            // What comes from another cell was stored there.
            Self::Spend
            | Self::Pay
            | Self::Lease { .. }
            | Self::Reset { .. }
            | Self::Handoff(_)
            | Self::Placement(_)
            // Not counted.
            | Self::Revocation(_)
            | Self::Audit(_)
            | Self::Registration(_) => true,
            Self::Transfer(op) => match op.action {
                transfer::Action::Open { .. } | transfer::Action::Put { .. } => false,
                transfer::Action::Take
                | transfer::Action::Acknowledge { .. }
                | transfer::Action::Discard
                | transfer::Action::Touch => true,
            },
            Self::Negotiation(op) => match op.action {
                negotiation::Action::Create { .. } | negotiation::Action::Put { .. } => false,
                negotiation::Action::Delete => true,
            },
            Self::Mailbox(op) => match op.action {
                mailbox::Action::Push { .. } => false,
                mailbox::Action::Drain { .. } | mailbox::Action::Acknowledge { .. } => true,
            },
            Self::Socket(op) => match op.action {
                socket::Action::Open { .. } | socket::Action::Enter { .. } | socket::Action::Hold { .. } => {
                    false
                }
                socket::Action::Resume { .. }
                | socket::Action::Detach { .. }
                | socket::Action::Close { .. }
                | socket::Action::Mark { .. } => true,
            },
            Self::Room(op) => match op.action {
                room::Action::Join { .. } | room::Action::Publish { .. } => false,
                room::Action::Detach { .. } | room::Action::Leave { .. } => true,
            },
            Self::Claim(op) => match op.action {
                mailbox_claim::Action::Take { .. } => false,
                mailbox_claim::Action::Detach { .. } | mailbox_claim::Action::Release { .. } => true,
            },
            Self::Ticket(op) => match op.action {
                ticket::Action::Issue { .. } => false,
                ticket::Action::Redeem => true,
            },
            Self::Rendezvous(op) => match op.action {
                invite_code::Action::Register { .. } => false,
                invite_code::Action::Withdraw { .. } => true,
            },
            Self::Device(_) | Self::NodeIdentity(_) | Self::Incarnation(_) => false,
        }
    }
}
