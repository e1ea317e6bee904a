//! Members: which disk belongs to which node id.

use serde::{Deserialize, Serialize};

/// A wish about a node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
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
