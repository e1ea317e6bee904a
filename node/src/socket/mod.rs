//! Sockets: one WebSocket endpoint, two encodings, one meaning.
//!
//! Read in this order: `upgrade` makes a socket of a request; `syntax` reads RFC 6455 to the letter, `inlet` and
//! `outbox` bound what goes in and out, `connection` is the actor in between, with the heartbeat (`quality`); `seats`
//! knows who is connected here.

mod body;
mod bucket;
pub mod close;
mod connection;
mod echo;
pub mod hangup;
mod inlet;
mod metrics;
pub mod options;
mod outbox;
mod quality;
mod seats;
mod syntax;
pub(crate) mod upgrade;

pub use options::Options;
pub use seats::Listed;

use metrics::Metrics;
use seats::Seats;

/// The sockets of one node. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Sockets {
    pub(crate) options: std::sync::Arc<Options>,
    pub(crate) seats: Seats,
}

impl Sockets {
    /// No sockets yet. Install the metrics recorder before.
    pub fn new(options: Options) -> Self {
        let seats = Seats::new(options.queue, Metrics::new());
        Self { options: std::sync::Arc::new(options), seats }
    }
}
