//! What stands in front of one peer's mailbox on this node.

use conclave_cluster::Cluster;

use super::Place;
use super::front::{Front, Kind};

/// Carries the calls for a peer's mailbox and wakes whoever waits for it here: long polls, and whatever else listens
/// at the same bell, since poll and push share one queue.
pub(super) type DeviceActor = Front<Device>;

/// Adds nothing: a listener pulls from the mailbox itself when it is woken. The actor never holds a signal, so that
/// nothing is delivered twice and nothing is lost with it.
pub(super) struct Device;

impl Kind for Device {
    fn begin(_: Place, _: Cluster) -> Self {
        Self
    }
}
