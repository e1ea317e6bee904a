//! Tickets: rights that are used once.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::account::Payer;
use super::body::Body;
use super::expiry::{Lease, Thing};
use super::ground::Ground;
use super::id::Key;
use super::outcome;
use super::storage::Load;
use super::weight::Kind;

/// A wish about the ticket under `key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Derived from the ticket's text ([`Domain::Ticket`](super::id::Domain::Ticket)).
    pub key: Key,
    /// What is wished.
    pub verb: Verb,
}

/// What can be done to a ticket. New verbs are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
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

/// One unused ticket. The fields' order is the snapshot format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ticket {
    pub(super) grant: Body,
    lease: Lease,
    payer: Payer,
}

impl Ticket {
    fn load(&self) -> Load {
        Load::of(Kind::Ticket, self.grant.len() as u64)
    }
}

/// All unused tickets.
#[derive(Debug, Clone, Default)]
pub(super) struct Tickets(OrdMap<Key, Ticket>);

impl Tickets {
    pub(super) fn carry_out(&mut self, ask: Ask, ground: &mut Ground) -> Result<Outcome, outcome::Refusal> {
        let Ask { key, verb } = ask;
        if ground.overdue && self.0.get(&key).is_some_and(|ticket| !ticket.lease.alive(ground.now_ms)) {
            self.free(&key, ground);
        }
        match verb {
            Verb::Issue { grant, ttl_ms } => {
                if self.0.contains_key(&key) {
                    return Err(Refusal::InUse.into());
                }
                let load = Load::of(Kind::Ticket, grant.len() as u64);
                ground.storage.admit(load)?;
                let payer = ground.storage.add(load);
                let lease = ground.agenda.begin(Thing::Ticket(key), ground.after(ttl_ms));
                self.0.insert(key, Ticket { grant: grant.detached(), lease, payer });
                Ok(Outcome::Issued)
            }
            Verb::Redeem => match self.free(&key, ground) {
                Some(ticket) => Ok(Outcome::Redeemed { grant: ticket.grant }),
                None => Err(Refusal::Unknown.into()),
            },
        }
    }

    fn free(&mut self, key: &Key, ground: &mut Ground) -> Option<Ticket> {
        let ticket = self.0.remove(key)?;
        ground.agenda.end(&ticket.lease, Thing::Ticket(*key));
        ground.storage.drop(ticket.payer, ticket.load());
        Some(ticket)
    }

    /// The agenda says that a ticket is due. Nothing renews one, so it is over.
    pub(super) fn lapse(&mut self, key: &Key, ground: &mut Ground) -> usize {
        self.free(key, ground);
        1
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Ticket)> {
        self.0.iter()
    }

    /// Takes a ticket as a snapshot has it; false if that cannot be.
    pub(super) fn restore(&mut self, key: Key, ticket: Ticket, ground: &mut Ground) -> bool {
        ground.agenda.restore(&ticket.lease, Thing::Ticket(key))
            && ground.storage.restore(ticket.payer, ticket.load())
            && self.0.insert(key, ticket).is_none()
    }
}
