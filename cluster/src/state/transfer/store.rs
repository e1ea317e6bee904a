//! Where transfers live.

mod read;

use std::ops::RangeInclusive;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::super::account::Payer;
use super::super::bitset::Bitset;
use super::super::blob_store::BlobId;
use super::super::body::Body;
use super::super::context::ApplyContext;
use super::super::expiry::{AgedLease, ExpiryKey};
use super::super::id::{Digest, Domain, Key};
use super::super::limits::TRANSFER_CHUNKS_MAX;
use super::super::outcome;
use super::super::storage_quota::Load;
use super::super::table::{Entry, Stored, Table};
use super::super::weight::Kind;
use super::{Action, Encoding, Op, Outcome, Refusal};

/// All transfers. The maps are flat, so that a change copies a few small nodes whatever a transfer's size.
#[derive(Debug, Clone, Default)]
pub(in crate::state) struct Transfers {
    pub(in crate::state) transfers: Table<Transfer>,
    chunks: OrdMap<(Key, u16), Chunk>,
    /// Kept apart, because an acknowledgement outlives its transfer. The next one under the key ends it.
    pub(in crate::state) acknowledgements: Table<Acknowledgement>,
}

/// One transfer. The fields' order is the snapshot format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::state) struct Transfer {
    total: u16,
    acknowledged: bool,
    /// Whether the chunks are gone though the record stays, to say that all was delivered.
    freed: bool,
    received: Bitset,
    delivered: Bitset,
}

impl Stored for Transfer {
    type Key = Key;
    type Life = AgedLease;
    const EXPIRY: fn(Key) -> ExpiryKey = ExpiryKey::Transfer;

    /// Without the chunks, each of which is on the account of whoever put it.
    fn load(&self) -> Load {
        Load::of(Kind::Transfer, 0)
    }

    fn restore_parts(&self, _: &mut ApplyContext) -> bool {
        let Self { total, received, delivered, .. } = self;
        is_total(*total)
            && received.fits(*total)
            && delivered.fits(*total)
            && delivered.lowest_not_in(received).is_none()
    }
}

/// One stored chunk. The fields' order is the snapshot format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::state) struct Chunk {
    pub(in crate::state) blob: BlobId,
    encoding: Encoding,
    /// Who put it, and has the whole body on its account.
    pub(in crate::state) payer: Payer,
}

/// One remembered acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::state) struct Acknowledgement;

impl Stored for Acknowledgement {
    type Key = Key;
    type Life = AgedLease;
    const EXPIRY: fn(Key) -> ExpiryKey = ExpiryKey::Acknowledgement;

    fn load(&self) -> Load {
        Load::of(Kind::Acknowledgement, 0)
    }
}

impl Transfer {
    /// How many chunks came, and how many there are in all.
    pub(in crate::state) fn progress(&self) -> (u64, u64) {
        (self.received.count().into(), self.total.into())
    }

    fn is_delivered(&self) -> bool {
        self.delivered.count() == self.total
    }
}

/// What [`Action::Put`] carries.
struct Upload<'a> {
    index: u16,
    total: Option<u16>,
    digest: Digest,
    encoding: Encoding,
    body: &'a Body,
}

/// Where a new chunk belongs.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// In the transfer that is there.
    Within,
    /// In one that it begins.
    Begins { total: u16 },
}

impl Place {
    /// The place of a chunk, if it may be put there; `None` if there is a chunk already.
    fn of(
        transfer: Option<&Entry<Transfer>>,
        index: u16,
        total: Option<u16>,
    ) -> Result<Option<Self>, Refusal> {
        if total.is_some_and(|total| !is_total(total) || index >= total) {
            return Err(Refusal::OutOfRange);
        }
        match (transfer, total) {
            (Some(transfer), Some(total)) if total != transfer.total => Err(Refusal::TotalMismatch),
            (Some(transfer), _) if index >= transfer.total => Err(Refusal::OutOfRange),
            (Some(transfer), _) if transfer.delivered.get(index) => Err(Refusal::Delivered),
            (Some(transfer), _) => Ok((!transfer.received.get(index)).then_some(Self::Within)),
            (None, Some(total)) => Ok(Some(Self::Begins { total })),
            (None, None) => Err(Refusal::Absent),
        }
    }

    /// What it takes besides the body.
    fn load(self) -> Load {
        match self {
            Self::Within => Load::of(Kind::Chunk, 0),
            Self::Begins { .. } => Load::of(Kind::Transfer, 0).and(Kind::Chunk, 0),
        }
    }
}

