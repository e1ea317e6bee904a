//! Expiry: what falls due when.
//!
//! Every thing that can expire has exactly one entry in the [`ExpiryQueue`], at the instant its [`Lease`] calls due.
//! Renewing a lease does not move that entry (touching must be cheap): when the entry comes up, the thing's real
//! expiry is looked at, and the entry goes back in at that instant if the thing was renewed meanwhile. Because
//! the instant of the entry is kept in the thing, the expiry queue can be rebuilt from a snapshot to the letter, and
//! every replica frees the same things in the same order.

use imbl::OrdSet;
use serde::{Deserialize, Serialize};

use super::allowance::Tier;
use super::context::ApplyContext;
use super::id::Key;
use super::incarnation::Incarnation;
use super::table::Life;

/// Something that expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ExpiryKey {
    Transfer(Key),
    Acknowledgement(Key),
    Negotiation(Key),
    Pin(Key),
    Mailbox(Key),
    Rendezvous(Key),
    Devices(Key),
    Window(Key, Tier),
    IdempotencyKey(Key),
    Origin(u64),
    Incarnation(Incarnation),
    Socket(Key),
    Room(Key),
    Member(Key, Key),
    Claim(Key),
    Ticket(Key),
    Departure(Key, Key),
    Revocation(Key, Key),
    AuditLog(Key),
    AuditLine(Key, Key),
    Registration(Key, Key),
}

/// Where a thing's entry stands in the expiry queue. As a [`Life`] it is for things whose noun knows when they are due
/// next: it sets that before the entry's coming up is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Due {
    pub(super) due_ms: u64,
}

impl Due {
    /// Moves the entry if it stands too late.
    pub(super) fn hasten(&mut self, due_ms: u64, expiry_key: ExpiryKey, ctx: &mut ApplyContext) {
        if due_ms < self.due_ms {
            self.end(expiry_key, ctx);
            *self = Self::begin(due_ms, expiry_key, ctx);
        }
    }
}

impl Life for Due {
    /// When it is due first.
    type Term = u64;

    fn begin(due_ms: u64, expiry_key: ExpiryKey, ctx: &mut ApplyContext) -> Self {
        ctx.expiry_queue.enter(due_ms, expiry_key);
        Self { due_ms }
    }

    fn alive(&self, _: u64) -> bool {
        true
    }

    fn on_expiry(&mut self, expiry_key: ExpiryKey, ctx: &mut ApplyContext) -> bool {
        let later = ctx.now_ms < self.due_ms;
        if later {
            ctx.expiry_queue.enter(self.due_ms, expiry_key);
        }
        later
    }

    fn ends_ms(&self) -> Option<u64> {
        Some(self.due_ms)
    }

    fn end(&self, expiry_key: ExpiryKey, ctx: &mut ApplyContext) {
        ctx.expiry_queue.strike(self.due_ms, expiry_key);
    }

    fn restore(&self, expiry_key: ExpiryKey, ctx: &mut ApplyContext) -> bool {
        ctx.expiry_queue.enter(self.due_ms, expiry_key)
    }
}

/// How long a thing lives. Its entry is due never after its expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) expires_ms: u64,
    due: Due,
}

impl Lease {
    /// Lets a thing live until `expires_ms`. Only a shorter life than before moves the entry.
    pub(super) fn renew(&mut self, expires_ms: u64, expiry_key: ExpiryKey, ctx: &mut ApplyContext) {
        self.expires_ms = expires_ms;
        self.due.hasten(expires_ms, expiry_key, ctx);
    }
}

impl Life for Lease {
    /// When it expires.
    type Term = u64;

    fn begin(expires_ms: u64, expiry_key: ExpiryKey, ctx: &mut ApplyContext) -> Self {
        Self { expires_ms, due: Due::begin(expires_ms, expiry_key, ctx) }
    }

    /// An expiry of now is over.
    fn alive(&self, now_ms: u64) -> bool {
        now_ms < self.expires_ms
    }

    fn on_expiry(&mut self, expiry_key: ExpiryKey, ctx: &mut ApplyContext) -> bool {
        self.due.due_ms = self.expires_ms;
        self.due.on_expiry(expiry_key, ctx)
    }

    fn ends_ms(&self) -> Option<u64> {
        Some(self.expires_ms)
    }

    fn end(&self, expiry_key: ExpiryKey, ctx: &mut ApplyContext) {
        self.due.end(expiry_key, ctx);
    }

    fn restore(&self, expiry_key: ExpiryKey, ctx: &mut ApplyContext) -> bool {
        self.due.due_ms <= self.expires_ms && self.due.restore(expiry_key, ctx)
    }
}

/// A lease that can't be renewed for ever. The fields' order is the snapshot format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AgedLease {
    pub(super) lease: Lease,
    begun_ms: u64,
}

impl AgedLease {
    /// Lets the thing live for `ttl_ms` from now, but not beyond `age_max_ms` from its beginning; returns until when.
    pub(super) fn renew(
        &mut self,
        ttl_ms: u32,
        age_max_ms: u64,
        expiry_key: ExpiryKey,
        ctx: &mut ApplyContext,
    ) -> u64 {
        let expires_ms = ctx.after_within(ttl_ms, self.begun_ms, age_max_ms);
        self.lease.renew(expires_ms, expiry_key, ctx);
        expires_ms
    }
}

impl Life for AgedLease {
    type Term = u64;

    fn begin(expires_ms: u64, expiry_key: ExpiryKey, ctx: &mut ApplyContext) -> Self {
        Self { lease: Lease::begin(expires_ms, expiry_key, ctx), begun_ms: ctx.now_ms }
    }

    fn alive(&self, now_ms: u64) -> bool {
        self.lease.alive(now_ms)
    }

    fn on_expiry(&mut self, expiry_key: ExpiryKey, ctx: &mut ApplyContext) -> bool {
        self.lease.on_expiry(expiry_key, ctx)
    }

    fn ends_ms(&self) -> Option<u64> {
        self.lease.ends_ms()
    }

    fn end(&self, expiry_key: ExpiryKey, ctx: &mut ApplyContext) {
        self.lease.end(expiry_key, ctx);
    }

    fn restore(&self, expiry_key: ExpiryKey, ctx: &mut ApplyContext) -> bool {
        self.lease.restore(expiry_key, ctx)
    }
}

/// All entries, earliest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ExpiryQueue(OrdSet<(u64, ExpiryKey)>);

impl ExpiryQueue {
    /// False if it stands there already.
    fn enter(&mut self, due_ms: u64, expiry_key: ExpiryKey) -> bool {
        self.0.insert((due_ms, expiry_key)).is_none()
    }

    fn strike(&mut self, due_ms: u64, expiry_key: ExpiryKey) {
        self.0.remove(&(due_ms, expiry_key));
    }

    /// Takes out the earliest entry that is due.
    pub(super) fn pop(&mut self, now_ms: u64) -> Option<ExpiryKey> {
        let &(due_ms, expiry_key) = self.0.get_min()?;
        if due_ms > now_ms {
            return None;
        }
        self.strike(due_ms, expiry_key);
        Some(expiry_key)
    }

    /// The earliest entry's instant.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.0.get_min().map(|&(due_ms, _)| due_ms)
    }
}
