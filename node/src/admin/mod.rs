//! The admin listener and its client: metrics, health, and who belongs to the cluster.
//!
//! It is a listener of its own, on loopback unless told otherwise, since whoever reaches it controls the cluster.

pub mod api_types;
mod audit;
pub mod client;
mod console;
mod error;
mod host_header;
mod membership;
mod revocations;
mod server;
mod state;

pub use server::{listen, observe};
pub use state::{AdminState, Phase};
