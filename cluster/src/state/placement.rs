//! Placement: where the nodes of the cluster are, and where its slots belong.
//!
//! The first cell decides it. The other cells keep copies, so that their members find each other and all other nodes after any
//! restart. Who sits in a cell is decided by the membership of its Raft group, and which slots it holds by its own log: the
//! placement records the former and states the target of the latter.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::codec::at_most;
use super::limits::{CELLS_MAX, FRONTS_MAX, SEATS_MAX};
use super::outcome;
use super::slot::{CellId, SLOTS, Slot};

/// A command about the placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// The fronts that a cluster begins with. Nothing where fronts were placed or withdrawn before.
    Found {
        /// Each with the address that its peers use.
        #[serde(deserialize_with = "at_most::<_, _, { FRONTS_MAX }>")]
        fronts: Vec<(u64, String)>,
    },
    /// A node is a front from now on, at this address.
    Place {
        /// The node's id.
        node: u64,
        /// The address that its peers use.
        peer: String,
    },
    /// A node is a front no more: it took a seat, or was removed.
    Withdraw {
        /// The node's id.
        node: u64,
    },
    /// A change that was planned from an earlier placement.
    Change {
        /// The epoch of that placement. If it was changed since, nothing happens.
        epoch: u64,
        /// What changes.
        change: Change,
    },
    /// The first cell's placement, for another cell. Nothing happens if that has a later one.
    Copy(Plan),
}

impl Op {
    /// About how many bytes it takes encoded beside the command around it; never less.
    pub(super) fn size(&self) -> usize {
        let peers = |len: usize, names: usize| 20 * len + names;
        let names = |peers: &[(u64, String)]| peers.iter().map(|(_, peer)| peer.len()).sum();
        match self {
            // The address of a placed node is counted with the names of all commands.
            Self::Place { .. } | Self::Withdraw { .. } => 0,
            Self::Found { fronts } => peers(fronts.len(), names(fronts)),
            Self::Change { change: Change::Open { seats, .. }, .. } => peers(seats.len(), 0),
            Self::Change { change: Change::Sit { seats, .. }, .. } => peers(seats.len(), names(seats)),
            Self::Change { change: Change::Allot(slots), .. } => 6 * slots.len(),
            Self::Change { change: Change::Enlist { .. } | Change::Close { .. }, .. } => 0,
            Self::Copy(plan) => {
                let nodes = plan.nodes();
                let nodes = peers(nodes.len(), nodes.values().map(String::len).sum());
                64 + nodes + 20 * plan.cells.len() + 6 * plan.slots.len() + 40 * plan.disks.len()
            }
        }
    }
}

/// What changes of the placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Fronts take the seats of a new cell, which they found.
    Open {
        /// Its number: one above the highest there ever was.
        cell: CellId,
        /// The fronts.
        #[serde(deserialize_with = "at_most::<_, _, { SEATS_MAX }>")]
        seats: Vec<u64>,
    },
    /// Who sits in a cell, as its log says. A front that does is a front no more.
    Sit {
        /// Which cell.
        cell: CellId,
        /// Each with the address that its peers use.
        #[serde(deserialize_with = "at_most::<_, _, { SEATS_MAX }>")]
        seats: Vec<(u64, String)>,
    },
    /// A cell enters another stage.
    Enlist {
        /// Which cell.
        cell: CellId,
        /// See [`Stage`].
        stage: Stage,
    },
    /// Where slots should be.
    Allot(#[serde(deserialize_with = "at_most::<_, _, { SLOTS as usize }>")] Vec<(Slot, CellId)>),
    /// A cell that holds no slot is gone, and those that sat there with it.
    Close {
        /// Which cell.
        cell: CellId,
    },
}

/// The stage of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// It is being founded.
    New,
    /// It holds its share of the slots.
    Active,
    /// It gives its slots to the others.
    Retiring,
}

/// What the placement says of a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellPlan {
    /// Who sits in it, and the addresses that their peers use.
    pub seats: BTreeMap<u64, String>,
    /// Its stage.
    pub stage: Stage,
}

