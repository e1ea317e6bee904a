//! Rooms: an ordered, bounded history that every member hears.
//!
//! Messages are numbered by offsets that grow by one. The epoch names the numbering: a room that was forgotten and
//! comes back has another, so that nobody takes an offset of the one for an offset of the other.

mod history;
mod members;

use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::account::Payer;
use super::body::Body;
use super::context::ApplyContext;
use super::expiry::{Due, ExpiryKey};
use super::generation::{Departure, Generation};
use super::id::{Domain, Key};
use super::incarnation::{Attachment, Incarnations};
use super::keyed_command::Keyed;
use super::limits::{ROOM_HEAD_MS, ROOM_MEMBERS_MAX};
use super::outcome;
use super::query::Page;
use super::storage_quota::Load;
use super::table::{Entry, Stored, Table};
use super::weight::Kind;
use history::History;
pub use history::{Keep, Message};
pub(super) use members::Member;

/// A command about the room under a key, which is derived from the room's name ([`Domain::Room`]).
pub type Op = Keyed<Action>;

/// What can be done to a room. A member is the key of a socket session. New actions are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Be a member, or be one on another connection. Refused as the session's own matters are
    /// ([`socket::Refusal::Replaced`](super::socket::Refusal::Replaced)) if a later connection of the session was here.
    Join {
        /// Who.
        member: Key,
        /// That of the connection that asks.
        generation: Generation,
        /// Where the member is; the number is the membership's own.
        at: Attachment,
        /// For how long a member stays whose connection is lost.
        grace_ms: u32,
    },
    /// The connection is lost: the grace begins. Nothing if another connection took over.
    Detach {
        /// Who.
        member: Key,
        /// The membership's number.
        connection: u64,
    },
    /// Be no member any more. Nothing if another connection took over.
    Leave {
        /// Who.
        member: Key,
        /// The membership's number.
        connection: u64,
    },
    /// Say something to every other member.
    Publish {
        /// Who.
        member: Key,
        /// The member's own number for it: the same number again, while the first is in the history, is the same
        /// message.
        message_id: Option<u64>,
        /// What is said.
        data: Body,
        /// How much history stays.
        keep: Keep,
    },
}

/// What happened to a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The member is in.
    Joined {
        /// Names the numbering.
        epoch: u64,
        /// The last offset given.
        offset: u64,
        /// Whether it was in already.
        again: bool,
    },
    /// The member is out, or was not in by that connection.
    Left,
    /// The message is in the history.
    Published {
        /// Names the numbering.
        epoch: u64,
        /// Its number.
        offset: u64,
        /// When it was said, in milliseconds since the Unix epoch.
        at_ms: u64,
        /// Whether it was there already.
        repeated: bool,
    },
}

/// Why nothing happened to a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// It has as many members as it may.
    Full,
    /// Whoever publishes is not in.
    NotAMember,
}

/// A room as a reader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Names the numbering.
    pub epoch: u64,
    /// The lowest offset that is still there; one above the last if there is none.
    pub first: u64,
    /// The last offset given; 0 if none was.
    pub last: u64,
    /// Moves with every change of who is a member, and where.
    pub members_version: u64,
    /// How many members there are.
    pub members: usize,
}

/// What is known of one room beside its messages and members. The fields' order is the snapshot format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    epoch: u64,
    last: u64,
    members_version: u64,
    members: u32,
    /// The room stays until then though nobody is in and nothing is left of its history.
    keep_ms: u64,
}

/// On the account of whoever came in first.
impl Stored for Head {
    type Key = Key;
    type Life = Due;
    const EXPIRY: fn(Key) -> ExpiryKey = ExpiryKey::Room;

    fn load(&self) -> Load {
        HEAD
    }
}

/// What a room weighs.
const HEAD: Load = Load::of(Kind::Room, 0);

/// All rooms.
#[derive(Debug, Clone, Default)]
pub(super) struct Rooms {
    pub(super) heads: Table<Head>,
    pub(super) members: Table<Member>,
    pub(super) history: History,
}

