//! Framed bytes between nodes: requests and their answers, over links that stay up.
//!
//! A node dials its peers and answers those who dial it; a connection carries requests one way only. Every peer
//! has up to three links, one a [`Lane`], so that heartbeats never queue behind chunks, nor entries behind a
//! snapshot. Nothing in here knows what the bytes mean. Time comes from tokio's clock, chance from [`Options::seed`] and
//! connections from a [`Transport`], so that whole clusters run in simulation.
//!
//! Guarantees: requests of one connection reach [`Service::serve`] in the order in which they were sent, and are
//! carried out at most once each; nothing is sent again by this module. A handler's future is dropped when the
//! connection it came by ends. Each [`Error`] says whether the request may have been carried out.

mod backoff;
mod breaker;
mod certificate_fault;
mod connection;
mod error;
mod frame;
mod frame_writer;
mod handshake;
mod heard;
mod hello;
mod inbound;
mod limits;
mod link;
mod link_health;
mod links;
mod listener;
mod log_dedup;
mod metrics;
mod peer_disk;
pub mod pem_file;
mod reader;
mod secret;
mod tls;
mod transport;
mod validity;

use futures_util::future::BoxFuture;

pub use self::metrics::{METERS, Meter, describe, refusals};
pub use breaker::Breaker;
pub use error::{Error, Reason};
pub use frame::{Frame, Outgoing};
pub use limits::Limits;
pub use link_health::{PeerHealth, PeerNote, Phase};
pub use links::{Links, Options};
pub(crate) use log_dedup::Warnings;
pub(crate) use metrics::refused;
pub use secret::{SecretError, Secrets};
pub use tls::{Tls, TlsError};
pub use transport::{Listener, Stream, Tcp, Transport};
pub use validity::{Date, Invalid, Validity};

/// A node's id.
pub type PeerId = u64;

/// Which of a peer's links a request takes. A link is made by its first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Lane {
    /// Small and urgent: votes, heartbeats, read-index requests.
    Control,
    /// Large: entries, forwarded batches.
    Bulk,
    /// Large and in no hurry: the pieces of a snapshot; and heartbeats while the control lane is stuck.
    Snapshot,
}

impl Lane {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Control, Self::Bulk, Self::Snapshot];

    /// The lane's name in logs and metric labels.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What answers the requests of other nodes.
pub trait Service: Send + Sync + 'static {
    /// Answers one request. Called in the order of arrival, and must return its future without delay; the futures
    /// then run side by side, and are dropped when the connection ends.
    fn serve(&self, from: PeerId, request: Frame) -> BoxFuture<'static, Outgoing>;

    /// Eight bytes handed to every peer that asks whether this node is alive, about once a second.
    fn note(&self) -> u64 {
        0
    }

    /// The number of the disk that a node id is bound to, if this node knows of one. A peer that names another is refused.
    /// Asked once a handshake, and before each frame of a peer that nothing is known of.
    fn disk_of(&self, _peer: PeerId) -> Option<u128> {
        None
    }
}
