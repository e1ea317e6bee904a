//! Where transfers live.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::super::account::Payer;
use super::super::bits::Bits;
use super::super::bodies::Slot;
use super::super::body::Body;
use super::super::expiry::{Lease, Thing};
use super::super::ground::Ground;
use super::super::id::{Digest, Domain, Key};
use super::super::limits::TRANSFER_CHUNKS_MAX;
use super::super::outcome;
use super::super::storage::Load;
use super::super::weight::Kind;
use super::{Ask, Encoding, Outcome, Refusal, Verb, View};

/// All transfers. The maps are flat, so that a change copies a few small nodes whatever a transfer's size.
#[derive(Debug, Clone, Default)]
pub(in crate::state) struct Transfers {
    transfers: OrdMap<Key, Transfer>,
    chunks: OrdMap<(Key, u16), Chunk>,
    /// Kept apart, because an acknowledgement outlives its transfer. The next one under the key ends it.
    acknowledgements: OrdMap<Key, Acknowledgement>,
}

/// One transfer. The fields' order is the snapshot format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::state) struct Transfer {
    total: u16,
    acknowledged: bool,
    /// Whether the chunks are gone though the record stays, to say that all was delivered.
    freed: bool,
    received: Bits,
    delivered: Bits,
    lease: Lease,
    /// Bounds how long it may be renewed.
    begun_ms: u64,
    payer: Payer,
}

/// One stored chunk. The fields' order is the snapshot format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::state) struct Chunk {
    slot: Slot,
    encoding: Encoding,
    /// Who put it, and has the whole body on its account.
    payer: Payer,
}

/// One remembered acknowledgement. The fields' order is the snapshot format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::state) struct Acknowledgement {
    lease: Lease,
    begun_ms: u64,
    payer: Payer,
}

impl Transfer {
    fn is_delivered(&self) -> bool {
        self.delivered.count() == self.total
    }
}

/// What [`Verb::Put`] carries.
struct Upload<'a> {
    index: u16,
    total: Option<u16>,
    digest: Digest,
    encoding: Encoding,
    body: &'a Body,
}

impl Transfers {
    pub(in crate::state) fn carry_out(
        &mut self,
        ask: Ask,
        ground: &mut Ground,
    ) -> Result<Outcome, outcome::Refusal> {
        let Ask { key, ttl_ms, verb } = ask;
        if ground.overdue && self.transfers.get(&key).is_some_and(|it| !it.lease.alive(ground.now_ms)) {
            self.free(&key, ground);
        }
        match verb {
            Verb::Open { total } => self.open(key, ttl_ms, total, ground),
            Verb::Put { index, total, digest, encoding, body } => {
                let upload = Upload { index, total, digest, encoding, body: &body };
                self.put(key, ttl_ms, &upload, ground)
            }
            Verb::Take => Ok(self.take(key, ttl_ms, ground)),
            Verb::Acknowledge { existing } => self.acknowledge(key, ttl_ms, existing, ground),
            Verb::Discard => self.discard(key, ground),
            Verb::Touch => Ok(self.touch(key, ttl_ms, ground)),
        }
    }

    fn open(
        &mut self,
        key: Key,
        ttl_ms: u32,
        total: u16,
        ground: &mut Ground,
    ) -> Result<Outcome, outcome::Refusal> {
        if !is_total(total) {
            return Err(Refusal::OutOfRange.into());
        }
        if let Some(transfer) = self.transfers.get_mut(&key) {
            if transfer.total != total {
                return Err(Refusal::TotalMismatch.into());
            }
            renew(transfer, key, ttl_ms, ground);
            return Ok(Outcome::Opened { created: false });
        }
        ground.storage.admit(Load::of(Kind::Transfer, 0))?;
        self.begin(key, ttl_ms, total, ground);
        ground.wakes.wake(Domain::Transfer, key);
        Ok(Outcome::Opened { created: true })
    }

