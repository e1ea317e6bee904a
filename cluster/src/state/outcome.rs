//! Answers to commands.

use serde::{Deserialize, Serialize};

use super::codec::at_most;
use super::limits::HOLDERS_MAX;
use super::slot::{CellId, Slot};
use super::{
    allowance, audit, device, disk_binding, handoff, incarnation, invite_code, mailbox, mailbox_claim,
    negotiation, placement, registration, revocation, room, socket, ticket, transfer,
};

/// What a command came to, and what is left of its client's allowance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What happened, or why nothing did.
    pub outcome: Result<Outcome, Refusal>,
    /// The window the command was charged to, after the charge.
    pub balance: Option<allowance::Balance>,
    /// Whether this is the remembered answer to an earlier command under the same idempotency key.
    pub replayed: bool,
}

/// What happened. New kinds are added at the end: the order is the disk format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// A bare charge was spent.
    Spent,
    /// About chunks.
    Transfer(transfer::Outcome),
    /// About an offer and its answer.
    Negotiation(negotiation::Outcome),
    /// About a peer's signals.
    Mailbox(mailbox::Outcome),
    /// About an invite code.
    Rendezvous(invite_code::Outcome),
    /// About a user's devices.
    Device(device::Outcome),
    /// About a node of the cluster itself.
    NodeIdentity(disk_binding::Outcome),
    /// About a run of a node that holds sockets.
    Incarnation(incarnation::Outcome),
    /// About a socket session.
    Socket(socket::Outcome),
    /// About a room.
    Room(room::Outcome),
    /// About who a mailbox is pushed to.
    Claim(mailbox_claim::Outcome),
    /// About a one-time ticket.
    Ticket(ticket::Outcome),
    /// About the slots of the cell.
    Handoff(handoff::Outcome),
    /// About the nodes that sit in no cell.
    Placement(placement::Outcome),
    /// Part of a charge was spent, or nothing where nothing was left.
    Leased {
        /// How many tokens that makes; all of them are of the window that the answer's balance tells.
        count: u32,
        /// The nodes that leased of this window, the asker among them, in the order of their first lease; those beyond
        /// [`HOLDERS_MAX`] are not known.
        #[serde(deserialize_with = "at_most::<_, _, HOLDERS_MAX>")]
        holders: Vec<u64>,
    },
    /// About what credentials are worth nothing any more.
    Revocation(revocation::Outcome),
    /// About who changed what.
    Audit(audit::Outcome),
    /// About devices that are let in.
    Registration(registration::Outcome),
    /// What a client spent is forgotten.
    Reset {
        /// Of how many windows.
        windows: u32,
    },
}

/// Why nothing happened. A refused command changed nothing, except that its charge may have been spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The client's window is spent; it opens again in this many milliseconds.
    Allowance {
        /// Milliseconds until the window ends.
        retry_after_ms: u64,
        /// Whose bound was met: the client's own, or the cluster's on open windows.
        scope: Scope,
    },
    /// The cluster stores as much as it may.
    StorageFull,
    /// The request id lies below its origin's floor: it was answered before and is never carried out again.
    Stale,
    /// About chunks.
    Transfer(transfer::Refusal),
    /// About an offer and its answer.
    Negotiation(negotiation::Refusal),
    /// About a peer's signals.
    Mailbox(mailbox::Refusal),
    /// About an invite code.
    Rendezvous(invite_code::Refusal),
    /// About a user's devices.
    Device(device::Refusal),
    /// About a node of the cluster itself.
    NodeIdentity(disk_binding::Refusal),
    /// About a run of a node that holds sockets.
    Incarnation(incarnation::Refusal),
    /// About a socket session.
    Socket(socket::Refusal),
    /// About a room.
    Room(room::Refusal),
    /// About who a mailbox is pushed to.
    Claim(mailbox_claim::Refusal),
    /// About a one-time ticket.
    Ticket(ticket::Refusal),
    /// The client, or its network, stores as much as one may.
    ShareFull,
    /// About the slots of the cell.
    Handoff(handoff::Refusal),
    /// The key, or the client's window, is in a slot that another cell holds.
    Moved {
        /// Which slot.
        slot: Slot,
        /// Its epoch after the last move that this cell knows of.
        epoch: u64,
        /// The cell that it went to with that; none if it was never here.
        to: Option<CellId>,
    },
    /// The slot is on its way here.
    Unready,
    /// About the nodes that sit in no cell.
    Placement(placement::Refusal),
    /// The window that its token is of has ended.
    Lapsed,
    /// About what credentials are worth nothing any more.
    Revocation(revocation::Refusal),
    /// About devices that are let in.
    Registration(registration::Refusal),
    /// The organisation stores as much as it may.
    TenantShareFull,
}

/// Whose bound was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// The client's own: others are served.
    Client,
    /// Everybody's.
    Cluster,
    /// The client's organisation's: others are served.
    Tenant,
}

impl Answer {
    /// The answer of a command that nothing was charged for.
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self { outcome: Err(refusal), balance: None, replayed: false }
    }
}

/// Lets each noun say its own words and be heard as one.
macro_rules! families {
    ($($noun:ident => $variant:ident),*) => {$(
        impl From<$noun::Outcome> for Outcome {
            fn from(outcome: $noun::Outcome) -> Self {
                Self::$variant(outcome)
            }
        }

        impl From<$noun::Refusal> for Refusal {
            fn from(refusal: $noun::Refusal) -> Self {
                Self::$variant(refusal)
            }
        }
    )*};
}

impl From<audit::Outcome> for Outcome {
    fn from(outcome: audit::Outcome) -> Self {
        Self::Audit(outcome)
    }
}

families!(
    transfer => Transfer,
    negotiation => Negotiation,
    mailbox => Mailbox,
    invite_code => Rendezvous,
    device => Device,
    disk_binding => NodeIdentity,
    incarnation => Incarnation,
    socket => Socket,
    room => Room,
    mailbox_claim => Claim,
    ticket => Ticket,
    handoff => Handoff,
    placement => Placement,
    revocation => Revocation,
    registration => Registration
);
