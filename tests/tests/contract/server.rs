//! What a node says of itself.

use conclave_tests::cluster::{READY, Status};
use conclave_tests::shared;
use conclave_tests::wait::eventually;
use serde_json::json;

const CONSUMER: [&str; 3] = ["relay", "ephemeralChunks", "webrtcSignaling"];
/// What each of them is, is shown by `device_approval`, `audit` and `tenants`.
const ENTERPRISE: [&str; 6] = [
    "deviceRegistry",
    "deviceApproval",
    "deviceRevocation",
    "auditLogging",
    "policyEnforcement",
    "organizationNamespace",
];

#[tokio::test]
async fn the_consumer_edition_says_what_it_can() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let edition = node.get("/api/v1/edition").send().await.ok();
    assert_eq!((&edition["edition"], &edition["isEnterprise"]), (&json!("consumer"), &json!(false)));
    assert!(edition["version"].is_string() && !edition["timestamp"].is_null(), "{edition}");
    for feature in CONSUMER {
        assert_eq!(edition["features"][feature], true, "{feature}");
    }
    for feature in ENTERPRISE {
        assert_ne!(edition["features"][feature], true, "{feature}");
    }
}

#[tokio::test]
async fn the_enterprise_edition_adds_to_that() {
    let (_cluster, node) = shared::enterprise().await.and_node().await;
    let edition = node.get("/api/v1/edition").send().await.ok();
    assert_eq!((&edition["edition"], &edition["isEnterprise"]), (&json!("enterprise"), &json!(true)));
    for feature in CONSUMER.iter().chain(&ENTERPRISE) {
        assert_eq!(edition["features"][feature], true, "{feature}");
    }
}

#[tokio::test]
async fn health_is_ok_with_edition_and_uptime() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let health = node.get("/health").send().await.ok();
    assert_eq!((&health["status"], &health["edition"]), (&json!("ok"), &json!("consumer")));
    assert!(health["uptime"].is_number() && !health["timestamp"].is_null(), "{health}");
}

#[tokio::test]
async fn a_node_of_a_healthy_cluster_is_alive_and_ready() {
    let cluster = shared::standard().await;
    for node in cluster.apis() {
        assert_eq!(node.get("/livez").send().await.status, 200);
        assert_eq!(node.get("/readyz").send().await.status, 200);
    }
}

/// Whether a node leads one of the cells.
fn leads(status: &Status, id: u64) -> bool {
    status.cells.iter().any(|cell| cell.leader == Some(id))
}

#[tokio::test]
async fn every_node_names_the_same_leader() {
    let cluster = shared::standard().await;
    for id in cluster.running() {
        // In the midst of an election they may differ for a moment.
        let (leader, status) = eventually(READY, "all know the same leader", async || {
            let leader = cluster.leader().await;
            let status = cluster.status_from(id).await?;
            let follows = |role: &str| ["follower", "front"].contains(&role);
            let agreed = status.leader == Some(leader)
                && status.nodes.iter().all(|node| leads(&status, node.id) || follows(&node.role));
            agreed.then_some((leader, status))
        })
        .await;
        let mut known: Vec<_> = status.nodes.iter().map(|node| node.id).collect();
        known.sort_unstable();
        assert_eq!(known, cluster.running());
        for node in &status.nodes {
            assert!(node.id != leader || node.role == "leader");
            assert_eq!(node.role == "leader", leads(&status, node.id));
            let at = cluster.node(node.id);
            assert_eq!((&node.http, &node.admin), (&at.http.to_string(), &at.admin.to_string()));
        }
    }
}
