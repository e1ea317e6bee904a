//! Who sits in the cell, who is a front, and who leads, as far as this node knows.
//!
//! A node that has a seat knows it from the log. A front has no log; it goes by what the leader tells it
//! ([`beacon`](super::beacon)). A front that takes a seat goes on as a front until its replica is no older than what it
//! read elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::changed;
use super::limits::BEACON_SILENCE_MAX;
use super::read_index::ReadIndex;
use crate::raft::disk_traits::Member;
use crate::raft::{Hint, Lead, Node};
use crate::state::State;

/// How often it is looked whether this node has a seat.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Who is where, as the leader knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Table {
    /// Those of the members who vote.
    pub(super) voters: BTreeSet<u64>,
    /// The members of the cell.
    pub(super) seats: BTreeMap<u64, Member>,
    /// The nodes that sit in no cell.
    pub(super) fronts: BTreeMap<u64, Member>,
    /// The disks that node ids are bound to.
    pub(super) disks: BTreeMap<u64, u128>,
}

impl Table {
    /// As this member of the cell knows it.
    pub(super) fn of(node: &Node) -> Self {
        let (voters, seats) = node.members();
        let (fronts, disks) = node.replica().read(|state| (fronts(state), state.disks()));
        Self { voters, seats, fronts, disks }
    }
}

/// The fronts, as the state has them.
fn fronts(state: &State) -> BTreeMap<u64, Member> {
    state.fronts().into_iter().map(|(id, peer)| (id, Member { peer })).collect()
}

/// What the leader said last, and when.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) lead: Lead,
    pub(super) at: Instant,
    /// The clock of the log.
    pub(super) log_ms: u64,
    pub(super) table: Arc<Table>,
}

/// What this node knows of the cluster. Clones are the same.
#[derive(Clone)]
pub(super) struct Topology(Arc<Shared>);

struct Shared {
    node: Node,
    /// The first members, as configured; what a front knows before it hears of anybody.
    configured: BTreeMap<u64, Member>,
    heard: watch::Sender<Option<Heard>>,
    seated: watch::Sender<bool>,
    lead: watch::Sender<Option<Lead>>,
}

impl Topology {
    /// `seated`: this node has a seat already, or is about to found a cell.
    pub(super) fn new(node: Node, configured: BTreeMap<u64, Member>, seated: bool) -> Self {
        Self(Arc::new(Shared {
            node,
            configured,
            heard: watch::Sender::new(None),
            seated: watch::Sender::new(seated),
            lead: watch::Sender::new(None),
        }))
    }

    /// Whether this node answers from its own replica.
    pub(super) fn is_seated(&self) -> bool {
        *self.0.seated.borrow()
    }

    /// As [`is_seated`](Self::is_seated), and when that changes: once, to true.
    pub(super) fn seated(&self) -> watch::Receiver<bool> {
        self.0.seated.subscribe()
    }

    /// Who leads, by whichever way this node knows it.
    pub(super) fn lead(&self) -> watch::Receiver<Option<Lead>> {
        self.0.lead.subscribe()
    }

    /// What the leader said last to this node, which has no seat.
    pub(super) fn heard(&self) -> Option<Heard> {
        self.0.heard.borrow().clone()
    }

    /// Takes what a leader says, unless it is a former one.
    pub(super) fn hear(&self, word: Heard) {
        self.0.heard.send_if_modified(|known| {
            let former = known.as_ref().is_some_and(|known| {
                known.lead.term > word.lead.term && known.at.elapsed() <= BEACON_SILENCE_MAX
            });
            if !former {
                *known = Some(word);
            }
            !former
        });
    }

    /// The voters of the cell, and everybody who has a seat in it.
    pub(super) fn seats(&self) -> (BTreeSet<u64>, BTreeMap<u64, Member>) {
        match self.table() {
            Some(table) => (table.voters.clone(), table.seats.clone()),
            None => self.0.node.members(),
        }
    }

    /// The nodes that have no seat.
    pub(super) fn fronts(&self) -> BTreeMap<u64, Member> {
        match self.table() {
            Some(table) => table.fronts.clone(),
            None => self.0.node.replica().read(fronts),
        }
    }

    /// What this node goes by in place of its log: none if it votes, as it may be about to sit, or lead.
    fn table(&self) -> Option<Arc<Table>> {
        if self.is_seated() || self.0.node.votes() {
            return None;
        }
        self.0.heard.borrow().as_ref().map(|heard| heard.table.clone())
    }

