//! The shape of a command about one thing, whatever kind it is of.

use serde::{Deserialize, Serialize};

use super::id::Key;

/// What to do to one thing of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyed<A> {
    /// Which one.
    pub key: Key,
    /// What to do.
    pub action: A,
}

/// What to do to one thing of its kind that lives for as long as it is touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leased<A> {
    /// Which one.
    pub key: Key,
    /// How long it lives from this touch on.
    pub ttl_ms: u32,
    /// What to do.
    pub action: A,
}
