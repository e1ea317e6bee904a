//! A slot is served by one cell, and comes to rest where the placement has it; who sits in a cell is what the placement says.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use conclave_cluster::state::placement::{Plan, Stage};
use conclave_cluster::state::query;
use conclave_cluster::state::slot::{CellId, SLOTS, Slot};

use super::Violation;
use crate::simulation::machine::Machine;

/// Which cell served a slot at an epoch of that, wherever it was seen.
#[derive(Default)]
pub(crate) struct Owners {
    cells: BTreeMap<(Slot, u64), CellId>,
    /// What a node of a cell saw last: after how many entries, and the epochs of the slots that were served there so far.
    seen: BTreeMap<(u64, CellId), (u64, Vec<u64>)>,
}

impl Owners {
    /// Looks at every node that is up and sits in a cell. One that is behind may see an epoch that is over, and no two cells
    /// ever have the same.
    pub(crate) fn look(&mut self, machines: &[Rc<Machine>]) -> Result<(), Violation> {
        for machine in machines {
            let Some(Served { cell, slots, applied }) = served(machine) else { continue };
            let (last, epochs) =
                self.seen.entry((machine.id, cell)).or_insert_with(|| (0, vec![0; usize::from(SLOTS)]));
            // One that was started again may be behind what it was.
            let goes_on = std::mem::replace(last, applied) <= applied;
            for (slot, epoch) in slots {
                let before = std::mem::replace(&mut epochs[usize::from(slot.number())], epoch);
                if goes_on && epoch < before {
                    let what =
                        format!("{slot:?} is served by cell {cell} at epoch {epoch}, and was at {before}");
                    return Err(Violation::new("one_owner", what));
                }
                let owner = *self.cells.entry((slot, epoch)).or_insert(cell);
                if owner != cell {
                    let what =
                        format!("{slot:?} is served by cells {owner} and {cell}, both at epoch {epoch}");
                    return Err(Violation::new("one_owner", what));
                }
            }
        }
        Ok(())
    }
}

/// What a node's replica serves.
struct Served {
    cell: CellId,
    /// With their epochs.
    slots: Vec<(Slot, u64)>,
    /// After how many entries.
    applied: u64,
}

/// What a node's replica serves, if it sits in a cell. One that was started again has its slots when its log was read.
fn served(machine: &Machine) -> Option<Served> {
    let cluster = machine.cluster.borrow();
    let cluster = cluster.as_ref()?;
    let cell = cluster.cell()?;
    let (slots, applied) = cluster.read_at_applied_index(query::Slots);
    (cell == CellId::FIRST || applied > 0).then_some(Served { cell, slots, applied })
}

/// What the first cell has for the placement; its replicas must agree already.
fn plan_of(machines: &[Rc<Machine>]) -> Option<Plan> {
    let first = machines.iter().find(|it| it.cell() == Some(CellId::FIRST))?;
    let cluster = first.cluster.borrow();
    Some(cluster.as_ref()?.read_at_applied_index(query::Placement).0)
}

/// How far all is from being at rest.
pub(crate) struct Unsettled {
    /// Grows less as it comes nearer.
    pub(crate) left: usize,
    /// What is not as it should be, if it stays so.
    pub(crate) violation: Violation,
}

/// Whether members sit where the placement has them, and each slot is served by one cell, or on its way from one. With
/// `rests`, the slots must be where the placement has them, which is even.
pub(crate) fn settled(members: &[Rc<Machine>], rests: bool) -> Result<(), Unsettled> {
    let slots = usize::from(SLOTS);
    let unsettled = |left| move |violation| Unsettled { left, violation };
    let no_plan = || Violation::new("seats", "nobody sits in the first cell");
    let plan = plan_of(members).ok_or_else(no_plan).map_err(unsettled(slots + 3))?;
    check_seats(&plan, members).map_err(unsettled(slots + 2))?;
    let owners = owners(members);
    check_one_owner(&owners).map_err(unsettled(slots + 1))?;
    if !rests {
        return Ok(());
    }
    check_shares(&plan).map_err(unsettled(slots + 1))?;
    check_places(&plan, &owners)
}