    /// Every node of the cluster.
    pub(super) fn everybody(&self) -> BTreeMap<u64, Member> {
        let (_, seats) = self.seats();
        let mut all = self.fronts();
        all.extend(seats);
        if all.is_empty() { self.0.configured.clone() } else { all }
    }

    /// Whether this node is the only one of its cluster.
    pub(super) fn is_alone(&self) -> bool {
        self.is_seated() && self.0.node.members().1.keys().eq([&self.0.node.id()])
    }

    /// Whether `id` is a node of the cluster: by the log, or by what the leader said; before there is either, by the
    /// configuration.
    pub(super) fn knows(&self, id: u64) -> bool {
        let Shared { node, heard, configured, .. } = &*self.0;
        if node.knows(id) || node.replica().read(|state| state.is_front(id)) {
            return true;
        }
        // A front that the cell was founded with, and that was not placed yet.
        let is_awaited = |state: &State| !state.is_placed() && state.member(id).is_none();
        match &*heard.borrow() {
            _ if self.is_seated() => {
                configured.contains_key(&id) && (!node.belongs() || node.replica().read(is_awaited))
            }
            Some(heard) => heard.table.seats.contains_key(&id) || heard.table.fronts.contains_key(&id),
            None => configured.contains_key(&id),
        }
    }

    /// The disk that a node id is bound to, if this node knows of one.
    pub(super) fn disk_of(&self, id: u64) -> Option<u128> {
        let bound = self.0.node.replica().read(|state| state.member(id));
        bound.or_else(|| self.0.heard.borrow().as_ref()?.table.disks.get(&id).copied())
    }

    /// A random number that all nodes agree on and no client knows: the disk of the lowest node id that was ever bound to one.
    /// It stays the same unless a node with a lower id joins.
    pub(super) fn salt(&self) -> Option<u128> {
        if self.is_seated() {
            return self.0.node.replica().read(State::first_disk);
        }
        self.0.heard.borrow().as_ref()?.table.disks.values().next().copied()
    }

    /// Whether a leader was heard of within this time; by a leader, a quorum.
    pub(super) fn is_led_within(&self, silence_max: Duration) -> bool {
        if self.is_seated() {
            return self.0.node.is_led_within(silence_max);
        }
        self.0.heard.borrow().as_ref().is_some_and(|heard| heard.at.elapsed() <= silence_max)
    }

    /// Keeps [`lead`](Self::lead) true, and takes the seat when there is one. Runs until `stop`.
    pub(super) async fn run(self, read_index: Arc<ReadIndex>, stop: CancellationToken) {
        let sit = async {
            self.sit(&read_index).await;
            std::future::pending().await
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.follow() => {}
            () = sit => {}
        }
        self.0.lead.send_replace(None);
    }

    async fn follow(&self) {
        let Shared { node, heard, seated, lead, .. } = &*self.0;
        let (mut by_log, mut by_word, mut seated) = (node.lead(), heard.subscribe(), seated.subscribe());
        loop {
            let mut expires = None;
            let mut known = by_log.borrow_and_update().clone();
            // One that is about to sit knows it by the log already.
            if !*seated.borrow_and_update() && known.is_none() {
                let heard = by_word.borrow_and_update();
                expires = heard.as_ref().map(|heard| heard.at + BEACON_SILENCE_MAX);
                let fresh = heard.as_ref().filter(|heard| heard.at.elapsed() < BEACON_SILENCE_MAX);
                known = fresh.map(|heard| heard.lead.clone());
            }
            // One that is over was told already.
            let expires = expires.filter(|_| known.is_some());
            lead.send_if_modified(|before| {
                let modified = *before != known;
                if modified {
                    *before = known;
                }
                modified
            });
            tokio::select! {
                () = changed(&mut by_log) => {}
                _ = by_word.changed() => {}
                _ = seated.changed() => {}
                () = sleep_until(expires.unwrap_or_else(Instant::now)), if expires.is_some() => {}
            }
        }
    }

    /// Waits for a seat, and for this node's replica to be no older than what was read elsewhere.
    async fn sit(&self, read_index: &ReadIndex) {
        let Shared { node, seated, .. } = &*self.0;
        if *seated.borrow() {
            return;
        }
        let mut tick = tokio::time::interval(LOOK_EVERY);
        loop {
            tick.tick().await;
            if node.votes() && read_index.wait().await.is_ok() {
                break;
            }
        }
        tracing::info!("this node has a seat in the cell, and answers from its own replica");
        seated.send_replace(true);
        // Whoever waits here was told of changes by another replica so far.
        node.replica().pass_on(&[Hint::WakeAll]);
    }
}
