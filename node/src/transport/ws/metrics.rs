//! Every metric of the sockets. Labels come from fixed sets.

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram};

use super::close::Code;

/// Open sockets.
const LIVE: &str = "conclave_sockets_live";
/// Messages from clients, by encoding.
const RECEIVED: &str = "conclave_sockets_messages_received_total";
/// Messages to clients, by encoding.
const SENT: &str = "conclave_sockets_messages_sent_total";
/// Messages dropped because a client read too slowly.
const DROPPED: &str = "conclave_sockets_messages_dropped_total";
/// Messages refused because a client sent too fast.
const LIMITED: &str = "conclave_sockets_messages_limited_total";
/// Messages after which a client that sends too fast was not read for a while.
const DELAYED: &str = "conclave_sockets_messages_delayed_total";
/// Connections that ended, by close code.
const CLOSED: &str = "conclave_sockets_closed_total";
/// Round trips of pings.
const RTT: &str = "conclave_sockets_rtt_seconds";
/// Scores of connections when they were last pinged, in hundredths.
const QUALITY: &str = "conclave_sockets_quality_percent";
/// Pings that were not answered in time.
const MISSES: &str = "conclave_sockets_pings_missed_total";

/// The handles. Cheap to clone.
#[derive(Clone)]
pub(super) struct Metrics(Arc<Handles>);

struct Handles {
    live: Gauge,
    received: [Counter; 2],
    sent: [Counter; 2],
    dropped: Counter,
    limited: Counter,
    delayed: Counter,
    rtt: Histogram,
    quality: Histogram,
    misses: Counter,
}

impl Metrics {
    pub(super) fn new() -> Self {
        metrics::describe_gauge!(LIVE, "open sockets");
        metrics::describe_counter!(RECEIVED, "messages from clients, by encoding");
        metrics::describe_counter!(SENT, "messages to clients, by encoding");
        metrics::describe_counter!(DROPPED, "messages dropped because a client read too slowly");
        metrics::describe_counter!(LIMITED, "messages refused because a client sent too fast");
        metrics::describe_counter!(DELAYED, "messages after which a fast client was not read for a while");
        metrics::describe_counter!(CLOSED, "connections that ended, by close code");
        metrics::describe_histogram!(RTT, metrics::Unit::Seconds, "round trips of pings");
        metrics::describe_histogram!(QUALITY, "scores of connections, when a ping was answered");
        metrics::describe_counter!(MISSES, "pings that were not answered in time");
        Self(Arc::new(Handles {
            live: metrics::gauge!(LIVE),
            received: ["json", "flatbuffers"].map(|name| metrics::counter!(RECEIVED, "encoding" => name)),
            sent: ["json", "flatbuffers"].map(|name| metrics::counter!(SENT, "encoding" => name)),
            dropped: metrics::counter!(DROPPED),
            limited: metrics::counter!(LIMITED),
            delayed: metrics::counter!(DELAYED),
            rtt: metrics::histogram!(RTT),
            quality: metrics::histogram!(QUALITY),
            misses: metrics::counter!(MISSES),
        }))
    }

    pub(super) fn opened(&self) {
        self.0.live.increment(1.0);
    }

    /// A connection ended with this code; `None`: it broke.
    pub(super) fn closed(&self, code: Option<Code>) {
        self.0.live.decrement(1.0);
        metrics::counter!(CLOSED, "code" => code.map_or("none", Code::label)).increment(1);
    }

    pub(super) fn received(&self, binary: bool) {
        self.0.received[usize::from(binary)].increment(1);
    }

    pub(super) fn sent(&self, binary: bool) {
        self.0.sent[usize::from(binary)].increment(1);
    }

    pub(super) fn dropped(&self, count: usize) {
        self.0.dropped.increment(count as u64);
    }

    pub(super) fn limited(&self) {
        self.0.limited.increment(1);
    }

    pub(super) fn delayed(&self) {
        self.0.delayed.increment(1);
    }

    pub(super) fn answered(&self, took: std::time::Duration, score: f64) {
        self.0.rtt.record(took);
        self.0.quality.record(score * 100.0);
    }

    pub(super) fn missed(&self) {
        self.0.misses.increment(1);
    }
}
