//! Every bound of the links, in one place.

use std::time::Duration;

use super::Lane;

/// Bytes of the first frame each way, whatever it claims.
pub(super) const HELLO_BYTES_MAX: usize = 1024;
/// Links, so peers times three, that a node dials.
pub(super) const LINKS_MAX: usize = 768;
/// Frames are gathered into one write up to this many bytes.
pub(super) const COALESCE_BYTES: usize = 256 << 10;
/// Parts of a frame up to this size are copied into the write buffer: cheaper than a segment of their own.
pub(super) const COPY_BYTES_MAX: usize = 512;
/// The read buffer of a connection; it grows for one larger frame at a time.
pub(super) const READ_BYTES: usize = 64 << 10;
/// How many ticks of silence end a connection.
pub(super) const SILENT_TICKS_MAX: u32 = 3;
/// Attempts to connect end when nobody has called for this long, and begin again with the next call.
pub(super) const UNUSED_AFTER: Duration = Duration::from_secs(60);
/// A warning about the same remote and reason is not repeated for this long.
pub(super) const WARN_EVERY: Duration = Duration::from_secs(60);
/// Pairs of remote and reason remembered for that.
pub(super) const WARNINGS_MAX: usize = 256;

/// For how long it is looked whether a peer's run has ended.
pub(super) const LOOK_WITHIN: Duration = Duration::from_millis(300);
/// Between two such looks, if one showed nothing.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Bounds that a node may set. The defaults suit a cluster on one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a control frame.
    pub control_frame_bytes_max: usize,
    /// Bytes of a bulk frame.
    pub bulk_frame_bytes_max: usize,
    /// Bytes of a frame with a piece of a snapshot.
    pub snapshot_frame_bytes_max: usize,
    /// Bytes waiting to be written on a control link, and bytes of its requests at work.
    pub control_queue_bytes_max: usize,
    /// The same for a bulk link.
    pub bulk_queue_bytes_max: usize,
    /// The same for a snapshot link.
    pub snapshot_queue_bytes_max: usize,
    /// Calls under way on a link, and requests at work of a connection.
    pub in_flight_max: usize,
    /// Connections accepted and not yet greeted, of all remotes.
    pub handshakes_max: usize,
    /// The same of one remote address, so that one stranger cannot take all of them.
    pub handshakes_per_address_max: usize,
    /// Accepted connections in all.
    pub connections_max: usize,
    /// For how long a connection may take to be made. The kernel repeats a lost SYN after a second; so do we.
    pub connect_timeout: Duration,
    /// For how long the greeting, TLS included, may take.
    pub handshake_timeout: Duration,
    /// How often a peer is asked whether it is alive; after three misses the connection is dropped.
    pub keep_alive: Duration,
    /// The shortest pause between attempts to connect; it doubles with each failure.
    pub backoff_min: Duration,
    /// The longest one.
    pub backoff_max: Duration,
    /// Failures in a row that open the circuit.
    pub failures_max: u32,
    /// For how long the circuit stays open before one call may probe.
    pub cool_down: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            control_frame_bytes_max: 1 << 20,
            bulk_frame_bytes_max: 8 << 20,
            snapshot_frame_bytes_max: 2 << 20,
            control_queue_bytes_max: 8 << 20,
            bulk_queue_bytes_max: 64 << 20,
            snapshot_queue_bytes_max: 4 << 20,
            in_flight_max: 1024,
            handshakes_max: 64,
            handshakes_per_address_max: 16,
            connections_max: 256,
            connect_timeout: Duration::from_secs(1),
            handshake_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(1),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
            failures_max: 5,
            cool_down: Duration::from_secs(1),
        }
    }
}

impl Limits {
    /// The largest frame of a lane.
    pub fn frame_bytes_max(&self, lane: Lane) -> usize {
        match lane {
            Lane::Control => self.control_frame_bytes_max,
            Lane::Bulk => self.bulk_frame_bytes_max,
            Lane::Snapshot => self.snapshot_frame_bytes_max,
        }
    }

    /// The most bytes waiting on a lane; at least one whole frame.
    pub fn queue_bytes_max(&self, lane: Lane) -> usize {
        let bytes = match lane {
            Lane::Control => self.control_queue_bytes_max,
            Lane::Bulk => self.bulk_queue_bytes_max,
            Lane::Snapshot => self.snapshot_queue_bytes_max,
        };
        bytes.max(self.frame_bytes_max(lane))
    }

    /// For how long a write may stall, and an accepted connection stay silent.
    pub(super) fn silence_max(&self) -> Duration {
        self.keep_alive * (SILENT_TICKS_MAX + 1)
    }
}
