//! The rules that a type alone does not keep.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::problem::Problem;
use super::{Cluster, Config, Environment, Rule};
use crate::access::Network;
use crate::access::auth::{SigningSource, Source};
use crate::http::deprecation::Deprecation;
use conclave_cluster::is_loopback;
use conclave_cluster::state::limits::{ROOM_BYTES_MAX, ROOM_MESSAGES_MAX};

/// A member as `cluster.members` writes it: `1=host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The node id.
    pub id: u64,
    /// Where its peers reach it.
    pub peer: String,
}

impl std::str::FromStr for Member {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a member such as \"1=10.0.0.1:7400\"");
        let (id, peer) = text.split_once('=').ok_or_else(wrong)?;
        let id = id.trim().parse::<u64>().ok().filter(|id| *id > 0).ok_or_else(wrong)?;
        let peer = peer.trim();
        peer_address(peer).map_err(|_| wrong())?;
        Ok(Self { id, peer: peer.to_owned() })
    }
}

/// The members by id, or what is wrong with the list.
pub fn members(list: &[String]) -> Result<BTreeMap<u64, String>, String> {
    let mut members = BTreeMap::new();
    for text in list {
        let Member { id, peer } = text.parse()?;
        if members.insert(id, peer).is_some() {
            return Err(format!("node {id} is named twice"));
        }
    }
    Ok(members)
}

/// Adds everything that is wrong with `config`.
pub(super) fn check(
    config: &Config,
    environment: &Environment,
    origin: impl Fn(&str) -> String,
    problems: &mut Vec<Problem>,
) {
    let mut rules = Rules { origin, problems };
    for (key, why) in environment.edition_rules(&config.edition) {
        rules.broken(key, why);
    }
    node(config, &mut rules);
    http(config, &mut rules);
    cluster(config, &mut rules);
    raft(config, &mut rules);
    quantities(config, &mut rules);
    socket(config, &mut rules);
    access(config, &mut rules);
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&config.log.level) {
        rules.broken("log.level", error.to_string());
    }
}

struct Rules<'a, O> {
    origin: O,
    problems: &'a mut Vec<Problem>,
}

impl<O: Fn(&str) -> String> Rules<'_, O> {
    fn broken(&mut self, key: &str, why: impl Into<String>) {
        self.problems.push(Problem::Value {
            key: key.to_owned(),
            origin: (self.origin)(key),
            why: why.into(),
        });
    }

    fn unless(&mut self, holds: bool, key: &str, why: &str) {
        if !holds {
            self.broken(key, why);
        }
    }
}

fn node<O: Fn(&str) -> String>(config: &Config, rules: &mut Rules<'_, O>) {
    rules.unless(config.node.id > 0, "node.id", "ids count from 1");
    let clash = config.http.listen == config.admin.listen && config.http.listen.port() != 0;
    rules.unless(!clash, "admin.listen", "http.listen has this address already");
    let telemetry = config.telemetry.listen.filter(|address| address.port() != 0);
    let clash = telemetry.is_some_and(|address| [config.http.listen, config.admin.listen].contains(&address));
    rules.unless(!clash, "telemetry.listen", "http.listen or admin.listen has this address already");
    for (key, url) in [("http.url", &config.http.url), ("admin.url", &config.admin.url)] {
        let fits = url.is_empty() || url.starts_with("http://") || url.starts_with("https://");
        rules.unless(fits, key, "a URL starts with http:// or https://");
    }
}

