//! Where the other nodes are: for clients that want somewhere else to go.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use conclave_cluster::{Cluster, NodeStatus};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// For how long a list is given out before the members are asked again.
const FRESH: Duration = Duration::from_secs(3);

/// The public addresses of the members, by node id. It has one place a member, so the cluster's size bounds it.
pub type Origins = BTreeMap<u64, String>;

/// The list, asked for by one request at a time; the others wait for its answer, half a second at most.
#[derive(Default)]
pub struct Nodes(Mutex<Known>);

#[derive(Default)]
struct Known {
    origins: Arc<Origins>,
    asked: Option<Instant>,
}

impl Nodes {
    /// The addresses of all members that have one which means the same to a client at `client` that uses this node under the
    /// name `host`. Clients that come over TLS (`secure`) are sent to nothing without it.
    pub async fn for_client(&self, cluster: &Cluster, host: &str, client: IpAddr, secure: bool) -> Origins {
        self.told(cluster, Reach::of_client(host, client), secure).await
    }

    /// The addresses that clients are sent to when this node goes away: those that lead as far as its own.
    pub async fn elsewhere(&self, cluster: &Cluster, secure: bool) -> Vec<String> {
        let own = cluster.node_id();
        let reach = self.all(cluster).await.get(&own).map_or(Reach::Everywhere, |url| Reach::of(url));
        let others = self.told(cluster, reach, secure).await.into_iter().filter(|(id, _)| *id != own);
        others.map(|(_, url)| url).collect()
    }

    async fn told(&self, cluster: &Cluster, reach: Reach, secure: bool) -> Origins {
        let all = self.all(cluster).await;
        let told =
            all.iter().filter(|(_, url)| (!secure || url.starts_with("https://")) && Reach::of(url) >= reach);
        told.map(|(id, url)| (*id, url.clone())).collect()
    }

    async fn all(&self, cluster: &Cluster) -> Arc<Origins> {
        let mut known = self.0.lock().await;
        if known.asked.is_none_or(|asked| asked.elapsed() > FRESH) {
            let status = cluster.status().await;
            known.origins = Arc::new(merged(&known.origins, &status.nodes));
            known.asked = Some(Instant::now());
        }
        known.origins.clone()
    }
}

/// How far an address leads: to whom it means the same. A node without `http.url` names the address it is bound to, which
/// behind a proxy is the proxy's business alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// On this very machine.
    Machine,
    /// In a private network.
    Network,
    /// From anywhere: names and public addresses.
    Everywhere,
}

impl Reach {
    /// How far a URL leads.
    fn of(url: &str) -> Self {
        let authority =
            url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
        Self::of_host(authority)
    }

    /// The address that a client uses says what others it can use, if it is as near itself.
    fn of_client(host: &str, client: IpAddr) -> Self {
        Self::of_host(host).max(Self::of_ip(client))
    }

    /// Of a host, with or without its port.
    fn of_host(authority: &str) -> Self {
        let host = match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        match host.parse() {
            Ok(ip) => Self::of_ip(ip),
            Err(_) if host.eq_ignore_ascii_case("localhost") => Self::Machine,
            Err(_) => Self::Everywhere,
        }
    }

    fn of_ip(ip: IpAddr) -> Self {
        let near = match ip.to_canonical() {
            IpAddr::V4(ip) => (ip.is_loopback(), ip.is_private() || ip.is_link_local()),
            IpAddr::V6(ip) => (ip == Ipv6Addr::LOCALHOST, ip.is_unique_local() || ip.is_unicast_link_local()),
        };
        match near {
            (true, _) => Self::Machine,
            (_, true) => Self::Network,
            _ => Self::Everywhere,
        }
    }
}

/// What the members say now; of one that does not answer, what it said before: it may be back in a second.
fn merged(before: &Origins, members: &[NodeStatus]) -> Origins {
    let origin = |member: &NodeStatus| {
        if member.http.is_empty() { before.get(&member.id).cloned() } else { address(&member.http) }
    };
    members.iter().filter_map(|member| Some((member.id, origin(member)?))).collect()
}

/// The address of a node: scheme, host and port, and the path that a proxy in front of it has, if any. One that names no
/// host (`0.0.0.0`) is no place to go to.
fn address(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    let nowhere = authority.is_empty() || authority.starts_with("0.0.0.0:") || authority.starts_with("[::]:");
    let fits = matches!(scheme, "http" | "https") && authority.bytes().all(plain) && !nowhere;
    let path = path.trim_end_matches('/');
    let segments = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte));
    let slash = if path.is_empty() { "" } else { "/" };
    (fits && segments).then(|| format!("{scheme}://{authority}{slash}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, http: &str) -> NodeStatus {
        NodeStatus {
            id,
            http: http.to_owned(),
            admin: String::new(),
            peer: String::new(),
            pid: 0,
            role: conclave_cluster::Role::Unreachable,
            cell: None,
            voter: true,
            applied: 0,
            committed: 0,
            last_log: 0,
            snapshot: 0,
            log_bytes: 0,
            version: String::new(),
            fault: None,
        }
    }

    #[test]
    fn an_address_is_what_a_browser_can_go_to() {
        for (url, expected) in [
            ("http://127.0.0.1:3000", Some("http://127.0.0.1:3000")),
            ("https://one.example/some/path/", Some("https://one.example/some/path")),
            ("https://one.example/", Some("https://one.example")),
            ("https://one.example/; script-src *", None),
            ("http://0.0.0.0:3000", None),
            ("http://[::]:3000", None),
            ("ftp://one.example", None),
            ("https://one.example; script-src *", None),
            ("https://", None),
            ("", None),
        ] {
            assert_eq!(address(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn a_member_that_does_not_answer_keeps_its_place_and_one_that_left_does_not() {
        let before = merged(&Origins::new(), &[member(1, "http://a:1"), member(2, "http://b:2")]);
        let now = merged(&before, &[member(2, ""), member(3, "")]);
        assert_eq!(now, Origins::from([(2, "http://b:2".to_owned())]));
    }

    #[test]
    fn an_address_is_told_to_whom_it_means_the_same() {
        let of = |host: &str, peer: &str| Reach::of_client(host, peer.parse().unwrap());
        assert_eq!(of("127.0.0.1:3000", "127.0.0.1"), Reach::Machine);
        assert_eq!(of("localhost:3000", "::1"), Reach::Machine);
        assert_eq!(of("one.example", "127.0.0.1"), Reach::Everywhere, "a proxy on the same machine");
        assert_eq!(of("127.0.0.1:3000", "203.0.113.9"), Reach::Everywhere, "a made-up host");
        assert_eq!(of("192.168.0.7:3000", "192.168.0.9"), Reach::Network);
        for (url, reach) in [
            ("http://127.0.0.1:3000", Reach::Machine),
            ("http://[::1]:3000", Reach::Machine),
            ("http://10.0.0.1:3000", Reach::Network),
            ("http://169.254.1.1:3000", Reach::Network),
            ("http://[fd00::1]:3000", Reach::Network),
            ("http://203.0.113.9:3000", Reach::Everywhere),
            ("https://one.example/conclave", Reach::Everywhere),
        ] {
            assert_eq!(Reach::of(url), reach, "{url}");
        }
    }
}
