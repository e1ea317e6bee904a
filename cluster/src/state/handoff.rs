//! Handoffs: a slot moves from one cell to another, by stop and copy.
//!
//! The owner seals the slot: from that entry on nothing is served from it. The leader of the owner copies what the slot holds
//! through the other cell's log, part by part; the last part opens it there. Then the owner forgets it. Each step names the
//! epoch of the move, and may arrive late, twice, or again from another mover: an import is new if its epoch is above the last
//! one known of the slot here, whatever its standing, and was carried out before if not.

use serde::{Deserialize, Serialize};

use super::State;
use super::body::Body;
use super::context::ApplyContext;
use super::limits::SLOT_PARTS_MAX;
use super::outcome;
use super::slot::{CellId, Slot};
use super::slot_table::{Held, Standing};
use crate::doubles::{Double, planted};

/// A command about the slots of a cell. New kinds are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// The cell is new: it holds no slots until some are imported.
    Begin,
    /// Stop serving a slot: it moves to another cell.
    Seal {
        /// Which one.
        slot: Slot,
        /// The slot's epoch after the move: one above the present one.
        epoch: u64,
        /// Where it goes.
        to: CellId,
    },
    /// Take a part of what another cell's slot holds; with the last part, serve it.
    Import {
        /// Which one.
        slot: Slot,
        /// The slot's epoch after the move.
        epoch: u64,
        /// Drawn by the mover.
        run: u64,
        /// The part's number, from 0.
        part: u32,
        /// Whether it is the last one.
        last: bool,
        /// Bytes of what [`State::export`] made.
        bytes: Body,
    },
    /// Free what is left of a slot that another cell serves now.
    Forget {
        /// Which one.
        slot: Slot,
        /// The slot's epoch after the move.
        epoch: u64,
    },
    /// Serve a slot again that was sealed for a cell which was closed, and never had it.
    Reopen {
        /// Which one.
        slot: Slot,
        /// The slot's epoch after the move that is given up.
        epoch: u64,
    },
}

/// What happened to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The cell holds no slots.
    Begun,
    /// The slot is on its way.
    Sealed,
    /// The part is here; the next one may come.
    Taken,
    /// All of it is here, or was.
    Imported,
    /// Nothing is left of it.
    Forgotten,
    /// It is served here again.
    Reopened,
}

/// Why nothing happened to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The cell stores something, or slots came or went.
    NotNew,
    /// The slot is not open here, or at another epoch.
    NotOpen,
    /// Another part is expected: begin with the first one again.
    OutOfStep,
    /// The parts are not what was exported.
    Damaged,
    /// By the placement that this cell knows, the slot should be elsewhere.
    Unplaced,
}

impl State {
    pub(super) fn hand_off(&mut self, op: Op) -> Result<Outcome, outcome::Refusal> {
        match op {
            Op::Begin => self.begin_without_slots(),
            Op::Seal { slot, epoch, to } => self.seal(slot, epoch, to),
            Op::Import { slot, epoch, run, part, last, bytes } => {
                self.import(slot, Import { epoch, run, part, last, bytes: &bytes })
            }
            Op::Forget { slot, epoch } => Ok(self.forget(slot, epoch)),
            Op::Reopen { slot, epoch } => self.reopen(slot, epoch),
        }
    }

    fn begin_without_slots(&mut self) -> Result<Outcome, outcome::Refusal> {
        if self.slots.iter().next().is_some() || self.stored_bytes() > 0 {
            return Err(Refusal::NotNew.into());
        }
        for slot in Slot::all() {
            self.slots.set(slot, Held { epoch: 0, standing: Standing::Foreign(None) });
        }
        Ok(Outcome::Begun)
    }

    fn seal(&mut self, slot: Slot, epoch: u64, to: CellId) -> Result<Outcome, outcome::Refusal> {
        let sealed = Held { epoch, standing: Standing::Sealed(to) };
        let known = self.slots.get(slot);
        if known == sealed {
            return Ok(Outcome::Sealed);
        }
        let is_next = known.epoch.checked_add(1) == Some(epoch) || planted(Double::NoEpoch);
        if known.standing != Standing::Open || !is_next {
            return Err(Refusal::NotOpen.into());
        }
        // Proposed from an older placement: the cell that it is meant for may be about to be closed.
        if self.placement.cell_of(slot).is_some_and(|placed| placed != to) {
            return Err(Refusal::Unplaced.into());
        }
        self.slots.set(slot, sealed);
        self.ctx.wakes.moved(slot);
        Ok(Outcome::Sealed)
    }

