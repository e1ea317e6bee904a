//! Who is in which room, and by which connection.

use imbl::OrdMap;

use crate::state::account::Payer;
use crate::state::expiry::Thing;
use crate::state::ground::Ground;
use crate::state::host::{Attachment, Hosts};
use crate::state::id::Key;
use crate::state::storage::Load;
use crate::state::tether::Tether;
use crate::state::weight::Kind;

/// Members of all rooms in one map, so that a change copies a few small nodes. How many a room has is the business of
/// its head.
#[derive(Debug, Clone, Default)]
pub(super) struct Members {
    tethers: OrdMap<(Key, Key), Member>,
}

/// One member, and who it came in for.
#[derive(Debug, Clone, Copy)]
struct Member {
    tether: Tether,
    payer: Payer,
}

/// What a member weighs.
const LOAD: Load = Load::of(Kind::Member, 0);

/// What became of a member that was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lapsed {
    /// It is a member no more.
    Gone,
    /// It is one still, and its connection counts as lost.
    Untied,
    /// It is one still on a node that lives, or was none before.
    Unchanged,
}

impl Members {
    pub(super) fn contains(&self, key: Key, member: Key) -> bool {
        self.tethers.contains_key(&(key, member))
    }

    /// Adds one that is not in.
    pub(super) fn add(&mut self, key: Key, member: Key, at: Attachment, grace_ms: u32, ground: &mut Ground) {
        let payer = ground.storage.add(LOAD);
        let tether = Tether::begin(at, grace_ms, Thing::Member(key, member), ground);
        self.tethers.insert((key, member), Member { tether, payer });
    }

    /// Ties a member to another connection; false if it is none.
    pub(super) fn attach(
        &mut self,
        key: Key,
        member: Key,
        at: Attachment,
        grace_ms: u32,
        ground: &mut Ground,
    ) -> bool {
        let tether = self.tethers.get_mut(&(key, member)).map(|member| &mut member.tether);
        let is_in = tether.is_some();
        if let Some(tether) = tether {
            tether.attach(at, grace_ms, Thing::Member(key, member), ground);
        }
        is_in
    }

    /// Unties a member from this connection; false if it is not tied to it.
    pub(super) fn detach(&mut self, key: Key, member: Key, connection: u64, ground: &mut Ground) -> bool {
        let tether = self.tethers.get_mut(&(key, member)).map(|member| &mut member.tether);
        let tether = tether.filter(|tether| tether.is_at(connection));
        let is_here = tether.is_some();
        if let Some(tether) = tether {
            tether.detach(Thing::Member(key, member), ground);
        }
        is_here
    }

    /// Removes a member that is tied to this connection; false if it is not.
    pub(super) fn leave(&mut self, key: Key, member: Key, connection: u64, ground: &mut Ground) -> bool {
        let is_here = self.tethers.get(&(key, member)).is_some_and(|it| it.tether.is_at(connection));
        if is_here {
            self.remove(key, member, ground);
        }
        is_here
    }

    /// Removes all members of a room.
    pub(super) fn clear(&mut self, key: &Key, ground: &mut Ground) {
        let members: Vec<Key> = self.of(key).copied().collect();
        for member in members {
            self.remove(*key, member, ground);
        }
    }

    fn remove(&mut self, key: Key, member: Key, ground: &mut Ground) {
        if let Some(Member { tether, payer }) = self.tethers.remove(&(key, member)) {
            tether.end(Thing::Member(key, member), ground);
            ground.storage.drop(payer, LOAD);
        }
    }

    /// The agenda says that a member is due.
    pub(super) fn lapse(&mut self, key: Key, member: Key, ground: &mut Ground) -> Lapsed {
        let Some(Member { tether, payer }) = self.tethers.get_mut(&(key, member)) else {
            return Lapsed::Unchanged;
        };
        let was = tether.attachment(&ground.hosts, ground.now_ms);
        if !tether.lapse(Thing::Member(key, member), ground) {
            ground.storage.drop(*payer, LOAD);
            self.tethers.remove(&(key, member));
            Lapsed::Gone
        } else if was.is_none() {
            Lapsed::Untied
        } else {
            Lapsed::Unchanged
        }
    }

    /// The members of a room, in order.
    pub(super) fn of(&self, key: &Key) -> impl Iterator<Item = &Key> {
        self.tethers_of(key).map(|((_, member), _)| member)
    }

    /// The nodes that hold a member's connection, each once, in order.
    pub(super) fn nodes(&self, key: &Key, hosts: &Hosts, now_ms: u64) -> Vec<u64> {
        let at = self.tethers_of(key).filter_map(|(_, it)| it.tether.attachment(hosts, now_ms));
        let mut nodes: Vec<u64> = at.map(|at| at.host.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    fn tethers_of(&self, key: &Key) -> impl Iterator<Item = (&(Key, Key), &Member)> {
        self.tethers.range((*key, Key::from_bytes([0; 32]))..=(*key, Key::from_bytes([255; 32])))
    }

    pub(super) fn len(&self) -> usize {
        self.tethers.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&(Key, Key), &Tether, Payer)> {
        self.tethers.iter().map(|(key, member)| (key, &member.tether, member.payer))
    }

    /// Takes a member as a snapshot has it; false if that cannot be.
    pub(super) fn restore(
        &mut self,
        key: Key,
        member: Key,
        tether: Tether,
        payer: Payer,
        ground: &mut Ground,
    ) -> bool {
        tether.restore(Thing::Member(key, member), ground)
            && ground.storage.restore(payer, LOAD)
            && self.tethers.insert((key, member), Member { tether, payer }).is_none()
    }
}
