//! The histories of all rooms.

use std::ops::RangeInclusive;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::state::account::Payer;
use crate::state::body::Body;
use crate::state::context::ApplyContext;
use crate::state::id::Key;
use crate::state::limits::{ROOM_BYTES_MAX, ROOM_MESSAGES_MAX};
use crate::state::query::Page;
use crate::state::storage_quota::Load;
use crate::state::weight::Kind;

/// How much of a room's history stays after a publish: what goes beyond any of these goes. Whatever is asked,
/// the bounds of [`limits`](crate::state::limits) hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// Messages.
    pub count: u32,
    /// Their bytes.
    pub bytes: u32,
    /// Milliseconds from the publish on.
    pub age_ms: u32,
}

/// One message of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its number in the room; grows by one.
    pub offset: u64,
    /// Who said it.
    pub member: Key,
    /// That member's own number for it.
    pub message_id: Option<u64>,
    /// What was said.
    pub data: Body,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// When it is forgotten.
    pub expires_ms: u64,
}

/// Messages of all rooms in one map, so that a change copies a few small nodes.
#[derive(Debug, Clone, Default)]
pub(in crate::state) struct History {
    messages: OrdMap<(Key, u64), Said>,
    /// Offsets by [`voice`] and the member's own number.
    named: OrdMap<(Key, u64), u64>,
    sums: OrdMap<Key, Sum>,
}

/// A message, and who said it at whose expense.
#[derive(Debug, Clone)]
struct Said {
    message: Arc<Message>,
    payer: Payer,
}

/// A member of one room as one key, so that an entry per message holds one and not two: what of two hashes of different
/// domains is different. Two such pairs that meet are as far to seek as a collision of the hash.
fn voice(room: &Key, member: &Key) -> Key {
    let mut both = *room.as_bytes();
    both.iter_mut().zip(member.as_bytes()).for_each(|(byte, other)| *byte ^= other);
    Key::from_bytes(both)
}

/// What a message of so many bytes weighs.
pub(super) fn load(len: usize) -> Load {
    Load::of(Kind::RoomMessage, len as u64)
}

/// What one room's messages come to. Their offsets are without a gap, so that the first follows from the last.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    count: usize,
    bytes: usize,
    last: u64,
    /// The latest expiry: no message expires before an older one.
    expires_ms: u64,
}

impl Sum {
    /// The offset of the oldest, if there is one.
    fn first(&self) -> u64 {
        self.last - (self.count as u64 - 1)
    }

    fn with(self, message: &Message) -> Self {
        Self {
            count: self.count + 1,
            bytes: self.bytes + message.data.len(),
            last: message.offset,
            expires_ms: message.expires_ms,
        }
    }
}

impl History {
    /// Adds a message and lets go what is beyond the bounds. Returns when the oldest that is left expires.
    pub(super) fn push(
        &mut self,
        key: Key,
        mut message: Message,
        keep: &Keep,
        ctx: &mut ApplyContext,
    ) -> u64 {
        let mut sum = self.sum(&key);
        message.expires_ms = message.expires_ms.max(sum.expires_ms);
        sum = sum.with(&message);
        let payer = ctx.storage.add(load(message.data.len()));
        self.insert(key, message, payer);
        let count_max = (keep.count as usize).clamp(1, ROOM_MESSAGES_MAX);
        let bytes_max = (keep.bytes as usize).min(ROOM_BYTES_MAX);
        while sum.count > 1 && (sum.count > count_max || sum.bytes > bytes_max) {
            self.drop_first(&key, &mut sum, ctx);
        }
        self.sums.insert(key, sum);
        self.messages.get(&(key, sum.first())).map_or(u64::MAX, |said| said.message.expires_ms)
    }

    fn sum(&self, key: &Key) -> Sum {
        self.sums.get(key).copied().unwrap_or_default()
    }

