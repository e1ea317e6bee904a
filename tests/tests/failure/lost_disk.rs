//! A node whose disk is gone may not vote again under its old name: it has forgotten what it promised.

use conclave_tests::cluster::Cluster;
use conclave_tests::relay::{Pair, peer_id, poll, signal};
use serde_json::json;

use super::membership::{grow, remove};

#[tokio::test]
async fn a_node_whose_disk_was_lost_is_refused_and_joins_under_a_fresh_id() {
    let mut cluster = Cluster::builder().unmetered().start().await;
    let (pair, peer) = (Pair::fresh(), peer_id());
    let node = cluster.follower().await;
    node.relay(&pair.send(0, 1, "before")).send().await.ok();

    let lost = cluster.followers().await[0];
    cluster.kill(lost).await;
    cluster.wipe(lost);
    cluster.restart(lost);
    let code = cluster.exit_code(lost).await;
    assert!(code.is_some_and(|code| code != 0), "exit code {code:?}");
    // The directory is not empty any more.
    cluster.restart(lost);
    assert_eq!(cluster.exit_code(lost).await, code, "and so it ends whenever it is started again");
    let printed = cluster.node(lost).printed();
    assert!(printed.contains("fresh id"), "the message says what to do: {printed}");

    remove(&cluster, lost).await;
    grow(&mut cluster, 4).await;
    let fresh = cluster.api(4);
    assert_eq!(
        fresh.relay(&pair.receive()).keyed().send().await.ok()["chunk"]["data"],
        "before",
        "it has caught up"
    );
    fresh.relay(&signal(&peer_id(), &peer, "offer", json!({}))).keyed().send().await.ok();
    let leader = cluster.leader().await;
    let polled = cluster.api(leader).relay(&poll(&peer)).keyed().send().await.ok();
    assert_eq!(polled["messages"].as_array().map(Vec::len), Some(1), "and takes part");
}

#[tokio::test]
async fn a_node_that_was_added_and_lost_its_disk_does_not_wait_to_be_added_for_ever() {
    let mut cluster = Cluster::builder().unmetered().start().await;
    grow(&mut cluster, 4).await;
    cluster.kill(4).await;
    cluster.wipe(4);
    for _ in 0..2 {
        cluster.restart(4);
        assert_eq!(cluster.exit_code(4).await, Some(3));
    }
    let printed = cluster.node(4).printed();
    assert!(printed.contains("fresh id"), "the message says what to do: {printed}");
}
