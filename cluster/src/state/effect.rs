//! What apply asks the shell to do.

use serde::{Deserialize, Serialize};

use super::id::{Domain, Key};
use super::slot::Slot;

/// A hint to this node's actors. State is the truth: a lost hint costs time, never correctness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// Something under this key changed; whoever waits for it should look again.
    Wake(Domain, Key),
    /// A slot is on its way to another cell; whoever waits for a key in it should look again, there.
    Moved(Slot),
}

impl Effect {
    /// The slot that it is about.
    pub fn slot(&self) -> Slot {
        match self {
            Self::Wake(_, key) => key.slot(),
            Self::Moved(slot) => *slot,
        }
    }
}
