//! Where a member stands.

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver as _;
use serde::{Deserialize, Serialize};

use super::node::Node;
use super::types::LogId;

/// A member's place in the log and its part in the cluster.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Position {
    /// Its term.
    pub term: u64,
    /// Whom it takes for the leader.
    pub leader: Option<u64>,
    /// Its part.
    pub role: Role,
    /// The index of the last applied entry.
    pub applied: u64,
    /// The index of the last committed entry it knows of.
    pub committed: u64,
    /// The index of its last entry.
    pub last_log: u64,
    /// The index up to which its snapshot reaches.
    pub snapshot: u64,
    /// Bytes of its log on disk.
    pub log_bytes: u64,
}

/// A member's part in the cluster. Between nodes it goes by its name.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
    strum::EnumString,
)]
#[strum(serialize_all = "lowercase")]
#[serde(into = "&'static str", try_from = "String")]
pub enum Role {
    /// It leads.
    Leader,
    /// It votes, and follows.
    Follower,
    /// It follows without a vote.
    Learner,
    /// It sits in no cell.
    Front,
    /// It stands for election.
    Candidate,
    /// It was removed, and knows it.
    Removed,
    /// Its Raft stopped.
    Stopped,
    /// It does not answer.
    #[default]
    Unreachable,
}

impl Role {
    /// How operators read it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A name that is no role's.
#[derive(Debug, thiserror::Error)]
#[error("{0} is no role")]
pub struct UnknownRole(String);

impl TryFrom<String> for Role {
    type Error = UnknownRole;

    fn try_from(name: String) -> Result<Self, UnknownRole> {
        name.parse().map_err(|_| UnknownRole(name))
    }
}

impl Node {
    /// Where this member stands.
    pub fn position(&self) -> Position {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let role = match (&metrics.running_state, metrics.state) {
            (Err(_), _) | (_, ServerState::Shutdown) => Role::Stopped,
            (_, ServerState::Leader) => Role::Leader,
            (_, ServerState::Follower) => Role::Follower,
            (_, ServerState::Learner) => Role::Learner,
            (_, ServerState::Candidate) => Role::Candidate,
        };
        let index = |id: &Option<LogId>| id.as_ref().map_or(0, |id| id.index());
        Position {
            term: metrics.current_term,
            leader: metrics.current_leader,
            role,
            applied: index(&metrics.last_applied),
            committed: index(&metrics.local_committed),
            last_log: metrics.last_log_index.unwrap_or(0),
            snapshot: index(&metrics.snapshot),
            log_bytes: self.log.size(),
        }
    }
}
