//! The next step towards full cells and evenly spread slots.
//!
//! One pure function, called by the leader of the first cell again and again. Each step is idempotent, and the next leader goes
//! on from the present placement. Load is not considered: keys are hashes, so that slots are alike.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::table::Peers;
use crate::state::limits::CELLS_MAX;
use crate::state::placement::{CellPlan, Change, Plan, Stage};
use crate::state::slot::{CellId, Slot};

/// What the leader of the first cell sees.
pub(super) struct Seen<'a> {
    /// The placement in the first cell's state.
    pub(super) plan: &'a Plan,
    /// How many nodes a cell should have.
    pub(super) replicas: usize,
    /// The voters of each cell that has a leader, as its log says.
    pub(super) voters: &'a BTreeMap<CellId, Peers>,
    /// The fronts that can take a seat now.
    pub(super) spares: &'a BTreeSet<u64>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Change the placement.
    Change(Change),
    /// Have the nodes of a new cell found it.
    Found(CellId),
    /// Have a front take a vacant seat.
    Seat(CellId, u64),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change(Change::Open { cell, seats }) => write!(f, "open cell {cell} with nodes {seats:?}"),
            Self::Change(Change::Sit { cell, .. }) => write!(f, "write down who sits in cell {cell}"),
            Self::Change(Change::Enlist { cell, .. }) => write!(f, "have cell {cell} hold slots"),
            Self::Change(Change::Allot(slots)) => write!(f, "move {} slots", slots.len()),
            Self::Change(Change::Close { cell }) => write!(f, "close cell {cell}"),
            Self::Found(cell) => write!(f, "found cell {cell}"),
            Self::Seat(cell, front) => write!(f, "seat node {front} in cell {cell}"),
        }
    }
}

/// How many voters a cell should have, given its voters and the fronts that could join them: an odd number, since one more can
/// fail and lets the cell survive no further loss.
pub(super) fn wanted(voters: usize, fronts: usize, replicas: usize) -> usize {
    let most = replicas.min(voters + fronts);
    let odd = if most.is_multiple_of(2) { most.saturating_sub(1) } else { most };
    odd.max(voters)
}

/// The next step; `None` if nothing is left to do, or what is missing is not available now.
pub(super) fn next_step(seen: &Seen<'_>) -> Option<Step> {
    // A cluster that never had more than one cell and no fronts has no placement.
    if seen.plan.fronts.is_empty() && seen.plan.cells.is_empty() {
        return None;
    }
    seats_to_write(seen)
        .or_else(|| cell_to_enlist(seen))
        .or_else(|| vacant_seat(seen))
        .or_else(|| slots_to_allot(seen.plan).map(Step::Change))
        .or_else(|| cell_to_close(seen.plan))
        // Its nodes may be away for long: that holds up further cells, and nothing else.
        .or_else(|| cell_to_found(seen.plan))
        .or_else(|| cell_to_open(seen))
}

fn seats_to_write(seen: &Seen<'_>) -> Option<Step> {
    let differs = |(cell, voters): &(&CellId, &Peers)| {
        seen.plan.cells.get(cell).map_or(**cell == CellId::FIRST, |known| known.seats != **voters)
    };
    let (cell, voters) = seen.voters.iter().find(differs)?;
    let seats = voters.iter().map(|(node, peer)| (*node, peer.clone())).collect();
    Some(Step::Change(Change::Sit { cell: *cell, seats }))
}

fn new_cells(plan: &Plan) -> impl Iterator<Item = CellId> {
    plan.cells.iter().filter(|(_, cell)| cell.stage == Stage::New).map(|(number, _)| *number)
}

fn cell_to_enlist(seen: &Seen<'_>) -> Option<Step> {
    let cell = new_cells(seen.plan).find(|cell| seen.voters.contains_key(cell))?;
    Some(Step::Change(Change::Enlist { cell, stage: Stage::Active }))
}

fn cell_to_found(plan: &Plan) -> Option<Step> {
    new_cells(plan).next().map(Step::Found)
}

fn vacant_seat(seen: &Seen<'_>) -> Option<Step> {
    let front = *seen.spares.first()?;
    let is_vacant = |(_, voters): &(&CellId, &Peers)| {
        wanted(voters.len(), seen.spares.len(), seen.replicas) > voters.len()
    };
    let (cell, _) = seen.voters.iter().find(is_vacant)?;
    Some(Step::Seat(*cell, front))
}

fn cell_to_open(seen: &Seen<'_>) -> Option<Step> {
    let Seen { plan, replicas, spares, .. } = seen;
    if spares.len() < *replicas || plan.cells.len() >= CELLS_MAX {
        return None;
    }
    let seats = spares.iter().take(*replicas).copied().collect();
    Some(Step::Change(Change::Open { cell: CellId::of(plan.last_cell.number().checked_add(1)?), seats }))
}

