//! Whether two nodes of one name belong to one founding.
//!
//! A name does not make a cluster: the log does, which begins with the members that founded it. A node that lists only itself
//! founds a cluster of its own, and others that list it with themselves found another one. Both go on, each with a majority of
//! its own.
//!
//! Whoever is about to found a cluster asks the others first, and does not go on if one of them belongs to a cluster without
//! it. Where both are founded already nobody can say which is the right one: then the leader finds out by the same
//! question, and both sides tell.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Inner;
use crate::raft::message::{self, kind};
use crate::wire::{Frame, Lane, Outgoing, Warnings};

/// How often a leader asks the members.
const ASK_EVERY: Duration = Duration::from_secs(5);
const ASK_TIMEOUT: Duration = Duration::from_millis(500);
/// For how long it must have been so before it is told: a member that was away learns of later ones in less.
const LASTS_MIN: Duration = Duration::from_secs(4);
/// After this time without a word it begins anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);
/// Nodes that are remembered at a time.
const NODES_MAX: usize = 64;

/// What a node says to one that asks whether it may use its id with its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The id is bound to another disk.
    Reused,
    /// Nothing is known against it.
    Clear,
    /// The asked node belongs to a cluster, or founds one, in which the asking one is no member and never was.
    Stranger,
    /// The two are configured to found the cell of different nodes: each would have a majority of its own.
    OtherSeats,
}

/// What a node asks that is about to use its id with its disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Enrolled {
    /// The disk.
    pub(super) storage: u128,
    /// Of whom it is about to found the cell; empty if that was done before.
    pub(super) seats: Vec<u64>,
}

/// What a node knows before Raft is there.
#[derive(Debug)]
pub(super) struct BeforeRaft {
    /// Whether it has promised nothing yet.
    pub(super) blank: bool,
    /// The first members that it is configured with.
    pub(super) members: Vec<u64>,
    /// Those of them that found the cell.
    pub(super) seats: Vec<u64>,
}

impl BeforeRaft {
    /// `None` while it cannot be said what is on the disk.
    fn reply(&self, from: u64, seats: &[u64]) -> Option<Reply> {
        match (self.blank, self.members.is_empty()) {
            (false, _) => None,
            (true, true) => Some(Reply::Clear),
            (true, false) if self.members.contains(&from) && !seats.is_empty() && seats != self.seats => {
                Some(Reply::OtherSeats)
            }
            (true, false) if self.members.contains(&from) => Some(Reply::Clear),
            (true, false) => Some(Reply::Stranger),
        }
    }
}

/// Answers a node that asks. It is told nothing else, and nothing of other ids: it need not be a member.
pub(super) fn answer(before: &BeforeRaft, inner: Option<&Inner>, from: u64, request: &Frame) -> Outgoing {
    let Ok(Enrolled { storage, seats }) = message::decode(&request.header) else {
        return message::bare(kind::FAILED);
    };
    let reply = match inner {
        // A node that founded the cell, too, tells one that comes late.
        Some(inner) if inner.founds(from) && !seats.is_empty() && seats != before.seats => {
            Some(Reply::OtherSeats)
        }
        Some(inner) => Some(inner.reply(from, storage)),
        None => before.reply(from, &seats),
    };
    reply.map_or(message::bare(kind::FAILED), |reply| message::of(kind::ENROLLED, &reply))
}

impl Inner {
    /// Whether this node and `id` are first members of one cluster, by the configuration.
    fn founds(&self, id: u64) -> bool {
        self.options.members.contains_key(&id)
    }

    fn reply(&self, from: u64, storage: u128) -> Reply {
        let bound = self.topology.disk_of(from);
        match bound {
            Some(bound) if bound != storage => Reply::Reused,
            Some(_) => Reply::Clear,
            None if self.is_joining() || self.knows(from) => Reply::Clear,
            None => {
                if self.node.belongs() && self.foundings.tells(from, Instant::now()) {
                    tracing::warn!(
                        node = self.options.node_id,
                        peer = from,
                        cluster = self.options.cluster_name,
                        "two clusters of one name: that node takes this one for a member of its cluster, and is no member \
                         of this one; one of the two must go (see operations.md, Two clusters of one name)"
                    );
                }
                Reply::Stranger
            }
        }
    }

