//! Why a call got no answer, and why a connection was refused.

use std::fmt;

/// Why a call got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no connection to the peer, and the next attempt is not due yet. Nothing was sent.
    #[error("peer unreachable")]
    Unreachable,
    /// No answer came in time. The request may have been carried out.
    #[error("no answer in time")]
    TimedOut,
    /// Too many calls in a row failed; the peer is left alone for a moment. Nothing was sent.
    #[error("circuit open")]
    CircuitOpen,
    /// Too many calls, or too many bytes, wait for this peer. Nothing was sent.
    #[error("link queue full")]
    QueueFull,
    /// The connection was refused, by the peer or by this node. Nothing was sent.
    #[error("connection refused: {0}")]
    Refused(Reason),
    /// The request (nothing was sent) or its answer (it was carried out) is larger than the lane's frames may be.
    #[error("frame too large")]
    TooLarge,
    /// The connection, the handler or this node's links ended before the answer. The request may have been
    /// carried out.
    #[error("link closed")]
    Closed,
}

/// Why a connection was refused. The numbers are the wire format, the names in lower case the labels of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, strum::FromRepr, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
#[repr(u8)]
pub enum Reason {
    /// What came first was not a greeting of this protocol.
    Garbage = 1,
    /// The two nodes have no version of the protocol in common.
    Version = 2,
    /// The dialer belongs to another cluster.
    Cluster = 3,
    /// The dialer wanted another node, or claims an id it cannot have.
    Identity = 4,
    /// The certificate is missing, expired, of another authority, or does not carry the id claimed and the cluster.
    Certificate = 5,
    /// Too many connections.
    Busy = 6,
    /// No complete greeting came in time.
    Slow = 7,
    /// One side has a shared secret and the other none, or not the same one.
    Secret = 8,
    /// The other node's id is bound to another disk, as far as this node knows.
    Disk = 9,
    /// This node's own id is bound to another disk, as far as the other node knows. Not sent: it is what [`Reason::Disk`]
    /// means to the one who hears it.
    Reused = 10,
}

impl Reason {
    /// What a refusal that was sent means to the one who is refused.
    pub(super) fn heard(kind: u8) -> Self {
        match Self::from_repr(kind) {
            Some(Self::Disk) => Self::Reused,
            Some(reason) => reason,
            None => Self::Garbage,
        }
    }
}

impl std::error::Error for Reason {}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Garbage => "not a greeting of this protocol",
            Reason::Version => "no common protocol version",
            Reason::Cluster => "another cluster",
            Reason::Identity => "wrong node id",
            Reason::Certificate => "certificate not accepted",
            Reason::Busy => "too many connections",
            Reason::Slow => "no greeting in time",
            Reason::Secret => "the shared secret is missing or another (cluster.secret_file)",
            Reason::Disk => "its node id is bound to another disk",
            Reason::Reused => "it knows this node's id as bound to another disk",
        })
    }
}
