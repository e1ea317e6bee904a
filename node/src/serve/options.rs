//! From the configuration to what each part is told.

mod browsers;
mod elsewhere;
mod tls;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use conclave_cluster as cluster_part;
use conclave_cluster::raft::Timing;
use conclave_cluster::state::leader_rules::{self, Ages, Rules};
use conclave_cluster::state::limits::SLOT_PART_BYTES_MAX;
use conclave_cluster::wire::{Secrets, Tls};

use crate::access::{self, Access, Network};
use crate::admin::{Gate, Token};
use crate::admission::request_rate::Rate;
use crate::admission::share::Parts;
use crate::admission::{self, Shares};
use crate::config::unit::Bytes;
use crate::config::{self, Config};
use crate::otlp::Traces;
use crate::service::{Terms, Ttl};
use crate::transport::request::edge_options::{Options, Origins};
use crate::transport::ws;
use crate::transport::ws::options::{History, Interval, QueueBounds, Rates, SyntaxBounds};
pub(super) use browsers::never_opened;
pub(super) use elsewhere::{never_reached, traces, webhooks};
pub(super) use tls::{admin_tls, public_tls};

/// A single node's peers are nobody: it listens on loopback, on whatever port is free.
const NOBODY: &str = "127.0.0.1:0";

/// Under which address peers reach this node: as configured, else where it listens; `None` for a node alone.
pub(super) fn advertised(config: &Config) -> Option<String> {
    let named = config::members(&config.cluster.members).expect("the members were validated");
    let own = named.get(&config.node.id).map(String::as_str);
    given(&config.cluster.advertise).or(own).or_else(|| given(&config.cluster.listen)).map(str::to_owned)
}

/// What the cluster part is told. Reads certificates and secret.
pub(super) fn cluster(
    config: &Config,
    http_url: String,
    admin_url: String,
) -> Result<cluster_part::Options, super::Error> {
    let id = config.node.id;
    let named = config::members(&config.cluster.members).expect("the members were validated");
    let own = named.get(&id).map_or(NOBODY, String::as_str);
    let listen = given(&config.cluster.listen).unwrap_or(own).to_owned();
    let advertise = advertised(config).unwrap_or_else(|| NOBODY.to_owned());
    let members = match (config.cluster.join, named.is_empty()) {
        (true, _) => BTreeMap::new(),
        (false, true) => BTreeMap::from([(id, advertise.clone())]),
        (false, false) => named,
    };
    let files = &config.cluster.tls;
    let tls = if files.ca.as_os_str().is_empty() {
        None
    } else {
        let tls = Tls::from_files(&files.ca, &files.cert, &files.key)?;
        tls.check(&config.cluster.name, id, SystemTime::now())?;
        Some(tls)
    };
    let secret = &config.cluster.secret_file;
    let secrets = if secret.as_os_str().is_empty() { None } else { Some(Secrets::from_file(secret)?) };
    Ok(cluster_part::Options {
        node_id: id,
        cluster_name: config.cluster.name.clone(),
        listen,
        advertise,
        members,
        replicas: config.cluster.replicas as usize,
        rules: rules(config),
        deadline: config.cluster.deadline,
        http_url,
        admin_url,
        timing: Timing {
            heartbeat: config.raft.heartbeat,
            election_min: config.raft.election_min,
            election_max: config.raft.election_max,
            snapshot_log_bytes: config.raft.snapshot_log_bytes.0,
            snapshot_age_max: config.raft.snapshot_age_max,
        },
        slot_part_bytes: SLOT_PART_BYTES_MAX,
        tls,
        secrets,
        loopback_only: !config.cluster.is_guarded(),
    })
}

/// The bounds on what is stored that go with every proposal of this node.
fn rules(config: &Config) -> Rules {
    let shares = &config.shares;
    let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    Rules {
        storage_bytes_max: config.storage.bytes_max.0,
        shares: shares.enabled.then(|| {
            leader_rules::Shares::of(
                config.storage.bytes_max.0,
                shares.client_percent,
                shares.network_percent,
                shares.reserve_percent,
            )
        }),
        ages: Ages {
            transfer_max_ms: millis(config.storage.transfer_age_max),
            exchange_max_ms: millis(config.storage.session_age_max),
        },
    }
}

fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Networks that were validated.
pub(super) fn networks(list: &[String]) -> Vec<Network> {
    list.iter().map(|network| network.parse().expect("the networks were validated")).collect()
}

/// What the HTTP edge is told.
pub(super) fn edge(config: &Config, access: Access, shares: Shares, traces: Traces) -> Options {
    Options {
        access,
        shares,
        edition: config.edition.name,
        allowed_origins: Origins::of(&config.http.allowed_origins),
        deprecated: (config.http.deprecated.iter())
            .map(|text| text.parse().expect("the deprecations were validated"))
            .collect(),
        trusted_proxies: networks(&config.http.trusted_proxies),
        body_bytes_max: config.http.body_bytes_max.in_memory(),
        tls: config.http.behind_tls || config.http.tls.is_on(),
        tls_required: config.http.tls.required,
        traces,
        log_requests: config.log.requests,
        compression: config.http.compression,
        page: config.http.page,
        sessions_max: config.limits.sessions_max,
        waits_max: config.limits.waits_max,
    }
}

