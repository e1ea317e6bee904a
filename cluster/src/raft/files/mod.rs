//! The real disk: a directory with an identity, a log and snapshots.
//!
//! ```text
//! identity          which node of which cluster this is, and the number that binds the id to this disk
//! log/r-….wal       the log, in files of 64 MiB
//! snapshot/<index>-<term>.snapshot
//! snapshot/*.part   what was being written when the node died; removed at the next start
//! ```

mod disposal;
mod identity;
mod log;
mod pages;
mod snapshot;
mod torn;

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::disk::Disk;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The directory belongs to another node or cluster.
    #[error(
        "{path} belongs to node {node} of cluster {cluster:?}, not to node {wanted} of {wanted_cluster:?}"
    )]
    Foreign {
        /// Which directory.
        path: String,
        /// Whose it is.
        node: u64,
        /// Whose it is.
        cluster: String,
        /// Who wants it.
        wanted: u64,
        /// Who wants it.
        wanted_cluster: String,
    },
    /// The directory was written by a build with another format.
    #[error(
        "{path} is in format {found}, and this build reads format {wanted}. There is no conversion, since what is stored \
         lapses within minutes. Either go on with the build that wrote it, or stop all nodes, empty the data directory \
         of each and start them with this build"
    )]
    Format {
        /// Which directory.
        path: String,
        /// Its format.
        found: u8,
        /// The format read.
        wanted: u8,
    },
    /// The log or the snapshot fails its checksum. This node must not serve or vote with it.
    #[error("{path} is damaged ({error}). {}", super::disk::WHAT_TO_DO)]
    Damaged {
        /// Which file.
        path: String,
        /// How it shows.
        error: String,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |error| Error::Io { path: path.display().to_string(), error }
}

/// Fails if another process has the log. It is looked at before anything is opened: opening cuts what a torn write left at
/// the end of the log, which in the log of a node that runs is a write on its way.
fn refuse_in_use(dir: &Path) -> Result<(), Error> {
    let path = dir.join("log").join("LOCK");
    let lock = match File::open(&path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error(&path)(error)),
    };
    match lock.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let error = io::Error::new(io::ErrorKind::WouldBlock, "another process uses this directory");
            Err(io_error(dir)(error))
        }
        Err(TryLockError::Error(error)) => Err(io_error(&path)(error)),
    }
}

/// Opens a node's directory, or makes it.
pub fn open(dir: &Path, node_id: u64, cluster: &str) -> Result<Disk, Error> {
    std::fs::create_dir_all(dir).map_err(io_error(dir))?;
    refuse_in_use(dir)?;
    let (storage, fresh) = identity::open(dir, node_id, cluster)?;
    let disposal = disposal::Disposal::start().map_err(io_error(dir))?;
    let log = log::FileLog::open(&dir.join("log"), disposal.clone())?;
    let snapshots = snapshot::FileSnapshots::open(&dir.join("snapshot"), disposal)?;
    Ok(Disk { storage, fresh, log: Box::new(log), snapshots: Arc::new(snapshots) })
}
