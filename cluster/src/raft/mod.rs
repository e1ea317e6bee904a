//! Raft: the only place that names openraft.
//!
//! [`Node`] writes proposals and finds read indices; [`Replica`] is what apply leaves behind on this node. What
//! Raft needs of a disk is [`disk_traits`]; [`files`] is the real one.

/// A log filter under which the libraries below say what an operator can use, and not fifty lines a start.
pub const QUIET: &str = "chunked_wal=error,openraft=error,raft_log=warn";

pub mod disk_traits;
pub mod files;
pub mod recover;

mod applied_state;
mod last_appends;
mod log_aging;
mod log_storage;
mod member_status;
mod membership_change;
pub(crate) mod message;
mod node;
mod open_error;
mod plausibility;
pub(crate) mod refusal_log;
mod rpc_client;
mod rpc_server;
mod seeded_runtime;
mod state_machine;
#[cfg(test)]
mod suite;
mod types;

pub use applied_state::{Filter, Hint, Replica};
pub use member_status::{Position, Role};
pub use membership_change::MembershipError;
pub use node::{Lead, Node, Timing, WriteError};
pub use open_error::OpenError;
pub use seeded_runtime::pin_randomness;
