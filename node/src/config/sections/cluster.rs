//! The cluster: its nodes, their consensus, and what they hold together.

use std::path::PathBuf;
use std::time::Duration;

use conclave_cluster::raft::Timing;

use crate::config::section_macro::section;
use crate::config::unit::{Bytes, days, gib, hours, mib, minutes, ms, secs};
use crate::config::value_checks::{file, peer};

section! { Cluster {
    /// Nodes of different names refuse each other.
    ///
    /// 1 to 64 characters; with `cluster.tls` letters, digits and hyphens only.
    name: String = "conclave".to_owned();
    /// Where peers connect. Empty: this node's own address in members; alone, a free port on loopback.
    listen: String => peer;
    /// Under which address peers reach this node. Empty: its address in members, or the listening one.
    advertise: String => peer;
    /// The first members, this node among them: `["1=10.0.0.1:7400", "2=…"]`. Empty: this node alone.
    members: Vec<String>;
    /// How many nodes keep each thing, and agree on every change of it: 1, 3 or 5.
    ///
    /// So many of the first members, those with the lowest ids, form the first cell; of the others each so many form a further
    /// cell by themselves, which holds its share of the keys. A cell goes on while a majority of it lives. Nodes that are left
    /// over are fronts: they answer every client, hold nothing, and take a seat that falls vacant. The same on all nodes.
    replicas: u32 = 3, 1..=5;
    /// Waits to be added to a running cluster (`conclave cluster add`) instead of starting one.
    join: bool;
    /// For how long a request is retried inside the cluster before the client gets 503.
    ///
    /// More than 15s counts as 15s.
    deadline: Duration = secs(5), ms(100)..=minutes(1);
    /// A secret that all nodes share: a line of 32 to 256 bytes, or two while one replaces the other. Needed without
    /// TLS, but on loopback.
    ///
    /// The nodes prove it to each other ([security.md](security.md#the-shared-secret-of-the-nodes)). Without it, and
    /// without `cluster.tls`, a node starts only if `cluster.listen`, `cluster.advertise` and all `cluster.members`
    /// are on loopback, and adds no others.
    secret_file: PathBuf => file;
} within {
    /// Mutual TLS between the nodes: all three files or none. Read again when a file changes, and on SIGHUP.
    tls: PeerTls;
} }

impl Cluster {
    /// Whether something keeps strangers out who reach the peer port.
    pub fn is_guarded(&self) -> bool {
        !self.secret_file.as_os_str().is_empty() || !self.tls.ca.as_os_str().is_empty()
    }
}

section! { PeerTls {
    /// PEM file of the authority that signs every node's certificate. Empty: no TLS.
    ca: PathBuf => file;
    /// PEM file of this node's certificate.
    cert: PathBuf => file;
    /// PEM file of this node's private key.
    key: PathBuf => file;
} }

section! { Raft {
    /// How often the leader shows itself.
    heartbeat: Duration = Timing::default().heartbeat, ms(10)..=secs(10);
    /// Where the voters do not agree on a successor of a lost leader, each stands for election by itself after
    /// `raft.election_max` and a time between this and that.
    ///
    /// At least two heartbeats.
    election_min: Duration = Timing::default().election_min;
    /// For how long a leader is trusted that is not heard of, or hears no majority.
    election_max: Duration = Timing::default().election_max;
    /// After so many bytes of log, or twice what is stored if that is more, a snapshot is taken and the log before it
    /// dropped.
    ///
    /// Each node deviates by up to a quarter, so that not all write theirs at once. What is left of the log is what a
    /// start has to carry out again: 64 MiB are some 500,000 small commands, a few seconds.
    snapshot_log_bytes: Bytes = Bytes(Timing::default().snapshot_log_bytes), mib(1)..;
    /// At this age at the latest the log is rewritten, if anything is in it: what expired is then gone from the disk.
    ///
    /// A snapshot is taken, all before it dropped and a fresh file begun, on the disk of a quiet cluster, too. Each node
    /// does it at an age of its own between three quarters of this and this.
    snapshot_age_max: Duration = Timing::default().snapshot_age_max, secs(1)..=days(30);
} }

section! { Storage {
    /// Bytes of chunks, signals and their bookkeeping; above it writes are refused with 507.
    bytes_max: Bytes = gib(1), mib(1)..;
    /// How old a transfer may become, however often it is asked for; also a remembered acknowledgement. 0s: as old as
    /// it likes.
    ///
    /// Else at least `ttl.chunk`.
    transfer_age_max: Duration = hours(1);
    /// How old a WebRTC session may become by new offers and answers. 0s: as old as it likes.
    ///
    /// Else at least `ttl.session`.
    session_age_max: Duration = hours(1);
} }
