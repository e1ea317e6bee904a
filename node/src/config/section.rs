//! The sections of the configuration, one struct each. Their defaults are in `defaults.rs`, what a key means in
//! `keys.rs`.
#![allow(
    missing_docs,
    reason = "each field is described once, in `keys.rs`, from where the documentation is made"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address;
use super::unit::{size, span};
use crate::edition;
use crate::listener::tls::Minimum;

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub node: Node,
    pub edition: Edition,
    pub http: Http,
    pub admin: Admin,
    pub telemetry: Telemetry,
    pub cluster: Cluster,
    pub raft: Raft,
    pub storage: Storage,
    pub shares: Shares,
    pub allowance: Allowance,
    pub auth: Auth,
    pub admission: Admission,
    pub ice: Ice,
    pub ttl: Ttl,
    pub limits: Limits,
    pub socket: Socket,
    pub shutdown: Shutdown,
    pub log: Log,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    pub id: u64,
    pub name: String,
    pub data_dir: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edition {
    pub name: edition::Edition,
    pub acknowledged: bool,
    pub allow_managed: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    #[serde(with = "address")]
    pub listen: SocketAddr,
    pub url: String,
    pub workers: usize,
    pub backlog: u32,
    pub connections_max: usize,
    #[serde(with = "span")]
    pub keep_alive: Duration,
    #[serde(with = "span")]
    pub request_timeout: Duration,
    #[serde(with = "size")]
    pub body_bytes_max: u64,
    #[serde(with = "size")]
    pub buffers_bytes_max: u64,
    pub compression: bool,
    pub page: bool,
    pub behind_tls: bool,
    pub allowed_origins: Vec<String>,
    pub trusted_proxies: Vec<String>,
    pub proxy_protocol: Vec<String>,
    pub deprecated: Vec<String>,
    pub tls: PublicTls,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicTls {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub client_ca: PathBuf,
    pub minimum: Minimum,
    #[serde(with = "span")]
    pub handshake_timeout: Duration,
    pub required: bool,
}

impl PublicTls {
    /// Whether the node speaks TLS itself.
    pub fn is_on(&self) -> bool {
        !self.cert.as_os_str().is_empty()
    }

    /// Of the node's own URL.
    pub fn scheme(&self) -> &'static str {
        if self.is_on() { "https" } else { "http" }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    #[serde(with = "address")]
    pub listen: SocketAddr,
    pub url: String,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    #[serde(with = "address::optional")]
    pub listen: Option<SocketAddr>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    pub name: String,
    pub listen: String,
    pub advertise: String,
    pub members: Vec<String>,
    pub join: bool,
    #[serde(with = "span")]
    pub deadline: Duration,
    pub secret_file: PathBuf,
    pub tls: PeerTls,
}

impl Cluster {
    /// Whether something keeps strangers out who reach the peer port.
    pub fn is_guarded(&self) -> bool {
        !self.secret_file.as_os_str().is_empty() || !self.tls.ca.as_os_str().is_empty()
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerTls {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raft {
    #[serde(with = "span")]
    pub heartbeat: Duration,
    #[serde(with = "span")]
    pub election_min: Duration,
    #[serde(with = "span")]
    pub election_max: Duration,
    #[serde(with = "size")]
    pub snapshot_log_bytes: u64,
    #[serde(with = "span")]
    pub snapshot_age_max: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    #[serde(with = "size")]
    pub bytes_max: u64,
    #[serde(with = "span")]
    pub transfer_age_max: Duration,
    #[serde(with = "span")]
    pub session_age_max: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    pub enabled: bool,
    pub client_percent: u8,
    pub network_percent: u8,
    pub reserve_percent: u8,
    pub free_per_second: u32,
    pub free_burst: u32,
    #[serde(with = "size")]
    pub socket_bytes_per_second: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    pub enabled: bool,
    pub tiers: Tiers,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tiers {
    pub create: Rule,
    pub lookup: Rule,
    pub chunk: Rule,
    pub signal: Rule,
    pub poll: Rule,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub limit: u32,
    #[serde(with = "span")]
    pub window: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub required: bool,
    pub keys: Vec<String>,
    pub signing_keys: Vec<String>,
    pub issuer: String,
    pub audience: String,
    #[serde(with = "span")]
    pub leeway: Duration,
    pub revoked: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admission {
    pub connections_max: usize,
    pub per_client_max: usize,
    pub opens: u32,
    #[serde(with = "span")]
    pub window: Duration,
    pub clients_max: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ice {
    pub stun: Vec<String>,
    pub turn: Vec<String>,
    pub secrets: Vec<String>,
    #[serde(with = "span")]
    pub ttl: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ttl {
    #[serde(with = "span")]
    pub chunk: Duration,
    #[serde(with = "span")]
    pub signal: Duration,
    #[serde(with = "span")]
    pub register: Duration,
    #[serde(with = "span")]
    pub session: Duration,
    #[serde(with = "span")]
    pub device: Duration,
    #[serde(with = "span")]
    pub memo: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub sessions_max: usize,
    pub calls_per_session_max: usize,
    pub waits_max: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Socket {
    #[serde(with = "size")]
    pub frame_bytes_max: u64,
    #[serde(with = "size")]
    pub message_bytes_max: u64,
    pub messages_per_second: u32,
    #[serde(with = "size")]
    pub bytes_per_second: u64,
    pub queue_messages_max: usize,
    #[serde(with = "size")]
    pub queue_bytes_max: u64,
    #[serde(with = "span")]
    pub hello_timeout: Duration,
    #[serde(with = "span")]
    pub ping_interval_min: Duration,
    #[serde(with = "span")]
    pub ping_interval_max: Duration,
    #[serde(with = "span")]
    pub lease: Duration,
    pub history_messages_max: u32,
    #[serde(with = "size")]
    pub history_bytes_max: u64,
    #[serde(with = "span")]
    pub history_age_max: Duration,
    pub drain_per_second: u32,
    pub echo: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    #[serde(with = "span")]
    pub lame_duck: Duration,
    #[serde(with = "span")]
    pub grace: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Auto,
    Json,
    Pretty,
}