/// The even split with the fewest moves.
pub(super) fn slots_to_allot(plan: &Plan) -> Option<Change> {
    let active = plan.cells.iter().filter(|(number, cell)| {
        // The first cell always holds slots.
        **number == CellId::FIRST || cell.stage == Stage::Active
    });
    let mut held: BTreeMap<CellId, Vec<Slot>> =
        active.map(|(number, _)| (*number, Vec::new())).chain([(CellId::FIRST, Vec::new())]).collect();
    let mut loose = Vec::new();
    for slot in Slot::all() {
        match held.get_mut(&plan.cell_of(slot)) {
            Some(slots) => slots.push(slot),
            None => loose.push(slot),
        }
    }
    let (share, rest) = (Slot::all().count() / held.len(), Slot::all().count() % held.len());
    // The cells that hold the most keep one of the slots that are left over.
    let mut order: Vec<CellId> = held.keys().copied().collect();
    order.sort_by_key(|cell| std::cmp::Reverse(held[cell].len()));
    let quotas = order.iter().enumerate().map(|(place, cell)| (*cell, share + usize::from(place < rest)));
    let quotas: Vec<_> = quotas.collect();
    for (cell, quota) in &quotas {
        let slots = held.get_mut(cell)?;
        loose.extend(slots.drain((*quota).min(slots.len())..));
    }
    let mut moves = Vec::new();
    for (cell, quota) in quotas {
        let lacking = quota - held[&cell].len();
        moves.extend(loose.drain(loose.len() - lacking..).map(|slot| (slot, cell)));
    }
    moves.sort_unstable();
    (!moves.is_empty()).then_some(Change::Allot(moves))
}

