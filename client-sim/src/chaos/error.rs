//! Why a run could not go on. Promises that were broken are no errors: they stand in the report.

use std::io;
use std::time::Duration;

use crate::cluster_status;

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine said no.
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
    /// A cluster's description or address is unusable, or nobody answers.
    #[error(transparent)]
    ClusterStatus(#[from] cluster_status::Error),
    /// A node ended that should run.
    #[error(
        "node {id} ended by itself: {}; {said}",
        code.map_or("killed".to_owned(), |code| format!("exit code {code}"))
    )]
    Ended {
        /// The node.
        id: u64,
        /// Its exit code; absent if a signal ended it.
        code: Option<i32>,
        /// The end of what it printed.
        said: String,
    },
    /// A condition that was awaited did not come true.
    #[error("timed out after {within:?} waiting for: {what}")]
    InVain {
        /// For what.
        what: String,
        /// How long.
        within: Duration,
    },
    /// A step names a node that is not there, or not as the step needs it.
    #[error("{0}")]
    NoSuchNode(String),
    /// Only possible with nodes that were started here.
    #[error("requires a cluster that this process started: {0}")]
    NotOurs(&'static str),
    /// Another program failed.
    #[error("{0}")]
    Tool(String),
    /// The cluster refused a change of its members.
    #[error("the cluster refused: {0}")]
    Refused(String),
    /// A schedule that cannot be.
    #[error("{0}")]
    Schedule(String),
}

/// Says what was tried when the machine said no.
pub(super) trait During<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| Error::Io(what(), error))
    }
}