impl Transfers {
    pub(in crate::state) fn carry_out(
        &mut self,
        op: Op,
        ctx: &mut ApplyContext,
    ) -> Result<Outcome, outcome::Refusal> {
        let Op { key, ttl_ms, action } = op;
        if let Some(transfer) = self.transfers.free_if_over(key, ctx) {
            self.free_chunks(key, &transfer, ctx);
        }
        match action {
            Action::Open { total } => self.open(key, ttl_ms, total, ctx),
            Action::Put { index, total, digest, encoding, body } => {
                let upload = Upload { index, total, digest, encoding, body: &body };
                self.put(key, ttl_ms, &upload, ctx)
            }
            Action::Take => Ok(self.take(key, ttl_ms, ctx)),
            Action::Acknowledge { existing } => self.acknowledge(key, ttl_ms, existing, ctx),
            Action::Discard => self.discard(key, ctx),
            Action::Touch => Ok(self.touch(key, ttl_ms, ctx)),
        }
    }

    fn open(
        &mut self,
        key: Key,
        ttl_ms: u32,
        total: u16,
        ctx: &mut ApplyContext,
    ) -> Result<Outcome, outcome::Refusal> {
        if !is_total(total) {
            return Err(Refusal::OutOfRange.into());
        }
        if let Some(transfer) = self.transfers.get_mut(&key) {
            if transfer.total != total {
                return Err(Refusal::TotalMismatch.into());
            }
            renew(transfer, key, ttl_ms, ctx);
            return Ok(Outcome::Opened { created: false });
        }
        ctx.storage.admit(Load::of(Kind::Transfer, 0))?;
        self.begin(key, ttl_ms, total, None, ctx);
        ctx.wakes.wake(Domain::Transfer, key);
        Ok(Outcome::Opened { created: true })
    }

    fn put(
        &mut self,
        key: Key,
        ttl_ms: u32,
        upload: &Upload<'_>,
        ctx: &mut ApplyContext,
    ) -> Result<Outcome, outcome::Refusal> {
        let &Upload { index, total, digest, encoding, body } = upload;
        let transfer = self.transfers.get_mut(&key);
        let Some(place) = Place::of(transfer.as_deref(), index, total)? else {
            // A sender may say a chunk again, but not otherwise.
            let known = self.chunks.get(&(key, index)).expect("a received chunk is stored");
            let stored = ctx.blobs.get(known.blob).map(|(digest, _)| digest);
            if known.encoding != encoding || stored != Some(digest) {
                return Err(Refusal::Conflict.into());
            }
            transfer.into_iter().for_each(|transfer| renew(transfer, key, ttl_ms, ctx));
            return Ok(Outcome::Duplicate);
        };
        let blob = ctx.blobs.keep(digest, body, place.load(), &mut ctx.storage)?;
        if let Place::Begins { total } = place {
            self.begin(key, ttl_ms, total, Some(index), ctx);
        } else if let Some(transfer) = transfer {
            transfer.received.set(index);
            renew(transfer, key, ttl_ms, ctx);
        }
        let payer = ctx.storage.add(chunk_load(body.len()));
        self.chunks.insert((key, index), Chunk { blob, encoding, payer });
        ctx.wakes.wake(Domain::Transfer, key);
        Ok(Outcome::Stored)
    }

    fn take(&mut self, key: Key, ttl_ms: u32, ctx: &mut ApplyContext) -> Outcome {
        let Some(transfer) = self.transfers.get_mut(&key) else { return Outcome::Absent };
        let Some(index) = transfer.received.lowest_not_in(&transfer.delivered) else {
            if !transfer.is_delivered() {
                renew(transfer, key, ttl_ms, ctx);
                return Outcome::Waiting;
            }
            if transfer.acknowledged {
                self.free(key, ctx);
                ctx.wakes.wake(Domain::Transfer, key);
            } else {
                renew(transfer, key, ttl_ms, ctx);
            }
            return Outcome::Done;
        };
        transfer.delivered.set(index);
        renew(transfer, key, ttl_ms, ctx);
        ctx.wakes.wake(Domain::Transfer, key);
        let total = transfer.total;
        let chunk = self.chunks.get(&(key, index)).expect("an undelivered received chunk is stored");
        let body = ctx.blobs.get(chunk.blob).expect("a stored chunk refers to its body").1.clone();
        Outcome::Chunk { index, total, encoding: chunk.encoding, body }
    }

