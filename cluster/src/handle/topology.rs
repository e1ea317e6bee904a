//! Who sits in which cell, who is a front, and who leads, as far as this node knows.
//!
//! A node that has a seat knows its own cell from the log. Of the other cells it goes by what their leaders tell
//! ([`beacon`](super::beacon)), as a front does of all. A front that takes a seat goes on as a front until its replica is no
//! older than what it read elsewhere.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::changed;
use super::limits::BEACON_SILENCE_MAX;
use super::read_index::ReadIndex;
use super::table::{Peers, Table, seats_of};
use crate::raft::{Hint, Lead, Node};
use crate::state::State;
use crate::state::placement::{Plan, serving};
use crate::state::slot::CellId;

/// How often it is looked whether this node has a seat.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the leader of a cell said last, and when.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) lead: Lead,
    pub(super) at: Instant,
    /// The clock of the cell's log.
    pub(super) log_ms: u64,
    pub(super) table: Arc<Table>,
}

/// What this node knows of the cluster. Clones are the same.
#[derive(Clone)]
pub(super) struct Topology(Arc<Shared>);

struct Shared {
    node: Node,
    /// The first members, as configured; what a front knows before it hears of anybody.
    configured: Peers,
    heard: watch::Sender<BTreeMap<CellId, Heard>>,
    seated: watch::Sender<bool>,
    /// The cell that this node answers for, once it is seated.
    own_cell: OnceLock<CellId>,
    /// Who leads each cell. A std mutex: nothing awaits while it is held.
    leads: Mutex<BTreeMap<CellId, watch::Sender<Option<Lead>>>>,
}

impl Topology {
    /// `seated`: this node has a seat already, or is about to found a cell.
    pub(super) fn new(node: Node, configured: Peers, seated: bool) -> Self {
        // One that is about to found a cluster founds the first cell.
        let own_cell = if seated { OnceLock::from(node.cell().unwrap_or_default()) } else { OnceLock::new() };
        Self(Arc::new(Shared {
            node,
            own_cell,
            configured,
            heard: watch::Sender::new(BTreeMap::new()),
            seated: watch::Sender::new(seated),
            leads: Mutex::default(),
        }))
    }

    /// Whether this node answers from its own replica.
    pub(super) fn is_seated(&self) -> bool {
        self.0.own_cell.get().is_some()
    }

    /// The cell that this node answers for from its own replica.
    pub(super) fn own_cell(&self) -> Option<CellId> {
        self.0.own_cell.get().copied()
    }

    /// As [`is_seated`](Self::is_seated), and when that changes: once, to true.
    pub(super) fn seated(&self) -> watch::Receiver<bool> {
        self.0.seated.subscribe()
    }

    /// Who leads a cell, by whichever way this node knows it.
    pub(super) fn lead(&self, cell: CellId) -> watch::Receiver<Option<Lead>> {
        let mut leads = self.leads();
        leads.entry(cell).or_insert_with(|| watch::Sender::new(self.known_lead(cell).0)).subscribe()
    }

