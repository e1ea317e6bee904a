//! Who is in which room, and by which connection.

use serde::{Deserialize, Serialize};

use crate::state::connection_lease::Hold;
use crate::state::context::ApplyContext;
use crate::state::expiry::ExpiryKey;
use crate::state::generation::Generation;
use crate::state::id::Key;
use crate::state::incarnation::{Attachment, Incarnations};
use crate::state::storage_quota::Load;
use crate::state::table::{Entry, Stored, Table};
use crate::state::weight::Kind;

/// One member. Those of all rooms are in one table, so that a change copies a few small nodes. How many a room has is the
/// business of its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::state) struct Member {
    /// That of the connection by which it is one.
    pub(super) generation: Generation,
}

/// What a member weighs.
pub(super) const LOAD: Load = Load::of(Kind::Member, 0);

impl Stored for Member {
    /// The room, and the member's session.
    type Key = (Key, Key);
    type Life = Hold;
    const EXPIRY: fn((Key, Key)) -> ExpiryKey = |(key, member)| ExpiryKey::Member(key, member);

    fn load(&self) -> Load {
        LOAD
    }
}

impl Table<Member> {
    /// Ties a member to another connection; false if it is none.
    pub(super) fn attach(
        &mut self,
        key: (Key, Key),
        generation: Generation,
        at: Attachment,
        grace_ms: u32,
        ctx: &mut ApplyContext,
    ) -> bool {
        let Some(known) = self.get_mut(&key) else { return false };
        known.generation = generation;
        known.life.attach(at, grace_ms, Member::EXPIRY(key), ctx);
        true
    }

    /// Unties a member from this connection; false if it is not tied to it.
    pub(super) fn detach(&mut self, key: (Key, Key), connection: u64, ctx: &mut ApplyContext) -> bool {
        let known = self.get_mut(&key).filter(|known| known.life.is_at(connection));
        known.map(|known| known.life.detach(Member::EXPIRY(key), ctx)).is_some()
    }

    /// Removes a member that is tied to this connection; nothing if it is not.
    pub(super) fn leave(
        &mut self,
        key: (Key, Key),
        connection: u64,
        ctx: &mut ApplyContext,
    ) -> Option<Member> {
        let is_here = self.get(&key).is_some_and(|known| known.life.is_at(connection));
        if is_here { self.free(key, ctx) } else { None }
    }

    /// Removes all members of a room.
    pub(super) fn clear(&mut self, key: &Key, ctx: &mut ApplyContext) {
        self.free_under(&(*key..=*key), ctx);
    }

    /// The members of a room, in order.
    pub(super) fn of(&self, key: &Key) -> impl Iterator<Item = &Key> {
        self.within(key).map(|((_, member), _)| member)
    }

    /// The nodes that hold a member's connection, each once, in order.
    pub(super) fn nodes(&self, key: &Key, incarnations: &Incarnations, now_ms: u64) -> Vec<u64> {
        let at = self.within(key).filter_map(|(_, known)| known.life.attachment(incarnations, now_ms));
        let mut nodes: Vec<u64> = at.map(|at| at.incarnation.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    fn within(&self, key: &Key) -> impl Iterator<Item = (&(Key, Key), &Entry<Member>)> {
        self.under(&(*key..=*key))
    }
}
