//! Load for Conclave, or for any server with the same HTTP contract.
//!
//! It speaks only HTTP and WebSocket and knows nothing of the server's insides, so that what it measures and verifies is what a
//! client would see. Modules in reading order: [`content`] makes and checks bytes, [`client`] talks HTTP and [`socket`] the
//! realtime endpoint's frames (both are a crate of their own, which tests use, too), [`schedule`] says when and [`stop`] when
//! no more, `driver` uploads by a schedule, [`workload`] says what else is done, [`sample`] looks at the servers' processes
//! and metrics, [`report`] tells, [`chaos`] breaks a cluster meanwhile, [`siege`] floods one, [`command`] holds one file per
//! subcommand.

/// A line on standard error, as `eprintln` writes it; that nobody reads it is no failure.
macro_rules! tell {
    ($($words:tt)*) => { $crate::console::complain(format_args!($($words)*)) };
}

pub use conclave_client::{http as client, socket};

pub mod cgroup;
pub mod chaos;
pub mod cluster_status;
pub mod command;
pub mod compare;
mod console;
pub mod content;
mod driver;
mod files;
pub mod growth;
pub mod guess;
pub mod overload;
pub mod proof;
pub mod report;
pub mod sample;
pub mod schedule;
pub mod siege;
pub mod soak;
pub mod stop;
mod units;
pub mod workload;