impl Rooms {
    pub(super) fn carry_out(
        &mut self,
        op: Op,
        departures: &mut Table<Departure>,
        ctx: &mut ApplyContext,
    ) -> Result<Outcome, outcome::Refusal> {
        let Op { key, action } = op;
        if ctx.overdue {
            self.history.expire(&key, ctx);
        }
        match action {
            Action::Join { member, generation, at, grace_ms } => {
                let (name, here) = ((key, member), self.members.get(&(key, member)));
                departures.admit(name, generation, here.map(|known| known.generation), ctx.now_ms)?;
                let joined = self.join(name, generation, (at, grace_ms), ctx)?;
                departures.free(name, ctx);
                Ok(joined)
            }
            Action::Detach { member, connection } => {
                if self.members.detach((key, member), connection, ctx) {
                    self.members_changed(key, ctx);
                }
                Ok(Outcome::Left)
            }
            Action::Leave { member, connection } => {
                if let Some(Member { generation }) = self.members.leave((key, member), connection, ctx) {
                    departures.leave((key, member), generation, ctx);
                    self.member_left(key, ctx);
                }
                Ok(Outcome::Left)
            }
            Action::Publish { member, message_id, data, keep } => {
                if !self.members.contains(&(key, member)) {
                    return Err(Refusal::NotAMember.into());
                }
                self.publish(key, member, message_id, &data, &keep, ctx)
            }
        }
    }

    fn join(
        &mut self,
        (key, member): (Key, Key),
        generation: Generation,
        (at, grace_ms): (Attachment, u32),
        ctx: &mut ApplyContext,
    ) -> Result<Outcome, outcome::Refusal> {
        let again = self.members.attach((key, member), generation, at, grace_ms, ctx);
        if !again {
            let head = self.heads.get(&key);
            if head.is_some_and(|head| head.members as usize >= ROOM_MEMBERS_MAX) {
                return Err(Refusal::Full.into());
            }
            ctx.storage.admit(if head.is_none() { members::LOAD.plus(HEAD) } else { members::LOAD })?;
            if head.is_none() {
                self.found(key, ctx);
            }
            self.members.add((key, member), Member { generation }, (at, grace_ms), ctx);
            if let Some(head) = self.heads.get_mut(&key) {
                head.members += 1;
            }
        }
        self.members_changed(key, ctx);
        let (epoch, offset) = self.heads.get(&key).map_or((0, 0), |head| (head.epoch, head.last));
        Ok(Outcome::Joined { epoch, offset, again })
    }

    /// A new room. It cannot have had a namesake within the same millisecond, since that would still be kept.
    fn found(&mut self, key: Key, ctx: &mut ApplyContext) {
        let keep_ms = ctx.now_ms.saturating_add(ROOM_HEAD_MS);
        let head = Head { epoch: ctx.now_ms, last: 0, members_version: 0, members: 0, keep_ms };
        self.heads.add(key, head, keep_ms, ctx);
    }

    fn members_changed(&mut self, key: Key, ctx: &mut ApplyContext) {
        if let Some(head) = self.heads.get_mut(&key) {
            head.members_version += 1;
            head.keep_ms = head.keep_ms.max(ctx.now_ms.saturating_add(ROOM_HEAD_MS));
        }
        ctx.wakes.wake(Domain::Room, key);
    }

    fn member_left(&mut self, key: Key, ctx: &mut ApplyContext) {
        if let Some(head) = self.heads.get_mut(&key) {
            head.members -= 1;
        }
        self.members_changed(key, ctx);
    }

    fn publish(
        &mut self,
        key: Key,
        member: Key,
        message_id: Option<u64>,
        data: &Body,
        keep: &Keep,
        ctx: &mut ApplyContext,
    ) -> Result<Outcome, outcome::Refusal> {
        let Some(head) = self.heads.get_mut(&key) else { return Err(Refusal::NotAMember.into()) };
        let epoch = head.epoch;
        if let Some(known) = message_id.and_then(|id| self.history.find(&key, &member, id)) {
            return Ok(Outcome::Published {
                epoch,
                offset: known.offset,
                at_ms: known.at_ms,
                repeated: true,
            });
        }
        ctx.storage.admit(history::load(data.len()))?;
        let (offset, at_ms) = (head.last + 1, ctx.now_ms);
        head.last = offset;
        // A body of its own: the one in the proposal is a slice of a whole batch's buffer.
        let data = data.detached();
        let message = Message { offset, member, message_id, data, at_ms, expires_ms: ctx.after(keep.age_ms) };
        let first_expires_ms = self.history.push(key, message, keep, ctx);
        head.keep_ms = head.keep_ms.max(ctx.now_ms.saturating_add(ROOM_HEAD_MS));
        head.life.hasten(first_expires_ms, ExpiryKey::Room(key), ctx);
        ctx.wakes.wake(Domain::Room, key);
        Ok(Outcome::Published { epoch, offset, at_ms, repeated: false })
    }

