//! The chunk store: every body once, however many chunks hold it.
//!
//! Bodies lie in numbered slots, in the order in which they came, so that what arrives and expires together lies
//! together, and a change copies few nodes of the persistent map. Only a new chunk asks for a body by its digest.

use std::collections::BTreeMap;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::body::Body;
use super::id::Digest;
use super::outcome::Refusal;
use super::storage_quota::{Load, Storage};
use super::weight::Kind;

/// Where a body lies. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub(super) struct Slot(u64);

/// All bodies, each with the number of chunks and idempotency keys that refer to it.
#[derive(Debug, Clone, Default)]
pub(super) struct BlobStore {
    slots: OrdMap<Slot, Stored>,
    next: Slot,
    finder: Finder,
}

#[derive(Debug, Clone)]
struct Stored {
    digest: Digest,
    body: Body,
    refs: u32,
}

/// Finds a slot by its body's digest. A clone leaves it behind, because views for readers are cloned all the time
/// and never ask; should something be applied to a clone, it is built anew.
#[derive(Debug, Default)]
struct Finder(Option<BTreeMap<Digest, Slot>>);

impl Clone for Finder {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl Finder {
    fn ready(&mut self, slots: &OrdMap<Slot, Stored>) -> &mut BTreeMap<Digest, Slot> {
        self.0.get_or_insert_with(|| slots.iter().map(|(slot, stored)| (stored.digest, *slot)).collect())
    }
}

impl BlobStore {
    /// Adds one reference, storing the body if it is new. `load` is what else the caller is about to store;
    /// nothing is changed if the sum is over the bound.
    pub(super) fn keep(
        &mut self,
        digest: Digest,
        body: &Body,
        load: Load,
        storage: &mut Storage,
    ) -> Result<Slot, Refusal> {
        let len = body.len() as u64;
        let finder = self.finder.ready(&self.slots);
        if let Some(slot) = finder.get(&digest) {
            storage.admit(load.and_shared(Kind::Body, len))?;
            self.slots.get_mut(slot).expect("what the finder finds is stored").refs += 1;
            return Ok(*slot);
        }
        storage.admit(load.and(Kind::Body, len))?;
        let slot = self.next;
        self.next.0 += 1;
        finder.insert(digest, slot);
        // A body of its own: the one in the proposal is a slice of a whole batch's buffer.
        self.slots.insert(slot, Stored { digest, body: body.detached(), refs: 1 });
        storage.add_body(len);
        Ok(slot)
    }

    /// Adds one reference to a body that is there; false if it is not.
    pub(super) fn refer(&mut self, slot: Slot) -> bool {
        match self.slots.get_mut(&slot) {
            Some(stored) => {
                stored.refs += 1;
                true
            }
            None => false,
        }
    }

    /// Drops one reference, and the body with the last.
    pub(super) fn release(&mut self, slot: Slot, storage: &mut Storage) {
        let Some(stored) = self.slots.get_mut(&slot) else { return };
        stored.refs -= 1;
        if stored.refs == 0 {
            storage.drop_body(stored.body.len() as u64);
            let digest = stored.digest;
            self.finder.ready(&self.slots).remove(&digest);
            self.slots.remove(&slot);
        }
    }

    pub(super) fn get(&self, slot: Slot) -> Option<(Digest, &Body)> {
        self.slots.get(&slot).map(|stored| (stored.digest, &stored.body))
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slot that the next body takes; part of the state, since all replicas must number alike.
    pub(super) fn next(&self) -> Slot {
        self.next
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, Digest, &Body)> {
        self.slots.iter().map(|(slot, stored)| (*slot, stored.digest, &stored.body))
    }

    /// Takes out the oldest body, whoever refers to it: for a copy that is used up while it is written.
    pub(super) fn pop(&mut self) -> Option<(Slot, Digest, Body)> {
        let (slot, _) = self.slots.get_min()?;
        let slot = *slot;
        let Stored { digest, body, .. } = self.slots.remove(&slot)?;
        Some((slot, digest, body))
    }

    /// Begins as a snapshot does, before its bodies.
    pub(super) fn restore_next(&mut self, next: Slot) {
        self.next = next;
    }

    /// Stores a body as a snapshot has it, without a reference yet; false if that cannot be.
    pub(super) fn restore(&mut self, slot: Slot, digest: Digest, body: Body, storage: &mut Storage) -> bool {
        storage.add_body(body.len() as u64);
        slot < self.next
            && self.finder.ready(&self.slots).insert(digest, slot).is_none()
            && self.slots.insert(slot, Stored { digest, body, refs: 0 }).is_none()
    }

    /// Whether nothing is kept that nobody refers to.
    pub(super) fn all_referred(&self) -> bool {
        self.slots.values().all(|stored| stored.refs > 0)
    }

    /// The references as counted, for tests that count them anew.
    #[cfg(test)]
    pub(super) fn refs(&self) -> BTreeMap<Digest, u32> {
        self.slots.values().map(|stored| (stored.digest, stored.refs)).collect()
    }
}
