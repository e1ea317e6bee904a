//! The sections of the configuration, one struct each, with their defaults. What a key means is in `keys.rs`.
#![allow(
    missing_docs,
    reason = "each field is described once, in `keys.rs`, from where the documentation is made"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::unit::{size, span};
use crate::access::admission;
use crate::edition;

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub node: Node,
    pub edition: Edition,
    pub http: Http,
    pub admin: Admin,
    pub cluster: Cluster,
    pub raft: Raft,
    pub storage: Storage,
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
    pub compression: bool,
    pub page: bool,
    pub behind_tls: bool,
    pub allowed_origins: Vec<String>,
    pub trusted_proxies: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    pub listen: SocketAddr,
    pub url: String,
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
    pub tls: PeerTls,
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
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    #[serde(with = "size")]
    pub bytes_max: u64,
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

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Default for Node {
    fn default() -> Self {
        Self { id: 1, name: String::new(), data_dir: PathBuf::new() }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(LOOPBACK, 3000),
            url: String::new(),
            workers: 0,
            backlog: 2048,
            connections_max: 25_000,
            keep_alive: Duration::from_secs(75),
            request_timeout: Duration::from_secs(10),
            body_bytes_max: 1 << 18,
            compression: true,
            page: true,
            behind_tls: false,
            allowed_origins: vec!["*".to_owned()],
            trusted_proxies: Vec::new(),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: SocketAddr::new(LOOPBACK, 9400), url: String::new() }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: "conclave".to_owned(),
            listen: String::new(),
            advertise: String::new(),
            members: Vec::new(),
            join: false,
            deadline: Duration::from_secs(5),
            tls: PeerTls::default(),
        }
    }
}

impl Default for Raft {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(200),
            election_min: Duration::from_millis(400),
            election_max: Duration::from_millis(650),
            snapshot_log_bytes: 256 << 20,
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self { bytes_max: 1 << 30 }
    }
}

impl Default for Allowance {
    fn default() -> Self {
        Self { enabled: true, tiers: Tiers::default() }
    }
}

impl Default for Tiers {
    /// Sized for an office of 100 devices behind one address: `docs/configuration.md` has the arithmetic.
    fn default() -> Self {
        let a_minute = |limit| Rule { limit, window: Duration::from_secs(60) };
        Self {
            create: a_minute(1_200),
            lookup: a_minute(3_000),
            chunk: a_minute(120_000),
            signal: a_minute(30_000),
            poll: a_minute(120_000),
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            required: false,
            keys: Vec::new(),
            issuer: String::new(),
            audience: String::new(),
            leeway: Duration::from_secs(30),
            revoked: PathBuf::new(),
        }
    }
}

impl Default for Admission {
    fn default() -> Self {
        let admission::Rules { connections_max, per_client_max, opens, window, clients_max } =
            admission::Rules::default();
        Self { connections_max, per_client_max, opens, window, clients_max }
    }
}

impl Default for Ice {
    fn default() -> Self {
        Self { stun: Vec::new(), turn: Vec::new(), secrets: Vec::new(), ttl: Duration::from_secs(3600) }
    }
}

impl Default for Ttl {
    fn default() -> Self {
        Self {
            chunk: Duration::from_secs(60),
            signal: Duration::from_secs(30),
            register: Duration::from_secs(30),
            session: Duration::from_secs(180),
            device: Duration::from_secs(180),
            memo: Duration::from_secs(120),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { sessions_max: 200_000, calls_per_session_max: 4096, waits_max: 20_000 }
    }
}

impl Default for Socket {
    fn default() -> Self {
        Self {
            frame_bytes_max: 64 << 10,
            message_bytes_max: 128 << 10,
            messages_per_second: 100,
            bytes_per_second: 1 << 20,
            queue_messages_max: 256,
            queue_bytes_max: 1 << 20,
            hello_timeout: Duration::from_secs(10),
            ping_interval_min: Duration::from_secs(5),
            ping_interval_max: Duration::from_secs(60),
            lease: Duration::from_secs(300),
            history_messages_max: 1000,
            history_bytes_max: 1 << 20,
            history_age_max: Duration::from_secs(300),
            drain_per_second: 500,
            echo: String::new(),
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace: Duration::from_secs(20) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".to_owned() }
    }
}
