//! How a node goes: its seat is taken by a front, or its cell is emptied first.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::admin::{LOOK_EVERY, Request};
use super::plan::slots_to_allot;
use super::{Change, Inner};
use crate::raft::MembershipError;
use crate::state::placement::{self, Plan, Stage};
use crate::state::query::{self, Query as _};
use crate::state::slot::CellId;

impl Inner {
    /// The cell that a node sits in, if that is not this node's.
    pub(super) fn seat_elsewhere(&self, id: u64) -> Option<CellId> {
        let cell = self.topology.plan().seat_of(id)?;
        (self.node.cell() != Some(cell)).then_some(cell)
    }

    /// Gives the seat of a node to a front that answers, and removes the node then. Where there is no front, a cell but the
    /// first gives its slots to the others before.
    pub(super) async fn drain(&self, id: u64, force: bool, deadline: Instant) -> Result<(), MembershipError> {
        let (voters, _) = self.node.members();
        let cell = if voters.contains(&id) { Some(CellId::FIRST) } else { self.seat_elsewhere(id) };
        let plan = self.topology.plan();
        let is_new = |cell: &CellId| plan.cells.get(cell).is_some_and(|cell| cell.stage == Stage::New);
        // What was not founded yet holds nothing.
        if let Some(cell) = cell.filter(|cell| !is_new(cell)) {
            match self.spares(&self.topology.fronts()).await.first().copied() {
                Some(heir) => self.have_seated(cell, heir, force, deadline).await?,
                None if cell == CellId::FIRST => {
                    return Err(MembershipError::Refused(format!(
                        "there is no front that answers and could take the seat of node {id}: add one, or remove node {id}"
                    )));
                }
                None => self.empty(cell, deadline).await?,
            }
        }
        self.remove(id, force, deadline).await
    }

    /// Waits until a cell has given its slots to the others.
    async fn empty(&self, cell: CellId, deadline: Instant) -> Result<(), MembershipError> {
        self.enlist(cell, Stage::Retiring, deadline).await?;
        loop {
            let plan = self.node.replica().read(|state| state.placement());
            if let Some(change) = slots_to_allot(&plan) {
                self.change_placement(change, deadline).await?;
            }
            let table = self.topology.heard(cell).map(|heard| heard.table);
            let held = table.map(|table| table.open_slots().count() + table.moving);
            if held == Some(0) && self.is_empty(cell, &plan).await {
                return Ok(());
            }
            match held {
                _ if Instant::now() + LOOK_EVERY >= deadline => {
                    return Err(MembershipError::Late(format!(
                        "cell {cell} gives its slots to the others, and {} are left; the same command waits on",
                        held.map_or("an unknown number".to_owned(), |held| held.to_string())
                    )));
                }
                _ => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Whether a cell has no slot and will get none. It is asked for that once nobody has anything on the way there: what it
    /// told before may be older than what arrived there since.
    async fn is_empty(&self, cell: CellId, plan: &Plan) -> bool {
        if !self.sends_nothing_there(plan) {
            return false;
        }
        let mut questions = Vec::new();
        query::Held.ask(&mut questions);
        let said = self.ask_cell(cell, questions, true, Instant::now()).await;
        said.ok().and_then(|said| query::Held.hear(&mut said.into_iter())) == Some((0, 0))
    }

    /// Whether no cell has a slot under way, or has yet to hear of this placement: from then on none seals any but by it.
    fn sends_nothing_there(&self, plan: &Plan) -> bool {
        // A new cell never held any, and may stay new for long.
        let mut cells = plan.cells.iter().filter(|(_, cell)| cell.stage != Stage::New);
        cells.all(|(cell, _)| match self.topology.heard(*cell).map(|heard| heard.table) {
            Some(table) => table.moving == 0 && table.plan.epoch >= plan.epoch,
            None => *cell == CellId::FIRST && self.topology.held(*cell).1 == 0,
        })
    }

    /// Removes a node from another cell; returns when that is written down.
    pub(super) async fn remove_elsewhere(
        &self,
        cell: CellId,
        id: u64,
        force: bool,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        let plan = self.node.replica().read(|state| state.placement());
        let (voters, _) = self.topology.seats(cell);
        let is_last = voters.iter().eq([&id]);
        let is_new = plan.cells.get(&cell).is_some_and(|cell| cell.stage == Stage::New);
        if is_last || (is_new && self.topology.lead(cell).borrow().is_none()) {
            // A cell that was never led holds nothing, and nothing was sent to it.
            if plan.slots.values().any(|at| *at == cell) || !(is_new || self.is_empty(cell, &plan).await) {
                return Err(MembershipError::Refused(format!(
                    "node {id} is the last one of cell {cell}, which holds slots or does not say that it holds none: drain it"
                )));
            }
            if is_new && !force {
                return Err(MembershipError::Refused(format!(
                    "node {id} is about to found cell {cell} with others: wait until it is founded; if it never is, --force gives \
                     it up, and all who were to found it are removed"
                )));
            }
            return self.change_placement(placement::Change::Close { cell }, deadline).await;
        }
        let within = deadline.saturating_duration_since(Instant::now());
        let change = Change { force, within: within.max(Duration::from_millis(1)) };
        self.administer_in(cell, Request::Remove { id, change }).await?;
        self.write_seat_down(cell, id, false, deadline).await
    }
}
