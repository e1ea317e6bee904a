//! Tickets: rights that are used once.

use serde::{Deserialize, Serialize};

use super::body::Body;
use super::context::ApplyContext;
use super::expiry::{ExpiryKey, Lease};
use super::id::Key;
use super::keyed_command::Keyed;
use super::outcome;
use super::storage_quota::Load;
use super::table::{Stored, Table};
use super::weight::Kind;

/// A command about the ticket under a key, which is derived from the ticket's text
/// ([`Domain::Ticket`](super::id::Domain::Ticket)).
pub type Op = Keyed<Action>;

/// What can be done to a ticket. New actions are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Let it be used once.
    Issue {
        /// What whoever uses it may do, in the edge's own words.
        grant: Body,
        /// Within how many milliseconds.
        ttl_ms: u32,
    },
    /// Use it.
    Redeem,
}

/// What happened to a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It may be used once.
    Issued,
    /// It was used, just now and for the only time.
    Redeemed {
        /// As it was issued.
        grant: Body,
    },
}

/// Why nothing happened to a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// There is none: it was never issued, was used, or is over.
    Unknown,
    /// A ticket of that name is there already.
    InUse,
}

/// An unused ticket. The fields' order is the snapshot format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ticket {
    pub(super) grant: Body,
}

impl Stored for Ticket {
    type Key = Key;
    type Life = Lease;
    const EXPIRY: fn(Key) -> ExpiryKey = ExpiryKey::Ticket;

    fn load(&self) -> Load {
        Load::of(Kind::Ticket, self.grant.len() as u64)
    }
}

impl Table<Ticket> {
    pub(super) fn carry_out(&mut self, op: Op, ctx: &mut ApplyContext) -> Result<Outcome, outcome::Refusal> {
        let Op { key, action } = op;
        self.free_if_over(key, ctx);
        match action {
            Action::Issue { .. } if self.contains(&key) => Err(Refusal::InUse.into()),
            Action::Issue { grant, ttl_ms } => {
                self.try_add(key, Ticket { grant: grant.detached() }, ctx.after(ttl_ms), ctx)?;
                Ok(Outcome::Issued)
            }
            Action::Redeem => match self.free(key, ctx) {
                Some(ticket) => Ok(Outcome::Redeemed { grant: ticket.grant }),
                None => Err(Refusal::Unknown.into()),
            },
        }
    }
}
