//! The chunk store: every body once, however many chunks hold it.
//!
//! Bodies are numbered, in the order in which they came, so that what arrives and expires together lies
//! together, and a change copies few nodes of the persistent map. Only a new chunk asks for a body by its digest.

use std::collections::BTreeMap;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::body::Body;
use super::id::Digest;
use super::outcome::Refusal;
use super::storage_quota::{Load, Storage};
use super::weight::Kind;

/// Names a stored body. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub(super) struct BlobId(u64);

/// All bodies, each with the number of chunks and idempotency keys that refer to it.
#[derive(Debug, Clone, Default)]
pub(super) struct BlobStore {
    blobs: OrdMap<BlobId, Stored>,
    next: BlobId,
    finder: Finder,
}

#[derive(Debug, Clone)]
struct Stored {
    digest: Digest,
    body: Body,
    refs: u32,
}

/// Finds an id by its body's digest. A clone leaves it behind, because views for readers are cloned all the time
/// and never ask; should something be applied to a clone, it is built anew.
#[derive(Debug, Default)]
struct Finder(Option<BTreeMap<Digest, BlobId>>);

impl Clone for Finder {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl Finder {
    fn ready(&mut self, blobs: &OrdMap<BlobId, Stored>) -> &mut BTreeMap<Digest, BlobId> {
        self.0.get_or_insert_with(|| blobs.iter().map(|(id, stored)| (stored.digest, *id)).collect())
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
    ) -> Result<BlobId, Refusal> {
        let len = body.len() as u64;
        let finder = self.finder.ready(&self.blobs);
        if let Some(id) = finder.get(&digest) {
            storage.admit(load.and_shared(Kind::Body, len))?;
            self.blobs.get_mut(id).expect("what the finder finds is stored").refs += 1;
            return Ok(*id);
        }
        storage.admit(load.and(Kind::Body, len))?;
        // A body of its own: the one in the proposal is a slice of a whole batch's buffer.
        Ok(self.insert(Stored { digest, body: body.detached(), refs: 1 }, storage))
    }

    /// Stores a new body under the next id.
    fn insert(&mut self, stored: Stored, storage: &mut Storage) -> BlobId {
        let id = self.next;
        self.next.0 += 1;
        self.finder.ready(&self.blobs).insert(stored.digest, id);
        storage.add_body(stored.body.len() as u64);
        self.blobs.insert(id, stored);
        id
    }

    /// Adds one reference to a body that is there; false if it is not.
    pub(super) fn refer(&mut self, id: BlobId) -> bool {
        match self.blobs.get_mut(&id) {
            Some(stored) => {
                stored.refs += 1;
                true
            }
            None => false,
        }
    }

    /// Drops one reference, and the body with the last.
    pub(super) fn release(&mut self, id: BlobId, storage: &mut Storage) {
        let Some(stored) = self.blobs.get_mut(&id) else { return };
        stored.refs -= 1;
        if stored.refs == 0 {
            storage.drop_body(stored.body.len() as u64);
            let digest = stored.digest;
            self.finder.ready(&self.blobs).remove(&digest);
            self.blobs.remove(&id);
        }
    }

    pub(super) fn get(&self, id: BlobId) -> Option<(Digest, &Body)> {
        self.blobs.get(&id).map(|stored| (stored.digest, &stored.body))
    }

    pub(super) fn len(&self) -> usize {
        self.blobs.len()
    }

    /// The id that the next body takes; part of the state, since all replicas must number alike.
    pub(super) fn next(&self) -> BlobId {
        self.next
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (BlobId, Digest, &Body)> {
        self.blobs.iter().map(|(id, stored)| (*id, stored.digest, &stored.body))
    }

    /// Takes out the oldest body, whoever refers to it: for a copy that is used up while it is written.
    pub(super) fn pop(&mut self) -> Option<(BlobId, Digest, Body)> {
        let (id, _) = self.blobs.get_min()?;
        let id = *id;
        let Stored { digest, body, .. } = self.blobs.remove(&id)?;
        Some((id, digest, body))
    }

    /// Begins as a snapshot does, before its bodies.
    pub(super) fn restore_next(&mut self, next: BlobId) {
        self.next = next;
    }

    /// Stores a body as a snapshot has it, without a reference yet; false if that cannot be.
    pub(super) fn restore(&mut self, id: BlobId, digest: Digest, body: Body, storage: &mut Storage) -> bool {
        storage.add_body(body.len() as u64);
        id < self.next
            && self.finder.ready(&self.blobs).insert(digest, id).is_none()
            && self.blobs.insert(id, Stored { digest, body, refs: 0 }).is_none()
    }

    /// Stores a body that another cell had, without a reference yet, and says under which id; the same body once.
    pub(super) fn adopt(&mut self, digest: Digest, body: Body, storage: &mut Storage) -> BlobId {
        match self.finder.ready(&self.blobs).get(&digest) {
            Some(id) => *id,
            None => self.insert(Stored { digest, body, refs: 0 }, storage),
        }
    }

    /// Lets an adopted body go again if nothing refers to it.
    pub(super) fn drop_unless_referred(&mut self, id: BlobId, storage: &mut Storage) {
        if self.refer(id) {
            self.release(id, storage);
        }
    }

    /// Whether nothing is kept that nobody refers to.
    pub(super) fn all_referred(&self) -> bool {
        self.blobs.values().all(|stored| stored.refs > 0)
    }

    /// The references as counted, for tests that count them anew.
    #[cfg(test)]
    pub(super) fn refs(&self) -> BTreeMap<Digest, u32> {
        self.blobs.values().map(|stored| (stored.digest, stored.refs)).collect()
    }
}
