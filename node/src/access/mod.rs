//! Who asks, and how much they may ask.

pub mod allowance;
pub mod client;
pub mod network;

pub use allowance::{Rule, Tiers};
pub use network::Network;