fn cell_to_close(plan: &Plan) -> Option<Step> {
    let is_over = |(number, cell): &(&CellId, &CellPlan)| {
        cell.seats.is_empty() && !plan.slots.values().any(|at| at == *number)
    };
    let (cell, _) = plan.cells.iter().find(is_over)?;
    Some(Step::Change(Change::Close { cell: *cell }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A cluster that does what it is told at once.
    struct Cluster {
        plan: Plan,
        replicas: usize,
        voters: BTreeMap<CellId, Peers>,
    }

    impl Cluster {
        fn new(seats: u64, fronts: u64, replicas: usize) -> Self {
            let peer = |node: u64| (node, format!("n{node}:1"));
            let plan = Plan { fronts: (seats + 1..=seats + fronts).map(peer).collect(), ..Plan::default() };
            Self { plan, replicas, voters: [(CellId::FIRST, (1..=seats).map(peer).collect())].into() }
        }

        /// Takes steps until there is none, and says how many that were.
        fn settle(&mut self) -> usize {
            for count in 0..200 {
                let spares = self.plan.fronts.keys().copied().collect();
                let seen =
                    Seen { plan: &self.plan, replicas: self.replicas, voters: &self.voters, spares: &spares };
                let Some(step) = next_step(&seen) else { return count };
                self.take(step);
            }
            panic!("it never comes to rest: {:?}", self.plan);
        }

        fn take(&mut self, step: Step) {
            let plan = &mut self.plan;
            match step {
                Step::Found(cell) => drop(self.voters.insert(cell, plan.cells[&cell].seats.clone())),
                Step::Seat(cell, front) => {
                    let peer = plan.fronts.remove(&front).unwrap();
                    self.voters.get_mut(&cell).unwrap().insert(front, peer);
                }
                Step::Change(Change::Open { cell, seats }) => {
                    let taken = seats.iter().map(|node| (*node, plan.fronts.remove(node).unwrap()));
                    let cell_plan = CellPlan { seats: taken.collect(), stage: Stage::New };
                    plan.cells.insert(cell, cell_plan);
                    plan.last_cell = cell;
                }
                Step::Change(Change::Sit { cell, seats }) => {
                    let stage = plan.cells.get(&cell).map_or(Stage::Active, |cell| cell.stage);
                    plan.cells.insert(cell, CellPlan { seats: seats.into_iter().collect(), stage });
                }
                Step::Change(Change::Enlist { cell, stage }) => {
                    plan.cells.get_mut(&cell).unwrap().stage = stage
                }
                Step::Change(Change::Allot(slots)) => {
                    for (slot, cell) in slots {
                        assert_ne!(plan.cell_of(slot), cell, "a move that is none");
                        plan.slots.insert(slot, cell);
                    }
                }
                Step::Change(Change::Close { cell }) => drop(plan.cells.remove(&cell)),
            }
        }

        fn held(&self) -> Vec<usize> {
            let count = |cell: &CellId| Slot::all().filter(|slot| self.plan.cell_of(*slot) == *cell).count();
            self.plan.cells.keys().map(count).collect()
        }
    }

    #[test]
    fn a_cell_has_an_odd_number_of_voters_where_it_can() {
        assert_eq!(wanted(3, 5, 3), 3, "no seat is vacant");
        assert_eq!(wanted(2, 1, 3), 3, "one was lost");
        assert_eq!(wanted(2, 0, 3), 2);
        assert_eq!(wanted(1, 1, 3), 1, "two survive no loss, and stop when either is lost");
        assert_eq!(wanted(1, 2, 3), 3);
        assert_eq!(wanted(3, 1, 5), 3);
        assert_eq!(wanted(4, 1, 5), 5);
        assert_eq!(wanted(5, 2, 3), 5, "what an operator seated stays");
        assert_eq!(wanted(1, 4, 1), 1);
    }

    #[test]
    fn a_cluster_of_up_to_three_nodes_has_nothing_to_do() {
        for seats in 1..=3 {
            assert_eq!(Cluster::new(seats, 0, 3).settle(), 0);
        }
    }

    #[test]
    fn who_is_gone_from_the_last_cell_is_written_down() {
        let mut cluster = Cluster::new(3, 1, 3);
        cluster.settle();
        cluster.plan.fronts.clear();
        cluster.voters.get_mut(&CellId::FIRST).unwrap().remove(&2);
        cluster.settle();
        assert!(!cluster.plan.cells[&CellId::FIRST].seats.contains_key(&2));
    }

    #[test]
    fn nine_nodes_are_three_cells_that_share_the_slots() {
        let mut cluster = Cluster::new(3, 6, 3);
        cluster.settle();
        assert!(cluster.voters.values().all(|voters| voters.len() == 3));
        assert_eq!((cluster.voters.len(), cluster.plan.fronts.len()), (3, 0));
        assert_eq!(cluster.held(), [342, 341, 341]);
        assert_eq!(cluster.settle(), 0);
    }

    #[test]
    fn what_is_left_over_stays_a_front_and_takes_the_next_vacant_seat() {
        let mut cluster = Cluster::new(3, 4, 3);
        cluster.settle();
        assert_eq!((cluster.held(), cluster.plan.fronts.len()), (vec![512, 512], 1));
        let second = CellId::of(2);
        cluster.voters.get_mut(&second).unwrap().remove(&5);
        cluster.settle();
        assert_eq!(cluster.voters[&second].keys().copied().collect::<Vec<_>>(), [4, 6, 7]);
        assert!(cluster.plan.fronts.is_empty());
    }

    #[test]
    fn a_cell_that_retires_gives_its_slots_to_the_others_and_is_closed_when_nobody_sits_there() {
        let mut cluster = Cluster::new(3, 6, 3);
        cluster.settle();
        let third = CellId::of(3);
        cluster.plan.cells.get_mut(&third).unwrap().stage = Stage::Retiring;
        cluster.settle();
        assert_eq!(cluster.held(), [512, 512, 0]);
        cluster.voters.remove(&third);
        cluster.plan.cells.get_mut(&third).unwrap().seats.clear();
        cluster.settle();
        assert!(!cluster.plan.cells.contains_key(&third));
    }

    #[test]
    fn few_slots_move() {
        let mut cluster = Cluster::new(3, 6, 3);
        cluster.settle();
        let before = cluster.plan.clone();
        for node in 20..23 {
            cluster.plan.fronts.insert(node, "a:1".to_owned());
        }
        cluster.settle();
        let moved = Slot::all().filter(|slot| before.cell_of(*slot) != cluster.plan.cell_of(*slot)).count();
        assert_eq!((cluster.held(), moved), (vec![256; 4], 256));
    }

    proptest! {
        #[test]
        fn it_always_comes_to_rest_with_even_shares(
            seats in 1_u64..6, fronts in 0_u64..40, replicas in prop_oneof![Just(1_usize), Just(3), Just(5)],
        ) {
            let mut cluster = Cluster::new(seats, fronts, replicas);
            cluster.settle();
            let most = cluster.plan.cells.len() == CELLS_MAX;
            prop_assert!(most || cluster.plan.fronts.len() < replicas.max(2));
            if let (Some(least), Some(most)) = (cluster.held().iter().min(), cluster.held().iter().max()) {
                prop_assert!(most - least <= 1, "{:?}", cluster.held());
            }
        }
    }
}