/// Which cells serve each slot that is served.
fn owners(members: &[Rc<Machine>]) -> BTreeMap<Slot, BTreeSet<CellId>> {
    let mut owners: BTreeMap<Slot, BTreeSet<CellId>> = BTreeMap::new();
    for Served { cell, slots, .. } in members.iter().filter_map(|it| served(it)) {
        for (slot, _) in slots {
            owners.entry(slot).or_default().insert(cell);
        }
    }
    owners
}

/// A cell sends one slot away at a time.
fn check_one_owner(owners: &BTreeMap<Slot, BTreeSet<CellId>>) -> Result<(), Violation> {
    if let Some((slot, cells)) = owners.iter().find(|(_, cells)| cells.len() > 1) {
        return Err(Violation::new("one_owner", format!("{slot:?} is served by cells {cells:?}")));
    }
    let cells: BTreeSet<_> = owners.values().flatten().collect();
    let unserved: Vec<Slot> = Slot::all().filter(|slot| !owners.contains_key(slot)).collect();
    if unserved.len() > cells.len() {
        let what =
            format!("{} slots are served by none of {cells:?}, such as {:?}", unserved.len(), unserved[0]);
        return Err(Violation::new("one_owner", what));
    }
    Ok(())
}

fn check_seats(plan: &Plan, members: &[Rc<Machine>]) -> Result<(), Violation> {
    let mut seated: BTreeMap<CellId, BTreeSet<u64>> = BTreeMap::new();
    for machine in members {
        if let Some(cell) = machine.cell() {
            seated.entry(cell).or_default().insert(machine.id);
        }
    }
    let seats = plan.cells.iter().filter(|(_, cell)| cell.stage != Stage::New);
    let mut planned: BTreeMap<CellId, BTreeSet<u64>> =
        seats.map(|(number, cell)| (*number, cell.seats.keys().copied().collect())).collect();
    // A cell that never had others beside it is not written down.
    let first = seated.get(&CellId::FIRST).cloned().unwrap_or_default();
    planned.entry(CellId::FIRST).or_insert(first);
    if seated != planned {
        let what = format!("nodes sit in cells {seated:?} where the placement has {planned:?}");
        return Err(Violation::new("seats", what));
    }
    Ok(())
}

fn check_places(plan: &Plan, owners: &BTreeMap<Slot, BTreeSet<CellId>>) -> Result<(), Unsettled> {
    let is_wrong =
        |slot: &Slot| !owners.get(slot).is_some_and(|cells| cells.iter().eq([&plan.cell_of(*slot)]));
    let wrong: Vec<Slot> = Slot::all().filter(is_wrong).collect();
    if let Some(slot) = wrong.first() {
        let (cells, planned) = (owners.get(slot), plan.cell_of(*slot));
        let what = format!(
            "{} slots are not where they should be, such as {slot:?}, served by {cells:?}, of cell {planned}",
            wrong.len()
        );
        return Err(Unsettled { left: wrong.len(), violation: Violation::new("one_owner", what) });
    }
    Ok(())
}

/// Whatever was sent to and fro, the plan evens it out again.
fn check_shares(plan: &Plan) -> Result<(), Violation> {
    let mut shares: BTreeMap<CellId, usize> = BTreeMap::from([(CellId::FIRST, 0)]);
    shares.extend(
        plan.cells.iter().filter(|(_, cell)| cell.stage == Stage::Active).map(|(cell, _)| (*cell, 0)),
    );
    for slot in Slot::all() {
        *shares.entry(plan.cell_of(slot)).or_default() += 1;
    }
    let (least, most) = (shares.values().min(), shares.values().max());
    if most > least.map(|least| least + 1).as_ref() {
        return Err(Violation::new("one_owner", format!("the cells do not share alike: {shares:?}")));
    }
    Ok(())
}

/// Nothing is left of a slot that is elsewhere.
pub(crate) fn whole(members: &[Rc<Machine>]) -> Result<(), Violation> {
    for machine in members.iter().filter(|it| it.cell().is_some()) {
        let cluster = machine.cluster.borrow();
        let Some(cluster) = &*cluster else { continue };
        let (strays, applied) = cluster.read_at_applied_index(query::Strays);
        if strays > 0 {
            let what =
                format!("node {} holds {strays} things of others' slots after {applied} entries", machine.id);
            return Err(Violation::new("slots_whole", what));
        }
    }
    Ok(())
}
