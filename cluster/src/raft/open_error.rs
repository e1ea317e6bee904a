//! Why a member does not go on from what is on its disk.

use std::{error, io};

use super::disk_traits::WHAT_TO_DO;

/// What Raft says, whose errors carry its own types.
type Cause = Box<dyn error::Error + Send + Sync>;

/// Why Raft does not start, or does not become part of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The timing contradicts itself.
    #[error("{0}")]
    Timing(#[from] openraft::ConfigError),
    /// The snapshot is not what was written.
    #[error("the snapshot on the disk is damaged ({0}). {what_to_do}", what_to_do = WHAT_TO_DO)]
    Damaged(io::Error),
    /// The snapshot cannot be read at the moment.
    #[error("the snapshot on the disk cannot be read now ({0}); nothing is damaged")]
    Unreadable(io::Error),
    /// Raft cannot go on from this log.
    #[error("{0}")]
    Log(Cause),
    /// The first members cannot be made a cluster.
    #[error("{0}")]
    Members(Cause),
}
