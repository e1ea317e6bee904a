//! The admin listener and its client: metrics, health, and who belongs to the cluster.
//!
//! It is a listener of its own, on loopback unless told otherwise, since whoever reaches it controls the cluster.

pub mod client;
mod door;
mod error;
mod host;
pub mod report;
mod server;

pub use door::{Door, Phase};
pub use server::{listen, observe};
