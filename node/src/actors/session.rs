//! The actor of a transfer, a negotiation or another key that is in use on this node.

use conclave_cluster::Cluster;

use super::StateKey;
use super::key_actor::{KeyActor, Kind};

/// Its long polls and streams are the watchers of [`KeyActor`]; they read the state themselves when they are notified.
pub(super) type SessionActor = KeyActor<Session>;

/// A session holds nothing but its watchers.
pub(super) struct Session;

impl Kind for Session {
    fn begin(_: StateKey, _: Cluster) -> Self {
        Self
    }
}