    fn put(
        &mut self,
        key: Key,
        ttl_ms: u32,
        upload: &Upload<'_>,
        ground: &mut Ground,
    ) -> Result<Outcome, outcome::Refusal> {
        let &Upload { index, total, digest, encoding, body } = upload;
        if total.is_some_and(|total| !is_total(total) || index >= total) {
            return Err(Refusal::OutOfRange.into());
        }
        let slot = match (self.transfers.get_mut(&key), total) {
            (Some(transfer), _) => {
                if total.is_some_and(|total| total != transfer.total) {
                    return Err(Refusal::TotalMismatch.into());
                }
                if index >= transfer.total {
                    return Err(Refusal::OutOfRange.into());
                }
                if transfer.delivered.get(index) {
                    return Err(Refusal::Delivered.into());
                }
                if transfer.received.get(index) {
                    // A sender may say a chunk again, but not otherwise.
                    let known = self.chunks.get(&(key, index)).expect("a received chunk is stored");
                    let stored = ground.bodies.get(known.slot).map(|(digest, _)| digest);
                    if known.encoding != encoding || stored != Some(digest) {
                        return Err(Refusal::Conflict.into());
                    }
                    renew(transfer, key, ttl_ms, ground);
                    return Ok(Outcome::Duplicate);
                }
                let load = Load::of(Kind::Chunk, 0);
                let slot = ground.bodies.keep(digest, body, load, &mut ground.storage)?;
                transfer.received.set(index);
                renew(transfer, key, ttl_ms, ground);
                slot
            }
            (None, Some(total)) => {
                let load = Load::of(Kind::Transfer, 0).and(Kind::Chunk, 0);
                let slot = ground.bodies.keep(digest, body, load, &mut ground.storage)?;
                self.begin(key, ttl_ms, total, ground).received.set(index);
                slot
            }
            (None, None) => return Err(Refusal::Absent.into()),
        };
        let payer = ground.storage.add(chunk_load(body.len()));
        self.chunks.insert((key, index), Chunk { slot, encoding, payer });
        ground.wakes.wake(Domain::Transfer, key);
        Ok(Outcome::Stored)
    }

    fn take(&mut self, key: Key, ttl_ms: u32, ground: &mut Ground) -> Outcome {
        let Some(transfer) = self.transfers.get_mut(&key) else { return Outcome::Absent };
        let Some(index) = transfer.received.lowest_not_in(&transfer.delivered) else {
            if !transfer.is_delivered() {
                renew(transfer, key, ttl_ms, ground);
                return Outcome::Waiting;
            }
            if transfer.acknowledged {
                self.free(&key, ground);
                ground.wakes.wake(Domain::Transfer, key);
            } else {
                renew(transfer, key, ttl_ms, ground);
            }
            return Outcome::Done;
        };
        transfer.delivered.set(index);
        renew(transfer, key, ttl_ms, ground);
        ground.wakes.wake(Domain::Transfer, key);
        let total = transfer.total;
        let chunk = self.chunks.get(&(key, index)).expect("an undelivered received chunk is stored");
        let body = ground.bodies.get(chunk.slot).expect("a stored chunk refers to its body").1.clone();
        Outcome::Chunk { index, total, encoding: chunk.encoding, body }
    }

    fn acknowledge(
        &mut self,
        key: Key,
        ttl_ms: u32,
        existing: bool,
        ground: &mut Ground,
    ) -> Result<Outcome, outcome::Refusal> {
        match self.transfers.get_mut(&key) {
            Some(transfer) => {
                transfer.acknowledged = true;
                // A reader of the transfers API reads what it likes and never takes: its word ends the reading.
                if existing && transfer.received.count() == transfer.total {
                    transfer.delivered = Bits::all(transfer.total);
                }
                renew(transfer, key, ttl_ms, ground);
                if transfer.is_delivered() && !transfer.freed {
                    transfer.freed = true;
                    let received = transfer.received.clone();
                    self.free_chunks(&key, &received, ground);
                }
            }
            None if existing => return Err(Refusal::Absent.into()),
            // Where nothing lives nothing bounds the acknowledgements but the storage.
            None if !self.acknowledgements.contains_key(&key) => {
                ground.storage.admit(Load::of(Kind::Acknowledgement, 0))?;
            }
            None => {}
        }
        let thing = Thing::Acknowledgement(key);
        match self.acknowledgements.get_mut(&key) {
            Some(known) => {
                let age_max_ms = ground.storage.rules.ages.transfer_max_ms;
                let expires_ms = ground.after_within(ttl_ms, known.begun_ms, age_max_ms);
                ground.agenda.renew(&mut known.lease, thing, expires_ms);
            }
            None => {
                let lease = ground.agenda.begin(thing, ground.after(ttl_ms));
                let payer = ground.storage.add(Load::of(Kind::Acknowledgement, 0));
                let begun_ms = ground.now_ms;
                self.acknowledgements.insert(key, Acknowledgement { lease, begun_ms, payer });
            }
        }
        ground.wakes.wake(Domain::Transfer, key);
        Ok(Outcome::Acknowledged)
    }

