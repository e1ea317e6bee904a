//! Mailboxes: a peer's waiting signals.

use std::ops::RangeInclusive;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::account::Payer;
use super::body::Body;
use super::codec::at_most;
use super::context::ApplyContext;
use super::expiry::{Due, ExpiryKey};
use super::id::{Domain, Key};
use super::keyed_command::Keyed;
use super::limits::{MAILBOX_BYTES_MAX, MAILBOX_HEAD_MS, MAILBOX_SIGNALS_MAX};
use super::mailbox_claim::Claim;
use super::outcome;
use super::query::Page;
use super::storage_quota::Load;
use super::table::{Entry, Stored, Table};
use super::weight;

/// A command about the mailbox under a key, which is derived from the peer id ([`Domain::Mailbox`]).
pub type Op = Keyed<Action>;

/// What can be done to a mailbox. New actions are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Queue one signal.
    Push {
        /// The sender's peer id, as the sender gave it.
        from: String,
        /// What kind of signal.
        kind: Kind,
        /// The payload's JSON text, byte for byte.
        payload: Body,
        /// How long the signal waits.
        ttl_ms: u32,
    },
    /// Hand out what waits, oldest first, up to `bytes_max` of payload (at least one), and forget it.
    Drain {
        /// Bound on the payload bytes of one answer.
        bytes_max: u32,
    },
    /// Forget what was pushed to a socket, up to and with the signal numbered `seq`.
    Acknowledge {
        /// The session the mailbox is pushed to.
        session: Key,
        /// The last signal that arrived there.
        seq: u64,
    },
}

/// What a signal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A session description that opens.
    Offer,
    /// A session description that replies.
    Answer,
    /// An ICE candidate.
    IceCandidate,
    /// The sender is ready.
    Ready,
    /// The sender leaves.
    Bye,
}

/// One waiting signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its number in this mailbox; grows by one.
    pub seq: u64,
    /// The sender's peer id.
    pub from: String,
    /// What kind of signal.
    pub kind: Kind,
    /// The payload's JSON text.
    pub payload: Body,
    /// When it was queued, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// When it expires.
    pub expires_ms: u64,
}

/// What happened to a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The signal waits.
    Queued {
        /// Its number.
        seq: u64,
    },
    /// What waited, oldest first.
    Messages(#[serde(deserialize_with = "at_most::<_, _, { MAILBOX_SIGNALS_MAX }>")] Vec<Message>),
    /// So many were forgotten.
    Acknowledged {
        /// How many.
        count: u32,
    },
}

/// Why nothing happened to a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// It holds as many signals, or bytes, as it may.
    Full,
    /// The session does not hold the peer id.
    NotHeld,
}

impl Message {
    fn alive(&self, now_ms: u64) -> bool {
        now_ms < self.expires_ms
    }

    /// The bytes a stored message carries.
    pub(super) fn weight(&self) -> u64 {
        (self.from.len() + self.payload.len()) as u64
    }

    fn load(&self) -> Load {
        Load::of(weight::Kind::Signal, self.weight())
    }
}

/// All mailboxes. Messages of all of them are in one map, so that a change copies a few small nodes.
#[derive(Debug, Clone, Default)]
pub(super) struct Mailboxes {
    pub(super) heads: Table<Head>,
    messages: OrdMap<(Key, u64), Waiting>,
}

/// What is known of one mailbox beside its messages. The fields' order is the snapshot format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Never goes back, also where the mailbox was gone for a while: see [`first_seq`].
    next_seq: u64,
    count: u32,
    /// Of payload.
    bytes: u32,
    /// The head stays until then though nothing waits.
    keep_ms: u64,
}

/// On the account of whoever pushed the first signal.
impl Stored for Head {
    type Key = Key;
    /// Not after the first expiry of a waiting message.
    type Life = Due;
    const EXPIRY: fn(Key) -> ExpiryKey = ExpiryKey::Mailbox;

    fn load(&self) -> Load {
        HEAD
    }
}

/// A waiting signal, and who pushed it.
#[derive(Debug, Clone)]
struct Waiting {
    message: Arc<Message>,
    payer: Payer,
}

/// Beyond it, in the year 2248, mailboxes begin where JavaScript's integers end (2^53).
const NUMBERED_UNTIL_MS: u64 = 1 << 43;

/// With what number a mailbox begins: the log's time, so that it lies above every number that the mailbox had before it was
/// gone. A socket or an event stream stays for longer than a head does, and goes on behind the last number that it was given.
/// A mailbox would need a million signals a second to get there before the clock.
fn first_seq(ctx: &ApplyContext) -> u64 {
    ctx.now_ms.clamp(1, NUMBERED_UNTIL_MS) << 10
}

