//! What the sockets need to know.

use std::time::Duration;

pub use super::bucket::Rates;
pub use super::outbox::Bounds as QueueBounds;
pub use super::quality::Interval;
pub use super::syntax::Bounds as SyntaxBounds;

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
    /// For how long a session outlives its connection.
    pub lease: Duration,
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

impl Default for Options {
    fn default() -> Self {
        Self {
            echo: String::new(),
            syntax: SyntaxBounds { frame_bytes_max: 80 << 10, message_bytes_max: 80 << 10 },
            rates: Rates { messages_per_second: 100, bytes_per_second: 1 << 20 },
            queue: QueueBounds { frames_max: 256, bytes_max: 1 << 20 },
            hello_timeout: Duration::from_secs(10),
            ping_interval: Interval { min: Duration::from_secs(5), max: Duration::from_secs(25) },
            lease: Duration::from_secs(300),
            history: History { messages_max: 1000, bytes_max: 1 << 20, age_max: Duration::from_secs(300) },
            drain_per_second: 500,
        }
    }
}
