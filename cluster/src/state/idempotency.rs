//! Answers: outcomes remembered under callers' own names (`Idempotency-Key`, a job's id).
//!
//! Unlike [`retry_dedup`](super::retry_dedup), which belongs to the cluster and forgets what is no longer in flight, an
//! idempotency key is a promise to a caller and kept for its time. Refusals for want of allowance or storage, or because a
//! token lapsed, are not kept: the caller is told to come back, and shall find something else then.

use std::sync::Arc;

use super::blob_store::BlobId;
use super::command::IdempotencyKey;
use super::context::ApplyContext;
use super::expiry::{ExpiryKey, Lease};
use super::id::Key;
use super::limits::IDEMPOTENCY_KEYS_MAX;
use super::outcome::{Answer, Outcome};
use super::storage_quota::Load;
use super::table::{Stored, Table};
use super::weight::Kind;
use super::{mailbox, ticket, transfer};

/// One remembered outcome.
#[derive(Debug, Clone)]
pub(super) struct Remembered {
    pub(super) answer: Arc<Answer>,
    /// Where the answer hands out a chunk: whose body this refers to, so that it is stored and counted once.
    pub(super) blob: Option<BlobId>,
}

impl Table<Remembered> {
    /// The answer under a name, marked as a repeated one.
    pub(super) fn answer(&self, key: &Key, now_ms: u64) -> Option<Answer> {
        let known = self.alive(key, now_ms)?;
        Some(Answer { replayed: true, ..Answer::clone(&known.answer) })
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= IDEMPOTENCY_KEYS_MAX
    }

    /// Remembers an answer under a name that is not known.
    pub(super) fn remember(
        &mut self,
        idempotency_key: &IdempotencyKey,
        answer: Arc<Answer>,
        blob: Option<BlobId>,
        ctx: &mut ApplyContext,
    ) {
        // One that is over but not freed yet would be in the way.
        self.free(idempotency_key.key, ctx);
        let blob = blob.filter(|blob| ctx.blobs.refer(*blob));
        let expires_ms = ctx.after(idempotency_key.ttl_ms);
        self.add(idempotency_key.key, Remembered { answer, blob }, expires_ms, ctx);
    }

    /// What all of them are on accounts with.
    pub(super) fn bytes(&self) -> u64 {
        self.iter().map(|(_, known)| known.load().own.bytes).sum()
    }
}

impl Stored for Remembered {
    type Key = Key;
    type Life = Lease;
    const EXPIRY: fn(Key) -> ExpiryKey = ExpiryKey::IdempotencyKey;

    /// What it weighs. A chunk's body, which it keeps though the chunk goes, is on its owner's account as well.
    fn load(&self) -> Load {
        let bytes = match (&self.answer.outcome, self.blob) {
            (Ok(Outcome::Transfer(transfer::Outcome::Chunk { body, .. })), Some(_)) => {
                return Load::of(Kind::IdempotencyKey, 0).and_shared(Kind::Body, body.len() as u64);
            }
            (Ok(Outcome::Transfer(transfer::Outcome::Chunk { body, .. })), None) => body.len() as u64,
            (Ok(Outcome::Mailbox(mailbox::Outcome::Messages(messages))), _) => {
                messages.iter().map(|message| Kind::Signal.bytes() + message.weight()).sum()
            }
            (Ok(Outcome::Ticket(ticket::Outcome::Redeemed { grant })), _) => grant.len() as u64,
            (Ok(Outcome::Leased { holders, .. }), _) => size_of_val(&holders[..]) as u64,
            (Ok(_) | Err(_), _) => 0,
        };
        Load::of(Kind::IdempotencyKey, bytes)
    }

    fn drop_parts(&self, ctx: &mut ApplyContext) {
        if let Some(blob) = self.blob {
            ctx.blobs.release(blob, &mut ctx.storage);
        }
    }

    fn restore_parts(&self, ctx: &mut ApplyContext) -> bool {
        self.blob.is_none_or(|blob| ctx.blobs.refer(blob))
    }
}
