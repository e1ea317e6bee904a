//! Hosts: runs of nodes that hold sockets, each a lease.
//!
//! One lease stands for all sockets of a node, so that ten thousand idle ones cost one small command every few
//! seconds. When it lapses, whatever was attached by that run counts as detached.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::expiry::{Lease, Thing};
use super::ground::Ground;
use super::limits::HOSTS_MAX;
use super::outcome;

/// One run of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Host {
    /// The node's id.
    pub node: u64,
    /// A random number drawn once per run.
    pub run: u64,
}

/// A connection, and the host that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Where the connection ends.
    pub host: Host,
    /// A random number drawn once per connection.
    pub connection: u64,
}

/// A wish about a host. New kinds are added at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Let the host live for so long from now.
    Renew {
        /// Which one.
        host: Host,
        /// How long, in milliseconds.
        ttl_ms: u32,
    },
    /// The host holds no socket any more, and will not.
    Leave {
        /// Which one.
        host: Host,
    },
}

/// What happened to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It lives.
    Renewed,
    /// It is no more.
    Left,
}

/// Why nothing happened to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// There are as many hosts as there may be.
    Full,
}

/// All hosts.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts(OrdMap<Host, Lease>);

impl Hosts {
    /// Until when a host lives; `None` if it does not.
    pub(super) fn until(&self, host: &Host, now_ms: u64) -> Option<u64> {
        self.0.get(host).filter(|lease| lease.alive(now_ms)).map(|lease| lease.expires_ms)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Host, &Lease)> {
        self.0.iter()
    }
}

/// Hosts are part of the ground, because whatever is attached asks after them.
pub(super) fn carry_out(ask: &Ask, ground: &mut Ground) -> Result<Outcome, outcome::Refusal> {
    match *ask {
        Ask::Renew { host, ttl_ms } => {
            let (expires_ms, thing) = (ground.after(ttl_ms), Thing::Host(host));
            let hosts = ground.hosts.len();
            match ground.hosts.0.get_mut(&host) {
                Some(lease) => ground.agenda.renew(lease, thing, expires_ms),
                None if hosts >= HOSTS_MAX => return Err(Refusal::Full.into()),
                None => {
                    let lease = ground.agenda.begin(thing, expires_ms);
                    ground.hosts.0.insert(host, lease);
                }
            }
            Ok(Outcome::Renewed)
        }
        Ask::Leave { host } => {
            if let Some(lease) = ground.hosts.0.remove(&host) {
                ground.agenda.end(&lease, Thing::Host(host));
            }
            Ok(Outcome::Left)
        }
    }
}

/// The agenda says that a host is due.
pub(super) fn lapse(host: &Host, ground: &mut Ground) -> usize {
    match ground.hosts.0.get_mut(host) {
        Some(lease) if lease.alive(ground.now_ms) => ground.agenda.keep(lease, Thing::Host(*host)),
        _ => {
            ground.hosts.0.remove(host);
        }
    }
    1
}

/// Takes a host as a snapshot has it; false if that cannot be.
pub(super) fn restore(host: Host, lease: Lease, ground: &mut Ground) -> bool {
    ground.agenda.restore(&lease, Thing::Host(host)) && ground.hosts.0.insert(host, lease).is_none()
}
