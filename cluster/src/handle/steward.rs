//! The leader of the first cell as a steward: it takes the next step of the [`plan`](super::plan), one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Inner;
use super::admin::CHANGE_TIMEOUT_MAX;
use super::plan::{Seen, Step, next_step};
use super::table::Peers;
use crate::raft::MembershipError;
use crate::raft::disk_traits::Member;
use crate::raft::message::{self, kind};
use crate::state::placement::{self, Plan, Stage};
use crate::state::slot::CellId;
use crate::wire::{Frame, Lane, Outgoing};

/// How often to look for the next step.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a node may take to found a cell.
const FOUND_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks a front to found a cell with others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Founding {
    cell: CellId,
    members: Peers,
}

impl Inner {
    /// Takes one step after the other for as long as this node leads the first cell.
    pub(super) async fn follow_plan(self: Arc<Self>) {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = None;
        while self.stop.run_until_cancelled(tick.tick()).await.is_some() {
            if !self.leads_first_cell() {
                continue;
            }
            // An operator's change goes first.
            let Ok(_turn) = self.changing.try_lock() else { continue };
            match self.take_next_step().await {
                // Transient errors are not logged, and the same error is logged once.
                Ok(()) | Err(MembershipError::NoLeader | MembershipError::Busy) => {}
                Err(error) => {
                    if told.as_ref() != Some(&error) {
                        tracing::warn!(%error, "the next step of the plan could not be taken");
                    }
                    told = Some(error);
                    continue;
                }
            }
            told = None;
        }
    }

    fn leads_first_cell(&self) -> bool {
        self.node.cell() == Some(CellId::FIRST) && self.node.leads()
    }

    async fn take_next_step(&self) -> Result<(), MembershipError> {
        let plan = self.node.replica().read(|state| state.placement());
        match self.next_step(&plan).await {
            Some(step) => self.take(step, &plan).await,
            None => Ok(()),
        }
    }

    /// The next step. The fronts are asked only if one is needed.
    pub(super) async fn next_step(&self, plan: &Plan) -> Option<Step> {
        let voters = self.seen_voters(plan);
        let of = |spares: &BTreeSet<u64>| {
            next_step(&Seen { plan, replicas: self.options.replicas, voters: &voters, spares })
        };
        let step = of(&plan.fronts.keys().copied().collect())?;
        if matches!(step, Step::Seat(..) | Step::Change(placement::Change::Open { .. })) {
            return of(&self.spares(&plan.fronts).await);
        }
        Some(step)
    }

    /// The voters of the cells that have a leader.
    fn seen_voters(&self, plan: &Plan) -> BTreeMap<CellId, Peers> {
        let cells = plan.cells.keys().copied().chain([CellId::FIRST]);
        let led = cells.filter(|cell| self.topology.lead(*cell).borrow().is_some());
        led.map(|cell| {
            let (voters, mut seats) = self.topology.seats(cell);
            seats.retain(|id, _| voters.contains(id));
            (cell, seats)
        })
        .collect()
    }

    /// The fronts that can take a seat: they answer, and never had one.
    pub(super) async fn spares(&self, fronts: &Peers) -> BTreeSet<u64> {
        let asked = fronts.iter().map(|(id, peer)| async move {
            let info = self.info_of(*id, peer).await.ok()?;
            info.is_blank.then_some(*id)
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    async fn take(&self, step: Step, plan: &Plan) -> Result<(), MembershipError> {
        let deadline = Instant::now() + CHANGE_TIMEOUT_MAX;
        match step {
            Step::Change(change) => {
                let step = Step::Change(change.clone());
                tracing::info!(epoch = plan.epoch, %step, "the placement changes");
                let op = placement::Op::Change { epoch: plan.epoch, change };
                match self.place(op, deadline).await {
                    // The placement was changed meanwhile: planned anew at the next tick.
                    Err(MembershipError::Refused(_)) => Ok(()),
                    placed => placed,
                }
            }
            Step::Found(cell) => {
                self.have_founded(cell, &plan.cells[&cell].seats).await;
                Ok(())
            }
            Step::Seat(cell, front) => {
                self.have_seated(cell, front, false, deadline).await?;
                tracing::info!(node = front, %cell, "a front took a vacant seat in a cell");
                match plan.cells.get(&cell).map(|cell| cell.stage) {
                    // The cell is complete again.
                    Some(Stage::Retiring) => self.enlist(cell, Stage::Active, deadline).await,
                    Some(Stage::New | Stage::Active) | None => Ok(()),
                }
            }
        }
    }

    pub(super) async fn enlist(
        &self,
        cell: CellId,
        stage: Stage,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        self.change_placement(placement::Change::Enlist { cell, stage }, deadline).await
    }

    /// Changes the placement, again if somebody else changes it meanwhile.
    pub(super) async fn change_placement(
        &self,
        change: placement::Change,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        loop {
            let epoch = self.node.replica().read(|state| state.placement_epoch());
            match self.place(placement::Op::Change { epoch, change: change.clone() }, deadline).await {
                Err(MembershipError::Refused(_))
                    if self.node.replica().read(|state| state.placement_epoch()) != epoch => {}
                placed => return placed,
            }
        }
    }

    async fn have_founded(&self, cell: CellId, seats: &Peers) {
        let founding = Founding { cell, members: seats.clone() };
        let asked = seats.iter().map(|(id, peer)| {
            let frame = message::of(kind::FOUND, &founding);
            self.links.call(*id, peer, Lane::Control, frame, FOUND_TIMEOUT)
        });
        // Nodes that did not answer are asked again at the next tick.
        join_all(asked).await;
    }

    /// Founds a cell with others, if this node sits in none and never did.
    pub(super) async fn serve_found(self: Arc<Self>, request: Frame) -> Outgoing {
        let Ok(Founding { cell, members }) = message::decode(&request.header) else {
            return message::bare(kind::FAILED);
        };
        let is_mine = members.contains_key(&self.options.node_id) && cell != CellId::FIRST;
        if self.node.cell() == Some(cell) {
            return message::bare(kind::FOUND);
        }
        // It founds one cell and no other, so that it never votes in two.
        if !is_mine || !self.node.is_blank() || *self.founds_cell.get_or_init(|| cell) != cell {
            return message::bare(kind::FAILED);
        }
        let members = members.into_iter().map(|(id, peer)| (id, Member::new(peer, cell))).collect();
        match self.node.initialize(members).await {
            Ok(()) => {
                tracing::info!(%cell, "this node founds a cell with others");
                message::bare(kind::FOUND)
            }
            Err(error) => {
                tracing::warn!(%cell, %error, "a cell was not founded");
                message::bare(kind::FAILED)
            }
        }
    }
}
