//! Who may open a long-lived connection: so many of a client, so many of a node, so many in so short a time.

use std::time::Duration;

use conclave_tests::cluster::Cluster;
use conclave_tests::http::Api;
use conclave_tests::issuer::Issuer;
use conclave_tests::wait::eventually;
use serde_json::json;

const LISTEN: &str = "/api/v1/events?room=lobby";
/// For a node to notice that a connection is gone: two heartbeats of its stream, on a busy machine.
const NOTICE: Duration = Duration::from_secs(40);

fn client(node: &Api, last: u8) -> Api {
    node.seen_from([127, 0, 9, last].into())
}

#[tokio::test]
async fn a_client_and_a_node_hold_so_many_connections() {
    let cluster = Cluster::builder()
        .nodes(1)
        .set("admission.per_client_max", "2")
        .set("admission.connections_max", "3")
        .start()
        .await;
    let node = cluster.api(1);
    let (one, other) = (client(&node, 1), client(&node, 2));
    let first = one.get(LISTEN).open().await.expect("the first");
    let _second = one.get(LISTEN).open().await.expect("the second");
    let refused = one.get(LISTEN).open().await.expect_err("the third of one client");
    refused.refused(429, "rate_limit_exceeded");
    assert!(refused.retry_after().is_some());
    let _third = other.get(LISTEN).open().await.expect("the third of the node");
    let refused = client(&node, 3).get(LISTEN).open().await.expect_err("the fourth of the node");
    refused.refused(503, "overloaded");
    assert!(refused.retry_after().is_some_and(|wait| wait <= Duration::from_secs(5)));
    one.get("/health").send().await.ok();

    drop(first);
    eventually(NOTICE, "a connection that ended makes room", async || one.get(LISTEN).open().await.ok())
        .await;
}

#[tokio::test]
async fn a_client_opens_so_many_connections_in_a_while() {
    let cluster =
        Cluster::builder().nodes(1).set("admission.opens", "3").set("admission.window", "1h").start().await;
    let node = cluster.api(1);
    let one = client(&node, 1);
    for _ in 0..3 {
        one.get(LISTEN).open().await.expect("within its pace");
    }
    let refused = one.get(LISTEN).open().await.expect_err("too fast");
    refused.refused(429, "rate_limit_exceeded");
    let wait = refused.retry_after().expect("when to come back");
    assert!((1_100..=1_200).contains(&wait.as_secs()), "a third of an hour: {wait:?}");
    client(&node, 2).get(LISTEN).open().await.expect("others are not held back");
}

#[tokio::test]
async fn no_credential_is_ever_logged() {
    let issuer = Issuer::new();
    let cluster = issuer.guard(Cluster::builder().nodes(1).set("log.level", "trace")).start().await;
    let node = cluster.api(1);
    let token = issuer.token("alice", json!({"scope": "socket", "rooms": "*"}));
    let bearer = format!("Bearer {token}");
    let body =
        node.post("/api/v1/tickets", &json!({})).header("authorization", &bearer).send().await.status(201);
    let ticket = body["ticket"].as_str().expect("a ticket").to_owned();
    for query in [format!("token={token}"), format!("ticket={ticket}"), format!("ticket={ticket}")] {
        let _ = node.get(&format!("{LISTEN}&{query}")).header("x-request-id", "marked").open().await;
    }
    let offered = format!("conclave.v1.json, conclave.bearer.{token}");
    let last = node.get(LISTEN).header("sec-websocket-protocol", &offered);
    last.header("x-request-id", "the-last").open().await.expect("a stream");
    let printed = cluster.says(1, "the-last").await;
    let signature = token.rsplit('.').next().expect("a token has three parts");
    assert!(!printed.contains(signature) && !printed.contains(&ticket), "a credential was logged");
}
