//! In which slots this node waits for changes: hosts in other cells tell it of no others.
//!
//! Whoever waits says so first and looks then. What is asked of a host says in which slots the node waits by then, and the host
//! knows it before it answers: no change after a look is missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::state::id::Key;
use crate::state::slot::{SLOTS, Slot};

/// A bit for each slot.
pub(super) const WORDS: usize = SLOTS as usize / 64;

/// How many wait, by slot. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Interests(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    waiting: [AtomicU32; SLOTS as usize],
    /// Grows after each change of what [`Interests::now`] tells.
    version: AtomicU64,
}

/// Somebody waits for a key, until this is dropped.
#[derive(Debug)]
pub struct Interest {
    slot: Slot,
    counts: Arc<Counts>,
}

/// The slots in which a node waits. Of two, that of the higher version is the later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Interesting {
    version: u64,
    slots: [u64; WORDS],
}

impl Interests {
    pub(super) fn new() -> Self {
        let waiting = std::array::from_fn(|_| AtomicU32::new(0));
        Self(Arc::new(Counts { waiting, version: AtomicU64::new(0) }))
    }

    /// Somebody waits for this key from now on.
    pub(super) fn add(&self, key: &Key) -> Interest {
        let (slot, counts) = (key.slot(), self.0.clone());
        // The count first, then the version: whoever tells this version tells of this slot, too.
        if counts.waiting[usize::from(slot.number())].fetch_add(1, Ordering::SeqCst) == 0 {
            counts.version.fetch_add(1, Ordering::SeqCst);
        }
        Interest { slot, counts }
    }

    /// The slots in which somebody waits.
    pub(super) fn now(&self) -> Interesting {
        let version = self.0.version.load(Ordering::SeqCst);
        let mut slots = [0; WORDS];
        for (number, waiting) in self.0.waiting.iter().enumerate() {
            if waiting.load(Ordering::SeqCst) > 0 {
                slots[number / 64] |= 1 << (number % 64);
            }
        }
        Interesting { version, slots }
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        if self.counts.waiting[usize::from(self.slot.number())].fetch_sub(1, Ordering::SeqCst) == 1 {
            self.counts.version.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Interesting {
    /// Whether this was said after another one, or at the same time.
    pub(super) fn follows(&self, other: &Self) -> bool {
        self.version >= other.version
    }

    /// Whether a slot is among them.
    pub(crate) fn has(&self, slot: Slot) -> bool {
        let number = usize::from(slot.number());
        self.slots[number / 64] & 1 << (number % 64) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::id::Domain;

    #[test]
    fn a_slot_is_told_of_while_anybody_waits_in_it() {
        let interests = Interests::new();
        let key = |number| Key::placed(Slot::try_from(number).unwrap(), Domain::Mailbox, &[]);
        let before = interests.now();
        let (one, other, elsewhere) =
            (interests.add(&key(70)), interests.add(&key(70)), interests.add(&key(0)));
        let now = interests.now();
        assert!(now.follows(&before) && !before.follows(&now));
        let has = |numbers: &[u16]| {
            let now = interests.now();
            Slot::all().filter(|slot| now.has(*slot)).map(Slot::number).collect::<Vec<_>>() == numbers
        };
        assert!(has(&[0, 70]));
        drop(one);
        assert!(has(&[0, 70]) && interests.now() == now, "the other one waits still");
        drop(other);
        assert!(has(&[0]) && interests.now().follows(&now));
        drop(elsewhere);
        assert!(has(&[]));
    }
}
