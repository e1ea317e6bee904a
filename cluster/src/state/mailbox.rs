//! Mailboxes: a peer's waiting signals.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::account::Payer;
use super::body::Body;
use super::claim::Claims;
use super::codec::at_most;
use super::expiry::Thing;
use super::ground::Ground;
use super::id::{Domain, Key};
use super::limits::{MAILBOX_BYTES_MAX, MAILBOX_HEAD_MS, MAILBOX_SIGNALS_MAX};
use super::outcome;
use super::storage::Load;
use super::weight;

/// A wish about the mailbox under `key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Derived from the peer id ([`Domain::Mailbox`]).
    pub key: Key,
    /// What is wished.
    pub verb: Verb,
}

/// What can be done to a mailbox. New verbs are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
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
    heads: OrdMap<Key, Head>,
    messages: OrdMap<(Key, u64), Waiting>,
}

/// What is known of one mailbox beside its messages. The fields' order is the snapshot format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Never goes back while somebody may remember a number of this mailbox: see `keep_ms`.
    next_seq: u64,
    count: u32,
    /// Of payload.
    bytes: u32,
    /// The head stays until then though nothing waits.
    keep_ms: u64,
    /// Where the mailbox stands in the agenda: not after the first expiry of a waiting message.
    due_ms: u64,
    /// Who pushed the first signal.
    payer: Payer,
}

/// A waiting signal, and who pushed it.
#[derive(Debug, Clone)]
struct Waiting {
    message: Arc<Message>,
    payer: Payer,
}

/// What a mailbox weighs.
const HEAD: Load = Load::of(weight::Kind::Mailbox, 0);

/// What [`Verb::Push`] carries.
struct Signal {
    from: String,
    kind: Kind,
    payload: Body,
    ttl_ms: u32,
}

impl Mailboxes {
    pub(super) fn carry_out(
        &mut self,
        ask: Ask,
        claims: &Claims,
        ground: &mut Ground,
    ) -> Result<Outcome, outcome::Refusal> {
        let Ask { key, verb } = ask;
        if ground.overdue {
            self.free_expired(&key, ground);
        }
        match verb {
            Verb::Push { from, kind, payload, ttl_ms } => {
                self.push(key, Signal { from, kind, payload, ttl_ms }, ground)
            }
            Verb::Drain { .. } if claims.is_attached(&key, &ground.hosts, ground.now_ms) => {
                Ok(Outcome::Messages(Vec::new()))
            }
            Verb::Drain { bytes_max } => Ok(self.drain(key, bytes_max, ground)),
            Verb::Acknowledge { session, seq } => {
                let holder = claims.holder(&key, &ground.hosts, ground.now_ms);
                if holder.is_none_or(|(holder, _)| holder != session) {
                    return Err(Refusal::NotHeld.into());
                }
                Ok(self.acknowledge(key, seq, ground))
            }
        }
    }

    fn push(&mut self, key: Key, signal: Signal, ground: &mut Ground) -> Result<Outcome, outcome::Refusal> {
        let Signal { from, kind, payload, ttl_ms } = signal;
        let expires_ms = ground.after(ttl_ms);
        let weight = (from.len() + payload.len()) as u64;
        let known = self.heads.get(&key);
        let (count, waiting) = known.map_or((0, 0), |head| (head.count as usize, head.bytes as usize));
        let bytes = waiting + payload.len();
        if count >= MAILBOX_SIGNALS_MAX || bytes > MAILBOX_BYTES_MAX {
            return Err(Refusal::Full.into());
        }
        let load = Load::of(weight::Kind::Signal, weight);
        let first = if known.is_none() { HEAD } else { Load::NONE };
        ground.storage.admit(load.plus(first))?;
        let head = self.heads.entry(key).or_insert_with(|| {
            let payer = ground.storage.add(HEAD);
            ground.agenda.enter(expires_ms, Thing::Mailbox(key));
            Head { next_seq: 1, count: 0, bytes: 0, keep_ms: 0, due_ms: expires_ms, payer }
        });
        let seq = head.next_seq;
        head.next_seq += 1;
        head.count += 1;
        head.bytes = bytes as u32;
        head.keep_ms = head.keep_ms.max(expires_ms.saturating_add(MAILBOX_HEAD_MS));
        if expires_ms < head.due_ms {
            ground.agenda.strike(head.due_ms, Thing::Mailbox(key));
            ground.agenda.enter(expires_ms, Thing::Mailbox(key));
            head.due_ms = expires_ms;
        }
        let at_ms = ground.now_ms;
        // A body of its own: the one in the proposal is a slice of a whole batch's buffer.
        let message = Message { seq, from, kind, payload: payload.detached(), at_ms, expires_ms };
        let payer = ground.storage.add(load);
        self.messages.insert((key, seq), Waiting { message: Arc::new(message), payer });
        ground.wakes.wake(Domain::Mailbox, key);
        Ok(Outcome::Queued { seq })
    }

