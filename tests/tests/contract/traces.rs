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
