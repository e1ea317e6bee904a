//! Which slots a cell holds. This is the truth: what apply refuses, no table elsewhere can make right.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::body::Body;
use super::id::Key;
use super::limits::SLOT_PARTS_MAX;
use super::outcome::Refusal;
use super::slot::{CellId, SLOTS, Slot};
use crate::doubles::{Double, planted};

/// How a slot stands in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Standing {
    /// Here, and served.
    Open,
    /// Somewhere else: in that cell, when it was last here.
    Foreign(Option<CellId>),
    /// On its way to another cell. Nobody serves it.
    Sealed(CellId),
    /// On its way here, by the mover of this run, who sends this part next. Nobody serves it.
    Incoming {
        /// Drawn by the mover, so that parts of two of them are never mixed.
        run: u64,
        /// The number of the next part.
        next: u32,
    },
}

/// What a cell knows of a slot. The epoch grows by one with every move, and it alone decides what is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) epoch: u64,
    pub(super) standing: Standing,
}

/// A slot that never moved.
const FIRST: Held = Held { epoch: 0, standing: Standing::Open };

/// All slots, and the parts of those on their way here.
#[derive(Debug, Clone)]
pub(super) struct SlotTable {
    /// A bit for each open slot.
    open: [u64; SLOTS as usize / 64],
    /// All but those that never moved.
    moved: OrdMap<Slot, Held>,
    parts: OrdMap<(Slot, u32), Body>,
}

impl Default for SlotTable {
    /// A cluster's first cell begins with all slots.
    fn default() -> Self {
        Self { open: [u64::MAX; SLOTS as usize / 64], moved: OrdMap::new(), parts: OrdMap::new() }
    }
}

impl SlotTable {
    pub(super) fn get(&self, slot: Slot) -> Held {
        self.moved.get(&slot).copied().unwrap_or(FIRST)
    }

    /// Why a command about this key is not carried out here; `None` if it is.
    pub(super) fn refusal(&self, key: &Key) -> Option<Refusal> {
        let slot = key.slot();
        let (word, bit) = place(slot);
        if self.open[word] & bit != 0 {
            return None;
        }
        let Held { epoch, standing } = self.get(slot);
        match standing {
            Standing::Open => None,
            Standing::Foreign(to) => Some(Refusal::Moved { slot, epoch, to }),
            Standing::Sealed(to) => Some(Refusal::Moved { slot, epoch, to: Some(to) }),
            Standing::Incoming { .. } => Some(Refusal::Unready),
        }
    }

    /// Whether slots came or went.
    pub(super) fn is_moved(&self) -> bool {
        !self.moved.is_empty()
    }

    /// The open slots and their epochs.
    pub(super) fn open(&self) -> impl Iterator<Item = (Slot, u64)> {
        let is_open = |slot: &Slot| {
            let (word, bit) = place(*slot);
            self.open[word] & bit != 0
        };
        Slot::all().filter(is_open).map(|slot| (slot, self.get(slot).epoch))
    }

    /// The slots on their way to another cell, the epoch after the move, and where.
    pub(super) fn sealed(&self) -> impl Iterator<Item = (Slot, u64, CellId)> {
        self.moved.iter().filter_map(|(slot, held)| match held.standing {
            Standing::Sealed(to) => Some((*slot, held.epoch, to)),
            Standing::Open | Standing::Foreign(_) | Standing::Incoming { .. } => None,
        })
    }

    /// Notes how a slot stands.
    pub(super) fn set(&mut self, slot: Slot, held: Held) {
        let (word, bit) = place(slot);
        match held.standing {
            Standing::Open => self.open[word] |= bit,
            Standing::Incoming { .. } if planted(Double::ServesFirstPart) => self.open[word] |= bit,
            Standing::Foreign(_) | Standing::Sealed(_) | Standing::Incoming { .. } => self.open[word] &= !bit,
        }
        self.moved.insert(slot, held);
    }

    /// The parts of a slot that came so far, in order; they are kept no longer.
    pub(super) fn take_parts(&mut self, slot: Slot) -> Vec<Body> {
        let came = self.parts.range((slot, 0)..=(slot, u32::MAX));
        let came: Vec<_> = came.map(|(place, bytes)| (*place, bytes.clone())).collect();
        let without = |(place, bytes)| {
            self.parts.remove(&place);
            bytes
        };
        came.into_iter().map(without).collect()
    }

    /// Keeps one more part of a slot.
    pub(super) fn add_part(&mut self, slot: Slot, part: u32, bytes: Body) {
        self.parts.insert((slot, part), bytes);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Slot, &Held)> {
        self.moved.iter()
    }

    pub(super) fn iter_parts(&self) -> impl Iterator<Item = (Slot, u32, &Body)> {
        self.parts.iter().map(|((slot, part), bytes)| (*slot, *part, bytes))
    }

    /// Takes a slot as a snapshot has it; false if that can't be.
    pub(super) fn restore(&mut self, slot: Slot, held: Held) -> bool {
        let known = self.moved.contains_key(&slot);
        self.set(slot, held);
        !known && held != FIRST
    }

    /// Takes a part as a snapshot has it, after its slot; false if that can't be.
    pub(super) fn restore_part(&mut self, slot: Slot, part: u32, bytes: Body) -> bool {
        let awaited = match self.get(slot).standing {
            Standing::Incoming { next, .. } => part < next && next <= SLOT_PARTS_MAX,
            Standing::Open | Standing::Foreign(_) | Standing::Sealed(_) => false,
        };
        awaited && self.parts.insert((slot, part), bytes).is_none()
    }
}

fn place(slot: Slot) -> (usize, u64) {
    let number = usize::from(slot.number());
    (number / 64, 1 << (number % 64))
}