    fn insert(&mut self, key: Key, message: Message, payer: Payer) -> bool {
        if let Some(id) = message.message_id {
            self.named.insert((voice(&key, &message.member), id), message.offset);
        }
        let offset = message.offset;
        self.messages.insert((key, offset), Said { message: Arc::new(message), payer }).is_none()
    }

    fn drop_first(&mut self, key: &Key, sum: &mut Sum, ctx: &mut ApplyContext) {
        let said = self.messages.remove(&(*key, sum.first()));
        sum.count -= 1;
        let Some(Said { message, payer }) = said else { return };
        sum.bytes -= message.data.len();
        ctx.storage.drop(payer, load(message.data.len()));
        if let Some(id) = message.message_id {
            self.named.remove(&(voice(key, &message.member), id));
        }
    }

    /// Drops a room's expired messages; says how many that were.
    pub(super) fn expire(&mut self, key: &Key, ctx: &mut ApplyContext) -> usize {
        let mut sum = self.sum(key);
        let before = sum.count;
        while sum.count > 0
            && self
                .messages
                .get(&(*key, sum.first()))
                .is_none_or(|said| said.message.expires_ms <= ctx.now_ms)
        {
            self.drop_first(key, &mut sum, ctx);
        }
        if sum.count == 0 {
            self.sums.remove(key);
        } else if sum.count < before {
            self.sums.insert(*key, sum);
        }
        before - sum.count
    }

    /// Drops a room's messages.
    pub(super) fn clear(&mut self, key: &Key, ctx: &mut ApplyContext) {
        let mut sum = self.sum(key);
        while sum.count > 0 {
            self.drop_first(key, &mut sum, ctx);
        }
        self.sums.remove(key);
    }

    /// The oldest message, over or not.
    pub(super) fn first(&self, key: &Key) -> Option<&Arc<Message>> {
        let sum = self.sums.get(key)?;
        self.messages.get(&(*key, sum.first())).map(|said| &said.message)
    }

    /// The message that a member named so.
    pub(super) fn find(&self, key: &Key, member: &Key, message_id: u64) -> Option<&Arc<Message>> {
        let offset = self.named.get(&(voice(key, member), message_id))?;
        self.messages.get(&(*key, *offset)).map(|said| &said.message)
    }

    /// From an offset on, what is not over.
    pub(super) fn alive(&self, key: &Key, from: u64, now_ms: u64) -> impl Iterator<Item = &Arc<Message>> {
        let messages = self.messages.range((*key, from)..=(*key, u64::MAX)).map(|(_, said)| &said.message);
        messages.filter(move |message| now_ms < message.expires_ms)
    }

    /// Messages after an offset, oldest first.
    pub(super) fn after(&self, key: &Key, page: Page, now_ms: u64) -> Vec<Arc<Message>> {
        page.take(self.alive(key, page.after.saturating_add(1), now_ms), |message| message.data.len())
    }

    pub(in crate::state) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(in crate::state) fn under(
        &self,
        keys: &RangeInclusive<Key>,
    ) -> impl Iterator<Item = (&Key, &Arc<Message>, Payer)> {
        let messages = self.messages.range((*keys.start(), 0)..=(*keys.end(), u64::MAX));
        messages.map(|((key, _), said)| (key, &said.message, said.payer))
    }

    /// Takes a message as a snapshot has it; false if that cannot be.
    pub(super) fn restore(
        &mut self,
        key: Key,
        message: Message,
        payer: Payer,
        ctx: &mut ApplyContext,
    ) -> bool {
        let before = self.sum(&key);
        let sound = before.count < ROOM_MESSAGES_MAX
            && (before.count == 0 || message.offset.checked_sub(1) == Some(before.last))
            && before.expires_ms <= message.expires_ms;
        self.sums.insert(key, before.with(&message));
        sound && ctx.storage.restore(payer, load(message.data.len())) && self.insert(key, message, payer)
    }
}