    fn discard(&mut self, key: Key, ground: &mut Ground) -> Result<Outcome, outcome::Refusal> {
        if !self.transfers.contains_key(&key) {
            return Err(Refusal::Absent.into());
        }
        self.free(&key, ground);
        self.free_acknowledgement(&key, ground);
        ground.wakes.wake(Domain::Transfer, key);
        Ok(Outcome::Discarded)
    }

    fn touch(&mut self, key: Key, ttl_ms: u32, ground: &mut Ground) -> Outcome {
        match self.transfers.get_mut(&key) {
            Some(transfer) => {
                renew(transfer, key, ttl_ms, ground);
                Outcome::Touched
            }
            None => Outcome::Absent,
        }
    }

    /// Begins a transfer. What was acknowledged under its key was another one.
    fn begin(&mut self, key: Key, ttl_ms: u32, total: u16, ground: &mut Ground) -> &mut Transfer {
        self.free_acknowledgement(&key, ground);
        let lease = ground.agenda.begin(Thing::Transfer(key), ground.after(ttl_ms));
        let (received, delivered) = (Bits::none(total), Bits::none(total));
        let payer = ground.storage.add(Load::of(Kind::Transfer, 0));
        let begun_ms = ground.now_ms;
        let transfer = Transfer {
            total,
            acknowledged: false,
            freed: false,
            received,
            delivered,
            lease,
            begun_ms,
            payer,
        };
        self.transfers.entry(key).or_insert(transfer)
    }

    /// Drops a transfer with its chunks; says how many things that were.
    fn free(&mut self, key: &Key, ground: &mut Ground) -> usize {
        let Some(transfer) = self.transfers.remove(key) else { return 0 };
        ground.agenda.end(&transfer.lease, Thing::Transfer(*key));
        ground.storage.drop(transfer.payer, Load::of(Kind::Transfer, 0));
        if transfer.freed { 1 } else { 1 + self.free_chunks(key, &transfer.received, ground) }
    }

    fn free_chunks(&mut self, key: &Key, received: &Bits, ground: &mut Ground) -> usize {
        let mut freed = 0;
        for index in received.iter() {
            if let Some(chunk) = self.chunks.remove(&(*key, index)) {
                let len = ground.bodies.get(chunk.slot).map_or(0, |(_, body)| body.len());
                ground.storage.drop(chunk.payer, chunk_load(len));
                ground.bodies.release(chunk.slot, &mut ground.storage);
                freed += 1;
            }
        }
        freed
    }

    fn free_acknowledgement(&mut self, key: &Key, ground: &mut Ground) {
        if let Some(known) = self.acknowledgements.remove(key) {
            ground.agenda.end(&known.lease, Thing::Acknowledgement(*key));
            ground.storage.drop(known.payer, Load::of(Kind::Acknowledgement, 0));
        }
    }

    /// The agenda says that a transfer is due; returns how many things were looked at.
    pub(in crate::state) fn lapse(&mut self, key: &Key, ground: &mut Ground) -> usize {
        match self.transfers.get_mut(key) {
            Some(transfer) if transfer.lease.alive(ground.now_ms) => {
                ground.agenda.keep(&mut transfer.lease, Thing::Transfer(*key));
                1
            }
            _ => {
                ground.wakes.wake(Domain::Transfer, *key);
                self.free(key, ground)
            }
        }
    }

    /// The agenda says that an acknowledgement is due.
    pub(in crate::state) fn lapse_acknowledgement(&mut self, key: &Key, ground: &mut Ground) -> usize {
        match self.acknowledgements.get_mut(key) {
            Some(known) if known.lease.alive(ground.now_ms) => {
                ground.agenda.keep(&mut known.lease, Thing::Acknowledgement(*key));
            }
            _ => self.free_acknowledgement(key, ground),
        }
        1
    }

    pub(in crate::state) fn view(&self, key: &Key, now_ms: u64) -> Option<View> {
        let transfer = self.transfers.get(key).filter(|transfer| transfer.lease.alive(now_ms))?;
        Some(View {
            total: transfer.total,
            received: transfer.received.ranges(),
            delivered: transfer.delivered.count(),
            available: transfer.received.lowest_not_in(&transfer.delivered).is_some(),
            acknowledged: transfer.acknowledged,
            expires_ms: transfer.lease.expires_ms,
        })
    }