fn http<O: Fn(&str) -> String>(config: &Config, rules: &mut Rules<'_, O>) {
    for origin in &config.http.allowed_origins {
        if origin != "*" && !is_origin(origin.trim_end_matches('/')) {
            rules.broken(
                "http.allowed_origins",
                format!("`{origin}` is not an origin such as https://app.example"),
            );
        }
    }
    let alone =
        config.http.allowed_origins.len() == 1 || !config.http.allowed_origins.iter().any(|o| o == "*");
    rules.unless(alone, "http.allowed_origins", "`*` stands alone: with it, no other origin means anything");
    for (key, networks) in [
        ("http.trusted_proxies", &config.http.trusted_proxies),
        ("http.proxy_protocol", &config.http.proxy_protocol),
    ] {
        for network in networks.iter().filter(|network| network.parse::<Network>().is_err()) {
            rules.broken(key, format!("`{network}` is not a network such as 10.0.0.0/8"));
        }
    }
    for text in &config.http.deprecated {
        if let Err(error) = text.parse::<Deprecation>() {
            rules.broken("http.deprecated", format!("`{text}`: {error}"));
        }
    }
    rules.unless(config.http.deprecated.len() <= 32, "http.deprecated", "at most 32");
    let tls = &config.http.tls;
    let both = tls.key.as_os_str().is_empty() != tls.is_on();
    rules.unless(both, "http.tls.key", "certificate and key belong together");
    let client_ca = tls.client_ca.as_os_str().is_empty() || tls.is_on();
    rules.unless(
        client_ca,
        "http.tls.client_ca",
        "needs http.tls.cert: a proxy in front looks at certificates itself",
    );
    let proxied = !config.http.trusted_proxies.is_empty() || !config.http.proxy_protocol.is_empty();
    let reachable = !tls.required || tls.is_on() || proxied;
    rules.unless(
        reachable,
        "http.tls.required",
        "needs http.tls.cert, http.trusted_proxies or http.proxy_protocol, or nobody could get in",
    );
    between(rules, "http.tls.handshake_timeout", tls.handshake_timeout, ms(100), Duration::from_secs(60));
    rules.unless(config.http.workers <= 1024, "http.workers", "more than 1024 threads help nobody");
    rules.unless(config.http.backlog > 0, "http.backlog", "at least 1");
    rules.unless(config.http.connections_max > 0, "http.connections_max", "at least 1");
    let body = config.http.body_bytes_max;
    // A signal of 64 KiB whose every character is escaped, and a chunk, must fit.
    rules.unless((65_536..=64 << 20).contains(&body), "http.body_bytes_max", "between 64KiB and 64MiB");
    let enough = config.http.buffers_bytes_max >= body.max(1 << 20);
    rules.unless(enough, "http.buffers_bytes_max", "at least 1MiB, and http.body_bytes_max");
}

fn cluster<O: Fn(&str) -> String>(config: &Config, rules: &mut Rules<'_, O>) {
    let cluster = &config.cluster;
    let name = &cluster.name;
    rules.unless(!name.is_empty() && name.len() <= 64, "cluster.name", "1 to 64 characters");
    for (key, address) in [("cluster.listen", &cluster.listen), ("cluster.advertise", &cluster.advertise)] {
        if !address.is_empty()
            && let Err(why) = peer_address(address)
        {
            rules.broken(key, why);
        }
    }
    match members(&cluster.members) {
        Err(why) => rules.broken("cluster.members", why),
        Ok(members) if members.is_empty() => {
            let reachable = !cluster.join || !cluster.listen.is_empty();
            rules.unless(reachable, "cluster.listen", "a node that joins must say where its peers reach it");
        }
        Ok(members) => {
            let id = config.node.id;
            rules.unless(
                !cluster.join,
                "cluster.join",
                "either first members or join: a node that joins is told them",
            );
            let named = members.contains_key(&id);
            rules.unless(
                named,
                "cluster.members",
                &format!("node {id}, this one (node.id), is not among them"),
            );
        }
    }
    let tls = [&cluster.tls.ca, &cluster.tls.cert, &cluster.tls.key];
    let given = tls.iter().filter(|path| !path.as_os_str().is_empty()).count();
    rules.unless(
        given == 0 || given == 3,
        "cluster.tls.ca",
        "ca, cert and key belong together: all three or none",
    );
    for (key, path) in ["cluster.tls.ca", "cluster.tls.cert", "cluster.tls.key"].into_iter().zip(tls) {
        if !path.as_os_str().is_empty() && !Path::new(path).is_file() {
            rules.broken(key, format!("there is no file {}", path.display()));
        }
    }
    let secret = &cluster.secret_file;
    rules.unless(
        secret.as_os_str().is_empty() || secret.is_file(),
        "cluster.secret_file",
        &format!("there is no file {}", secret.display()),
    );
    // The cluster's name is a part of the certificates' names.
    let label = name.len() <= 63
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    rules.unless(given == 0 || label, "cluster.name", "with cluster.tls, letters, digits and hyphens only");
    if !cluster.is_guarded()
        && let Some(address) = beyond_loopback(cluster)
    {
        rules.broken(
            "cluster.secret_file",
            format!(
                "{address} is not a loopback address, so strangers may reach the peer port: set cluster.secret_file (the same \
                 secret on every node; `openssl rand -hex 32` makes one), or cluster.tls.ca, cluster.tls.cert and \
                 cluster.tls.key"
            ),
        );
    }
    between(rules, "cluster.deadline", cluster.deadline, ms(100), Duration::from_secs(60));
}

