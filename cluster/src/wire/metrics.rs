//! What the links count.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::{Error, Frame, Lane, PeerId};

/// A metric's name and what it means.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    /// The name.
    pub name: &'static str,
    /// What it counts, and its labels.
    pub help: &'static str,
}

const CONNECTS: &str = "conclave_link_connects_total";
const CIRCUIT: &str = "conclave_link_circuit_open";
const QUEUE: &str = "conclave_link_queue_bytes";
const CALLS: &str = "conclave_link_calls_total";
const SECONDS: &str = "conclave_link_call_seconds";
const REFUSALS: &str = "conclave_peer_refusals_total";

/// Why something was refused, as the label `reason` says it.
const REASONS: [&str; 15] = [
    "garbage",
    "version",
    "cluster",
    "identity",
    "certificate",
    "secret",
    "disk",
    "busy",
    "slow",
    "not_member",
    "absurd",
    "too_large",
    "malformed",
    "unknown",
    "failed",
];

/// Every metric of the links. The labels `peer` (a node id) and `lane` are on all of them but the last.
pub const METERS: &[Meter] = &[
    Meter { name: CONNECTS, help: "connections made to a peer" },
    Meter { name: CIRCUIT, help: "1 while calls to a peer are refused after failures, else 0" },
    Meter { name: QUEUE, help: "bytes waiting to be written to a peer, looked at once a second" },
    Meter { name: CALLS, help: "calls to a peer by outcome" },
    Meter { name: SECONDS, help: "seconds from call to answer, answered calls only" },
    Meter { name: REFUSALS, help: "connections and requests of others that were refused, by reason" },
];

/// Registers names and meanings with the installed recorder.
pub fn describe() {
    for meter in METERS {
        match meter.name {
            CONNECTS | CALLS | REFUSALS => metrics::describe_counter!(meter.name, meter.help),
            SECONDS => metrics::describe_histogram!(meter.name, metrics::Unit::Seconds, meter.help),
            _ => metrics::describe_gauge!(meter.name, meter.help),
        }
    }
    for reason in REASONS {
        counter!(REFUSALS, "reason" => reason).increment(0);
    }
}

/// How often that was, in this process.
static REFUSED: [AtomicU64; REASONS.len()] = [const { AtomicU64::new(0) }; REASONS.len()];

/// How often something that came from another node, or from a stranger, was refused since this process began, by reason.
pub fn refusals() -> impl Iterator<Item = (&'static str, u64)> {
    REASONS.into_iter().zip(REFUSED.iter().map(|count| count.load(Ordering::Relaxed)))
}

/// Counts something that came from another node, or from a stranger, and was refused.
pub(crate) fn refused(reason: &'static str) {
    counter!(REFUSALS, "reason" => reason).increment(1);
    if let Some(place) = REASONS.iter().position(|known| *known == reason) {
        REFUSED[place].fetch_add(1, Ordering::Relaxed);
    }
}

/// What became of a call, as the label `outcome` says it. The caller may have gone away before either.
const OUTCOMES: [&str; 9] = [
    "answered",
    "unreachable",
    "timed_out",
    "circuit_open",
    "queue_full",
    "refused",
    "too_large",
    "closed",
    "dropped",
];

/// One link's handles, looked up once.
pub(super) struct Meters {
    pub(super) connects: Counter,
    pub(super) circuit: Gauge,
    pub(super) queue: Gauge,
    calls: [Counter; OUTCOMES.len()],
    seconds: Histogram,
}

impl Meters {
    pub(super) fn new(peer: PeerId, lane: Lane) -> Self {
        let (peer, lane) = (peer.to_string(), lane.name());
        Self {
            connects: counter!(CONNECTS, "peer" => peer.clone(), "lane" => lane),
            circuit: gauge!(CIRCUIT, "peer" => peer.clone(), "lane" => lane),
            queue: gauge!(QUEUE, "peer" => peer.clone(), "lane" => lane),
            calls: OUTCOMES
                .map(|outcome| counter!(CALLS, "peer" => peer.clone(), "lane" => lane, "outcome" => outcome)),
            seconds: histogram!(SECONDS, "peer" => peer, "lane" => lane),
        }
    }

    /// Counts a call; `None` if its caller went away.
    pub(super) fn call(&self, result: Option<&Result<Frame, Error>>, seconds: f64) {
        let outcome = match result {
            Some(Ok(_)) => {
                self.seconds.record(seconds);
                0
            }
            Some(Err(Error::Unreachable)) => 1,
            Some(Err(Error::TimedOut)) => 2,
            Some(Err(Error::CircuitOpen)) => 3,
            Some(Err(Error::QueueFull)) => 4,
            Some(Err(Error::Refused(_))) => 5,
            Some(Err(Error::TooLarge)) => 6,
            Some(Err(Error::Closed)) => 7,
            None => 8,
        };
        self.calls[outcome].increment(1);
    }
}
