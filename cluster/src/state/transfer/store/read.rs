//! Transfers as readers and snapshots have them.

use std::ops::RangeInclusive;

use super::super::super::blob_store::BlobId;
use super::super::super::context::ApplyContext;
use super::super::super::id::Key;
use super::super::super::outcome;
use super::super::super::weight::Kind;
use super::super::{Encoding, NewChunk, View};
use super::{Chunk, Place, Transfers, chunk_load};

impl Transfers {
    pub(in crate::state) fn view(&self, key: &Key, now_ms: u64) -> Option<View> {
        let transfer = self.transfers.alive(key, now_ms)?;
        Some(View {
            total: transfer.total,
            received: transfer.received.ranges(),
            delivered: transfer.delivered.count(),
            available: transfer.received.lowest_not_in(&transfer.delivered).is_some(),
            acknowledged: transfer.acknowledged,
            expires_ms: transfer.life.lease.expires_ms,
        })
    }

    pub(in crate::state) fn chunk(&self, key: &Key, index: u16, now_ms: u64) -> Option<(Encoding, BlobId)> {
        self.transfers.alive(key, now_ms)?;
        self.chunks.get(&(*key, index)).map(|chunk| (chunk.encoding, chunk.blob))
    }

    /// Why there is no room for a chunk that could be put otherwise. Its body is taken for one that is stored already: only what
    /// is refused in any case is refused here.
    pub(in crate::state) fn refusal(
        &self,
        key: &Key,
        chunk: &NewChunk,
        ctx: &ApplyContext,
        now_ms: u64,
    ) -> Option<outcome::Refusal> {
        let storage = ctx.storage.seen_by(chunk.owner, chunk.remembered);
        if chunk.remembered
            && let Err(refusal) = storage.admit_key().and_then(|()| storage.admit_reserved())
        {
            return Some(refusal);
        }
        let place = Place::of(self.transfers.alive(key, now_ms), chunk.index, chunk.total).ok()??;
        storage.admit(place.load().and_shared(Kind::Body, chunk.bytes.into())).err()
    }

    pub(in crate::state) fn acknowledged(&self, key: &Key, now_ms: u64) -> bool {
        self.acknowledgements.alive(key, now_ms).is_some()
    }

    pub(in crate::state) fn chunks_len(&self) -> usize {
        self.chunks.len()
    }

    pub(in crate::state) fn chunks_under(
        &self,
        keys: &RangeInclusive<Key>,
    ) -> impl Iterator<Item = (&(Key, u16), &Chunk)> {
        self.chunks.range((*keys.start(), 0)..=(*keys.end(), u16::MAX))
    }

    /// Takes a chunk as a snapshot has it, after its transfer and its body; false if that cannot be.
    pub(in crate::state) fn restore_chunk(
        &mut self,
        key: Key,
        index: u16,
        chunk: Chunk,
        ctx: &mut ApplyContext,
    ) -> bool {
        let belongs = self.transfers.get(&key).is_some_and(|transfer| {
            index < transfer.total && transfer.received.get(index) && !transfer.freed
        });
        let len = ctx.blobs.get(chunk.blob).map_or(0, |(_, body)| body.len());
        belongs
            && ctx.storage.restore(chunk.payer, chunk_load(len))
            && ctx.blobs.refer(chunk.blob)
            && self.chunks.insert((key, index), chunk).is_none()
    }

    /// Whether every transfer has the chunks it says it received.
    pub(in crate::state) fn is_whole(&self) -> bool {
        let transfers = self.transfers.iter().map(|(_, transfer)| transfer);
        transfers
            .filter(|transfer| !transfer.freed)
            .map(|transfer| usize::from(transfer.received.count()))
            .sum::<usize>()
            == self.chunks.len()
    }
}
