//! Memos: outcomes remembered under callers' own names (`Idempotency-Key`, a job's id).
//!
//! Unlike [`replay`](super::replay), which belongs to the cluster and forgets what is no longer in flight, a memo
//! is a promise to a caller and kept for its time. Refusals for want of allowance or storage are not kept: the
//! caller is told to come back, and shall find something else then.

use std::sync::Arc;

use imbl::OrdMap;

use super::account::Payer;
use super::bodies::Slot;
use super::command::Memo;
use super::expiry::{Lease, Thing};
use super::ground::Ground;
use super::id::Key;
use super::limits::MEMOS_MAX;
use super::outcome::{Answer, Outcome};
use super::storage::Load;
use super::weight::Kind;
use super::{mailbox, ticket, transfer};

/// All remembered outcomes.
#[derive(Debug, Clone, Default)]
pub(super) struct Memos(OrdMap<Key, Remembered>);

/// One remembered outcome.
#[derive(Debug, Clone)]
pub(super) struct Remembered {
    pub(super) answer: Arc<Answer>,
    /// Where the answer hands out a chunk: whose body this refers to, so that it is stored and counted once.
    pub(super) slot: Option<Slot>,
    pub(super) lease: Lease,
    pub(super) payer: Payer,
}

impl Memos {
    /// The answer under a name, marked as a repeated one.
    pub(super) fn get(&self, key: &Key, now_ms: u64) -> Option<Answer> {
        let known = self.0.get(key).filter(|known| known.lease.alive(now_ms))?;
        Some(Answer { replayed: true, ..Answer::clone(&known.answer) })
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MEMOS_MAX
    }

    /// Remembers an answer under a name that is not known.
    pub(super) fn remember(
        &mut self,
        memo: &Memo,
        answer: Arc<Answer>,
        slot: Option<Slot>,
        ground: &mut Ground,
    ) {
        // One that is over but not freed yet would be in the way.
        self.free(&memo.key, ground);
        let slot = slot.filter(|slot| ground.bodies.refer(*slot));
        let lease = ground.agenda.begin(Thing::Memo(memo.key), ground.after(memo.ttl_ms));
        let mut known = Remembered { answer, slot, lease, payer: Payer::NOBODY };
        known.payer = ground.storage.add(known.load());
        self.0.insert(memo.key, known);
    }

    fn free(&mut self, key: &Key, ground: &mut Ground) {
        if let Some(known) = self.0.remove(key) {
            ground.agenda.end(&known.lease, Thing::Memo(*key));
            ground.storage.drop(known.payer, known.load());
            if let Some(slot) = known.slot {
                ground.bodies.release(slot, &mut ground.storage);
            }
        }
    }

    /// The agenda says that a memo is due. Nothing renews one, so it is over.
    pub(super) fn lapse(&mut self, key: &Key, ground: &mut Ground) -> usize {
        self.free(key, ground);
        1
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What all of them are on accounts with.
    pub(super) fn bytes(&self) -> u64 {
        self.0.values().map(|known| known.load().own).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Remembered)> {
        self.0.iter()
    }

    /// Takes a memo as a snapshot has it, after the body it refers to; false if that cannot be.
    pub(super) fn restore(&mut self, key: Key, known: Remembered, ground: &mut Ground) -> bool {
        ground.agenda.restore(&known.lease, Thing::Memo(key))
            && ground.storage.restore(known.payer, known.load())
            && known.slot.is_none_or(|slot| ground.bodies.refer(slot))
            && self.0.insert(key, known).is_none()
    }
}

impl Remembered {
    /// What it weighs. A chunk's body, which it keeps though the chunk goes, is on its owner's account as well.
    fn load(&self) -> Load {
        let bytes = match (&self.answer.outcome, self.slot) {
            (Ok(Outcome::Transfer(transfer::Outcome::Chunk { body, .. })), Some(_)) => {
                return Load::of(Kind::Memo, 0).and_shared(Kind::Body, body.len() as u64);
            }
            (Ok(Outcome::Transfer(transfer::Outcome::Chunk { body, .. })), None) => body.len() as u64,
            (Ok(Outcome::Mailbox(mailbox::Outcome::Messages(messages))), _) => {
                messages.iter().map(|message| Kind::Signal.bytes() + message.weight()).sum()
            }
            (Ok(Outcome::Ticket(ticket::Outcome::Redeemed { grant })), _) => grant.len() as u64,
            (Ok(_) | Err(_), _) => 0,
        };
        Load::of(Kind::Memo, bytes)
    }
}
