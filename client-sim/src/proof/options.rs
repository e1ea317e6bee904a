//! What is to be proven, and with how much load.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::Target;

/// One run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The nodes; at least one.
    pub targets: Vec<Target>,
    /// Operations started a second, over all families.
    pub rate: f64,
    /// Clients that ask about the same things; each waits for its answer before it asks again.
    pub clients: usize,
    /// What is asked is derived from this; what the servers answer and when is not.
    pub seed: u64,
    /// What is asked about.
    pub families: Vec<Family>,
    /// How long a client waits for an answer.
    pub deadline: Duration,
    /// How long the final look at every node tries to get answers.
    pub audit_patience: Duration,
    /// How long things live in the cluster.
    pub ttls: Ttls,
    /// How many sessions one client may open in which time, where the family is asked about.
    pub allowance: Allowance,
    /// Where the realtime endpoint is.
    pub socket_path: String,
    /// Where the history is written, if anywhere.
    pub history: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            rate: 500.0,
            clients: 16,
            seed: rand::random(),
            families: Family::DEFAULT.to_vec(),
            deadline: Duration::from_secs(5),
            audit_patience: Duration::from_secs(20),
            ttls: Ttls::default(),
            allowance: Allowance::default(),
            socket_path: "/api/v1/socket".to_owned(),
            history: None,
        }
    }
}

/// Things that are asked about, and promises about them.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Family {
    /// A session's offer and answer, each a register that many write and read.
    Register,
    /// Sessions that are written once and read on every node in the end.
    Ledger,
    /// Invite codes: one peer holds one.
    Code,
    /// Pins: one live session has one.
    Pin,
    /// Signals that wait for their peer.
    Mailbox,
    /// Chunks on their way, by both doors.
    Transfer,
    /// Messages in a room, over sockets that are resumed elsewhere.
    Room,
    /// Signals pushed to a socket that is resumed elsewhere.
    Push,
    /// That nothing is shown after its time.
    Ttl,
    /// That nobody gets more than the allowance; only where the limit is known.
    Allowance,
}

impl Family {
    /// Those that every cluster can be asked about.
    pub const DEFAULT: [Self; 9] = [
        Self::Register,
        Self::Ledger,
        Self::Code,
        Self::Pin,
        Self::Mailbox,
        Self::Transfer,
        Self::Room,
        Self::Push,
        Self::Ttl,
    ];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// How long things live from their last touch on, as the cluster is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ttls {
    /// A transfer, in milliseconds.
    pub chunk_ms: u64,
    /// A signal in its mailbox.
    pub signal_ms: u64,
    /// An invite code.
    pub register_ms: u64,
    /// A session.
    pub session_ms: u64,
}

impl Default for Ttls {
    fn default() -> Self {
        Self { chunk_ms: 60_000, signal_ms: 30_000, register_ms: 30_000, session_ms: 180_000 }
    }
}

/// So much in a window; a window opens with the first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Requests.
    pub limit: u64,
    /// In milliseconds.
    pub window_ms: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { limit: 1_200, window_ms: 60_000 }
    }
}

/// What the servers were configured with, as far as it decides what is right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// How long things live.
    pub ttl: Ttls,
    /// How much a client may have.
    pub allowance: Allowance,
}
