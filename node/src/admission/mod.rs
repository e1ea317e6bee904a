//! What one client may take of a node, and what all clients together may.
//!
//! One file for each thing that is shared out. Each decides without a clock and without a socket: the time is passed in.
//! What is counted here is counted by each node for itself; what the cluster stores is counted in its state.

pub mod buffers;
pub mod client_identity;
pub mod connection_limiter;
mod controller;
pub mod descriptors;
pub mod fair_semaphore;
pub mod large_body;
mod recent;
pub mod request_rate;
pub mod share;
pub mod socket_rates;

use buffers::Buffers;
use fair_semaphore::FairSemaphore;
use request_rate::{Pace, Rate};
use share::{Bounds, Parts, Share};
use socket_rates::Flow;

/// TLS handshakes at once; more wait, within their time.
const HANDSHAKES_MAX: usize = 256;
/// Jobs under way.
const JOBS_MAX: usize = 10_000;
/// No client's part is smaller, however small the whole is.
const PART_MIN: usize = 16;

/// How much there is to share out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Connections of the public.
    pub connections_max: usize,
    /// Long polls.
    pub waits_max: usize,
    /// Bytes held for connections.
    pub buffers_bytes_max: usize,
    /// Of them, what even one client with a small part may have: one body, or one message of a socket.
    pub buffers_part_min: usize,
    /// Which part of it one client may have, and one site.
    pub parts: Parts,
    /// How fast one client may ask for what is free of charge. `None`: as fast as it likes.
    pub free: Option<Rate>,
    /// Bytes a second that all sockets of one client may send. `None`: as fast as each may.
    pub socket_bytes_per_second: Option<u64>,
}

/// What a node shares out among its clients. Clones are the same.
#[derive(Debug, Clone)]
pub struct Shares {
    /// Connections, from their first byte on.
    pub connections: Share,
    /// TLS handshakes under way.
    pub handshakes: FairSemaphore,
    /// Requests that wait for a change.
    pub waits: Share,
    /// Jobs under way.
    pub jobs: Share,
    /// Requests that are free of charge.
    pub free: Option<Pace>,
    /// Messages of sockets.
    pub sockets: Option<Flow>,
    /// Bytes that are held for connections.
    pub buffers: Buffers,
}

impl Shares {
    /// Nothing is taken yet. Install the metrics recorder before.
    pub fn new(options: &Options) -> Self {
        let of = |all| Bounds::of(all, options.parts, PART_MIN);
        Self {
            // The server keeps all of them below their bound: there, more wait to be accepted.
            connections: Share::new(Bounds { all: usize::MAX, ..of(options.connections_max) }),
            handshakes: FairSemaphore::new(of(HANDSHAKES_MAX)),
            waits: Share::new(of(options.waits_max)),
            jobs: Share::new(of(JOBS_MAX)),
            free: options.free.map(Pace::new),
            sockets: options.socket_bytes_per_second.map(Flow::new),
            buffers: Buffers::new(Bounds::of(
                options.buffers_bytes_max,
                options.parts,
                options.buffers_part_min,
            )),
        }
    }
}

impl Default for Shares {
    /// Everything for whoever comes first.
    fn default() -> Self {
        let most = 1 << 20;
        Self::new(&Options {
            connections_max: most,
            waits_max: most,
            buffers_bytes_max: 128 << 20,
            buffers_part_min: 128 << 20,
            parts: Parts::default(),
            free: None,
            socket_bytes_per_second: None,
        })
    }
}