/// The whole placement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How often it was changed.
    pub epoch: u64,
    /// Whether the fronts that the cluster began with were placed.
    pub founded: bool,
    /// The nodes that sit in no cell, and the addresses that their peers use.
    pub fronts: BTreeMap<u64, String>,
    /// The cells. The first one may be missing, while there is no other node.
    pub cells: BTreeMap<CellId, CellPlan>,
    /// The highest number that a cell ever had: no two have the same.
    pub last_cell: CellId,
    /// The slots that should be in another cell than the first.
    pub slots: BTreeMap<Slot, CellId>,
    /// The disks that node ids are bound to.
    pub disks: BTreeMap<u64, u128>,
}

impl Plan {
    /// Where a slot should be.
    pub fn cell_of(&self, slot: Slot) -> CellId {
        self.slots.get(&slot).copied().unwrap_or(CellId::FIRST)
    }

    /// All nodes, and the addresses that their peers use.
    pub fn nodes(&self) -> BTreeMap<u64, String> {
        let seats = self.cells.values().flat_map(|cell| &cell.seats);
        self.fronts.iter().chain(seats).map(|(node, peer)| (*node, peer.clone())).collect()
    }

    /// The cell that a node sits in.
    pub fn seat_of(&self, node: u64) -> Option<CellId> {
        self.cells.iter().find(|(_, cell)| cell.seats.contains_key(&node)).map(|(cell, _)| *cell)
    }
}

/// Those of the cells that hold slots, or may get some.
pub fn serving<'a>(
    cells: impl IntoIterator<Item = (&'a CellId, &'a CellPlan)>,
) -> impl Iterator<Item = CellId> {
    cells.into_iter().filter(|(_, cell)| cell.stage != Stage::New).map(|(number, _)| *number)
}

/// What happened to the placement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was done, or there was nothing to do.
    Placed,
}

/// Why nothing happened to the placement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// There are as many fronts as there may be.
    Full,
    /// The placement was changed since, or does not admit the change.
    Outdated,
}

/// The placement as the state holds it, but for the disks.
#[derive(Debug, Clone, Default)]
pub(super) struct Placement {
    epoch: u64,
    founded: bool,
    fronts: OrdMap<u64, String>,
    cells: OrdMap<CellId, CellPlan>,
    last_cell: CellId,
    slots: OrdMap<Slot, CellId>,
}

impl Placement {
    pub(super) fn carry_out(&mut self, op: Op) -> Result<Outcome, outcome::Refusal> {
        match op {
            Op::Found { .. } if self.founded => return Ok(Outcome::Placed),
            Op::Found { fronts } => self.fronts = fronts.into_iter().collect(),
            Op::Place { node, .. } if !self.fronts.contains_key(&node) && self.fronts.len() >= FRONTS_MAX => {
                return Err(Refusal::Full.into());
            }
            Op::Place { node, peer } => {
                self.fronts.insert(node, peer);
            }
            Op::Withdraw { node } => {
                self.fronts.remove(&node);
            }
            Op::Change { epoch, .. } if epoch != self.epoch => return Err(Refusal::Outdated.into()),
            Op::Change { change, .. } => self.change(change).ok_or(Refusal::Outdated)?,
            Op::Copy(plan) if plan.epoch <= self.epoch => return Ok(Outcome::Placed),
            Op::Copy(plan) => {
                self.take(plan);
                return Ok(Outcome::Placed);
            }
        }
        self.founded = true;
        self.epoch += 1;
        Ok(Outcome::Placed)
    }

