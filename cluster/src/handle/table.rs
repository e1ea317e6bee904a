//! A cell, as its leader knows it and tells everybody outside of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::raft::Node;
use crate::state::placement::Plan;
use crate::state::slot::{CellId, Slot};

/// Nodes, and the addresses that their peers use.
pub(super) type Peers = BTreeMap<u64, String>;

/// A cell, as its leader knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Table {
    /// Those of the members who vote.
    pub(super) voters: BTreeSet<u64>,
    /// The members of the cell.
    pub(super) seats: Peers,
    /// The slots that it serves.
    pub(super) slots: Vec<SlotRun>,
    /// How many slots are on their way to other cells.
    pub(super) moving: usize,
    /// Where everybody is, as this cell knows it.
    pub(super) plan: Plan,
}

/// Slots that follow each other, of one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SlotRun {
    first: Slot,
    count: u16,
    epoch: u64,
}

impl Table {
    /// As this member of the cell knows it.
    pub(super) fn of(node: &Node) -> Self {
        let (voters, seats) = seats_of(node);
        let (slots, moving, plan) = node.replica().read(|state| {
            // A new cell serves nothing before its log says so.
            let begun = node.cell() == Some(CellId::FIRST) || state.has_moved_slots();
            let slots = if begun { runs(state.open_slots()) } else { Vec::new() };
            (slots, state.sealed_slots().len(), state.placement())
        });
        Self { voters, seats, slots, moving, plan }
    }

    /// The slots that the cell serves, and their epochs.
    pub(super) fn open_slots(&self) -> impl Iterator<Item = (Slot, u64)> {
        self.slots.iter().flat_map(|run| {
            let first = run.first.number();
            let numbers = first..first.saturating_add(run.count);
            numbers.filter_map(|number| Some((Slot::try_from(number).ok()?, run.epoch)))
        })
    }
}

fn runs(slots: impl Iterator<Item = (Slot, u64)>) -> Vec<SlotRun> {
    let mut runs: Vec<SlotRun> = Vec::new();
    for (slot, epoch) in slots {
        match runs.last_mut() {
            Some(run) if run.epoch == epoch && run.first.number() + run.count == slot.number() => {
                run.count += 1
            }
            Some(_) | None => runs.push(SlotRun { first: slot, count: 1, epoch }),
        }
    }
    runs
}

/// Who votes in this node's cell, and who is a member of it.
pub(super) fn seats_of(node: &Node) -> (BTreeSet<u64>, Peers) {
    let (voters, seats) = node.members();
    (voters, seats.into_iter().map(|(id, member)| (id, member.peer)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_told_as_runs_and_read_back() {
        let slot = |number| Slot::try_from(number).unwrap();
        let slots = [(slot(0), 0), (slot(1), 0), (slot(2), 3), (slot(5), 3), (slot(1023), 0)];
        let table = Table { slots: runs(slots.into_iter()), ..Table::default() };
        assert_eq!(table.slots.len(), 4);
        assert_eq!(table.open_slots().collect::<Vec<_>>(), slots);
        let all = Slot::all().map(|slot| (slot, 0));
        assert_eq!(runs(all).len(), 1, "a cell that has all of them says so briefly");
        let beyond = SlotRun { first: slot(1020), count: u16::MAX, epoch: 1 };
        assert_eq!(Table { slots: vec![beyond], ..Table::default() }.open_slots().count(), 4);
    }
}
