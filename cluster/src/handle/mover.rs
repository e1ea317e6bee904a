//! The leader of a cell as a mover: it hands over slots that belong to another cell, a few at a time.
//!
//! A slot is sealed, copied through the other cell's log, and forgotten. The next leader finds the sealed slots in its state and
//! begins the copy again; two movers at once do no harm ([`handoff`]).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Draft, Error, Inner};
use crate::state::body::Body;
use crate::state::command::Op;
use crate::state::handoff::{self, Outcome as HandedOff};
use crate::state::limits::SLOT_PART_BYTES_MAX;
use crate::state::outcome::Outcome;
use crate::state::placement;
use crate::state::slot::{CellId, Slot};

/// How often to look for slots that should move.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Slots that are handed over at once: their steps share entries of both logs.
const MOVES_AT_ONCE: usize = 8;

/// The next step for a slot.
#[derive(Debug, Clone, Copy)]
enum Next {
    Move(Move),
    /// Serve it again: the cell that it was sealed for is gone.
    Reopen {
        slot: Slot,
        epoch: u64,
    },
}

/// A slot on its way.
#[derive(Debug, Clone, Copy)]
struct Move {
    slot: Slot,
    /// The slot's epoch after the move.
    epoch: u64,
    to: CellId,
}

impl Inner {
    /// Hands slots over for as long as this node leads its cell, and keeps the cell's copy of the placement.
    pub(super) async fn move_slots(self: Arc<Self>) {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.stop.run_until_cancelled(tick.tick()).await.is_some() {
            if !self.node.leads() {
                continue;
            }
            self.copy_placement().await;
            // What fails is tried again at the next tick.
            while self.node.leads() {
                let moves = self.next_moves();
                let taken = join_all(moves.into_iter().map(|next| self.take_up(next))).await;
                if !taken.iter().any(Result::is_ok) {
                    break;
                }
            }
        }
    }

    /// Has another cell's copy of the placement follow the first cell's.
    async fn copy_placement(&self) {
        let Some(own) = self.node.cell().filter(|own| *own != CellId::FIRST) else { return };
        let known = self.node.replica().read(|state| state.placement_epoch());
        let first = self.topology.heard(CellId::FIRST).map(|heard| heard.table);
        if let Some(first) = first.filter(|first| first.plan.epoch > known) {
            let copy = Op::Placement(placement::Op::Copy(first.plan.clone()));
            // Tried again at the next tick.
            let _ = self.propose_in(own, Draft::of(copy)).await;
        }
    }

    /// The next steps, for up to [`MOVES_AT_ONCE`] slots: first those that are under way, then those that belong to a cell that
    /// has a leader. A cell is closed only when it is empty, so a slot that was sealed for a closed cell never arrived there.
    fn next_moves(&self) -> Vec<Next> {
        let Some(own) = self.node.cell() else { return Vec::new() };
        let is_led = |to: CellId| self.topology.lead(to).borrow().is_some();
        let plan = self.topology.plan();
        // Gone, and not merely unknown: a placement that is older than the cell does not have it.
        let is_gone =
            |to: CellId| to != CellId::FIRST && to <= plan.last_cell && !plan.cells.contains_key(&to);
        let (sealed, open) = self.node.replica().read(|state| {
            let serves = own == CellId::FIRST || state.has_moved_slots();
            let misplaced = state.open_slots().filter(|(slot, _)| serves && plan.cell_of(*slot) != own);
            (state.sealed_slots(), misplaced.take(2 * MOVES_AT_ONCE).collect::<Vec<_>>())
        });
        let under_way = sealed.into_iter().filter_map(|(slot, epoch, to)| match is_gone(to) {
            true => Some(Next::Reopen { slot, epoch }),
            false => is_led(to).then_some(Next::Move(Move { slot, epoch, to })),
        });
        let waiting = open.into_iter().filter_map(|(slot, epoch)| {
            let to = plan.cell_of(slot);
            is_led(to).then_some(Next::Move(Move { slot, epoch: epoch + 1, to }))
        });
        under_way.chain(waiting).take(MOVES_AT_ONCE).collect()
    }

    async fn take_up(&self, next: Next) -> Result<(), Error> {
        match next {
            Next::Move(next) => self.hand_over(next).await,
            Next::Reopen { slot, epoch } => {
                let own = self.node.cell().ok_or(Error::NoLeader)?;
                let answer = self.propose_in(own, handing(handoff::Op::Reopen { slot, epoch })).await?;
                answer.outcome.map(drop).map_err(|_| Error::NoLeader)
            }
        }
    }

    /// Hands a slot over, from the step that it has reached.
    async fn hand_over(&self, Move { slot, epoch, to }: Move) -> Result<(), Error> {
        let own = self.node.cell().ok_or(Error::NoLeader)?;
        let begun = Instant::now();
        let is_sealed =
            || self.node.replica().read(|state| state.sealed_slots().contains(&(slot, epoch, to)));
        if !is_sealed() {
            self.propose_in(own, handing(handoff::Op::Seal { slot, epoch, to })).await?;
            // Refused, or answered by the next leader before this node has applied it: tried again at the next tick.
            if !is_sealed() {
                return Err(Error::NoLeader);
            }
        }
        self.copy(Move { slot, epoch, to }).await?;
        self.routes.moved(slot, epoch, Some(to));
        self.propose_in(own, handing(handoff::Op::Forget { slot, epoch })).await?;
        metrics::counter!("conclave_slot_moves_total").increment(1);
        metrics::histogram!("conclave_slot_move_seconds").record(begun.elapsed().as_secs_f64());
        tracing::debug!(slot = slot.number(), from = %own, %to, "a slot was handed over");
        self.moved.notify_one();
        Ok(())
    }

    /// Copies what a sealed slot holds through the other cell's log.
    async fn copy(&self, Move { slot, epoch, to }: Move) -> Result<(), Error> {
        let frozen = self.node.replica().read(Clone::clone);
        let exported = bytes::Bytes::from(frozen.export(slot));
        drop(frozen);
        let run = self.draw();
        let part_bytes = self.options.slot_part_bytes.clamp(1, SLOT_PART_BYTES_MAX);
        let parts = exported.len().div_ceil(part_bytes);
        for part in 0..parts {
            let begin = part * part_bytes;
            let bytes = exported.slice(begin..exported.len().min(begin + part_bytes));
            let (part, last) = (u32::try_from(part).map_err(|_| Error::Overloaded)?, part + 1 == parts);
            let import = handoff::Op::Import { slot, epoch, run, part, last, bytes: Body::new(bytes) };
            match self.propose_in(to, handing(import)).await?.outcome {
                Ok(Outcome::Handoff(HandedOff::Imported)) => return Ok(()),
                Ok(_) => {}
                Err(refusal) => {
                    tracing::debug!(slot = slot.number(), %to, ?refusal, "a slot is copied anew");
                    return Err(Error::NoLeader);
                }
            }
        }
        Err(Error::NoLeader)
    }
}

fn handing(op: handoff::Op) -> Draft {
    Draft::of(Op::Handoff(op))
}