/// An address of this node or of a peer that others than this machine may reach, if there is one.
fn beyond_loopback(cluster: &Cluster) -> Option<String> {
    let members = members(&cluster.members).unwrap_or_default();
    let own = [&cluster.listen, &cluster.advertise].into_iter().filter(|address| !address.is_empty());
    own.chain(members.values()).find(|address| !is_loopback(address)).cloned()
}

fn raft<O: Fn(&str) -> String>(config: &Config, rules: &mut Rules<'_, O>) {
    let raft = &config.raft;
    between(rules, "raft.heartbeat", raft.heartbeat, ms(10), Duration::from_secs(10));
    rules.unless(
        raft.election_min >= raft.heartbeat * 2,
        "raft.election_min",
        "at least two heartbeats, or one lost frame is taken for a dead leader",
    );
    rules.unless(raft.election_max > raft.election_min, "raft.election_max", "longer than raft.election_min");
    rules.unless(raft.snapshot_log_bytes >= 1 << 20, "raft.snapshot_log_bytes", "at least 1MiB");
    let (second, month) = (Duration::from_secs(1), Duration::from_secs(30 * 86_400));
    between(rules, "raft.snapshot_age_max", raft.snapshot_age_max, second, month);
}

fn quantities<O: Fn(&str) -> String>(config: &Config, rules: &mut Rules<'_, O>) {
    let (day, second) = (Duration::from_secs(86_400), Duration::from_secs(1));
    rules.unless(config.storage.bytes_max >= 1 << 20, "storage.bytes_max", "at least 1MiB");
    for (key, age, ttl) in [
        ("storage.transfer_age_max", config.storage.transfer_age_max, config.ttl.chunk),
        ("storage.session_age_max", config.storage.session_age_max, config.ttl.session),
    ] {
        rules.unless(
            age.is_zero() || age >= ttl,
            key,
            "0s, or at least as long as what it bounds lives untouched",
        );
    }
    shares(config, rules);
    let tiers = &config.allowance.tiers;
    for (name, rule) in [
        ("create", tiers.create),
        ("lookup", tiers.lookup),
        ("chunk", tiers.chunk),
        ("signal", tiers.signal),
        ("poll", tiers.poll),
    ] {
        let Rule { limit, window } = rule;
        let key = format!("allowance.tiers.{name}.limit");
        rules.unless(limit > 0, &key, "at least 1; allowance.enabled = false switches all of them off");
        between(rules, &format!("allowance.tiers.{name}.window"), window, ms(100), day);
    }
    let ttl = &config.ttl;
    for (key, span) in [
        ("ttl.chunk", ttl.chunk),
        ("ttl.signal", ttl.signal),
        ("ttl.register", ttl.register),
        ("ttl.session", ttl.session),
        ("ttl.memo", ttl.memo),
    ] {
        between(rules, key, span, ms(100), day);
    }
    // The contract's own bounds for a lease.
    between(rules, "ttl.device", ttl.device, Duration::from_secs(30), day);
    between(rules, "http.request_timeout", config.http.request_timeout, second, Duration::from_secs(300));
    between(rules, "http.keep_alive", config.http.keep_alive, second, Duration::from_secs(3600));
    let minutes = Duration::from_secs(300);
    between(rules, "shutdown.lame_duck", config.shutdown.lame_duck, Duration::ZERO, minutes);
    between(rules, "shutdown.grace", config.shutdown.grace, Duration::ZERO, Duration::from_secs(3600));
    for (key, bound) in [
        ("limits.sessions_max", config.limits.sessions_max),
        ("limits.calls_per_session_max", config.limits.calls_per_session_max),
        ("limits.waits_max", config.limits.waits_max),
    ] {
        rules.unless(bound > 0, key, "at least 1");
    }
}

