//! Raft: the only place that names openraft.
//!
//! [`Node`] writes proposals and finds read indices; [`Replica`] is what apply leaves behind on this node. What
//! Raft needs of a disk is [`disk`]; [`files`] is the real one.

/// A log filter under which the libraries below say what an operator can use, and not fifty lines a start.
pub const QUIET: &str = "chunked_wal=error,openraft=error,raft_log=warn";

pub mod disk;
pub mod files;
pub mod recover;

mod horizon;
mod log;
mod machine;
mod members;
pub(crate) mod message;
mod network;
mod node;
mod peer;
pub(crate) mod refusal;
mod replica;
mod rewrite;
mod runtime;
#[cfg(test)]
mod suite;
mod types;

pub use members::MembershipError;
pub use node::{Lead, Node, Position, Timing, WriteError};
pub use replica::{Hint, Replica};
pub use runtime::pin_randomness;
