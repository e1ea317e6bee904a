//! The rules between values of several keys. What one key keeps by itself stands with it in `sections/`.

use conclave_cluster::{is_loopback, is_unspecified};

use super::{Cluster, Config, Environment, members};
use crate::otlp;

/// Says what is wrong with `config`: `broken(keys, why)`. The reason is about the first of the keys, the others are what it
/// does not go with: who set one of those alone is told of that.
pub(super) fn check(config: &Config, environment: &Environment, broken: &mut dyn FnMut(&[&str], String)) {
    edition(config, environment, broken);
    let mut unless = |holds: bool, keys: &[&str], why: &str| {
        if !holds {
            broken(keys, why.to_owned());
        }
    };
    listeners(config, &mut unless);
    peers(&config.cluster, config.node.id, &mut unless);
    times_and_sizes(config, &mut unless);
}

/// Whether the edition may start here.
fn edition(config: &Config, environment: &Environment, broken: &mut dyn FnMut(&[&str], String)) {
    let edition = &config.edition;
    if !edition.name.is_enterprise() {
        return;
    }
    if !edition.acknowledged {
        let why =
            "enterprise starts only when it is acknowledged: set QSAFEVAULT_ENTERPRISE_ACKNOWLEDGED=true";
        broken(&["edition.acknowledged", "edition.name"], why.to_owned());
    }
    let platforms = environment.platforms();
    if !platforms.is_empty() && !edition.allow_managed {
        let why = format!(
            "enterprise is for machines of your own, and this looks like {}: \
             QSAFEVAULT_ENTERPRISE_ALLOW_MANAGED=true overrides (not recommended)",
            platforms.join(" and ")
        );
        broken(&["edition.allow_managed", "edition.name"], why);
    }
}

fn listeners(config: &Config, unless: &mut dyn FnMut(bool, &[&str], &str)) {
    let Config { http, admin, auth, .. } = config;
    let clash = http.listen == admin.listen && http.listen.port() != 0;
    unless(!clash, &["admin.listen", "http.listen"], "http.listen has this address already");
    let telemetry = config.telemetry.listen.filter(|address| address.port() != 0);
    let clash = telemetry.is_some_and(|address| [http.listen, admin.listen].contains(&address));
    unless(!clash, &["telemetry.listen"], "http.listen or admin.listen has this address already");

    let tls = &admin.tls;
    let both = tls.key.as_os_str().is_empty() != tls.is_on();
    unless(both, &["admin.tls.key", "admin.tls.cert"], "certificate and key belong together");
    let authority = !tls.client_ca.as_os_str().is_empty();
    unless(!authority || tls.is_on(), &["admin.tls.client_ca"], "needs admin.tls.cert");

    let why = "this binary cannot send traces: build it with --features otlp";
    let sent = !config.telemetry.otlp_endpoint.is_empty();
    unless(!sent || otlp::IS_BUILT_IN, &["telemetry.otlp_endpoint"], why);

    let tls = &http.tls;
    let both = tls.key.as_os_str().is_empty() != tls.is_on();
    unless(both, &["http.tls.key", "http.tls.cert"], "certificate and key belong together");
    let authority = !tls.client_ca.as_os_str().is_empty();
    let why = "needs http.tls.cert: a proxy in front looks at certificates itself";
    unless(!authority || tls.is_on(), &["http.tls.client_ca"], why);
    let proxied = !http.trusted_proxies.is_empty() || !http.proxy_protocol.is_empty();
    let why = "needs http.tls.cert, http.trusted_proxies or http.proxy_protocol, or nobody could get in";
    unless(!tls.required || tls.is_on() || proxied, &["http.tls.required"], why);
    let keyed = config.takes_credentials();
    let why = "needs auth.keys, auth.jwks, auth.oidc_issuer, auth.signing_keys or http.tls.client_ca, or nobody could \
               get in";
    unless(!auth.required || keyed, &["auth.required"], why);
    let why = "needs auth.required, or whoever shows no token needs no device";
    let asks = config.tenants.policies.iter().any(|policy| policy.contains("require_approved_device"));
    unless(
        !auth.require_approved_device || config.requires_credentials(),
        &["auth.require_approved_device"],
        why,
    );
    unless(!asks || config.requires_credentials(), &["tenants.policies"], why);
    let one = auth.jwks.is_empty() || auth.oidc_issuer.is_empty();
    unless(one, &["auth.oidc_issuer"], "either a key set or an issuer that says where its own is");
    let signed = config.webhooks.urls.is_empty() || !config.webhooks.secret_file.as_os_str().is_empty();
    unless(signed, &["webhooks.urls"], "needs webhooks.secret_file, or nobody could tell who posts");
    let usable = config.ice.turn.is_empty() || !config.ice.secrets.is_empty();
    unless(usable, &["ice.turn"], "needs ice.secrets, or nobody could use it");
}