    /// Asks the members again and again whether they know this node, for as long as it leads.
    pub(super) async fn watch_founding(self: Arc<Self>, storage: u128) {
        let mut tick = interval(ASK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.stop.run_until_cancelled(tick.tick()).await.is_some() {
            if self.node.leads() {
                self.ask_members(storage).await;
            }
        }
    }

    async fn ask_members(&self, storage: u128) {
        let members = self.topology.everybody();
        let others = members.iter().filter(|(id, _)| **id != self.options.node_id);
        join_all(others.map(|(id, peer)| async move {
            let request = message::of(kind::ENROLLED, &Enrolled { storage, seats: Vec::new() });
            let reply = self.links.call(*id, peer, Lane::Control, request, ASK_TIMEOUT).await;
            let reply = reply.ok().and_then(|reply| message::decode(&reply.header).ok());
            match reply {
                Some(Reply::Stranger) if self.foundings.tells(*id, Instant::now()) => tracing::warn!(
                    node = self.options.node_id,
                    peer = *id,
                    address = %peer,
                    cluster = self.options.cluster_name,
                    "two clusters of one name: that member belongs to another one, in which this node is no member; one \
                     of the two must go (see operations.md, Two clusters of one name)"
                ),
                Some(Reply::Clear | Reply::Reused) => self.foundings.forget(*id),
                Some(Reply::Stranger | Reply::OtherSeats) | None => {}
            }
        }))
        .await;
    }
}

/// Nodes of the same name that were found to belong to another founding. A std mutex: nothing awaits while it is held.
#[derive(Default)]
pub(super) struct Foundings {
    found: Mutex<BTreeMap<u64, Found>>,
    warnings: Warnings<u64>,
}

struct Found {
    first: Instant,
    last: Instant,
}

impl Foundings {
    /// Notes it of a node and counts it; returns whether it has been so for long enough, and is to be told now.
    fn tells(&self, id: u64, now: Instant) -> bool {
        if !self.lasts(id, now) {
            return false;
        }
        metrics::counter!("conclave_cluster_conflicts_total").increment(1);
        self.warnings.first(id, now)
    }

    fn lasts(&self, id: u64, now: Instant) -> bool {
        let mut found = self.found.lock().expect("nothing panics while this is held");
        found.retain(|_, found| now.duration_since(found.last) < FORGOTTEN_AFTER);
        if found.len() >= NODES_MAX && !found.contains_key(&id) {
            return false;
        }
        let found = found.entry(id).or_insert(Found { first: now, last: now });
        found.last = now;
        now.duration_since(found.first) >= LASTS_MIN
    }

    /// The node turned out to belong.
    fn forget(&self, id: u64) {
        self.found.lock().expect("nothing panics while this is held").remove(&id);
    }

    /// Whether a node is known to belong to another founding.
    pub(super) fn has(&self, id: u64) -> bool {
        let found = self.found.lock().expect("nothing panics while this is held");
        found.get(&id).is_some_and(|found| found.last.duration_since(found.first) >= LASTS_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_founds_a_cluster_says_so_to_whom_it_does_not_list() {
        let before =
            |blank, members: &[u64]| BeforeRaft { blank, members: members.to_vec(), seats: members.to_vec() };
        assert_eq!(before(true, &[1]).reply(2, &[1, 2]), Some(Reply::Stranger));
        assert_eq!(before(true, &[1, 2]).reply(2, &[1, 2]), Some(Reply::Clear));
        assert_eq!(before(true, &[]).reply(2, &[1, 2]), Some(Reply::Clear), "it waits to be added");
        let read = before(false, &[1, 2]).reply(2, &[1, 2]);
        assert_eq!(read, None, "what is on the disk counts, and was not read yet");
    }

    #[test]
    fn nodes_that_would_found_different_cells_do_not_go_on() {
        let before = BeforeRaft { blank: true, members: vec![1, 2, 3, 4, 5], seats: vec![1, 2, 3] };
        assert_eq!(before.reply(5, &[1, 2, 3, 4, 5]), Some(Reply::OtherSeats));
        assert_eq!(before.reply(5, &[1, 2, 3]), Some(Reply::Clear));
        assert_eq!(before.reply(5, &[]), Some(Reply::Clear), "a member that asks again and again");
        assert_eq!(before.reply(6, &[6, 7]), Some(Reply::Stranger));
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_not_told_and_what_lasts_once_a_minute() {
        let foundings = Foundings::default();
        let at = |seconds| Instant::now() + Duration::from_secs(seconds);
        assert!(!foundings.tells(2, at(0)), "a member that was away");
        foundings.forget(2);
        assert!(!foundings.tells(2, at(5)) && !foundings.has(2));
        assert!(foundings.tells(2, at(10)) && foundings.has(2));
        assert!(!foundings.tells(2, at(15)), "it was said");
        assert!(!foundings.tells(2, at(100)), "it begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_strangers_are_not_remembered() {
        let foundings = Foundings::default();
        let now = Instant::now();
        for id in 0..1000 {
            foundings.lasts(id, now);
        }
        let told = (0..1000).filter(|id| foundings.lasts(*id, now + LASTS_MIN)).count();
        assert_eq!(told, NODES_MAX);
    }
}
