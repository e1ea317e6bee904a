//! Sockets: one WebSocket endpoint, two encodings, one meaning.
//!
//! Read in this order: `upgrade` makes a socket of a request; `rfc6455` reads RFC 6455 to the letter, `inbound_queue` and
//! `outbound_queue` bound what goes in and out, `connection` is the actor in between, with the heartbeat (`quality`);
//! `connections` knows who is connected here.

mod backlog;
mod bucket;
pub mod close;
mod connection;
mod connections;
mod drain;
pub(crate) mod echo;
pub(crate) mod endpoint;
mod inbound_queue;
mod json;
mod json_session;
mod metrics;
mod operations;
pub mod options;
mod outbound_queue;
mod quality;
mod rfc6455;
mod room_event_writer;
mod room_progress;
pub(crate) mod session;
mod sigma_flatbuffers;
mod socket_response_body;
pub(crate) mod upgrade;
mod watches;

pub use connections::Listed;
pub use options::Options;

use std::sync::Arc;

use connections::Connections;
use metrics::Metrics;

use crate::service::Services;
use crate::service::node_lease::Sockets as _;

/// Reads a text message as a connection does, and does nothing with it; the code of what is wrong with it otherwise. For
/// those who look for texts that break the reader.
pub fn read_text(text: &bytestring::ByteString) -> Result<(), &'static str> {
    json::read(text).1.map(drop).map_err(|code| code.spec().0)
}

/// The sockets of one node. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Sockets {
    pub(crate) options: Arc<Options>,
    connections: Connections,
    services: Arc<Services>,
}

impl Sockets {
    /// No sockets yet. Install the metrics recorder before.
    pub fn new(options: Options, services: Arc<Services>) -> Self {
        let connections = Connections::new(options.queue, Metrics::new());
        Self { options: Arc::new(options), connections, services }
    }

    /// Keeps the lease of this node's sockets. Runs until dropped.
    pub async fn keep(self) {
        self.services.lease.clone().run(self.connections).await;
    }

    /// Sockets as operators see them, up to so many.
    pub fn list(&self, max: usize) -> Vec<Listed> {
        self.connections.list(max)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.connections.count()
    }
}
