//! Why a node does not run, and with which code it exits then.

use std::net::SocketAddr;
use std::path::PathBuf;

use conclave_cluster::StartError;
use conclave_cluster::raft::files;
use conclave_cluster::wire::{SecretError, TlsError};

use crate::access;
use crate::config::unit::print_size;
use crate::exit::Exit;
use crate::listener::tls;

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No place for the data.
    #[error("node.data_dir is empty, and neither XDG_DATA_HOME nor HOME says where the data belongs")]
    Homeless,
    /// A listener's address cannot be had.
    #[error("cannot listen on {address} ({key}): {error}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The key that says so.
        key: &'static str,
        /// What the system says.
        error: std::io::Error,
    },
    /// An address cannot be had, as it was tried before anything was started.
    #[error("cannot listen on {address} ({key}): {error}")]
    Bind {
        /// The configured address.
        address: String,
        /// The key that says so.
        key: &'static str,
        /// What the system says.
        error: std::io::Error,
    },
    /// Nothing can be written where the data belongs.
    #[error("cannot write to {} (node.data_dir): {error}", path.display())]
    Unwritable {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The cluster part does not start.
    #[error("cannot start: {0}")]
    Start(#[from] StartError),
    /// The data directory cannot be used.
    #[error("cannot start: {0}")]
    Disk(#[from] files::Error),
    /// The certificates for links between nodes cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The token of the admin listener cannot be used.
    #[error("admin.token_file: {0}")]
    AdminToken(#[from] crate::admin::TokenError),
    /// The secret that the nodes share cannot be used.
    #[error("cluster.secret_file: {0}")]
    Secret(#[from] SecretError),
    /// The cluster part cannot go on.
    #[error(
        "the node cannot go on: {why}. Its data is in {} (node.data_dir), with {room} left on the file system. What was \
         acknowledged is on a majority of the nodes: mend what is named, and start this one again", dir.display()
    )]
    Failed {
        /// What failed.
        why: String,
        /// The data directory.
        dir: PathBuf,
        /// How much may be written there still.
        room: String,
    },
    /// The files that say who may come in cannot be used.
    #[error(transparent)]
    Access(#[from] access::Error),
    /// The files of the webhooks cannot be used.
    #[error(transparent)]
    Webhooks(#[from] crate::service::webhooks::Error),
    /// Traces cannot be sent.
    #[error(transparent)]
    Traces(#[from] crate::otlp::Error),
    /// The public certificate cannot be used.
    #[error(transparent)]
    PublicTls(#[from] tls::Error),
    /// Metrics cannot be kept.
    #[error(transparent)]
    Metrics(#[from] crate::telemetry::metrics::Error),
    /// The system refuses threads, signals or sockets.
    #[error("operating system error: {0}")]
    System(#[from] std::io::Error),
    /// A server ended by itself.
    #[error("the {0} listener ended by itself")]
    Ended(&'static str),
    /// The way out took longer than `shutdown.grace`.
    #[error("the log could not be closed within shutdown.grace")]
    Unflushed,
}

impl Error {
    /// The cluster part cannot go on, with its data in `dir`.
    pub(super) fn failed(why: String, dir: PathBuf) -> Self {
        let room = rustix::fs::statvfs(&dir).map(|disk| print_size(disk.f_bavail * disk.f_frsize));
        Self::Failed { why, dir, room: room.unwrap_or_else(|error| format!("({error})")) }
    }

    /// The exit code that fits.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Homeless => Exit::Usage,
            Self::Start(
                StartError::Reused(_)
                | StartError::Removed(_)
                | StartError::Stranger { .. }
                | StartError::OtherSeats { .. },
            )
            | Self::Disk(files::Error::Foreign { .. } | files::Error::Format { .. }) => Exit::Refused,
            Self::Tls(_)
            | Self::Secret(_)
            | Self::AdminToken(_)
            | Self::PublicTls(_)
            | Self::Access(_)
            | Self::Webhooks(_)
            | Self::Traces(_) => Exit::Usage,
            Self::Start(StartError::Listen { .. } | StartError::Raft(_))
            | Self::Disk(
                files::Error::Io { .. } | files::Error::Damaged { .. } | files::Error::Stray { .. },
            )
            | Self::Failed { .. }
            | Self::Listen { .. }
            | Self::Bind { .. }
            | Self::Unwritable { .. }
            | Self::Metrics(_)
            | Self::System(_)
            | Self::Ended(_)
            | Self::Unflushed => Exit::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_id_is_a_refusal() {
        assert_eq!(Error::Start(StartError::Reused(3)).exit(), Exit::Refused);
    }
}
