//! The metrics that other parts count as it happens, known from the start: an alarm on a counter that appears with its
//! first event would miss that event, since a rate needs two samples.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// Counters without labels.
const COUNTERS: &[(&str, &str)] = &[
    ("conclave_log_lines_lost_total", "log lines lost because nothing took them"),
    ("conclave_casts_dropped_total", "volatile messages that did not reach another node"),
    ("conclave_front_asks_total", "frames with questions that this node sent to its hosts in other cells"),
    ("conclave_front_hosts_total", "times that this node began to read from a member of another cell"),
    ("conclave_slot_moves_total", "slots that this node handed over to another cell"),
    ("conclave_tokens_leased_total", "requests of clients that this node leased of windows in other cells"),
    ("conclave_tokens_given_total", "leased requests that this node gave to another one"),
    ("conclave_audit_lost_total", "calls of the admin API that the audit log has no entry for"),
    (
        "conclave_security_events_dropped_total",
        "security events that are in no entry because it could not be written",
    ),
    ("conclave_tokens_lapsed_total", "leased requests that were tried after their window had ended"),
    ("conclave_trace_spans_exported_total", "spans that the collector took"),
    ("conclave_webhook_events_delivered_total", "events that the endpoint of a webhook took"),
    ("conclave_cluster_conflicts_total", "times that another cluster of the same name was noticed"),
    ("conclave_raft_leader_changes_total", "changes of the leader that can be relied on"),
    ("conclave_raft_fsyncs_total", "flushes of the log that ended, well or not"),
    ("conclave_raft_snapshots_total", "snapshots that this node wrote of its own state"),
    (
        "conclave_connections_slow_closed_total",
        "connections closed because their clients took too little of what they were sent",
    ),
];

/// Counters with one label, of which all values are known.
const LABELLED: &[(&str, &str, &str, &[&str])] = &[
    (
        "conclave_tls_handshakes_total",
        "TLS handshakes with the public, by result",
        "result",
        &["done", "failed", "late"],
    ),
    (
        "conclave_tls_reloads_total",
        "attempts to read the public certificate anew, by result",
        "result",
        &["done", "failed"],
    ),
    (
        "conclave_proxy_headers_total",
        "connections that had to begin with a header of the PROXY protocol, by what became of it",
        "result",
        &["done", "local", "wrong", "late", "ended"],
    ),
    (
        "conclave_raft_leaders_lost_total",
        "leaders elsewhere that this node found lost, by evidence",
        "evidence",
        &["ended", "silent", "unheard"],
    ),
    (
        "conclave_auth_key_set_fetches_total",
        "fetches of the key set, by result",
        "result",
        &["done", "failed"],
    ),
    (
        "conclave_trace_spans_lost_total",
        "spans that the collector will not get, by reason",
        "reason",
        &["queue_full", "failed", "shutdown"],
    ),
    (
        "conclave_webhook_events_lost_total",
        "events that the endpoint of a webhook will not get, by reason",
        "reason",
        &["queue_full", "refused", "expired", "shutdown"],
    ),
    (
        "conclave_webhook_attempts_total",
        "requests to endpoints of webhooks, by result",
        "result",
        &["done", "refused", "failed"],
    ),
    ("conclave_sockets_closed_total", "connections that ended, by close code", "code", &["none"]),
];

const GAUGES: &[(&str, &str)] = &[
    ("conclave_auth_key_set_keys", "keys of the fetched set that are in force"),
    ("conclave_webhook_queue_events", "events that wait for endpoints of webhooks, or are on their way"),
    ("conclave_cell", "the cell that this node has a seat in; 0 without one"),
    ("conclave_slots", "slots that this node's cell serves"),
    ("conclave_slots_moving", "slots on their way from this node's cell to others"),
    ("conclave_clock_ahead_seconds", "by how much time in the log is ahead of the clocks"),
    ("conclave_raft_term", "the election term"),
    ("conclave_raft_is_leader", "1 while Raft gives this node the leader's role"),
    ("conclave_raft_applied_index", "the last entry applied to this node's replica"),
    ("conclave_raft_committed_index", "the last entry that this node knows to be committed"),
    ("conclave_raft_last_log_index", "the last entry in this node's log"),
    ("conclave_raft_log_bytes", "bytes of the log on disk"),
    ("conclave_raft_snapshot_bytes", "bytes of the last snapshot that this node wrote"),
    ("conclave_sequencer_queue_bytes", "bytes in the leader's queue when the last batch came into it"),
];

const HISTOGRAMS: &[(&str, &str)] = &[
    ("conclave_raft_fsync_seconds", "from asking for a flush of the log to its end"),
    ("conclave_slot_move_seconds", "from sealing a slot to its being served by the other cell"),
    ("conclave_webhook_delivery_seconds", "from an event to its delivery to an endpoint of a webhook"),
    ("conclave_proposal_commands", "commands in one proposal"),
];

/// Makes them known to the installed recorder.
pub(super) fn register() {
    conclave_cluster::wire::describe();
    for (name, help) in COUNTERS {
        describe_counter!(*name, *help);
        counter!(*name).increment(0);
    }
    for (name, help, label, values) in LABELLED {
        describe_counter!(*name, *help);
        for value in *values {
            counter!(*name, *label => *value).increment(0);
        }
    }
    for (name, help) in GAUGES {
        describe_gauge!(*name, *help);
        gauge!(*name).set(0.0);
    }
    // Which cells there are is not known beforehand.
    describe_gauge!("conclave_cell_without_leader", "1 while this node hears no leader of that cell");
    for (name, help) in HISTOGRAMS {
        describe_histogram!(*name, *help);
        // To have a handle is enough: it is shown with a count of 0.
        let _ = histogram!(*name);
    }
}
