//! The chunk store: every body once, however many chunks hold it.

use imbl::OrdMap;

use super::body::Body;
use super::ground::Storage;
use super::id::Digest;
use super::limits::ENTRY_BYTES;
use super::outcome::Refusal;

/// Bodies by digest, each with the number of chunks and memos that refer to it.
#[derive(Debug, Clone, Default)]
pub(super) struct Bodies(OrdMap<Digest, Stored>);

#[derive(Debug, Clone)]
struct Stored {
    body: Body,
    refs: u32,
}

impl Bodies {
    /// Adds one reference, storing the body if it is new. `growth` is what else the caller is about to store;
    /// nothing is changed if the sum is over the bound.
    pub(super) fn keep(
        &mut self,
        digest: Digest,
        body: &Body,
        growth: u64,
        storage: &mut Storage,
    ) -> Result<(), Refusal> {
        if let Some(stored) = self.0.get_mut(&digest) {
            storage.admit(growth)?;
            stored.refs += 1;
            return Ok(());
        }
        let len = body.len() as u64;
        storage.admit(growth + ENTRY_BYTES + len)?;
        // A body of its own: the one in the proposal is a slice of a whole batch's buffer.
        self.0.insert(digest, Stored { body: body.detached(), refs: 1 });
        storage.add_entry(len);
        Ok(())
    }

    /// Adds one reference to a body that is there; false if it is not.
    pub(super) fn refer(&mut self, digest: &Digest) -> bool {
        match self.0.get_mut(digest) {
            Some(stored) => {
                stored.refs += 1;
                true
            }
            None => false,
        }
    }

    /// Drops one reference, and the body with the last.
    pub(super) fn release(&mut self, digest: &Digest, storage: &mut Storage) {
        let Some(stored) = self.0.get_mut(digest) else { return };
        stored.refs -= 1;
        if stored.refs == 0 {
            let len = stored.body.len() as u64;
            self.0.remove(digest);
            storage.drop_entry(len);
        }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<&Body> {
        self.0.get(digest).map(|stored| &stored.body)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Digest, &Body)> {
        self.0.iter().map(|(digest, stored)| (digest, &stored.body))
    }

    /// Stores a body as a snapshot has it, without a reference yet; false if it was there.
    pub(super) fn restore(&mut self, digest: Digest, body: Body, storage: &mut Storage) -> bool {
        storage.add_entry(body.len() as u64);
        self.0.insert(digest, Stored { body, refs: 0 }).is_none()
    }

    /// Whether nothing is kept that nobody refers to.
    pub(super) fn all_referred(&self) -> bool {
        self.0.values().all(|stored| stored.refs > 0)
    }

    /// The references as counted, for tests that count them anew.
    #[cfg(test)]
    pub(super) fn refs(&self) -> std::collections::BTreeMap<Digest, u32> {
        self.0.iter().map(|(digest, stored)| (*digest, stored.refs)).collect()
    }
}
