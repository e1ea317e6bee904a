//! What the sockets need to know.

use std::time::Duration;

pub use super::bucket::Rates;
pub use super::outbound_queue::Bounds as QueueBounds;
pub use super::quality::Interval;
pub use super::rfc6455::Bounds as SyntaxBounds;

/// What the sockets need to know, validated before.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where every message is given back as it came, for conformance tests; empty: nowhere.
    pub echo: String,
    /// How large what arrives may be.
    pub syntax: SyntaxBounds,
    /// How fast it may come.
    pub rates: Rates,
    /// How much may wait to be written.
    pub queue: QueueBounds,
    /// Within this time a client says something.
    pub hello_timeout: Duration,
    /// The bounds of the time between two pings.
    pub ping_interval: Interval,
    /// What a room remembers.
    pub history: History,
    /// How many sockets are closed a second when the node goes away.
    pub drain_per_second: u32,
}

/// What a room remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// Messages.
    pub messages_max: u32,
    /// Their bytes.
    pub bytes_max: u32,
    /// Their age.
    pub age_max: Duration,
}