    fn leads(&self) -> MutexGuard<'_, BTreeMap<CellId, watch::Sender<Option<Lead>>>> {
        self.0.leads.lock().expect("nothing panics while this is held")
    }

    /// What the leader of a cell said last to this node, which has no seat there.
    pub(super) fn heard(&self, cell: CellId) -> Option<Heard> {
        self.0.heard.borrow().get(&cell).cloned()
    }

    /// Whether anybody said anything.
    pub(super) fn has_heard(&self) -> bool {
        !self.0.heard.borrow().is_empty()
    }

    /// Takes what a leader of a cell says, unless it is a former one, or the cell is closed and does not know it.
    pub(super) fn hear(&self, cell: CellId, word: Heard) {
        let (epoch, placed) = self.placed_cells();
        if is_closed(cell, word.table.plan.epoch, epoch, &placed) {
            return;
        }
        self.0.heard.send_if_modified(|all| {
            let former = all.get(&cell).is_some_and(|known| {
                known.lead.term > word.lead.term && known.at.elapsed() <= BEACON_SILENCE_MAX
            });
            if !former {
                all.insert(cell, word);
            }
            !former
        });
    }

    /// Forgets what was said by leaders of cells that are gone, or that this node knows by its log now.
    pub(super) fn forget_closed_cells(&self) {
        let (own, (_, placed)) = (self.own_cell(), self.placed_cells());
        self.0.heard.send_if_modified(|all| {
            let known = all.len();
            all.retain(|cell, _| own != Some(*cell) && (placed.is_empty() || placed.contains(cell)));
            all.len() < known
        });
    }

    /// The epoch of the newest placement that this node knows of, and the cells by it; none while there is only one.
    fn placed_cells(&self) -> (u64, BTreeSet<CellId>) {
        let own = self.0.node.replica().read(|state| (state.placement_epoch(), state.placed_cells()));
        let heard = self.0.heard.borrow();
        let newest = heard.values().map(|heard| &heard.table.plan).max_by_key(|plan| plan.epoch);
        match newest.filter(|newest| newest.epoch > own.0) {
            Some(newest) => (newest.epoch, newest.cells.keys().copied().collect()),
            None => own,
        }
    }

    /// The cells that there are, and the own one; none if this node knows no placement.
    pub(super) fn known_cells(&self) -> Option<BTreeSet<CellId>> {
        let (_, placed) = self.placed_cells();
        (!placed.is_empty()).then(|| placed.into_iter().chain(self.own_cell()).collect())
    }

    /// The cells that there are.
    pub(super) fn cells(&self) -> BTreeSet<CellId> {
        let own = self.0.node.cell();
        self.plan().cells.into_keys().chain(own).chain([CellId::FIRST]).collect()
    }

    /// The cells that hold slots, or may come to.
    pub(super) fn serving_cells(&self) -> BTreeSet<CellId> {
        let own = self.0.node.replica().read(|state| (state.placement_epoch(), state.serving_cells()));
        let heard = self.0.heard.borrow();
        let newest = heard.values().map(|heard| &heard.table.plan).max_by_key(|plan| plan.epoch);
        let cells: Vec<CellId> = match newest.filter(|newest| newest.epoch > own.0) {
            Some(newest) => serving(&newest.cells).collect(),
            None => own.1,
        };
        cells.into_iter().chain(self.own_cell()).chain([CellId::FIRST]).collect()
    }

    /// A cell that has a leader: this node's, if it does.
    pub(super) fn led_cell(&self) -> CellId {
        let own = self.own_cell().unwrap_or_default();
        let is_led = |cell: &CellId| self.lead(*cell).borrow().is_some();
        if is_led(&own) {
            return own;
        }
        self.serving_cells().into_iter().find(is_led).unwrap_or(own)
    }

    /// The voters of a cell, and everybody who has a seat in it.
    pub(super) fn seats(&self, cell: CellId) -> (BTreeSet<u64>, Peers) {
        if self.goes_by_log(cell) {
            return seats_of(&self.0.node);
        }
        if let Some(heard) = self.heard(cell) {
            return (heard.table.voters.clone(), heard.table.seats.clone());
        }
        let planned = self.plan().cells.remove(&cell).map(|cell| cell.seats).unwrap_or_default();
        (planned.keys().copied().collect(), planned)
    }

    /// Whether this node knows a cell by its log. So does one that votes there and is about to sit, or lead.
    fn goes_by_log(&self, cell: CellId) -> bool {
        match self.0.node.cell() {
            Some(own) => own == cell && (self.is_seated() || self.0.node.votes()),
            None => self.is_seated() && cell == CellId::FIRST,
        }
    }

    /// How many slots a cell serves, and how many are on their way from it, as far as this node knows.
    pub(super) fn held(&self, cell: CellId) -> (usize, usize) {
        if self.goes_by_log(cell) {
            let table = Table::of(&self.0.node);
            return (table.open_slots().count(), table.moving);
        }
        self.heard(cell).map_or((0, 0), |heard| (heard.table.open_slots().count(), heard.table.moving))
    }

    /// The nodes that have no seat.
    pub(super) fn fronts(&self) -> Peers {
        self.plan().fronts
    }

    /// Where everybody is, as far as this node knows.
    pub(super) fn plan(&self) -> Plan {
        let own =
            self.0.node.replica().read(|state| (state.placement_epoch() > 0).then(|| state.placement()));
        let heard = self.0.heard.borrow();
        let newest = heard.values().map(|heard| &heard.table.plan).max_by_key(|plan| plan.epoch);
        match (own, newest) {
            (Some(own), Some(newest)) if own.epoch < newest.epoch => newest.clone(),
            (Some(own), _) => own,
            (None, newest) => newest.cloned().unwrap_or_default(),
        }
    }

    /// Every node of the cluster.
    pub(super) fn everybody(&self) -> Peers {
        let mut all = self.plan().nodes();
        for heard in self.0.heard.borrow().values() {
            all.extend(heard.table.seats.clone());
        }
        // The own log knows best where its members are.
        all.extend(seats_of(&self.0.node).1);
        if all.is_empty() { self.0.configured.clone() } else { all }
    }

    /// Where a node is reached.
    pub(super) fn address_of(&self, id: u64) -> Option<String> {
        let Shared { node, heard, .. } = &*self.0;
        let placed = || node.replica().read(|state| state.peer_of(id));
        let told = || {
            let heard = heard.borrow();
            let told = heard.values().find_map(|heard| heard.table.seats.get(&id).cloned());
            told.or_else(|| heard.values().find_map(|heard| heard.table.plan.nodes().remove(&id)))
        };
        node.address_of(id).or_else(placed).or_else(told)
    }

    /// Whether this node is the only one of its cluster.
    pub(super) fn is_alone(&self) -> bool {
        let Shared { node, .. } = &*self.0;
        let has_peers = || node.replica().read(|state| state.places_others(node.id()));
        self.is_seated() && node.members().1.keys().eq([&node.id()]) && !has_peers()
    }

    /// Whether `id` is a node of the cluster: by the log, or by what the leaders said; before there is either, by the
    /// configuration.
    pub(super) fn knows(&self, id: u64) -> bool {
        let Shared { node, heard, configured, .. } = &*self.0;
        if node.knows(id) || node.replica().read(|state| state.is_placed(id)) {
            return true;
        }
        let heard = heard.borrow();
        let is_told = |heard: &Heard| {
            let Table { seats, plan, .. } = &*heard.table;
            let seated = plan.cells.values().any(|cell| cell.seats.contains_key(&id));
            seats.contains_key(&id) || plan.fronts.contains_key(&id) || seated
        };
        if heard.values().any(is_told) {
            return true;
        }
        // A front that the cell was founded with, and that was not placed yet.
        let is_awaited = |state: &State| !state.is_founded() && state.member(id).is_none();
        match self.is_seated() {
            true => configured.contains_key(&id) && (!node.belongs() || node.replica().read(is_awaited)),
            false => heard.is_empty() && configured.contains_key(&id),
        }
    }

    /// The disk that a node id is bound to, if this node knows of one.
    pub(super) fn disk_of(&self, id: u64) -> Option<u128> {
        let bound = self.0.node.replica().read(|state| state.member(id));
        let heard = self.0.heard.borrow();
        bound.or_else(|| heard.values().find_map(|heard| heard.table.plan.disks.get(&id).copied()))
    }

    /// A random number that all nodes agree on and no client knows: the disk of the lowest node id that was ever bound to one.
    /// It stays the same unless a node with a lower id joins.
    pub(super) fn salt(&self) -> Option<u128> {
        let own = self.0.node.replica().read(State::first_disk);
        own.or_else(|| self.plan().disks.values().next().copied())
    }

    /// Whether the leader of a cell was heard of within this time; by a leader, a quorum.
    pub(super) fn is_led_within(&self, cell: CellId, silence_max: Duration) -> bool {
        if self.goes_by_log(cell) && self.0.node.is_led_within(silence_max) {
            return true;
        }
        self.0.heard.borrow().get(&cell).is_some_and(|heard| heard.at.elapsed() <= silence_max)
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
        self.leads().values().for_each(|lead| drop(lead.send_replace(None)));
    }

    /// Who leads a cell, and when that is over unless it is said again.
    fn known_lead(&self, cell: CellId) -> (Option<Lead>, Option<Instant>) {
        let Shared { node, heard, .. } = &*self.0;
        // One that is about to sit knows it by the log already.
        if node.cell() == Some(cell) {
            let known = node.lead().borrow().clone();
            if known.is_some() || self.is_seated() {
                return (known, None);
            }
        }
        let heard = heard.borrow();
        let fresh = heard.get(&cell).filter(|heard| heard.at.elapsed() < BEACON_SILENCE_MAX);
        (fresh.map(|heard| heard.lead.clone()), fresh.map(|heard| heard.at + BEACON_SILENCE_MAX))
    }

    async fn follow(&self) {
        let Shared { node, heard, seated, .. } = &*self.0;
        let (mut by_log, mut by_word, mut seated) = (node.lead(), heard.subscribe(), seated.subscribe());
        loop {
            by_log.borrow_and_update();
            by_word.borrow_and_update();
            seated.borrow_and_update();
            let mut expires: Option<Instant> = None;
            for (cell, lead) in &*self.leads() {
                let (known, until) = self.known_lead(*cell);
                expires = expires.into_iter().chain(until).min();
                lead.send_if_modified(|before| {
                    let modified = *before != known;
                    if modified {
                        *before = known;
                    }
                    modified
                });
            }
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
            // A change of members that is only in its log may come to nothing, and this node be a front again.
            if node.votes_for_good() && read_index.wait().await.is_ok() && self.has_begun() {
                break;
            }
        }
        tracing::info!(cell = %node.cell().unwrap_or_default(), "this node has a seat in a cell, and answers from its own replica");
        // Set once: who sits never sits elsewhere.
        let _ = self.0.own_cell.set(node.cell().unwrap_or_default());
        self.forget_closed_cells();
        seated.send_replace(true);
        // Whoever waits here was told of changes by another replica so far.
        node.replica().pass_on(&[Hint::WakeAll]);
    }

    /// Whether the own cell's log says which slots it serves.
    fn has_begun(&self) -> bool {
        let Shared { node, .. } = &*self.0;
        node.cell() == Some(CellId::FIRST) || node.replica().read(State::has_moved_slots)
    }
}

/// Whether a cell whose leader knows the placement of `told` is none of those of a placement that is no older. The last
/// member of a closed cell leads it for as long as it runs, and nodes that heard it would vouch for it to each other.
fn is_closed(cell: CellId, told: u64, epoch: u64, placed: &BTreeSet<CellId>) -> bool {
    told <= epoch && !placed.is_empty() && !placed.contains(&cell)
}