/// What a mailbox weighs.
const HEAD: Load = Load::of(weight::Kind::Mailbox, 0);

impl Mailboxes {
    pub(super) fn carry_out(
        &mut self,
        op: Op,
        claims: &Table<Claim>,
        ctx: &mut ApplyContext,
    ) -> Result<Outcome, outcome::Refusal> {
        let Op { key, action } = op;
        if ctx.overdue {
            self.free_expired(&key, ctx);
        }
        match action {
            Action::Push { from, kind, payload, ttl_ms } => {
                let (at_ms, expires_ms) = (ctx.now_ms, ctx.after(ttl_ms));
                self.push(key, Message { seq: 0, from, kind, payload, at_ms, expires_ms }, ctx)
            }
            Action::Drain { .. } if claims.is_attached(&key, &ctx.incarnations, ctx.now_ms) => {
                Ok(Outcome::Messages(Vec::new()))
            }
            Action::Drain { bytes_max } => Ok(self.drain(key, bytes_max, ctx)),
            Action::Acknowledge { session, seq } => {
                let holder = claims.holder(&key, &ctx.incarnations, ctx.now_ms);
                if holder.is_none_or(|(holder, _)| holder != session) {
                    return Err(Refusal::NotHeld.into());
                }
                Ok(self.acknowledge(key, seq, ctx))
            }
        }
    }

    fn push(
        &mut self,
        key: Key,
        mut message: Message,
        ctx: &mut ApplyContext,
    ) -> Result<Outcome, outcome::Refusal> {
        let known = self.heads.get(&key);
        let (count, waiting) = known.map_or((0, 0), |head| (head.count as usize, head.bytes as usize));
        let bytes = waiting + message.payload.len();
        if count >= MAILBOX_SIGNALS_MAX || bytes > MAILBOX_BYTES_MAX {
            return Err(Refusal::Full.into());
        }
        let (load, expires_ms) = (message.load(), message.expires_ms);
        let first = if known.is_none() { HEAD } else { Load::NONE };
        ctx.storage.admit(load.plus(first))?;
        if known.is_none() {
            let head = Head { next_seq: first_seq(ctx), count: 0, bytes: 0, keep_ms: 0 };
            self.heads.add(key, head, expires_ms, ctx);
        }
        let head = self.heads.get_mut(&key).expect("a mailbox that is not there was added");
        let seq = head.next_seq;
        head.next_seq += 1;
        head.count += 1;
        head.bytes = bytes as u32;
        head.keep_ms = head.keep_ms.max(expires_ms.saturating_add(MAILBOX_HEAD_MS));
        head.life.hasten(expires_ms, ExpiryKey::Mailbox(key), ctx);
        // A body of its own: the one in the proposal is a slice of a whole batch's buffer.
        (message.seq, message.payload) = (seq, message.payload.detached());
        let payer = ctx.storage.add(load);
        self.messages.insert((key, seq), Waiting { message: Arc::new(message), payer });
        ctx.wakes.wake(Domain::Mailbox, key);
        Ok(Outcome::Queued { seq })
    }

    fn drain(&mut self, key: Key, bytes_max: u32, ctx: &mut ApplyContext) -> Outcome {
        let waiting = self.heads.get(&key).map_or(0, |head| head.count);
        if waiting == 0 {
            return Outcome::Messages(Vec::new());
        }
        let mut bytes = 0;
        let mut messages: Vec<Message> = Vec::with_capacity(waiting as usize);
        for (_, Waiting { message, .. }) in self.messages.range((key, 0)..=(key, u64::MAX)) {
            bytes += message.payload.len();
            if !messages.is_empty() && bytes > bytes_max as usize {
                break;
            }
            messages.push(Message::clone(message));
        }
        for message in &messages {
            self.forget(&key, message.seq, ctx);
        }
        ctx.wakes.wake(Domain::Mailbox, key);
        Outcome::Messages(messages)
    }

    fn acknowledge(&mut self, key: Key, seq: u64, ctx: &mut ApplyContext) -> Outcome {
        let arrived = self.messages.range((key, 0)..=(key, seq)).map(|((_, seq), _)| *seq);
        let arrived: Vec<u64> = arrived.collect();
        for seq in &arrived {
            self.forget(&key, *seq, ctx);
        }
        Outcome::Acknowledged { count: arrived.len() as u32 }
    }