/// What clients are granted.
pub(super) fn terms(config: &Config) -> Terms {
    let &config::Ttl { chunk, signal, register, session, device: device_default, memo } = &config.ttl;
    Terms {
        ttl: Ttl { chunk, signal, register, session, device_default, memo },
        allowance: config.allowance.enabled.then(|| tiers(&config.allowance.tiers)),
        lease: config.socket.lease,
        security_events: config.admin.security_events,
    }
}

/// What is shared out among clients.
pub(super) fn shares(config: &Config, connections_max: usize) -> admission::Options {
    let config::Shares { enabled, client_percent, network_percent, .. } = config.shares;
    let config::Shares { free_per_second, free_burst, socket_bytes_per_second, .. } = config.shares;
    // Whoever lets one client do as much as it likes means this as well.
    let paced = enabled && config.allowance.enabled;
    let parts = Parts { client: Some(client_percent), site: Some(network_percent) };
    let free = Rate { per_second: free_per_second, burst: free_burst };
    let largest = config.http.body_bytes_max.0.max(config.socket.message_bytes_max.0);
    admission::Options {
        connections_max,
        waits_max: config.limits.waits_max,
        buffers_bytes_max: config.http.buffers_bytes_max.in_memory(),
        buffers_part_min: Bytes(largest).in_memory(),
        parts: if enabled { parts } else { Parts::default() },
        free: paced.then_some(free),
        socket_bytes_per_second: paced.then_some(socket_bytes_per_second.0),
    }
}

/// What the sockets are told.
pub(super) fn sockets(config: &Config) -> ws::Options {
    let socket = &config.socket;
    let short = |bytes: Bytes| u32::try_from(bytes.0).unwrap_or(u32::MAX);
    ws::Options {
        echo: socket.echo.clone(),
        syntax: SyntaxBounds {
            frame_bytes_max: socket.frame_bytes_max.in_memory(),
            message_bytes_max: socket.message_bytes_max.in_memory(),
        },
        rates: Rates {
            messages_per_second: socket.messages_per_second,
            bytes_per_second: short(socket.bytes_per_second),
        },
        queue: QueueBounds {
            frames_max: socket.queue_messages_max,
            bytes_max: socket.queue_bytes_max.in_memory(),
        },
        hello_timeout: socket.hello_timeout,
        ping_interval: Interval { min: socket.ping_interval_min, max: socket.ping_interval_max },
        history: History {
            messages_max: socket.history_messages_max,
            bytes_max: short(socket.history_bytes_max),
            age_max: socket.history_age_max,
        },
        drain_per_second: socket.drain_per_second,
    }
}

/// Who may come in. Reads the keys.
pub(super) fn access(config: &Config) -> Result<Access, access::Error> {
    let auth = &config.auth;
    let keys = auth.keys.iter().map(|key| key.parse().expect("the keys were validated")).collect();
    let auth = access::Auth::new(access::auth::Options {
        required: config.requires_credentials(),
        keys,
        set: key_set(auth),
        fetch: access::auth::FetchOptions {
            authorities: Some(auth.jwks_ca.clone()).filter(|path| !path.as_os_str().is_empty()),
            allow_private: auth.jwks_allow_private,
            stale_max: auth.jwks_stale_max,
        },
        signing: auth.signing_keys.iter().map(|key| key.parse().expect("the keys were validated")).collect(),
        certificates: !config.http.tls.client_ca.as_os_str().is_empty(),
        issuer: given(&auth.issuer).map(str::to_owned),
        audience: given(&auth.audience).map(str::to_owned),
        leeway: auth.leeway,
        revoked: Some(auth.revoked.clone()).filter(|path| !path.as_os_str().is_empty()),
        tenant_claim: given(&auth.tenant_claim).map(str::to_owned),
        require_approved_device: auth.require_approved_device,
        tenants: tenants(config),
    })?;
    let config::Admission { connections_max, per_client_max, opens, window, clients_max } = config.admission;
    let rules = access::admission::Rules { connections_max, per_client_max, opens, window, clients_max };
    let ice = access::Ice::new(access::ice::Options {
        stun: config.ice.stun.clone(),
        turn: config.ice.turn.clone(),
        secrets: config.ice.secrets.iter().map(Into::into).collect(),
        ttl: config.ice.ttl,
    })?;
    Ok(Access { auth, limiter: access::admission::ConnectionLimiter::new(rules), ice })
}

fn tenants(config: &Config) -> access::Tenants {
    let config::Tenants { hosts, policies } = &config.tenants;
    let default = access::tenant::Policy {
        storage_percent: config.shares.tenant_percent,
        allowance_percent: 100,
        origins: Vec::new(),
        requires_approved_device: config.auth.require_approved_device,
        ttl_seconds: None,
    };
    let hosts = hosts.iter().map(|text| text.parse().expect("the hosts were validated")).collect();
    let policies = policies.iter().map(|text| text.parse().expect("the policies were validated")).collect();
    access::Tenants::new(hosts, policies, default)
}

