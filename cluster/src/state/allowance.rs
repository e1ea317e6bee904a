//! Allowances: how many requests a client has left, exact over the whole cluster.

use serde::{Deserialize, Serialize};

use super::id::Key;

/// A class of requests that share one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tier {
    /// Whatever makes something new.
    Create,
    /// Guessable names.
    Lookup,
    /// Chunk uploads.
    Chunk,
    /// Signals, offers, answers.
    Signal,
    /// All other reads.
    Poll,
}

/// What a request costs, and under which rule.
///
/// The rule travels with the charge, so that apply needs no configuration and every replica decides alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Derived from the client's address ([`Domain::Client`](super::id::Domain::Client)).
    pub client: Key,
    /// The class of the request.
    pub tier: Tier,
    /// How many requests are charged.
    pub count: u32,
    /// How many a window admits.
    pub limit: u32,
    /// How long a window stays open from the first request on.
    pub window_ms: u32,
}

/// A client's window in one tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// How many the window admits.
    pub limit: u32,
    /// How many are left.
    pub remaining: u32,
    /// When the window ends, in milliseconds since the Unix epoch.
    pub reset_ms: u64,
}
