//! Load for Conclave, or for any server with the same HTTP contract.
//!
//! It speaks only HTTP and WebSocket and knows nothing of the server's insides, so that what it measures and verifies is what a
//! client would see. Modules in reading order: [`content`] makes and checks bytes, [`client`] talks HTTP and [`socket`] the realtime endpoint's frames, [`pace`] says
//! when and [`stop`] when no more, [`workload`] says what, [`sample`] looks at the servers' processes and metrics, [`report`] tells,
//! [`chaos`] breaks a cluster meanwhile, [`siege`] floods one, [`command`] holds one file per subcommand.

/// A line on standard error, as `eprintln` writes it; that nobody reads it is no failure.
macro_rules! tell {
    ($($words:tt)*) => { $crate::console::complain(format_args!($($words)*)) };
}

pub mod chaos;
pub mod client;
pub mod command;
pub mod compare;
mod console;
pub mod content;
mod files;
pub mod fleet;
pub mod guess;
pub mod overload;
pub mod pace;
pub mod proof;
pub mod report;
pub mod sample;
pub mod siege;
pub mod soak;
pub mod socket;
pub mod stop;
mod units;
pub mod workload;
