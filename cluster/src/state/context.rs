//! The context that all nouns get while a proposal is carried out: the clock of the log, the storage bound, the
//! expiry queue, the bodies, the incarnations and the effects gathered so far.

use std::collections::BTreeSet;

use super::blob_store::BlobStore;
use super::effect::Effect;
use super::expiry::ExpiryQueue;
use super::id::{Domain, Key};
use super::incarnation::Incarnations;
use super::leader_rules::Ages;
use super::slot::Slot;
use super::storage_quota::Storage;

#[derive(Debug, Clone, Default)]
pub(super) struct ApplyContext {
    /// The proposal's version: what is decided goes by it.
    pub(super) version: u8,
    pub(super) now_ms: u64,
    /// Whether more fell due than one proposal may free, so that a thing in a map may be over already. While
    /// this is false whatever is in a map is alive.
    pub(super) overdue: bool,
    pub(super) storage: Storage,
    pub(super) expiry_queue: ExpiryQueue,
    pub(super) blobs: BlobStore,
    pub(super) incarnations: Incarnations,
    pub(super) wakes: Wakes,
}

impl ApplyContext {
    /// The instant `ttl_ms` from now, later than now. Saturates, because a stamp may be anything.
    pub(super) fn after(&self, ttl_ms: u32) -> u64 {
        self.now_ms.saturating_add(u64::from(ttl_ms.max(1)))
    }

    /// The same, but not beyond what a thing that began at `begun_ms` may become.
    pub(super) fn after_within(&self, ttl_ms: u32, begun_ms: u64, age_max_ms: u64) -> u64 {
        self.after(ttl_ms).min(Ages::end(age_max_ms, begun_ms))
    }
}

/// The effects of one proposal: each key once, in the order of its first change.
#[derive(Debug, Clone, Default)]
pub(super) struct Wakes {
    seen: BTreeSet<(Domain, Key)>,
    effects: Vec<Effect>,
}

impl Wakes {
    /// Notes that something under `key` changed.
    pub(super) fn wake(&mut self, domain: Domain, key: Key) {
        if self.seen.insert((domain, key)) {
            self.effects.push(Effect::Wake(domain, key));
        }
    }

    /// Notes that a slot is on its way to another cell.
    pub(super) fn moved(&mut self, slot: Slot) {
        self.effects.push(Effect::Moved(slot));
    }

    /// Hands the effects out and begins anew.
    pub(super) fn take(&mut self) -> Vec<Effect> {
        self.seen.clear();
        std::mem::take(&mut self.effects)
    }
}
