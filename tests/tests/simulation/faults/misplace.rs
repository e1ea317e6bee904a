//! Slots that are sent to and fro, whatever the plan thinks of it.

use conclave_cluster::state::command::Op;
use conclave_cluster::state::placement::{self, Change, Stage};
use conclave_cluster::state::query;
use conclave_cluster::state::slot::{CellId, SLOTS, Slot};
use conclave_cluster::{Cluster, Draft};
use rand::RngExt as _;
use rand::rngs::SmallRng;

/// So many slots are sent elsewhere at a time.
const SLOTS_MAX: usize = 24;

/// Slots, and for each a number that chooses its cell.
pub(super) fn choose(rng: &mut SmallRng) -> Vec<(Slot, usize)> {
    let count = rng.random_range(1..=SLOTS_MAX);
    let numbers = (0..count).map(|_| (rng.random_range(0..SLOTS), rng.random_range(0..1000)));
    numbers.filter_map(|(slot, cell)| Some((Slot::try_from(slot).ok()?, cell))).collect()
}

/// Has the first cell, which this node leads, allot slots to others of the cells that hold some.
pub(super) async fn misplace(cluster: Cluster, chosen: Vec<(Slot, usize)>) {
    let (plan, _) = cluster.read_at_applied_index(query::Placement);
    let active = plan.cells.iter().filter(|(_, cell)| cell.stage == Stage::Active);
    let cells: Vec<CellId> = active.map(|(number, _)| *number).collect();
    if cells.len() < 2 {
        return;
    }
    let slots = chosen.into_iter().map(|(slot, cell)| (slot, cells[cell % cells.len()])).collect();
    let op = placement::Op::Change { epoch: plan.epoch, change: Change::Allot(slots) };
    // It may well be outdated by then.
    let _ = cluster.propose_in(CellId::FIRST, Draft::of(Op::Placement(op))).await;
}
