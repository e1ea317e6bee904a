//! Going away politely.

use std::time::{Duration, Instant};

use conclave_tests::cluster::Cluster;
use conclave_tests::relay::{Pair, peer_id, poll, with, word};
use serde_json::json;

#[tokio::test]
async fn a_leader_that_is_told_to_go_hands_over_and_exits_0() {
    let mut cluster = Cluster::builder().unmetered().start().await;
    let leader = cluster.leader().await;
    let pair = Pair::fresh();
    cluster.api(leader).relay(&pair.send(0, 1, "before")).send().await.ok();

    assert_eq!(cluster.terminate(leader).await, Some(0));
    let printed = cluster.node(leader).printed();
    assert!(printed.contains("handed leadership over"), "it was handed over, not lost: {printed}");
    let heir = cluster.leader().await;
    assert_ne!(heir, leader);
    assert_eq!(cluster.api(heir).relay(&pair.receive()).keyed().send().await.ok()["chunk"]["data"], "before");

    cluster.restart(leader);
    cluster.wait_ready_at(leader).await;
}

#[tokio::test]
async fn what_runs_is_finished_before_a_node_goes() {
    let mut cluster = Cluster::builder().unmetered().start().await;
    let leaving = cluster.followers().await[0];
    let api = cluster.api(leaving);
    let waiting = tokio::spawn(api.relay(&with(&poll(&peer_id()), "waitMs", Some(json!(20_000)))).attempt());
    let idle = tokio::spawn(async move { api.get("/readyz").send().await.status });
    assert_eq!(idle.await.expect("it answers"), 200);

    let began = Instant::now();
    assert_eq!(cluster.terminate(leaving).await, Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(18),
        "a waiting client does not hold it up: {:?}",
        began.elapsed()
    );
    let reply = waiting.await.expect("the call ends").expect("with an answer, not with a broken connection");
    assert!(
        reply.status == 503 && reply.retry_after().is_some() || reply.status == 200,
        "{} {}",
        reply.status,
        reply.text()
    );
}

#[tokio::test]
async fn all_nodes_can_be_told_to_go_and_come_back() {
    let mut cluster = Cluster::builder().unmetered().start().await;
    let pair = Pair::fresh();
    cluster.follower().await.relay(&pair.send(0, 1, "before")).send().await.ok();
    for id in 1..=3 {
        assert_eq!(cluster.terminate(id).await, Some(0), "node {id}, also where no quorum is left");
    }
    for id in 1..=3 {
        cluster.restart(id);
    }
    cluster.wait_ready().await;
    let got = cluster.follower().await.relay(&pair.receive()).keyed().send().await.ok();
    assert_eq!(got["chunk"]["data"], "before");
}

#[tokio::test]
async fn a_rolling_restart_is_not_seen_by_a_client_that_follows_retry_after() {
    let mut cluster = Cluster::builder().unmetered().start().await;
    let client = cluster.roamer();
    let pair = Pair::fresh();
    let mut index = 0;
    for id in 1..=3 {
        assert_eq!(cluster.terminate(id).await, Some(0));
        for _ in 0..5 {
            let sent = client.relay(id as usize - 1, &pair.send(index, 30, &format!("chunk {index}"))).await;
            // It says `duplicate`, too, if it was stored before a 503.
            assert!(sent["status"] == "waiting" && sent["error"].is_null(), "{sent}");
            index += 1;
        }
        cluster.restart(id);
        cluster.wait_ready_at(id).await;
    }
    for expected in 0..index {
        let got = client.relay_once(0, &word("wish"), &pair.receive()).await;
        assert_eq!(got["chunk"]["data"], format!("chunk {expected}"), "{got}");
    }
}
