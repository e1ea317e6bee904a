//! What is handed to the cluster, and why there may be no answer.

use crate::state::allowance::Charge;
use crate::state::command::{IdempotencyKey, Op};
use crate::state::leader_rules::Owner;

/// A command that has no request id yet. [`Cluster::propose`](super::Cluster::propose) gives it one.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What it costs its client.
    pub charge: Option<Charge>,
    /// The account that pays for what it stores.
    pub owner: Option<Owner>,
    /// The key under which the caller may ask for the same outcome again.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The operation.
    pub op: Op,
}

impl Draft {
    /// A command of the node itself: it is not charged, and what it stores is on no account.
    pub fn of(op: Op) -> Self {
        Self { charge: None, owner: None, idempotency_key: None, op }
    }
}

/// Why a command or a read got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A queue is full. The command was not applied and will not be.
    #[error("overloaded")]
    Overloaded,
    /// There was no leader with a quorum before the deadline. If a leader accepted the command before it was lost, the
    /// command may have been applied; ask again under the same idempotency key to find out.
    #[error("no leader")]
    NoLeader,
    /// This node lacks too many committed entries to answer a read. Another node can.
    #[error("catching up")]
    Behind,
    /// This node is shutting down. The command was not applied and will not be.
    #[error("shutting down")]
    ShuttingDown,
}