    fn change(&mut self, change: Change) -> Option<()> {
        match change {
            Change::Open { cell, seats } => {
                let next = self.last_cell.number().checked_add(1)?;
                let is_next = cell.number() == next && self.cells.len() < CELLS_MAX;
                let peers: BTreeMap<_, _> =
                    seats.iter().filter_map(|node| Some((*node, self.fronts.get(node)?.clone()))).collect();
                if !is_next || seats.is_empty() || peers.len() != seats.len() {
                    return None;
                }
                seats.iter().for_each(|node| drop(self.fronts.remove(node)));
                self.last_cell = cell;
                self.cells.insert(cell, CellPlan { seats: peers, stage: Stage::New });
            }
            Change::Sit { cell, seats } => {
                if cell != CellId::FIRST && !self.cells.contains_key(&cell) {
                    return None;
                }
                seats.iter().for_each(|(node, _)| drop(self.fronts.remove(node)));
                let seats = seats.into_iter().collect();
                let stage = self.cells.get(&cell).map_or(Stage::Active, |cell| cell.stage);
                self.cells.insert(cell, CellPlan { seats, stage });
            }
            Change::Enlist { cell, stage } => self.cells.get_mut(&cell)?.stage = stage,
            Change::Allot(slots) => {
                let known = |cell: &CellId| *cell == CellId::FIRST || self.cells.contains_key(cell);
                if !slots.iter().all(|(_, cell)| known(cell)) {
                    return None;
                }
                for (slot, cell) in slots {
                    match cell {
                        CellId::FIRST => self.slots.remove(&slot),
                        cell => self.slots.insert(slot, cell),
                    };
                }
            }
            Change::Close { cell } => {
                if cell == CellId::FIRST || self.slots.values().any(|at| *at == cell) {
                    return None;
                }
                self.cells.remove(&cell)?;
            }
        }
        Some(())
    }

    /// Notes that what belongs to the placement changed elsewhere in the state.
    pub(super) fn touch(&mut self) {
        self.epoch += 1;
    }

    fn take(&mut self, plan: Plan) {
        let Plan { epoch, founded, fronts, cells, last_cell, slots, disks: _ } = plan;
        *self = Self {
            epoch,
            founded,
            fronts: fronts.into_iter().collect(),
            cells: cells.into_iter().collect(),
            last_cell,
            slots: slots.into_iter().collect(),
        };
    }

    /// All of it, with the disks that node ids are bound to.
    pub(super) fn plan(&self, disks: BTreeMap<u64, u128>) -> Plan {
        Plan {
            epoch: self.epoch,
            founded: self.founded,
            fronts: self.fronts.iter().map(|(node, peer)| (*node, peer.clone())).collect(),
            cells: self.cells.iter().map(|(number, cell)| (*number, cell.clone())).collect(),
            last_cell: self.last_cell,
            slots: self.slots.iter().map(|(slot, cell)| (*slot, *cell)).collect(),
            disks,
        }
    }

    /// All cells.
    pub(super) fn cells(&self) -> impl Iterator<Item = CellId> {
        self.cells.keys().copied()
    }

    /// The cells that hold slots, or may get some.
    pub(super) fn serving_cells(&self) -> impl Iterator<Item = CellId> {
        serving(&self.cells)
    }

    /// Where a slot should be. Nothing as long as there never was a second cell.
    pub(super) fn cell_of(&self, slot: Slot) -> Option<CellId> {
        let placed = self.slots.get(&slot).copied().unwrap_or(CellId::FIRST);
        (self.last_cell != CellId::FIRST).then_some(placed)
    }

    /// How often it was changed.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the fronts that the cluster began with were placed.
    pub(super) fn is_founded(&self) -> bool {
        self.founded
    }

    /// The address of a node.
    pub(super) fn peer(&self, node: u64) -> Option<&String> {
        let seated = || self.cells.values().find_map(|cell| cell.seats.get(&node));
        self.fronts.get(&node).or_else(seated)
    }

    /// Whether there are other nodes than this one.
    pub(super) fn has_others(&self, node: u64) -> bool {
        let seated = self.cells.values().flat_map(|cell| cell.seats.keys());
        self.fronts.keys().chain(seated).any(|other| *other != node)
    }

    /// Whether a node is known.
    pub(super) fn has(&self, node: u64) -> bool {
        self.peer(node).is_some()
    }

    /// Restores it from a snapshot; false if that is not sound.
    pub(super) fn restore(&mut self, plan: Plan) -> bool {
        let seats = plan.cells.values().all(|cell| cell.seats.len() <= SEATS_MAX);
        let nodes: BTreeSet<u64> = plan.fronts.keys().copied().collect();
        let sound = self.epoch == 0
            && plan.epoch > 0
            && seats
            && plan.disks.is_empty()
            && nodes.len() <= FRONTS_MAX
            && plan.cells.len() <= CELLS_MAX;
        self.take(plan);
        sound
    }
}
