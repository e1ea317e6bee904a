//! What the admin API says of a cluster.

use serde::Deserialize;

/// What a node knows of its cluster.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// Who leads.
    pub leader: Option<u64>,
    /// Since which election.
    pub term: u64,
    /// Everybody.
    pub nodes: Vec<NodeStatus>,
}

impl Status {
    /// What is known of one node.
    pub fn node(&self, id: u64) -> Option<&NodeStatus> {
        self.nodes.iter().find(|node| node.id == id)
    }
}

/// What is known of one node.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeStatus {
    /// Its id.
    pub id: u64,
    /// URL of its public API.
    pub http: String,
    /// URL of its admin API.
    pub admin: String,
    /// Its process.
    pub pid: u32,
    /// "leader", "follower", "learner", "candidate" or "unreachable".
    pub role: String,
    /// The last entry it applied.
    pub applied: u64,
    /// The last entry it holds.
    pub last_log: u64,
}
