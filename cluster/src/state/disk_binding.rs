//! Node identities: which disk belongs to which node id.

use std::collections::BTreeMap;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::outcome;

/// A command about a node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Bind `node` to the disk `storage` for ever: a node that lost its disk may not vote again under its old id.
    Enroll {
        /// The node id.
        node: u64,
        /// A random number written to the data directory when it was made.
        storage: u128,
    },
}

/// What happened to a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The id is bound to that disk.
    Enrolled,
}

/// Why nothing happened to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The id is bound to another disk.
    Reused,
}

/// Node ids and their disks. Only an operator adds nodes, so that this needs no bound of its own; it is never
/// freed, since an id that was used once may not come back.
#[derive(Debug, Clone, Default)]
pub(super) struct NodeIdentities(OrdMap<u64, u128>);

impl NodeIdentities {
    pub(super) fn carry_out(&mut self, op: &Op) -> Result<Outcome, outcome::Refusal> {
        let Op::Enroll { node, storage } = op;
        match self.0.get(node) {
            Some(known) if known != storage => Err(Refusal::Reused.into()),
            Some(_) => Ok(Outcome::Enrolled),
            None => {
                self.0.insert(*node, *storage);
                Ok(Outcome::Enrolled)
            }
        }
    }

    /// Takes bindings as the first cell has them.
    pub(super) fn copy(&mut self, disks: &BTreeMap<u64, u128>) {
        self.0 = disks.iter().map(|(node, storage)| (*node, *storage)).collect();
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, node: u64) -> Option<u128> {
        self.0.get(&node).copied()
    }

    pub(super) fn first(&self) -> Option<u128> {
        self.0.values().next().copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&u64, &u128)> {
        self.0.iter()
    }

    /// Takes a binding as a snapshot has it; false if that cannot be.
    pub(super) fn restore(&mut self, node: u64, storage: u128) -> bool {
        self.0.insert(node, storage).is_none()
    }
}
