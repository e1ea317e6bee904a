//! What stands in front of one transfer, exchange or other key in use on this node.

use conclave_cluster::Cluster;

use super::Place;
use super::front::{Front, Kind};

/// The actor of such a key.
pub(super) type SessionActor = Front<Session>;

/// Adds nothing: those who wait look at the state themselves.
pub(super) struct Session;

impl Kind for Session {
    fn begin(_: Place, _: Cluster) -> Self {
        Self
    }
}