fn shares<O: Fn(&str) -> String>(config: &Config, rules: &mut Rules<'_, O>) {
    let shares = &config.shares;
    for (key, percent) in
        [("shares.client_percent", shares.client_percent), ("shares.network_percent", shares.network_percent)]
    {
        rules.unless((1..=100).contains(&percent), key, "a percentage from 1 to 100");
    }
    let wider = shares.network_percent >= shares.client_percent;
    rules.unless(wider, "shares.network_percent", "a network has at least what one client of it has");
    rules.unless(shares.reserve_percent <= 50, "shares.reserve_percent", "a percentage from 0 to 50");
    rules.unless(shares.free_per_second > 0, "shares.free_per_second", "at least 1");
    rules.unless(shares.free_burst > 0, "shares.free_burst", "at least 1");
    let fits = (64 << 10..=1 << 40).contains(&shares.socket_bytes_per_second);
    rules.unless(fits, "shares.socket_bytes_per_second", "between 64KiB and 1TiB");
}

fn socket<O: Fn(&str) -> String>(config: &Config, rules: &mut Rules<'_, O>) {
    let socket = &config.socket;
    for (key, count) in [
        ("socket.messages_per_second", socket.messages_per_second as usize),
        ("socket.drain_per_second", socket.drain_per_second as usize),
    ] {
        rules.unless(count > 0, key, "at least 1");
    }
    let largest = 64 << 20;
    for (key, bytes, least) in [
        ("socket.frame_bytes_max", socket.frame_bytes_max, 1 << 10),
        ("socket.message_bytes_max", socket.message_bytes_max, socket.frame_bytes_max),
        // Half of it takes what is read of a history at a time.
        ("socket.queue_bytes_max", socket.queue_bytes_max, 1 << 20),
    ] {
        let least_text = super::unit::print_size(least);
        rules.unless((least..=largest).contains(&bytes), key, &format!("between {least_text} and 64MiB"));
    }
    rules.unless(socket.queue_messages_max >= 128, "socket.queue_messages_max", "at least 128");
    let history = socket.history_messages_max >= 64 && socket.history_bytes_max >= 128 << 10;
    rules.unless(
        history,
        "socket.history_messages_max",
        "at least 64, and 128KiB: live messages pass through it",
    );
    let fits = (1 << 10..=u64::from(u32::MAX)).contains(&socket.bytes_per_second);
    rules.unless(fits, "socket.bytes_per_second", "between 1KiB and 4GiB");
    let history = u64::from(socket.history_messages_max) <= ROOM_MESSAGES_MAX as u64;
    rules.unless(history, "socket.history_messages_max", "no more than 10000");
    let history = socket.history_bytes_max <= ROOM_BYTES_MAX as u64;
    rules.unless(history, "socket.history_bytes_max", "no more than 16MiB");
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
    between(rules, "socket.hello_timeout", socket.hello_timeout, ms(100), Duration::from_secs(60));
    between(rules, "socket.ping_interval_min", socket.ping_interval_min, ms(50), hour);
    between(rules, "socket.ping_interval_max", socket.ping_interval_max, socket.ping_interval_min, hour);
    between(rules, "socket.lease", socket.lease, second, hour * 24);
    between(rules, "socket.history_age_max", socket.history_age_max, second, hour * 24);
    let echo = &socket.echo;
    let path = echo.is_empty() || (echo.starts_with('/') && !echo.contains(['{', '}', '?', '#', ' ']));
    rules.unless(path, "socket.echo", "a path such as \"/echo\"");
}

