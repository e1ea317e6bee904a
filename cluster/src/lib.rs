//! The replicated heart of Conclave.
//!
//! Read in this order: [`state`] is the pure function of the log, [`wire`] carries frames between nodes, [`raft`]
//! orders proposals and keeps them on disk, and [`Cluster`] is the handle that the rest of a node holds.

pub mod raft;
pub mod state;
pub mod wire;

#[cfg(feature = "doubles")]
pub mod doubles;
#[cfg(not(feature = "doubles"))]
mod doubles;
mod handle;

pub use handle::{
    CellStatus, Change, Clock, Cluster, Draft, Error, Interest, Majority, MembershipError, NodeStatus,
    Options, StartError, Status, SystemClock, Trace, World, is_loopback, is_unspecified,
};
pub use raft::{Hint, Role};