    fn import(&mut self, slot: Slot, import: Import<'_>) -> Result<Outcome, outcome::Refusal> {
        let Import { epoch, run, part, last, bytes } = import;
        let known = self.slots.get(slot);
        match known.standing {
            _ if epoch > known.epoch || (part == 0 && planted(Double::NoEpoch)) => {
                if part != 0 {
                    return Err(Refusal::OutOfStep.into());
                }
                // Something may be left from when the slot was here before.
                self.free_slot(slot);
                self.slots.take_parts(slot);
            }
            Standing::Incoming { .. } if epoch == known.epoch && part == 0 => {
                self.slots.take_parts(slot);
            }
            Standing::Incoming { run: begun, next } if epoch == known.epoch => {
                if begun != run || next != part || part >= SLOT_PARTS_MAX {
                    return Err(Refusal::OutOfStep.into());
                }
            }
            Standing::Incoming { .. } | Standing::Open | Standing::Foreign(_) | Standing::Sealed(_) => {
                return Ok(Outcome::Imported);
            }
        }
        self.slots.add_part(slot, part, bytes.detached());
        let mut standing = Standing::Incoming { run, next: part + 1 };
        let outcome = if last {
            let parts = self.slots.take_parts(slot);
            match self.read_slot(slot, &parts) {
                Ok(()) => {
                    standing = Standing::Open;
                    Ok(Outcome::Imported)
                }
                Err(_) => {
                    self.free_slot(slot);
                    // Any mover may begin again.
                    standing = Standing::Incoming { run, next: 0 };
                    Err(Refusal::Damaged.into())
                }
            }
        } else {
            Ok(Outcome::Taken)
        };
        self.slots.set(slot, Held { epoch, standing });
        outcome
    }

    fn forget(&mut self, slot: Slot, epoch: u64) -> Outcome {
        let known = self.slots.get(slot);
        if let Standing::Sealed(to) = known.standing
            && known.epoch == epoch
        {
            self.free_slot(slot);
            let forgotten = planted(Double::ForgetsMoved);
            let standing = if forgotten { Standing::Open } else { Standing::Foreign(Some(to)) };
            self.slots.set(slot, Held { epoch, standing });
        }
        Outcome::Forgotten
    }

    fn reopen(&mut self, slot: Slot, epoch: u64) -> Result<Outcome, outcome::Refusal> {
        let known = self.slots.get(slot);
        let Standing::Sealed(_) = known.standing else { return Err(Refusal::NotOpen.into()) };
        let next = epoch.checked_add(1).filter(|_| known.epoch == epoch).ok_or(Refusal::NotOpen)?;
        self.slots.set(slot, Held { epoch: next, standing: Standing::Open });
        Ok(Outcome::Reopened)
    }

    /// Frees all that is stored under the keys of a slot.
    fn free_slot(&mut self, slot: Slot) {
        let (keys, ctx) = (&slot.keys(), &mut self.ctx);
        self.transfers.free_under(keys, ctx);
        self.negotiations.negotiations.free_under(keys, ctx);
        self.negotiations.pins.free_under(keys, ctx);
        self.mailboxes.free_under(keys, ctx);
        self.register.free_under(keys, ctx);
        self.devices.free_under(keys, ctx);
        self.windows.free_under(keys, ctx);
        self.idempotency_keys.free_under(keys, ctx);
        self.sockets.free_under(keys, ctx);
        self.rooms.free_under(keys, ctx);
        self.claims.free_under(keys, ctx);
        self.tickets.free_under(keys, ctx);
        self.departures.free_under(keys, ctx);
        self.revocations.free_under(keys, ctx);
        self.registrations.free_under(keys, ctx);
        self.audit.free_under(keys, ctx);
        ctx.overdue = is_overdue(ctx);
    }
}

/// Whether something fell due that is not freed yet. What comes from another cell may be over by this one's clock.
pub(super) fn is_overdue(ctx: &ApplyContext) -> bool {
    ctx.expiry_queue.next_ms().is_some_and(|next_ms| next_ms <= ctx.now_ms)
}

/// What [`Op::Import`] carries.
struct Import<'a> {
    epoch: u64,
    run: u64,
    part: u32,
    last: bool,
    bytes: &'a Body,
}