fn access<O: Fn(&str) -> String>(config: &Config, rules: &mut Rules<'_, O>) {
    let auth = &config.auth;
    for key in &auth.keys {
        if let Err(error) = key.parse::<Source>() {
            // Not the text: somebody may have written a secret there.
            rules.broken("auth.keys", error.to_string());
        }
    }
    for key in &auth.signing_keys {
        if let Err(error) = key.parse::<SigningSource>() {
            rules.broken("auth.signing_keys", error.to_string());
        }
    }
    let keyed = !auth.keys.is_empty()
        || !auth.signing_keys.is_empty()
        || !config.http.tls.client_ca.as_os_str().is_empty();
    rules.unless(
        !auth.required || keyed,
        "auth.required",
        "needs auth.keys, auth.signing_keys or http.tls.client_ca, or nobody could get in",
    );
    between(rules, "auth.leeway", auth.leeway, Duration::ZERO, Duration::from_secs(60));

    let admission = &config.admission;
    for (key, bound) in [
        ("admission.connections_max", admission.connections_max),
        ("admission.per_client_max", admission.per_client_max),
        ("admission.opens", admission.opens as usize),
        ("admission.clients_max", admission.clients_max),
    ] {
        rules.unless(bound > 0, key, "at least 1");
    }
    between(rules, "admission.window", admission.window, ms(100), Duration::from_secs(3600));

    let ice = &config.ice;
    for (key, urls, schemes) in
        [("ice.stun", &ice.stun, ["stun:", "stuns:"]), ("ice.turn", &ice.turn, ["turn:", "turns:"])]
    {
        for url in urls {
            let named = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
            if !named.is_some_and(|host| !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic()))
            {
                rules.broken(key, format!("`{url}` is not a URL such as {}turn.example:3478", schemes[0]));
            }
        }
        rules.unless(urls.len() <= 16, key, "at most 16");
    }
    let secret = !ice.secrets.is_empty();
    rules.unless(ice.turn.is_empty() || secret, "ice.turn", "needs ice.secrets, or nobody could use it");
    between(rules, "ice.ttl", ice.ttl, Duration::from_secs(60), Duration::from_secs(86_400));
}

fn between<O: Fn(&str) -> String>(
    rules: &mut Rules<'_, O>,
    key: &str,
    span: Duration,
    least: Duration,
    most: Duration,
) {
    if span < least || span > most {
        let (least, most) = (super::unit::print_span(least), super::unit::print_span(most));
        rules.broken(key, format!("{} is not between {least} and {most}", super::unit::print_span(span)));
    }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// `scheme://host` or `scheme://host:port`, as browsers send it (RFC 6454, section 6.2): no path, no blanks.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let scheme_fits =
        !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    scheme_fits && !host.is_empty() && !host.contains(['/', '?', '#', '@', '*', ' '])
}

/// `host:port`; the host may be a name, since containers have no fixed addresses.
fn peer_address(text: &str) -> Result<(), String> {
    let wrong = || format!("`{text}` is not host:port");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host_fits = !host.is_empty() && !host.contains([' ', '/', '=']);
    if host_fits && port.parse::<u16>().is_ok() { Ok(()) } else { Err(wrong()) }
}