    fn drain(&mut self, key: Key, bytes_max: u32, ground: &mut Ground) -> Outcome {
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
            self.forget(&key, message.seq, ground);
        }
        ground.wakes.wake(Domain::Mailbox, key);
        Outcome::Messages(messages)
    }

    fn acknowledge(&mut self, key: Key, seq: u64, ground: &mut Ground) -> Outcome {
        let arrived = self.messages.range((key, 0)..=(key, seq)).map(|((_, seq), _)| *seq);
        let arrived: Vec<u64> = arrived.collect();
        for seq in &arrived {
            self.forget(&key, *seq, ground);
        }
        Outcome::Acknowledged { count: arrived.len() as u32 }
    }

    fn forget(&mut self, key: &Key, seq: u64, ground: &mut Ground) {
        if let Some(Waiting { message, payer }) = self.messages.remove(&(*key, seq))
            && let Some(head) = self.heads.get_mut(key)
        {
            head.count -= 1;
            head.bytes -= message.payload.len() as u32;
            ground.storage.drop(payer, message.load());
        }
    }

    /// Drops a mailbox's expired messages; says how many that were.
    fn free_expired(&mut self, key: &Key, ground: &mut Ground) -> usize {
        let messages = self.messages.range((*key, 0)..=(*key, u64::MAX));
        let over = messages.filter(|(_, waiting)| !waiting.message.alive(ground.now_ms));
        let over: Vec<u64> = over.map(|(_, waiting)| waiting.message.seq).collect();
        for seq in &over {
            self.forget(key, *seq, ground);
        }
        over.len()
    }

    /// The agenda says that some message or the whole mailbox may be due; returns how many things were looked at.
    pub(super) fn lapse(&mut self, key: &Key, ground: &mut Ground) -> usize {
        let freed = self.free_expired(key, ground);
        let messages = self.messages.range((*key, 0)..=(*key, u64::MAX));
        let first_ms = messages.map(|(_, waiting)| waiting.message.expires_ms).min();
        if let Some(head) = self.heads.get_mut(key) {
            let due_ms = first_ms.unwrap_or(head.keep_ms);
            if due_ms > ground.now_ms {
                head.due_ms = due_ms;
                ground.agenda.enter(due_ms, Thing::Mailbox(*key));
            } else {
                ground.storage.drop(head.payer, HEAD);
                self.heads.remove(key);
            }
        }
        freed.max(1)
    }

    /// How many signals wait.
    pub(super) fn waiting(&self, key: &Key, now_ms: u64) -> usize {
        match self.heads.get(key) {
            Some(head) if now_ms < head.due_ms || head.count == 0 => head.count as usize,
            Some(_) => {
                let messages = self.messages.range((*key, 0)..=(*key, u64::MAX));
                messages.filter(|(_, waiting)| waiting.message.alive(now_ms)).count()
            }
            None => 0,
        }
    }

    /// What waits above a number, oldest first, up to `count_max` and `bytes_max` of payload (at least one).
    pub(super) fn signals(
        &self,
        key: &Key,
        after: u64,
        count_max: usize,
        bytes_max: usize,
        now_ms: u64,
    ) -> Vec<Arc<Message>> {
        let mut bytes = 0;
        let mut found: Vec<Arc<Message>> = Vec::new();
        let messages = self.messages.range((*key, after.saturating_add(1))..=(*key, u64::MAX));
        let messages = messages.map(|(_, waiting)| &waiting.message);
        for message in messages.filter(|message| message.alive(now_ms)).take(count_max) {
            bytes += message.payload.len();
            if !found.is_empty() && bytes > bytes_max {
                break;
            }
            found.push(message.clone());
        }
        found
    }

    pub(super) fn len(&self) -> usize {
        self.heads.len()
    }

    pub(super) fn messages_len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Head)> {
        self.heads.iter()
    }

    pub(super) fn iter_messages(&self) -> impl Iterator<Item = (&Key, &Arc<Message>, Payer)> {
        self.messages.iter().map(|((key, _), waiting)| (key, &waiting.message, waiting.payer))
    }

    /// Takes a head as a snapshot has it, before its messages; false if that cannot be. The sums in it are
    /// counted anew from the messages.
    pub(super) fn restore(&mut self, key: Key, head: Head, ground: &mut Ground) -> bool {
        ground.agenda.enter(head.due_ms, Thing::Mailbox(key))
            && ground.storage.restore(head.payer, HEAD)
            && self.heads.insert(key, Head { count: 0, bytes: 0, ..head }).is_none()
    }

    /// Takes a message as a snapshot has it; false if that cannot be.
    pub(super) fn restore_message(
        &mut self,
        key: Key,
        message: Message,
        payer: Payer,
        ground: &mut Ground,
    ) -> bool {
        let Some(head) = self.heads.get_mut(&key) else { return false };
        let bytes = head.bytes as usize + message.payload.len();
        let sound = message.seq < head.next_seq
            && head.due_ms <= message.expires_ms
            && (head.count as usize) < MAILBOX_SIGNALS_MAX
            && bytes <= MAILBOX_BYTES_MAX;
        if !sound {
            return false;
        }
        head.count += 1;
        head.bytes = bytes as u32;
        ground.storage.restore(payer, message.load())
            && self
                .messages
                .insert((key, message.seq), Waiting { message: Arc::new(message), payer })
                .is_none()
    }
}
