//! Where the other nodes are: for clients that want somewhere else to go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use conclave_cluster::{Cluster, NodeStatus};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::reply::ok;
use super::shared::Shared;

/// For how long a list is given out before the members are asked again.
const FRESH: Duration = Duration::from_secs(3);

/// The public origins of the members, by node id. It has one place a member, so the cluster's size bounds it.
pub(super) type Origins = BTreeMap<u64, String>;

/// The list, asked for by one request at a time; the others wait for its answer, half a second at most.
#[derive(Default)]
pub(super) struct Nodes(Mutex<Known>);

#[derive(Default)]
struct Known {
    origins: Arc<Origins>,
    asked: Option<Instant>,
}

impl Nodes {
    /// The origins of all members that have a public one.
    pub(super) async fn origins(&self, cluster: &Cluster) -> Arc<Origins> {
        let mut known = self.0.lock().await;
        if known.asked.is_none_or(|asked| asked.elapsed() > FRESH) {
            let status = cluster.status().await;
            known.origins = Arc::new(merged(&known.origins, &status.nodes));
            known.asked = Some(Instant::now());
        }
        known.origins.clone()
    }
}

/// What the members say now; of one that does not answer, what it said before: it may be back in a second.
fn merged(before: &Origins, members: &[NodeStatus]) -> Origins {
    let origin = |member: &NodeStatus| {
        if member.http.is_empty() { before.get(&member.id).cloned() } else { origin(&member.http) }
    };
    members.iter().filter_map(|member| Some((member.id, origin(member)?))).collect()
}

/// The origin of a node's URL: scheme, host and port, which is all that may stand in a content security policy. An
/// address that names no host (`0.0.0.0`) is no place to go to.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next().filter(|authority| !authority.is_empty())?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    let nowhere = authority.starts_with("0.0.0.0:") || authority.starts_with("[::]:");
    let fits = matches!(scheme, "http" | "https") && authority.bytes().all(plain) && !nowhere;
    fits.then(|| format!("{scheme}://{authority}"))
}

/// `GET /api/v1/nodes`.
pub(super) async fn list(shared: web::Data<Shared>) -> HttpResponse {
    let origins = shared.nodes.origins(&shared.cluster).await;
    let nodes: Vec<_> = origins.iter().map(|(id, url)| json!({ "id": id, "url": url })).collect();
    ok(&json!({ "nodes": nodes }))
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
            role: String::new(),
            voter: true,
            applied: 0,
            committed: 0,
            last_log: 0,
            snapshot: 0,
            log_bytes: 0,
            version: String::new(),
        }
    }

    #[test]
    fn an_origin_is_what_a_browser_can_go_to() {
        for (url, expected) in [
            ("http://127.0.0.1:3000", Some("http://127.0.0.1:3000")),
            ("https://one.example/some/path", Some("https://one.example")),
            ("http://0.0.0.0:3000", None),
            ("http://[::]:3000", None),
            ("ftp://one.example", None),
            ("https://one.example; script-src *", None),
            ("https://", None),
            ("", None),
        ] {
            assert_eq!(origin(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn a_member_that_does_not_answer_keeps_its_place_and_one_that_left_does_not() {
        let before = merged(&Origins::new(), &[member(1, "http://a:1"), member(2, "http://b:2")]);
        let now = merged(&before, &[member(2, ""), member(3, "")]);
        assert_eq!(now, Origins::from([(2, "http://b:2".to_owned())]));
    }
}
