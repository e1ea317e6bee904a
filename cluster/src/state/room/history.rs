//! The histories of all rooms.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::state::account::Payer;
use crate::state::body::Body;
use crate::state::ground::Ground;
use crate::state::id::{Domain, Key};
use crate::state::limits::{ROOM_BYTES_MAX, ROOM_MESSAGES_MAX};
use crate::state::storage::Load;
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
pub(super) struct History {
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

/// A member of one room as one key, so that an entry per message holds one and not two.
fn voice(room: &Key, member: &Key) -> Key {
    Key::derive(Domain::Room, &[room.as_bytes(), member.as_bytes()])
}

/// What a message of so many bytes weighs.
pub(super) fn load(len: usize) -> Load {
    Load::of(Kind::RoomMessage, len as u64)
}

/// What one room's messages come to.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    count: usize,
    bytes: usize,
    /// The latest expiry: no message expires before an older one.
    expires_ms: u64,
}

impl History {
    /// Adds a message and lets go what is beyond the bounds. Returns when the oldest that is left expires.
    pub(super) fn push(&mut self, key: Key, mut message: Message, keep: &Keep, ground: &mut Ground) -> u64 {
        let sum = self.sums.entry(key).or_default();
        message.expires_ms = message.expires_ms.max(sum.expires_ms);
        let payer = ground.storage.add(load(message.data.len()));
        self.insert(key, message, payer);
        let count_max = (keep.count as usize).clamp(1, ROOM_MESSAGES_MAX);
        let bytes_max = (keep.bytes as usize).min(ROOM_BYTES_MAX);
        while let Some(sum) = self.sums.get(&key)
            && sum.count > 1
            && (sum.count > count_max || sum.bytes > bytes_max)
        {
            self.drop_first(&key, ground);
        }
        self.first(&key).map_or(u64::MAX, |message| message.expires_ms)
    }

    fn insert(&mut self, key: Key, message: Message, payer: Payer) -> bool {
        let sum = self.sums.entry(key).or_default();
        sum.count += 1;
        sum.bytes += message.data.len();
        sum.expires_ms = message.expires_ms;
        if let Some(id) = message.message_id {
            self.named.insert((voice(&key, &message.member), id), message.offset);
        }
        let offset = message.offset;
        self.messages.insert((key, offset), Said { message: Arc::new(message), payer }).is_none()
    }

    fn drop_first(&mut self, key: &Key, ground: &mut Ground) {
        let Some(offset) = self.first(key).map(|message| message.offset) else { return };
        let Some(Said { message, payer }) = self.messages.remove(&(*key, offset)) else { return };
        ground.storage.drop(payer, load(message.data.len()));
        if let Some(id) = message.message_id {
            self.named.remove(&(voice(key, &message.member), id));
        }
        if let Some(sum) = self.sums.get_mut(key) {
            sum.count -= 1;
            sum.bytes -= message.data.len();
            if sum.count == 0 {
                self.sums.remove(key);
            }
        }
    }

    /// Drops a room's expired messages; says how many that were.
    pub(super) fn expire(&mut self, key: &Key, ground: &mut Ground) -> usize {
        let mut dropped = 0;
        while self.first(key).is_some_and(|message| message.expires_ms <= ground.now_ms) {
            self.drop_first(key, ground);
            dropped += 1;
        }
        dropped
    }

    /// The oldest message, over or not.
    pub(super) fn first(&self, key: &Key) -> Option<&Arc<Message>> {
        self.messages.range((*key, 0)..=(*key, u64::MAX)).next().map(|(_, said)| &said.message)
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

    /// Messages after an offset, oldest first, up to `count_max` and `bytes_max` (at least one).
    pub(super) fn after(
        &self,
        key: &Key,
        after: u64,
        count_max: usize,
        bytes_max: usize,
        now_ms: u64,
    ) -> Vec<Arc<Message>> {
        let mut bytes = 0;
        let mut found: Vec<Arc<Message>> = Vec::new();
        for message in self.alive(key, after.saturating_add(1), now_ms).take(count_max) {
            bytes += message.data.len();
            if !found.is_empty() && bytes > bytes_max {
                break;
            }
            found.push(message.clone());
        }
        found
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Arc<Message>, Payer)> {
        self.messages.iter().map(|((key, _), said)| (key, &said.message, said.payer))
    }

    /// Takes a message as a snapshot has it; false if that cannot be.
    pub(super) fn restore(&mut self, key: Key, message: Message, payer: Payer, ground: &mut Ground) -> bool {
        let before = self.sums.get(&key).copied().unwrap_or_default();
        let sound = before.count < ROOM_MESSAGES_MAX && before.expires_ms <= message.expires_ms;
        sound && ground.storage.restore(payer, load(message.data.len())) && self.insert(key, message, payer)
    }
}
