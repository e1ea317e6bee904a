//! What is told of the cluster and its nodes.

use serde::{Deserialize, Serialize};

use crate::raft::{Position, Role};

/// The cluster, as one node sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Whether the node that tells this was removed. It knows nothing of the cluster then, but for who told it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// The leader of the first cell, if one is known that can be relied on.
    pub leader: Option<u64>,
    /// Its term; without it, the term of this node if that has a seat in the first cell, else 0.
    pub term: u64,
    /// Whether enough of the voters of the first cell are there.
    pub majority: Majority,
    /// The cells, by number.
    #[serde(default)]
    pub cells: Vec<CellStatus>,
    /// What the leader of the first cell does next by itself, if that was asked and anything is left to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_step: Option<String>,
    /// All nodes, by id.
    pub nodes: Vec<NodeStatus>,
}

/// A cell: a Raft group that holds a part of the slots.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CellStatus {
    /// Its number, from 1.
    pub cell: u16,
    /// Its leader, if one is known that can be relied on.
    pub leader: Option<u64>,
    /// The leader's term.
    pub term: u64,
    /// Whether enough of its voters are there.
    pub majority: Majority,
    /// How many of the 1,024 slots it serves.
    pub slots: usize,
    /// How many are on their way from it to other cells.
    pub moving: usize,
}

/// How many voters there are, and how many of them are needed for anything to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Majority {
    /// All voters.
    pub voters: usize,
    /// Those that the node that tells this reached, itself among them.
    pub reachable: usize,
    /// How many must be reachable.
    pub needed: usize,
}

impl Majority {
    /// Of these voters, where `reached` says which are there.
    pub(super) fn of(voters: impl Iterator<Item = u64>, reached: impl Fn(u64) -> bool) -> Self {
        let (mut all, mut reachable) = (0, 0);
        for voter in voters {
            all += 1;
            reachable += usize::from(reached(voter));
        }
        Self { voters: all, reachable, needed: all / 2 + 1 }
    }

    /// Whether enough are reachable.
    pub fn holds(&self) -> bool {
        self.reachable >= self.needed
    }
}

/// One member.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its id.
    pub id: u64,
    /// The URL of its HTTP API; empty while it cannot be reached.
    pub http: String,
    /// The URL of its admin API.
    pub admin: String,
    /// The address its peers use.
    pub peer: String,
    /// Its process id.
    pub pid: u32,
    /// Its part in the cluster.
    pub role: Role,
    /// The cell that it has a seat in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<u16>,
    /// Whether it votes.
    pub voter: bool,
    /// The index of the last entry it applied.
    pub applied: u64,
    /// The index of the last entry it knows to be committed.
    pub committed: u64,
    /// The index of its last entry.
    pub last_log: u64,
    /// The index up to which its snapshot reaches.
    pub snapshot: u64,
    /// Bytes of its log on disk.
    pub log_bytes: u64,
    /// The version of its binary.
    pub version: String,
    /// Why the node that tells this does not reach it, or why one of its links to it is down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// What a node says of itself; by default, nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct NodeInfo {
    pub(super) http: String,
    pub(super) admin: String,
    pub(super) pid: u32,
    pub(super) version: String,
    pub(super) position: Position,
    /// Whether it never had a seat.
    pub(super) is_blank: bool,
}

impl NodeStatus {
    /// One that did not answer.
    pub(super) fn silent(id: u64, peer: String, voter: bool, fault: String) -> Self {
        Self { fault: Some(fault), ..Self::heard(id, peer, voter, NodeInfo::default()) }
    }

    pub(super) fn heard(id: u64, peer: String, voter: bool, word: NodeInfo) -> Self {
        let NodeInfo { http, admin, pid, version, position, is_blank: _ } = word;
        Self {
            id,
            http,
            admin,
            peer,
            pid,
            role: position.role,
            cell: None,
            voter,
            applied: position.applied,
            committed: position.committed,
            last_log: position.last_log,
            snapshot: position.snapshot,
            log_bytes: position.log_bytes,
            version,
            fault: None,
        }
    }

    /// Whether it answered, and takes part.
    pub fn is_reachable(&self) -> bool {
        !matches!(self.role, Role::Unreachable | Role::Stopped | Role::Removed)
    }
}
