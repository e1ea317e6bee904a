//! Expiry: what falls due when.
//!
//! Every thing that can expire has exactly one entry in the [`Agenda`], at the instant its [`Lease`] calls due.
//! Renewing a lease does not move that entry (touching must be cheap): when the entry comes up, the thing's real
//! expiry is looked at, and the entry goes back in at that instant if the thing was renewed meanwhile. Because
//! the instant of the entry is kept in the thing, the agenda can be rebuilt from a snapshot to the letter, and
//! every replica frees the same things in the same order.

use imbl::OrdSet;
use serde::{Deserialize, Serialize};

use super::allowance::Tier;
use super::host::Host;
use super::id::Key;

/// Something that expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    Transfer(Key),
    Acknowledgement(Key),
    Exchange(Key),
    Pin(Key),
    Mailbox(Key),
    Rendezvous(Key),
    Devices(Key),
    Window(Key, Tier),
    Memo(Key),
    Origin(u64),
    Host(Host),
    Socket(Key),
    Room(Key),
    Member(Key, Key),
    Claim(Key),
    Ticket(Key),
}

/// How long a thing lives, and where its entry stands in the agenda.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) expires_ms: u64,
    /// Never after the expiry.
    due_ms: u64,
}

impl Lease {
    /// Whether the thing still lives: an expiry of now is over.
    pub(super) fn alive(&self, now_ms: u64) -> bool {
        now_ms < self.expires_ms
    }
}

/// All entries, earliest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Agenda(OrdSet<(u64, Thing)>);

impl Agenda {
    /// Enters a thing that was not there.
    pub(super) fn begin(&mut self, thing: Thing, expires_ms: u64) -> Lease {
        self.enter(expires_ms, thing);
        Lease { expires_ms, due_ms: expires_ms }
    }

    /// Lets a thing live until `expires_ms`. Only a shorter life than before moves the entry.
    pub(super) fn renew(&mut self, lease: &mut Lease, thing: Thing, expires_ms: u64) {
        lease.expires_ms = expires_ms;
        if expires_ms < lease.due_ms {
            self.strike(lease.due_ms, thing);
            self.enter(expires_ms, thing);
            lease.due_ms = expires_ms;
        }
    }

    /// Puts the entry of a thing back in that came up but was renewed.
    pub(super) fn keep(&mut self, lease: &mut Lease, thing: Thing) {
        self.enter(lease.expires_ms, thing);
        lease.due_ms = lease.expires_ms;
    }

    /// Takes a thing out that is no more.
    pub(super) fn end(&mut self, lease: &Lease, thing: Thing) {
        self.strike(lease.due_ms, thing);
    }

    /// Enters a thing as a snapshot has it; false if that cannot be.
    pub(super) fn restore(&mut self, lease: &Lease, thing: Thing) -> bool {
        lease.due_ms <= lease.expires_ms && self.enter(lease.due_ms, thing)
    }

    /// The plain form, for things that compute their own due instant. False if it stands there already.
    pub(super) fn enter(&mut self, due_ms: u64, thing: Thing) -> bool {
        self.0.insert((due_ms, thing)).is_none()
    }

    /// The plain form of [`Agenda::end`].
    pub(super) fn strike(&mut self, due_ms: u64, thing: Thing) {
        self.0.remove(&(due_ms, thing));
    }

    /// Takes out the earliest entry that is due.
    pub(super) fn pop(&mut self, now_ms: u64) -> Option<Thing> {
        let &(due_ms, thing) = self.0.get_min()?;
        if due_ms > now_ms {
            return None;
        }
        self.strike(due_ms, thing);
        Some(thing)
    }

    /// The earliest entry's instant.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.0.get_min().map(|&(due_ms, _)| due_ms)
    }
}