    fn forget(&mut self, key: &Key, seq: u64, ctx: &mut ApplyContext) {
        if let Some(Waiting { message, payer }) = self.messages.remove(&(*key, seq))
            && let Some(head) = self.heads.get_mut(key)
        {
            head.count -= 1;
            head.bytes -= message.payload.len() as u32;
            ctx.storage.drop(payer, message.load());
        }
    }

    /// Drops a mailbox's expired messages; says how many that were.
    fn free_expired(&mut self, key: &Key, ctx: &mut ApplyContext) -> usize {
        let messages = self.messages.range((*key, 0)..=(*key, u64::MAX));
        let over = messages.filter(|(_, waiting)| !waiting.message.alive(ctx.now_ms));
        let over: Vec<u64> = over.map(|(_, waiting)| waiting.message.seq).collect();
        for seq in &over {
            self.forget(key, *seq, ctx);
        }
        over.len()
    }

    /// The expiry queue says that some message or the whole mailbox may be due; returns how many things were looked at.
    pub(super) fn on_expiry(&mut self, key: &Key, ctx: &mut ApplyContext) -> usize {
        let freed = self.free_expired(key, ctx);
        let messages = self.messages.range((*key, 0)..=(*key, u64::MAX));
        let first_ms = messages.map(|(_, waiting)| waiting.message.expires_ms).min();
        if let Some(head) = self.heads.get_mut(key) {
            head.life.due_ms = first_ms.unwrap_or(head.keep_ms);
            self.heads.expire(*key, ctx);
        }
        freed.max(1)
    }

    /// How many signals wait.
    pub(super) fn waiting(&self, key: &Key, now_ms: u64) -> usize {
        match self.heads.get(key) {
            Some(head) if now_ms < head.life.due_ms || head.count == 0 => head.count as usize,
            Some(_) => {
                let messages = self.messages.range((*key, 0)..=(*key, u64::MAX));
                messages.filter(|(_, waiting)| waiting.message.alive(now_ms)).count()
            }
            None => 0,
        }
    }

    /// What waits above a number, oldest first.
    pub(super) fn signals(&self, key: &Key, page: Page, now_ms: u64) -> Vec<Arc<Message>> {
        let messages = self.messages.range((*key, page.after.saturating_add(1))..=(*key, u64::MAX));
        let messages = messages.map(|(_, waiting)| &waiting.message);
        page.take(messages.filter(|message| message.alive(now_ms)), |message| message.payload.len())
    }

    pub(super) fn messages_len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn messages_under(
        &self,
        keys: &RangeInclusive<Key>,
    ) -> impl Iterator<Item = (&Key, &Arc<Message>, Payer)> {
        let messages = self.messages.range((*keys.start(), 0)..=(*keys.end(), u64::MAX));
        messages.map(|((key, _), waiting)| (key, &waiting.message, waiting.payer))
    }

    /// Removes the mailboxes under keys of a range, with what waits in them.
    pub(super) fn free_under(&mut self, keys: &RangeInclusive<Key>, ctx: &mut ApplyContext) {
        let messages = self.messages_under(keys).map(|(key, message, _)| (*key, message.seq));
        for (key, seq) in messages.collect::<Vec<_>>() {
            self.forget(&key, seq, ctx);
        }
        self.heads.free_under(keys, ctx);
    }

    /// Takes a head as a snapshot has it, before its messages; false if that cannot be. The sums in it are
    /// counted anew from the messages.
    pub(super) fn restore(&mut self, key: Key, mut head: Entry<Head>, ctx: &mut ApplyContext) -> bool {
        (head.count, head.bytes) = (0, 0);
        self.heads.restore(key, head, ctx)
    }

    /// Takes a message as a snapshot has it; false if that cannot be.
    pub(super) fn restore_message(
        &mut self,
        key: Key,
        message: Message,
        payer: Payer,
        ctx: &mut ApplyContext,
    ) -> bool {
        let Some(head) = self.heads.get_mut(&key) else { return false };
        let bytes = head.bytes as usize + message.payload.len();
        let sound = message.seq < head.next_seq
            && head.life.due_ms <= message.expires_ms
            && (head.count as usize) < MAILBOX_SIGNALS_MAX
            && bytes <= MAILBOX_BYTES_MAX;
        if !sound {
            return false;
        }
        head.count += 1;
        head.bytes = bytes as u32;
        ctx.storage.restore(payer, message.load())
            && self
                .messages
                .insert((key, message.seq), Waiting { message: Arc::new(message), payer })
                .is_none()
    }
}