    /// The expiry queue says that some message or the whole room may be due; returns how many things were looked at.
    pub(super) fn on_expiry(&mut self, key: &Key, ctx: &mut ApplyContext) -> usize {
        let freed = self.history.expire(key, ctx);
        if let Some(head) = self.heads.get_mut(key) {
            if head.members > 0 {
                head.keep_ms = head.keep_ms.max(ctx.now_ms.saturating_add(ROOM_HEAD_MS));
            }
            head.life.due_ms = self.history.first(key).map_or(head.keep_ms, |message| message.expires_ms);
            if self.heads.expire(*key, ctx).is_some() {
                // With members in it a room is kept, unless the clock is at its very end.
                self.members.clear(key, ctx);
            }
        }
        freed.max(1)
    }

    /// The expiry queue says that a member is due.
    pub(super) fn on_member_expiry(
        &mut self,
        key: Key,
        member: Key,
        departures: &mut Table<Departure>,
        ctx: &mut ApplyContext,
    ) -> usize {
        let Some(known) = self.members.get(&(key, member)) else { return 1 };
        let tied = known.life.attachment(&ctx.incarnations, ctx.now_ms).is_some();
        if let Some(Member { generation }) = self.members.expire((key, member), ctx) {
            departures.leave((key, member), generation, ctx);
            self.member_left(key, ctx);
        } else if !tied {
            // It is a member still, and its connection counts as lost.
            self.members_changed(key, ctx);
        }
        1
    }

    pub(super) fn view(&self, key: &Key, now_ms: u64) -> Option<View> {
        let head = self.heads.get(key)?;
        let first = self.history.alive(key, 0, now_ms).next().map_or(head.last + 1, |message| message.offset);
        Some(View {
            epoch: head.epoch,
            first,
            last: head.last,
            members_version: head.members_version,
            members: head.members as usize,
        })
    }

    /// Messages after an offset, oldest first, up to `count_max` and `bytes_max` (at least one).
    pub(super) fn messages(&self, key: &Key, page: Page, now_ms: u64) -> Vec<Arc<Message>> {
        self.history.after(key, page, now_ms)
    }

    pub(super) fn members(&self, key: &Key) -> impl Iterator<Item = &Key> {
        self.members.of(key)
    }

    /// Where a member is, if the incarnation of its connection lives.
    pub(super) fn member(
        &self,
        key: (Key, Key),
        incarnations: &Incarnations,
        now_ms: u64,
    ) -> Option<Attachment> {
        self.members.get(&key)?.life.attachment(incarnations, now_ms)
    }

    /// The nodes that hold a member's connection, each once, in order.
    pub(super) fn nodes(&self, key: &Key, incarnations: &Incarnations, now_ms: u64) -> Vec<u64> {
        self.members.nodes(key, incarnations, now_ms)
    }

    /// Removes the rooms under keys of a range, with all that is in them.
    pub(super) fn free_under(&mut self, keys: &RangeInclusive<Key>, ctx: &mut ApplyContext) {
        for key in self.heads.names_under(keys) {
            self.history.clear(&key, ctx);
        }
        self.members.free_under(keys, ctx);
        self.heads.free_under(keys, ctx);
    }

    /// Takes a head as a snapshot has it, before its members and messages; false if that cannot be. The members
    /// are counted anew.
    pub(super) fn restore(&mut self, key: Key, mut head: Entry<Head>, ctx: &mut ApplyContext) -> bool {
        head.members = 0;
        self.heads.restore(key, head, ctx)
    }

    /// Takes a member as a snapshot has it; false if that cannot be.
    pub(super) fn restore_member(
        &mut self,
        key: (Key, Key),
        member: Entry<Member>,
        ctx: &mut ApplyContext,
    ) -> bool {
        let Some(head) = self.heads.get_mut(&key.0) else { return false };
        head.members += 1;
        head.members as usize <= ROOM_MEMBERS_MAX && self.members.restore(key, member, ctx)
    }

    /// Takes a message as a snapshot has it; false if that cannot be.
    pub(super) fn restore_message(
        &mut self,
        key: Key,
        message: Message,
        payer: Payer,
        ctx: &mut ApplyContext,
    ) -> bool {
        let sound = self
            .heads
            .get(&key)
            .is_some_and(|head| message.offset <= head.last && head.life.due_ms <= message.expires_ms);
        sound && self.history.restore(key, message, payer, ctx)
    }
}
