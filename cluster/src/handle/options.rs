//! What a cluster node needs to know, and why it may not start.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use crate::raft::disk_traits::Disk;
use crate::raft::{OpenError, Timing, files};
use crate::state::leader_rules::Rules;
#[cfg(doc)]
use crate::state::limits::SLOT_PART_BYTES_MAX;
use crate::wire::{Listener, Secrets, Tls, Transport};

/// What the handle is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// This node's id, never reused for another disk.
    pub node_id: u64,
    /// The cluster's name; nodes of another name are strangers.
    pub cluster_name: String,
    /// Where this node listens for its peers, `host:port`.
    pub listen: String,
    /// Under which address its peers reach it; the port 0 stands for the one that was bound.
    pub advertise: String,
    /// The first members, id → peer address, this node among them; empty for a node that is added later.
    pub members: BTreeMap<u64, String>,
    /// How many of the first members found the cell; the others begin as fronts. The same on all of them.
    pub replicas: usize,
    /// Bounds on what the cluster stores; the leader's count.
    pub rules: Rules,
    /// For how long a command is tried before it fails; at most 15 s.
    pub deadline: Duration,
    /// Shown to others in `status`: the URL of this node's HTTP API.
    pub http_url: String,
    /// Shown to others in `status`: the URL of this node's admin API.
    pub admin_url: String,
    /// How Raft paces itself.
    pub timing: Timing,
    /// How many bytes of a slot go to another cell at a time; at most [`SLOT_PART_BYTES_MAX`].
    pub slot_part_bytes: usize,
    /// Certificates, if links are to be encrypted and mutually authenticated.
    pub tls: Option<Tls>,
    /// A secret that all nodes share, if strangers are to be kept out by it.
    pub secrets: Option<Secrets>,
    /// Whether only members on loopback may be added, because nothing else keeps strangers out.
    pub loopback_only: bool,
}

impl Options {
    /// Puts the port that was bound in the place of port 0, in the advertised address and the first members.
    pub(super) fn bind_port(&mut self, listener: &dyn Listener) -> Result<(), StartError> {
        let bound = listener
            .local_addr()
            .map_err(|error| StartError::Listen { address: self.listen.clone(), error })?;
        // As where a machine's own name stands for a loopback address in /etc/hosts.
        let is_wanted_elsewhere =
            self.members.values().chain([&self.advertise]).any(|address| !is_loopback(address));
        if bound.ip().is_loopback() && is_wanted_elsewhere {
            tracing::warn!(%bound, listen = self.listen, "listening for peers where other machines cannot reach this one");
        } else {
            tracing::info!(%bound, "listening for peers");
        }
        let asked = std::mem::take(&mut self.advertise);
        self.advertise = match asked.strip_suffix(":0") {
            Some(host) => format!("{host}:{}", bound.port()),
            None => asked.clone(),
        };
        if let Some(own) = self.members.get_mut(&self.node_id).filter(|own| **own == asked) {
            own.clone_from(&self.advertise);
        }
        Ok(())
    }
}

/// What the outside world is to a node. Real ones for real nodes, simulated ones for simulations.
pub struct World {
    /// How nodes reach each other.
    pub transport: Arc<dyn Transport>,
    /// This node's clock.
    pub clock: Arc<dyn Clock>,
    /// This node's disk.
    pub disk: Disk,
    /// Where this node's randomness comes from.
    pub seed: u64,
}

impl World {
    /// The real network, clock and randomness, and a directory.
    pub fn real(data_dir: PathBuf, options: &Options) -> Result<Self, files::Error> {
        Ok(Self {
            transport: Arc::new(crate::wire::Tcp),
            clock: Arc::new(super::clock::SystemClock::new()),
            disk: files::open(&data_dir, options.node_id, &options.cluster_name)?,
            seed: rand::random(),
        })
    }
}

/// Whether only this machine reaches `address`, a `host:port`. A name other than `localhost` may be anybody.
pub fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Whether `address`, a `host:port`, means every address of a machine, at which a node listens and nobody reaches it.
pub fn is_unspecified(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_unspecified())
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The peer address cannot be listened on.
    #[error("cannot listen for peers on {address}: {error}")]
    Listen {
        /// Which.
        address: String,
        /// Why.
        error: std::io::Error,
    },
    /// This id is bound to another disk.
    #[error(
        "node id {0} belongs to another disk in this cluster. A node whose disk was lost must not vote under its old \
         id: remove node {0} from the cluster and add this one under a fresh id"
    )]
    Reused(u64),
    /// This node was removed, and has no log that it could go by.
    #[error(
        "node {0} was removed from the cluster, and its id is not used again: empty its data directory, start it under a \
         fresh id with --join, and add it"
    )]
    Removed(u64),
    /// One of the first members belongs to a cluster without this node.
    #[error(
        "node {peer} at {address} belongs to a cluster of this name already, or founds one, in which node {node} is no \
         member: there would be two clusters of one name. If that cluster is the right one, start node {node} with --join \
         and without members, and add it there; else stop node {peer}, empty its data directory, and start all nodes with the \
         same cluster.members"
    )]
    Stranger {
        /// This node.
        node: u64,
        /// The other one.
        peer: u64,
        /// Where that one is.
        address: String,
    },
    /// One of the first members is configured to found the cell of other nodes.
    #[error(
        "node {peer} at {address} is configured to found the cluster with other replicas than node {node}: give all nodes \
         the same cluster.members and cluster.replicas"
    )]
    OtherSeats {
        /// This node.
        node: u64,
        /// The other one.
        peer: u64,
        /// Where that one is.
        address: String,
    },
    /// The disk's content cannot be used.
    #[error("raft cannot start: {0}")]
    Raft(#[from] OpenError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_the_rest() {
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "[::ffff:127.0.0.1]:1"] {
            assert!(is_loopback(address), "{address}");
        }
        for address in
            ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "node-1:1", "localhost.example:1", ":1", "128.0.0.1:1"]
        {
            assert!(!is_loopback(address), "{address}");
        }
    }
}