    fn acknowledge(
        &mut self,
        key: Key,
        ttl_ms: u32,
        existing: bool,
        ctx: &mut ApplyContext,
    ) -> Result<Outcome, outcome::Refusal> {
        match self.transfers.get_mut(&key) {
            Some(transfer) => {
                transfer.acknowledged = true;
                // A reader of the transfers API reads what it likes and never takes: its word ends the reading.
                if existing && transfer.received.count() == transfer.total {
                    transfer.delivered = Bitset::all(transfer.total);
                }
                renew(transfer, key, ttl_ms, ctx);
                if transfer.is_delivered() && !transfer.freed {
                    let whole = Transfer::clone(transfer);
                    transfer.freed = true;
                    self.free_chunks(key, &whole, ctx);
                }
            }
            None if existing => return Err(Refusal::Absent.into()),
            // Where nothing lives nothing bounds the acknowledgements but the storage.
            None if !self.acknowledgements.contains(&key) => {
                ctx.storage.admit(Load::of(Kind::Acknowledgement, 0))?;
            }
            None => {}
        }
        match self.acknowledgements.get_mut(&key) {
            Some(known) => {
                let age_max_ms = ctx.storage.rules.ages.transfer_max_ms;
                known.life.renew(ttl_ms, age_max_ms, ExpiryKey::Acknowledgement(key), ctx);
            }
            None => self.acknowledgements.add(key, Acknowledgement, ctx.after(ttl_ms), ctx),
        }
        ctx.wakes.wake(Domain::Transfer, key);
        Ok(Outcome::Acknowledged)
    }

    fn discard(&mut self, key: Key, ctx: &mut ApplyContext) -> Result<Outcome, outcome::Refusal> {
        if !self.transfers.contains(&key) {
            return Err(Refusal::Absent.into());
        }
        self.free(key, ctx);
        self.acknowledgements.free(key, ctx);
        ctx.wakes.wake(Domain::Transfer, key);
        Ok(Outcome::Discarded)
    }

    fn touch(&mut self, key: Key, ttl_ms: u32, ctx: &mut ApplyContext) -> Outcome {
        match self.transfers.get_mut(&key) {
            Some(transfer) => {
                renew(transfer, key, ttl_ms, ctx);
                Outcome::Touched
            }
            None => Outcome::Absent,
        }
    }

    /// Begins a transfer, perhaps with a first chunk. What was acknowledged under its key was another one.
    fn begin(&mut self, key: Key, ttl_ms: u32, total: u16, index: Option<u16>, ctx: &mut ApplyContext) {
        self.acknowledgements.free(key, ctx);
        let (mut received, delivered) = (Bitset::none(total), Bitset::none(total));
        index.into_iter().for_each(|index| received.set(index));
        let transfer = Transfer { total, acknowledged: false, freed: false, received, delivered };
        self.transfers.add(key, transfer, ctx.after(ttl_ms), ctx);
    }

    fn free(&mut self, key: Key, ctx: &mut ApplyContext) {
        if let Some(transfer) = self.transfers.free(key, ctx) {
            self.free_chunks(key, &transfer, ctx);
        }
    }

    /// Removes the transfers under keys of a range, with their chunks and acknowledgements.
    pub(in crate::state) fn free_under(&mut self, keys: &RangeInclusive<Key>, ctx: &mut ApplyContext) {
        for key in self.transfers.names_under(keys) {
            self.free(key, ctx);
        }
        self.acknowledgements.free_under(keys, ctx);
    }

    /// Drops a transfer's chunks, unless they are gone already; says how many that were.
    fn free_chunks(&mut self, key: Key, transfer: &Transfer, ctx: &mut ApplyContext) -> usize {
        let mut freed = 0;
        for index in transfer.received.iter().filter(|_| !transfer.freed) {
            if let Some(chunk) = self.chunks.remove(&(key, index)) {
                let len = ctx.blobs.get(chunk.blob).map_or(0, |(_, body)| body.len());
                ctx.storage.drop(chunk.payer, chunk_load(len));
                ctx.blobs.release(chunk.blob, &mut ctx.storage);
                freed += 1;
            }
        }
        freed
    }

    /// The expiry queue says that a transfer is due; returns how many things were looked at.
    pub(in crate::state) fn on_expiry(&mut self, key: Key, ctx: &mut ApplyContext) -> usize {
        let Some(transfer) = self.transfers.expire(key, ctx) else { return 1 };
        ctx.wakes.wake(Domain::Transfer, key);
        1 + self.free_chunks(key, &transfer, ctx)
    }
}

fn is_total(total: u16) -> bool {
    (1..=TRANSFER_CHUNKS_MAX).contains(&total)
}

/// A chunk, and its body on the account of whoever put it; the store has the body once.
fn chunk_load(len: usize) -> Load {
    Load::of(Kind::Chunk, 0).and_shared(Kind::Body, len as u64)
}

fn renew(transfer: &mut Entry<Transfer>, key: Key, ttl_ms: u32, ctx: &mut ApplyContext) {
    let age_max_ms = ctx.storage.rules.ages.transfer_max_ms;
    transfer.life.renew(ttl_ms, age_max_ms, ExpiryKey::Transfer(key), ctx);
}
