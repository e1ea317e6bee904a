//! The actor of one peer's mailbox on this node.

use conclave_cluster::Cluster;

use super::StateKey;
use super::key_actor::{KeyActor, Kind};

/// Notifies the long polls, the event stream or the socket that waits for a peer's signals. Each takes them from the
/// mailbox itself: the actor never holds a signal, so none is delivered twice, and none is lost with the actor.
pub(super) type DeviceActor = KeyActor<Device>;

/// A device holds nothing but its watchers.
pub(super) struct Device;

impl Kind for Device {
    fn begin(_: StateKey, _: Cluster) -> Self {
        Self
    }
}
