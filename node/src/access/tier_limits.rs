//! Which rule each tier of requests is under.

use std::time::Duration;

use conclave_cluster::state::allowance::{Charge, Tier};
use conclave_cluster::state::id::Key;

/// All tiers, for whatever keeps one thing per tier.
pub const TIERS: [Tier; 6] =
    [Tier::Create, Tier::Lookup, Tier::Chunk, Tier::Signal, Tier::Poll, Tier::Socket];

/// So many requests in so long a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// How many requests a window admits.
    pub limit: u32,
    /// How long a window stays open from its first request on.
    pub window: Duration,
}

/// A rule for each tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiers {
    /// Whatever makes something new.
    pub create: Rule,
    /// Guessable names.
    pub lookup: Rule,
    /// Chunk uploads.
    pub chunk: Rule,
    /// Signals, offers, answers.
    pub signal: Rule,
    /// All other reads.
    pub poll: Rule,
    /// What sockets publish, join and claim.
    pub socket: Rule,
}

impl Tiers {
    /// The rule of one tier.
    pub fn rule(&self, tier: Tier) -> Rule {
        match tier {
            Tier::Create => self.create,
            Tier::Lookup => self.lookup,
            Tier::Chunk => self.chunk,
            Tier::Signal => self.signal,
            Tier::Poll => self.poll,
            Tier::Socket => self.socket,
        }
    }
}

impl Rule {
    /// The charge for `count` requests of `client` in `tier`.
    pub fn charge(&self, client: Key, tier: Tier, count: u32) -> Charge {
        Charge { client, tier, count, limit: self.limit, window_ms: millis(self.window) }
    }
}

/// The tier's name in headers and labels.
pub fn name(tier: Tier) -> &'static str {
    match tier {
        Tier::Create => "create",
        Tier::Lookup => "lookup",
        Tier::Chunk => "chunk",
        Tier::Signal => "signal",
        Tier::Poll => "poll",
        Tier::Socket => "socket",
    }
}

/// A duration as the state counts it; beyond 49 days it is cut.
pub fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
