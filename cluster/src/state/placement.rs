//! Placement: the nodes of the cluster that sit in no cell.
//!
//! Who sits in a cell is decided by the membership of its Raft group. A node beside those is a front: it answers clients,
//! holds nothing, and can take a seat.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::codec::at_most;
use super::limits::FRONTS_MAX;
use super::outcome;

/// A command about the fronts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// The fronts that a cluster begins with. Nothing where fronts were placed or withdrawn before.
    Found {
        /// Each with the address that its peers use.
        #[serde(deserialize_with = "at_most::<_, _, { FRONTS_MAX }>")]
        fronts: Vec<(u64, String)>,
    },
    /// A node is a front from now on, at this address.
    Place {
        /// The node's id.
        node: u64,
        /// The address that its peers use.
        peer: String,
    },
    /// A node is a front no more: it took a seat, or was removed.
    Withdraw {
        /// The node's id.
        node: u64,
    },
}

/// What happened to the fronts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is so now.
    Placed,
}

/// Why nothing happened to the fronts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// There are as many as there may be.
    Full,
}

/// The fronts, by node id.
#[derive(Debug, Clone, Default)]
pub(super) struct Placement {
    /// How often it was changed.
    epoch: u64,
    fronts: OrdMap<u64, String>,
}

impl Placement {
    pub(super) fn carry_out(&mut self, op: Op) -> Result<Outcome, outcome::Refusal> {
        match op {
            Op::Found { .. } if self.epoch > 0 => return Ok(Outcome::Placed),
            Op::Found { fronts } => self.fronts = fronts.into_iter().collect(),
            Op::Place { node, .. } if !self.fronts.contains_key(&node) && self.fronts.len() >= FRONTS_MAX => {
                return Err(Refusal::Full.into());
            }
            Op::Place { node, peer } => {
                self.fronts.insert(node, peer);
            }
            Op::Withdraw { node } => {
                self.fronts.remove(&node);
            }
        }
        self.epoch += 1;
        Ok(Outcome::Placed)
    }

    /// How often it was changed.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The fronts and their addresses.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&u64, &String)> {
        self.fronts.iter()
    }

    /// Whether a node is a front.
    pub(super) fn has(&self, node: u64) -> bool {
        self.fronts.contains_key(&node)
    }

    /// Takes the number of changes as a snapshot has it.
    pub(super) fn restore(&mut self, epoch: u64) -> bool {
        self.epoch = epoch;
        epoch > 0
    }

    /// Takes a front as a snapshot has it; false if that cannot be.
    pub(super) fn restore_front(&mut self, node: u64, peer: String) -> bool {
        self.fronts.len() < FRONTS_MAX && self.fronts.insert(node, peer).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(placement: &Placement) -> Vec<u64> {
        placement.iter().map(|(node, _)| *node).collect()
    }

    #[test]
    fn a_cluster_begins_with_its_fronts_once() {
        let mut placement = Placement::default();
        let found = |node| Op::Found { fronts: vec![(node, "a:1".to_owned())] };
        placement.carry_out(found(4)).unwrap();
        placement.carry_out(found(5)).unwrap();
        assert_eq!(placed(&placement), [4]);
        placement.carry_out(Op::Withdraw { node: 4 }).unwrap();
        placement.carry_out(found(4)).unwrap();
        assert_eq!(placed(&placement), [0; 0], "what was withdrawn does not come back by itself");
    }

    #[test]
    fn fronts_are_bounded_and_an_address_may_change_at_the_bound() {
        let mut placement = Placement::default();
        let place = |node: usize, peer: &str| Op::Place { node: node as u64, peer: peer.to_owned() };
        for node in 0..FRONTS_MAX {
            placement.carry_out(place(node, "a:1")).unwrap();
        }
        assert_eq!(placement.carry_out(place(FRONTS_MAX, "a:1")), Err(Refusal::Full.into()));
        assert_eq!(placement.carry_out(place(0, "b:2")), Ok(Outcome::Placed));
        assert_eq!(placement.fronts.get(&0).map(String::as_str), Some("b:2"));
    }
}
