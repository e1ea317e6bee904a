//! What every section is if nobody says otherwise.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use conclave_cluster::raft::Timing;

use super::section::{
    Admin, Admission, Allowance, Auth, Cluster, Http, Ice, Limits, Log, LogFormat, Node, PeerTls, PublicTls,
    Raft, Rule, Shares, Shutdown, Socket, Storage, Tiers, Ttl,
};
use crate::access::admission;
use crate::listener::tls::Minimum;
use crate::service;

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
            buffers_bytes_max: 128 << 20,
            compression: true,
            page: true,
            behind_tls: false,
            allowed_origins: vec!["*".to_owned()],
            trusted_proxies: Vec::new(),
            proxy_protocol: Vec::new(),
            deprecated: Vec::new(),
            tls: PublicTls::default(),
        }
    }
}

impl Default for PublicTls {
    fn default() -> Self {
        Self {
            cert: PathBuf::new(),
            key: PathBuf::new(),
            client_ca: PathBuf::new(),
            minimum: Minimum::Tls13,
            handshake_timeout: Duration::from_secs(5),
            required: false,
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
            secret_file: PathBuf::new(),
            tls: PeerTls::default(),
        }
    }
}

impl Default for Raft {
    fn default() -> Self {
        let Timing { heartbeat, election_min, election_max, snapshot_log_bytes, snapshot_age_max } =
            Timing::default();
        Self { heartbeat, election_min, election_max, snapshot_log_bytes, snapshot_age_max }
    }
}

impl Default for Storage {
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        Self { bytes_max: 1 << 30, transfer_age_max: hour, session_age_max: hour }
    }
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            enabled: true,
            client_percent: 20,
            network_percent: 40,
            reserve_percent: 10,
            free_per_second: 500,
            free_burst: 5_000,
            socket_bytes_per_second: 4 << 20,
        }
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
            signing_keys: Vec::new(),
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
        let service::Ttl { chunk, signal, register, session, device_default, memo } = service::Ttl::default();
        Self { chunk, signal, register, session, device: device_default, memo }
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
            frame_bytes_max: 80 << 10,
            message_bytes_max: 80 << 10,
            messages_per_second: 100,
            bytes_per_second: 1 << 20,
            queue_messages_max: 256,
            queue_bytes_max: 1 << 20,
            hello_timeout: Duration::from_secs(10),
            ping_interval_min: Duration::from_secs(5),
            ping_interval_max: Duration::from_secs(25),
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
        Self { lame_duck: Duration::from_secs(5), grace: Duration::from_secs(20) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".to_owned() }
    }
}