fn peers(cluster: &Cluster, id: u64, unless: &mut dyn FnMut(bool, &[&str], &str)) {
    let members = members(&cluster.members).unwrap_or_else(|why| {
        unless(false, &["cluster.members"], &why);
        Default::default()
    });
    let listed = !cluster.members.is_empty();
    let why = "a node that joins must say where its peers reach it";
    unless(listed || !cluster.join || !cluster.listen.is_empty(), &["cluster.listen", "cluster.join"], why);
    let why = "either first members or join: a node that joins is told them";
    unless(!listed || !cluster.join, &["cluster.join"], why);
    let own = if cluster.advertise.is_empty() { &cluster.listen } else { &cluster.advertise };
    let told = listed || (cluster.join && cluster.advertise.is_empty());
    let why = format!(
        "{own} is where this node listens and not where others reach it: set cluster.advertise to that"
    );
    unless(told || !is_unspecified(own), &["cluster.advertise", "cluster.listen"], &why);
    if let Some((id, address)) = members.iter().find(|(_, address)| is_unspecified(address)) {
        let why = format!("node {id} is not reached at {address}, which means every address of a machine");
        unless(false, &["cluster.members"], &why);
    }
    let named = members.is_empty() || members.contains_key(&id);
    unless(named, &["cluster.members"], &format!("node {id}, this one (node.id), is not among them"));

    let why = "1, 3 or 5: an even number survives no more losses than one less does";
    unless(!cluster.replicas.is_multiple_of(2), &["cluster.replicas"], why);
    let (name, tls) = (&cluster.name, &cluster.tls);
    unless((1..=64).contains(&name.len()), &["cluster.name"], "1 to 64 characters");
    let files =
        [&tls.ca, &tls.cert, &tls.key].into_iter().filter(|path| !path.as_os_str().is_empty()).count();
    unless(
        files % 3 == 0,
        &["cluster.tls.ca", "cluster.tls.cert", "cluster.tls.key"],
        "ca, cert and key belong together: all three or none",
    );
    // The cluster's name is a part of the certificates' names.
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let label = plain && name.len() <= 63 && !name.starts_with('-') && !name.ends_with('-');
    unless(files == 0 || label, &["cluster.name"], "with cluster.tls, letters, digits and hyphens only");

    let own = [("cluster.listen", &cluster.listen), ("cluster.advertise", &cluster.advertise)];
    let own = own.into_iter().filter(|(_, address)| !address.is_empty());
    let listed = members.values().map(|address| ("cluster.members", address));
    let open = own.chain(listed).find(|(_, address)| !is_loopback(address));
    if let Some((key, address)) = open.filter(|_| !cluster.is_guarded()) {
        let why = format!(
            "{address} is not a loopback address, so strangers may reach the peer port: set cluster.secret_file (the same \
             secret on every node; `openssl rand -hex 32` makes one), or cluster.tls.ca, cluster.tls.cert and \
             cluster.tls.key"
        );
        unless(false, &[key], &why);
    }
}

fn times_and_sizes(config: &Config, unless: &mut dyn FnMut(bool, &[&str], &str)) {
    let Config { http, raft, storage, shares, ttl, socket, .. } = config;
    let enough = http.buffers_bytes_max >= http.body_bytes_max;
    unless(enough, &["http.buffers_bytes_max", "http.body_bytes_max"], "at least http.body_bytes_max");
    let enough = http.buffers_bytes_max >= socket.message_bytes_max;
    unless(
        enough,
        &["http.buffers_bytes_max", "socket.message_bytes_max"],
        "at least socket.message_bytes_max",
    );
    let why = "at least two heartbeats, or one lost frame is taken for a dead leader";
    unless(raft.election_min >= raft.heartbeat * 2, &["raft.election_min", "raft.heartbeat"], why);
    unless(
        raft.election_max > raft.election_min,
        &["raft.election_max", "raft.election_min"],
        "longer than raft.election_min",
    );
    for (key, other, age, untouched) in [
        ("storage.transfer_age_max", "ttl.chunk", storage.transfer_age_max, ttl.chunk),
        ("storage.session_age_max", "ttl.session", storage.session_age_max, ttl.session),
    ] {
        let fits = age.is_zero() || age >= untouched;
        unless(fits, &[key, other], "0s, or at least as long as what it bounds lives untouched");
    }
    let wider = shares.network_percent >= shares.client_percent;
    unless(
        wider,
        &["shares.network_percent", "shares.client_percent"],
        "a network has at least what one client of it has",
    );
    let whole = socket.message_bytes_max >= socket.frame_bytes_max;
    unless(whole, &["socket.message_bytes_max", "socket.frame_bytes_max"], "at least socket.frame_bytes_max");
    let ordered = socket.ping_interval_max >= socket.ping_interval_min;
    unless(
        ordered,
        &["socket.ping_interval_max", "socket.ping_interval_min"],
        "at least socket.ping_interval_min",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_for_binaries_that_can_send_them() {
        let mut config = Config::default();
        config.telemetry.otlp_endpoint = "https://collector.example/v1/traces".to_owned();
        let mut wrong = Vec::new();
        check(&config, &Environment::default(), &mut |keys, why| wrong.push(format!("{}: {why}", keys[0])));
        let refused =
            "telemetry.otlp_endpoint: this binary cannot send traces: build it with --features otlp";
        let expected: &[&str] = if otlp::IS_BUILT_IN { &[] } else { &[refused] };
        assert_eq!(wrong, expected);
    }
}
