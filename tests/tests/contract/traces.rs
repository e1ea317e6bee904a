//! Request ids across the forward to the leader.

use std::time::Duration;

use conclave_tests::cluster::Cluster;
use conclave_tests::relay::{Pair, word};
use conclave_tests::wait::eventually;

/// For a line to be written.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_leader_names_the_request_that_came_to_another_node() {
    let cluster =
        Cluster::builder().unmetered().set("log.level", "info,conclave_cluster=debug").start().await;
    let (leader, pair) = (cluster.leader().await, Pair::fresh());
    for node in cluster.apis() {
        let id = word("request");
        let pair = Pair { pin: pair.pin.clone(), ..Pair::fresh() };
        node.relay(&pair.send(0, 1, "AAEC")).header("x-request-id", &id).send().await.ok();
        eventually(SOON, "the leader's line", async || {
            cluster.node(leader).printed().lines().find(|line| line.contains(&id)).map(str::to_owned)
        })
        .await;
    }
    assert!(!cluster.node(leader).printed().contains(&pair.pin), "no secret goes with it");
}

#[tokio::test]
async fn a_trace_is_found_in_the_lines_of_every_node_that_had_to_do_with_it() {
    let builder = Cluster::builder().unmetered().set("log.level", "info,conclave_cluster=debug");
    let cluster = builder.set("log.requests", "true").start().await;
    let (leader, follower) = (cluster.leader().await, cluster.followers().await[0]);
    let trace = uuid::Uuid::new_v4().simple().to_string();
    let call = cluster.api(follower).relay(&Pair::fresh().send(0, 1, "AAEC"));
    let answered = call.header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01")).send().await;
    assert_eq!(answered.header("x-request-id"), Some(trace.as_str()));
    for node in [leader, follower] {
        let line = cluster.says(node, &trace).await;
        assert!(!line.is_empty());
    }
    let line = eventually(SOON, "the line of the request", async || {
        let printed = cluster.node(follower).printed();
        printed
            .lines()
            .find(|line| line.contains("\"message\":\"request\"") && line.contains(&trace))
            .map(str::to_owned)
    })
    .await;
    for part in [r#""status":200"#, r#""route":"/api/relay""#, r#""method":"POST""#, "duration_us"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}