    pub(in crate::state) fn chunk(&self, key: &Key, index: u16, now_ms: u64) -> Option<(Encoding, Slot)> {
        self.transfers.get(key).filter(|transfer| transfer.lease.alive(now_ms))?;
        self.chunks.get(&(*key, index)).map(|chunk| (chunk.encoding, chunk.slot))
    }

    pub(in crate::state) fn acknowledged(&self, key: &Key, now_ms: u64) -> bool {
        self.acknowledgements.get(key).is_some_and(|known| known.lease.alive(now_ms))
    }

    pub(in crate::state) fn len(&self) -> usize {
        self.transfers.len()
    }

    pub(in crate::state) fn chunks_len(&self) -> usize {
        self.chunks.len()
    }

    pub(in crate::state) fn iter(&self) -> impl Iterator<Item = (&Key, &Transfer)> {
        self.transfers.iter()
    }

    pub(in crate::state) fn iter_chunks(&self) -> impl Iterator<Item = (&(Key, u16), &Chunk)> {
        self.chunks.iter()
    }

    pub(in crate::state) fn acknowledgements_len(&self) -> usize {
        self.acknowledgements.len()
    }

    pub(in crate::state) fn iter_acknowledgements(&self) -> impl Iterator<Item = (&Key, &Acknowledgement)> {
        self.acknowledgements.iter()
    }

    /// Takes a transfer as a snapshot has it; false if that cannot be.
    pub(in crate::state) fn restore(&mut self, key: Key, transfer: Transfer, ground: &mut Ground) -> bool {
        let Transfer { total, received, delivered, lease, .. } = &transfer;
        let sound = is_total(*total)
            && received.fits(*total)
            && delivered.fits(*total)
            && delivered.lowest_not_in(received).is_none()
            && ground.agenda.restore(lease, Thing::Transfer(key))
            && ground.storage.restore(transfer.payer, Load::of(Kind::Transfer, 0));
        sound && self.transfers.insert(key, transfer).is_none()
    }

    /// Takes a chunk as a snapshot has it, after its transfer and its body; false if that cannot be.
    pub(in crate::state) fn restore_chunk(
        &mut self,
        key: Key,
        index: u16,
        chunk: Chunk,
        ground: &mut Ground,
    ) -> bool {
        let belongs = self.transfers.get(&key).is_some_and(|transfer| {
            index < transfer.total && transfer.received.get(index) && !transfer.freed
        });
        let len = ground.bodies.get(chunk.slot).map_or(0, |(_, body)| body.len());
        belongs
            && ground.storage.restore(chunk.payer, chunk_load(len))
            && ground.bodies.refer(chunk.slot)
            && self.chunks.insert((key, index), chunk).is_none()
    }

    /// Takes an acknowledgement as a snapshot has it; false if that cannot be.
    pub(in crate::state) fn restore_acknowledgement(
        &mut self,
        key: Key,
        known: Acknowledgement,
        ground: &mut Ground,
    ) -> bool {
        ground.agenda.restore(&known.lease, Thing::Acknowledgement(key))
            && ground.storage.restore(known.payer, Load::of(Kind::Acknowledgement, 0))
            && self.acknowledgements.insert(key, known).is_none()
    }

    /// Whether every transfer has the chunks it says it received.
    pub(in crate::state) fn is_whole(&self) -> bool {
        let transfers = self.transfers.values().filter(|transfer| !transfer.freed);
        transfers.map(|transfer| usize::from(transfer.received.count())).sum::<usize>() == self.chunks.len()
    }
}

fn is_total(total: u16) -> bool {
    (1..=TRANSFER_CHUNKS_MAX).contains(&total)
}

/// A chunk, and its body on the account of whoever put it; the store has the body once.
fn chunk_load(len: usize) -> Load {
    Load::of(Kind::Chunk, 0).and_shared(Kind::Body, len as u64)
}

fn renew(transfer: &mut Transfer, key: Key, ttl_ms: u32, ground: &mut Ground) {
    let age_max_ms = ground.storage.rules.ages.transfer_max_ms;
    let expires_ms = ground.after_within(ttl_ms, transfer.begun_ms, age_max_ms);
    ground.agenda.renew(&mut transfer.lease, Thing::Transfer(key), expires_ms);
}
