//! Sockets: one WebSocket endpoint, two encodings, one meaning.
//!
//! Read in this order: `upgrade` makes a socket of a request; `syntax` reads RFC 6455 to the letter, `inlet` and
//! `outbox` bound what goes in and out, `connection` is the actor in between, with the heartbeat (`quality`); `seats`
//! knows who is connected here.

mod arrivals;
mod body;
mod bucket;
pub mod close;
mod connection;
mod dialogue;
mod drain;
pub(crate) mod echo;
mod frame;
pub(crate) mod host;
mod inlet;
mod json;
mod member;
mod metrics;
pub mod options;
mod outbox;
mod quality;
mod seats;
pub(crate) mod session;
mod sigma;
mod syntax;
pub(crate) mod upgrade;
mod watches;

pub use options::Options;
pub use seats::Listed;

use std::sync::Arc;

use conclave_cluster::Cluster;

use host::Keeper;
use metrics::Metrics;
use seats::Seats;

/// Reads a text message as a connection does, and does nothing with it; the code of what is wrong with it otherwise. For
/// those who look for texts that break the reader.
pub fn read_text(text: &bytestring::ByteString) -> Result<(), &'static str> {
    json::read(text).1.map(drop).map_err(|code| code.spec().0)
}

/// The sockets of one node. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Sockets {
    pub(crate) options: Arc<Options>,
    seats: Seats,
    keeper: Keeper,
}

impl Sockets {
    /// No sockets yet. Install the metrics recorder before.
    pub fn new(options: Options, cluster: Cluster) -> Self {
        let seats = Seats::new(options.queue, Metrics::new());
        Self { options: Arc::new(options), seats, keeper: Keeper::new(cluster) }
    }

    /// Keeps the lease of this node's sockets. Runs until dropped.
    pub async fn keep(self) {
        self.keeper.run(self.seats).await;
    }

    /// Sockets as operators see them, up to so many.
    pub fn list(&self, max: usize) -> Vec<Listed> {
        self.seats.list(max)
    }

    /// Keeps the lease of everything that is attached to this node.
    pub(crate) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.seats.count()
    }
}
