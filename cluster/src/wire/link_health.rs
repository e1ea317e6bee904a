//! How the links are, for status pages and metrics.

use std::time::Duration;

use tokio::time::Instant;

use super::{Breaker, Lane, PeerId, Reason};

/// How one link to a peer is.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerHealth {
    /// The peer.
    pub peer: PeerId,
    /// Which of its links.
    pub lane: Lane,
    /// Where it was last called.
    pub address: String,
    /// What the link is doing.
    pub phase: Phase,
    /// Whether calls may pass.
    pub breaker: Breaker,
    /// Connections made so far; all but the first are reconnections.
    pub connects: u64,
    /// Bytes waiting to be written.
    pub queued_bytes: usize,
    /// Calls under way.
    pub in_flight: usize,
    /// The last round trip, waiting behind earlier frames included.
    pub rtt: Option<Duration>,
    /// What the peer's service said last.
    pub note: Option<PeerNote>,
    /// A number that the peer drew when it started; another number is another run.
    pub run: Option<u64>,
    /// Why the last attempt to connect failed, such as a name that does not resolve; empty once one succeeds.
    pub fault: Option<String>,
}

/// What a link is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// An attempt to connect is under way.
    Connecting,
    /// There is a connection.
    Connected,
    /// The last attempt failed, perhaps by a refusal; the next comes after a pause.
    Waiting(Option<Reason>),
    /// Nobody called for a while and the peer was not there; the next call makes an attempt.
    Unused,
    /// The link is shut down.
    Closed,
}

/// Eight bytes from a peer's [`Service::note`](super::Service::note).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerNote {
    /// What it said.
    pub value: u64,
    /// When that arrived. It was said at most one round trip before.
    pub at: Instant,
}
