//! Which cell holds which slot, as far as this node knows.
//!
//! A route may be stale. That costs a detour: a cell that does not hold a slot says so, and where it went. The epoch of a slot
//! grows with every move, so that the newer of two routes is known in whatever order they arrive.

use std::sync::{RwLock, RwLockReadGuard};

use crate::state::id::Key;
use crate::state::slot::{CellId, SLOTS, Slot};

/// The last known cell of a slot, and since which epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Route {
    cell: CellId,
    epoch: u64,
}

/// Where each slot is. A std lock: nothing awaits while it is held.
pub(super) struct Routes(RwLock<Vec<Route>>);

impl Routes {
    /// All slots are in the first cell, until a cell says otherwise.
    pub(super) fn new() -> Self {
        Self(RwLock::new(vec![Route { cell: CellId::FIRST, epoch: 0 }; usize::from(SLOTS)]))
    }

    fn all(&self) -> RwLockReadGuard<'_, Vec<Route>> {
        self.0.read().expect("nothing panics while this is held")
    }

    /// The cell of a key.
    pub(super) fn cell_of(&self, key: &Key) -> CellId {
        self.all()[usize::from(key.slot().number())].cell
    }

    /// Learns which slots a cell serves.
    pub(super) fn learn(&self, cell: CellId, slots: impl Iterator<Item = (Slot, u64)>) {
        let mut changes = Vec::new();
        {
            let all = self.all();
            for (slot, epoch) in slots {
                let known = all[usize::from(slot.number())];
                if epoch >= known.epoch && known != (Route { cell, epoch }) {
                    changes.push((slot, epoch));
                }
            }
        }
        for (slot, epoch) in changes {
            self.moved(slot, epoch, Some(cell));
        }
    }

    /// Learns from a cell that does not hold a slot where it moved, at this epoch. Returns whether that was news.
    pub(super) fn moved(&self, slot: Slot, epoch: u64, to: Option<CellId>) -> bool {
        let Some(cell) = to else { return false };
        let mut all = self.0.write().expect("nothing panics while this is held");
        let known = &mut all[usize::from(slot.number())];
        let news = epoch >= known.epoch && *known != Route { cell, epoch };
        if news {
            *known = Route { cell, epoch };
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::id::Domain;

    #[test]
    fn what_is_newer_counts_however_late_it_comes() {
        let routes = Routes::new();
        let key = Key::placed(Slot::try_from(7).unwrap(), Domain::Mailbox, &[]);
        let (second, third) = (CellId::of(2), CellId::of(3));
        assert_eq!(routes.cell_of(&key), CellId::FIRST);
        routes.moved(key.slot(), 1, Some(second));
        routes.learn(CellId::FIRST, [(key.slot(), 0)].into_iter());
        assert_eq!(routes.cell_of(&key), second, "it was there before the move");
        routes.learn(third, [(key.slot(), 2)].into_iter());
        routes.moved(key.slot(), 1, Some(second));
        assert_eq!(routes.cell_of(&key), third);
        routes.moved(key.slot(), 9, None);
        assert_eq!(routes.cell_of(&key), third, "a cell that never had it knows nothing");
        routes.learn(CellId::FIRST, [(key.slot(), 3)].into_iter());
        assert_eq!(routes.cell_of(&key), CellId::FIRST, "it came back");
    }
}
