//! The handle: what the rest of a node may do with the cluster.
#![allow(unused_variables, missing_docs)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::state::State;
use crate::state::allowance::{Balance, Charge};
use crate::state::command::{Ask, Memo};
use crate::state::effect::Effect;
use crate::state::outcome::Answer;

/// A command without a name yet.
#[derive(Debug, Clone)]
pub struct Draft {
    pub charge: Option<Charge>,
    pub memo: Option<Memo>,
    pub ask: Ask,
}

/// Why a wish got no answer. Nothing here says that the wish was not carried out, except where it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A queue is full; the wish was not carried out.
    #[error("overloaded")]
    Overloaded,
    /// No leader is known, or the leader has no quorum, within the wish's time.
    #[error("no leader")]
    NoLeader,
    /// This node is going away; the wish was not carried out.
    #[error("shutting down")]
    ShuttingDown,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("node id {0} belongs to another disk: a node whose disk was lost joins under a fresh id")]
    Reused(u64),
}

/// What a hint is: an effect to deliver, or word that some were dropped and everybody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    Effect(Effect),
    WakeAll,
}

#[derive(Debug, Clone)]
pub struct Options {
    pub node_id: u64,
    pub cluster_name: String,
    pub data_dir: PathBuf,
    /// Where this node listens for its peers, and under which address they reach it.
    pub listen: String,
    pub advertise: String,
    /// The first members, id → peer address, this node among them; empty for a node that joins later.
    pub members: BTreeMap<u64, String>,
    pub storage_bytes_max: u64,
    /// For how long a wish is retried before it fails.
    pub deadline: Duration,
    /// Shown to others in `status`: URLs of this node's HTTP API and admin API.
    pub http_url: String,
    pub admin_url: String,
}

#[derive(Debug, Clone, serde::Serialize)]
pub struct Status {
    pub leader: Option<u64>,
    pub term: u64,
    pub nodes: Vec<NodeStatus>,
}

#[derive(Debug, Clone, serde::Serialize)]
pub struct NodeStatus {
    pub id: u64,
    pub http: String,
    pub admin: String,
    pub pid: u32,
    /// "leader", "follower", "learner", "candidate" or "unreachable"
    pub role: String,
    pub applied: u64,
    pub last_log: u64,
}

/// Cheap to clone; all clones are the same node.
#[derive(Clone)]
pub struct Cluster {}

impl Cluster {
    pub async fn start(options: Options) -> Result<Self, StartError> {
        unimplemented!()
    }
    pub fn node_id(&self) -> u64 {
        unimplemented!()
    }
    /// Has the wish carried out once, on a quorum, and returns its answer.
    pub async fn propose(&self, draft: Draft) -> Result<Answer, Error> {
        unimplemented!()
    }
    /// Looks at the state, linearizably. The closure gets the state and the clock to read it by.
    pub async fn read<R>(&self, look: impl FnOnce(&State, u64) -> R) -> Result<R, Error> {
        unimplemented!()
    }
    /// Looks at this node's replica as it is, perhaps stale; good for deciding whether to ask at all.
    pub fn glance<R>(&self, look: impl FnOnce(&State, u64) -> R) -> R {
        unimplemented!()
    }
    /// Charges a read from this node's view; the log learns of it in bulk. `Err` is a refusal.
    pub fn charge_read(&self, charge: Charge) -> Result<Balance, Balance> {
        unimplemented!()
    }
    /// Whether this node's replica would admit the charge; a flood is refused here, before consensus.
    pub fn admits(&self, charge: &Charge) -> Result<Balance, Balance> {
        unimplemented!()
    }
    /// What changed on this node from now on. Bounded: if the reader lags, it gets one `WakeAll`.
    pub fn hints(&self) -> mpsc::Receiver<Hint> {
        unimplemented!()
    }
    pub fn leader(&self) -> Option<u64> {
        unimplemented!()
    }
    /// Whether a leader is known and this node has applied what it knew committed 2 s ago; else why not.
    pub fn ready(&self) -> Result<(), &'static str> {
        unimplemented!()
    }
    pub async fn status(&self) -> Status {
        unimplemented!()
    }
    /// Adds a node that was started with `join`, as a learner; returns when it has caught up.
    pub async fn add(&self, id: u64, peer_addr: String) -> Result<(), AdminError> {
        unimplemented!()
    }
    pub async fn promote(&self, id: u64) -> Result<(), AdminError> {
        unimplemented!()
    }
    pub async fn remove(&self, id: u64) -> Result<(), AdminError> {
        unimplemented!()
    }
    pub async fn transfer_leader(&self, to: u64) -> Result<(), AdminError> {
        unimplemented!()
    }
    /// Hands leadership over if held, refuses new wishes, flushes, stops.
    pub async fn shutdown(&self) {
        unimplemented!()
    }
}

/// Why a change of members was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    #[error("no leader is known")]
    NoLeader,
    #[error("node {0} is not a member")]
    UnknownNode(u64),
    #[error("another change of members is under way")]
    Busy,
    #[error("{0}")]
    Refused(String),
}