fn key_set(auth: &config::Auth) -> Option<access::auth::KeySetSource> {
    let issuer = given(&auth.oidc_issuer).map(|issuer| issuer.parse().expect("the issuer was validated"));
    let place = given(&auth.jwks).map(|place| place.parse().expect("the place was validated"));
    issuer.map(access::auth::KeySetSource::Issuer).or(place)
}

/// What stands before the admin listener. Beyond loopback it asks for a token, or for a certificate.
pub(super) fn admin_gate(config: &Config, data_dir: &Path) -> Result<Gate, super::Error> {
    let config::Admin { listen, require_token, token_file, per_second, burst, .. } = &config.admin;
    let is_loopback = listen.ip().to_canonical().is_loopback();
    if !is_loopback && !config.admin.tls.is_on() {
        tracing::warn!(
            %listen,
            "the admin listener is not encrypted (admin.listen): whoever can read along reads its token"
        );
    }
    let is_certified = !config.admin.tls.client_ca.as_os_str().is_empty();
    let token =
        (*require_token || !(is_loopback || is_certified)).then(|| match token_file.as_os_str().is_empty() {
            true => Token::read_or_make(&data_dir.join("admin-token")),
            false => Token::read_or_make(token_file),
        });
    Ok(Gate::new(token.transpose()?, Rate { per_second: *per_second, burst: *burst }))
}

fn tiers(tiers: &config::Tiers) -> access::Tiers {
    let rule = |rule: &config::Rule| access::Rule { limit: rule.limit, window: rule.window };
    access::Tiers {
        create: rule(&tiers.create),
        lookup: rule(&tiers.lookup),
        chunk: rule(&tiers.chunk),
        signal: rule(&tiers.signal),
        poll: rule(&tiers.poll),
        socket: rule(&tiers.socket),
    }
}

/// How many threads serve the public: as configured, or half of the cores.
pub(super) fn workers(config: &Config) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if config.http.workers == 0 { (cores / 2).max(1) } else { config.http.workers }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(cluster: config::Cluster) -> cluster_part::Options {
        let config = Config { cluster, ..Config::default() };
        super::cluster(&config, "http://h".into(), "http://a".into()).unwrap()
    }

    #[test]
    fn a_node_alone_listens_to_nobody() {
        let alone = options(config::Cluster::default());
        assert_eq!((alone.listen.as_str(), alone.advertise.as_str()), (NOBODY, NOBODY));
        assert_eq!(alone.members, BTreeMap::from([(1, NOBODY.to_owned())]));
    }

    #[test]
    fn a_member_finds_its_own_address() {
        let members = vec!["1=a:1".to_owned(), "2=b:2".to_owned()];
        let member = options(config::Cluster { members: members.clone(), ..config::Cluster::default() });
        assert_eq!(
            (member.listen.as_str(), member.advertise.as_str(), member.members.len()),
            ("a:1", "a:1", 2)
        );
        let listen = "0.0.0.0:1".to_owned();
        let behind = options(config::Cluster { members, listen, ..config::Cluster::default() });
        assert_eq!((behind.listen.as_str(), behind.advertise.as_str()), ("0.0.0.0:1", "a:1"));
    }

    #[test]
    fn a_node_that_joins_is_told_its_members_later() {
        let listen = "10.0.0.4:7400".to_owned();
        let joining = options(config::Cluster { join: true, listen, ..config::Cluster::default() });
        assert!(joining.members.is_empty());
        assert_eq!(joining.advertise, "10.0.0.4:7400");
    }

    #[test]
    fn no_allowance_means_no_rules() {
        let mut config = Config::default();
        assert_eq!(terms(&config).allowance.unwrap().poll.limit, 120_000);
        config.allowance.enabled = false;
        assert!(terms(&config).allowance.is_none());
    }

    #[test]
    fn beyond_loopback_callers_of_the_admin_listener_show_a_token_or_a_certificate() {
        let asks = |listen: &str, require_token: bool, client_ca: &str| {
            let home = tempfile::tempdir().unwrap();
            let mut config = Config::default();
            config.admin.listen = listen.parse().unwrap();
            config.admin.require_token = require_token;
            config.admin.tls.client_ca = client_ca.into();
            admin_gate(&config, home.path()).unwrap();
            // It is made when it is asked for.
            home.path().join("admin-token").exists()
        };
        assert!(!asks("127.0.0.1:9400", false, "") && asks("127.0.0.1:9400", true, ""));
        assert!(asks("10.0.0.1:9400", false, "") && asks("[::]:9400", false, ""));
        assert!(!asks("10.0.0.1:9400", false, "ca.pem") && asks("10.0.0.1:9400", true, "ca.pem"));
    }
}
