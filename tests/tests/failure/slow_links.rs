//! Far apart: every message between nodes takes its time.

use std::time::Duration;

use conclave_tests::cluster::Cluster;
use conclave_tests::net::Weather;
use conclave_tests::relay::Pair;
use futures_util::{StreamExt as _, stream};

const CHUNKS: u32 = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_over_slow_links_is_whole_and_costs_two_elections_at_most() {
    let cluster = Cluster::builder().unmetered().intercepted().start().await;
    let before = cluster.status().await;
    cluster.net().slow(Duration::from_millis(75));
    let nodes = cluster.apis();
    let pair = Pair::fresh();
    stream::iter(0..CHUNKS)
        .for_each_concurrent(64, |index| {
            let call = nodes[index as usize % nodes.len()].relay(&pair.send(
                index,
                CHUNKS,
                &format!("chunk {index}"),
            ));
            async move {
                let sent = call.send().await.ok();
                // It says `duplicate`, too, if it was stored before a 503.
                assert!(sent["status"] == "waiting" && sent["error"].is_null(), "{sent}");
            }
        })
        .await;
    let receiver = cluster.follower().await;
    for index in 0..16 {
        let got = receiver.relay(&pair.receive()).keyed().send().await.ok();
        assert_eq!(got["chunk"]["data"], format!("chunk {index}"));
    }
    let after = cluster.status().await;
    // On a machine that does other things, too, one heartbeat in many comes too late.
    assert!(after.term <= before.term + 2, "from term {} to {}", before.term, after.term);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_far_behind_is_not_ready_before_it_has_caught_up() {
    let mut cluster = Cluster::builder().unmetered().intercepted().start().await;
    let away = cluster.followers().await[0];
    cluster.kill(away).await;
    let leader = cluster.leader().await;
    let (pair, data) = (Pair::fresh(), "A".repeat(40_000));
    for index in 0..100 {
        cluster.api(leader).relay(&pair.send(index, 100, &data)).send().await.ok();
    }
    let end = cluster.log_end().await.index;

    // What it has missed takes six seconds now, and to say so takes none.
    cluster.net().weather(Weather { bytes_per_second: Some(500_000), ..Weather::default() });
    cluster.restart(away);
    cluster.wait_ready_at(away).await;
    let status = cluster.status_from(away).await.expect("the admin API answers");
    let applied = status.node(away).expect("it is a member").applied;
    assert!(applied >= end, "ready at entry {applied} of {end}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_far_behind_refuses_reads_at_once() {
    const MISSED: u32 = 600;
    let mut cluster = Cluster::builder().unmetered().intercepted().start().await;
    let away = cluster.followers().await[0];
    cluster.kill(away).await;
    let leader = cluster.leader().await;
    let (pair, data) = (Pair::fresh(), "A".repeat(2_000));
    for index in 0..MISSED {
        cluster.api(leader).relay(&pair.send(index, MISSED, &data)).send().await.ok();
    }
    let end = cluster.log_end().await.index;

    cluster.net().weather(Weather { bytes_per_second: Some(100_000), ..Weather::default() });
    cluster.restart(away);
    loop {
        let Ok(reply) = cluster.api(away).relay(&pair.ack_status()).attempt().await else { continue };
        assert_eq!(reply.status, 503, "it answers a read, and has not caught up: {reply:?}");
        assert!(reply.header("retry-after").is_some(), "{reply:?}");
        if reply.json()["error"] == "overloaded" {
            break;
        }
    }
    let status = cluster.status_from(away).await.expect("the admin API answers");
    let applied = status.node(away).expect("it is a member").applied;
    assert!(applied < end, "it waited until entry {applied} of {end}");
}
