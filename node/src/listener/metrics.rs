//! What is counted of connections.

use metrics::Counter;

/// Handshakes with the public, by result.
const HANDSHAKES: &str = "conclave_tls_handshakes_total";
/// Attempts to read the certificate anew, by result.
const RELOADS: &str = "conclave_tls_reloads_total";

/// Connections that were closed because their clients took too little of what they were sent.
pub(super) const SLOW_CLOSED: &str = "conclave_connections_slow_closed_total";

/// What became of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handshake {
    Done,
    Failed,
    Late,
}

pub(super) struct Metrics {
    done: Counter,
    failed: Counter,
    late: Counter,
    read: Counter,
    unread: Counter,
}

impl Metrics {
    pub(super) fn new() -> Self {
        metrics::describe_counter!(HANDSHAKES, "TLS handshakes with the public, by result");
        metrics::describe_counter!(RELOADS, "attempts to read the public certificate anew, by result");
        Self {
            done: metrics::counter!(HANDSHAKES, "result" => "done"),
            failed: metrics::counter!(HANDSHAKES, "result" => "failed"),
            late: metrics::counter!(HANDSHAKES, "result" => "late"),
            read: metrics::counter!(RELOADS, "result" => "done"),
            unread: metrics::counter!(RELOADS, "result" => "failed"),
        }
    }

    /// Of what is not counted.
    pub(super) fn none() -> Self {
        let [done, failed, late, read, unread] = [const { Counter::noop() }; 5];
        Self { done, failed, late, read, unread }
    }

    pub(super) fn shaken(&self, result: Handshake) {
        match result {
            Handshake::Done => &self.done,
            Handshake::Failed => &self.failed,
            Handshake::Late => &self.late,
        }
        .increment(1);
    }

    pub(super) fn reloaded(&self, done: bool) {
        if done { &self.read } else { &self.unread }.increment(1);
    }
}
