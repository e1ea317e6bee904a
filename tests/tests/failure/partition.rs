//! The leader loses the others, in both directions or in one.

use std::time::{Duration, Instant};

use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::http::{Api, NoAnswer};
use conclave_tests::net::Net;
use conclave_tests::relay::{Pair, invite_code, lookup, peer_id, register};
use conclave_tests::wait::eventually;
use serde_json::json;

/// The guarantee is one second; the rest is this machine, which runs other tests beside.
const REFUSAL: Duration = Duration::from_millis(2_500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_refuses_within_a_second_and_the_majority_goes_on() {
    let mut cluster = Cluster::builder().unmetered().intercepted().start().await;
    let old = cluster.leader().await;
    let others = cluster.followers().await;
    let (minority, majority) = (cluster.api(old), cluster.api(others[0]));

    cluster.net().isolate(old);
    let refused: Vec<Pair> = refuses(&minority, 5).await;
    elects(&cluster, &others).await;
    let pair = Pair::fresh();
    majority.relay(&pair.send(0, 2, "by the majority")).send().await.ok();
    refuses(&minority, 3).await;
    eventually(READY, "a node without a quorum is not ready", async || {
        (minority.get("/readyz").once().await.status == 503).then_some(())
    })
    .await;
    assert_eq!(minority.get("/livez").send().await.status, 200, "but it is alive");

    cluster.net().heal();
    cluster.wait_ready().await;
    let got = minority.relay(&pair.receive()).keyed().send().await.ok();
    assert_eq!(got["chunk"]["data"], "by the majority", "the old leader has caught up");
    for pair in refused {
        // Refused is "outcome unknown": at most once, then, and in any case the same on every node.
        let here = minority.relay(&pair.ack_status()).send().await.ok();
        let there = majority.relay(&pair.ack_status()).send().await.ok();
        assert_eq!(here, there);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_a_minority_waits_for_nobody_elses_patience() {
    // One after the other, so that each comes while others wait: those used to wait for the others to give up first.
    const ASKERS: u32 = 60;
    const EVERY: Duration = Duration::from_millis(50);
    let cluster = Cluster::builder().unmetered().intercepted().start().await;
    let old = cluster.leader().await;
    cluster.net().isolate(old);
    let minority = cluster.api(old);
    eventually(READY, "it has lost its leadership", async || {
        (minority.get("/readyz").once().await.status == 503).then_some(())
    })
    .await;
    let mut pace = tokio::time::interval(EVERY);
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..ASKERS {
        pace.tick().await;
        let minority = minority.clone();
        askers.spawn(async move {
            let began = Instant::now();
            minority.relay(&Pair::fresh().ack_status()).once().await.refused(503, "no_leader");
            began.elapsed()
        });
    }
    let mut took = askers.join_all().await;
    took.sort();
    // Of those who wait for one another's 900 ms a quarter waits for 1,575 ms or more.
    let most = took[took.len() * 3 / 4];
    assert!(most < Duration::from_millis(1_350), "three quarters were refused within {most:?}");
}

/// Asserts that a node acknowledges nothing and says so soon, several times over; reads are refused likewise.
async fn refuses(node: &Api, times: u32) -> Vec<Pair> {
    let mut asked = Vec::new();
    for _ in 0..times {
        let pair = Pair::fresh();
        for call in
            [node.relay(&pair.ack()), node.relay(&pair.ack_status()), node.relay(&lookup(&invite_code()))]
        {
            let began = Instant::now();
            let reply = call.once().await;
            let took = began.elapsed();
            reply.refused(503, "no_leader");
            assert!(reply.retry_after().is_some(), "every 503 says when to come back");
            assert!(took < REFUSAL, "refused only after {took:?}");
        }
        asked.push(pair);
    }
    asked
}

/// Waits until one of the nodes leads and acknowledges.
async fn elects(cluster: &Cluster, nodes: &[u64]) {
    eventually(READY, "the majority elects a leader", async || {
        let status = cluster.status_from(nodes[0]).await?;
        status.leader.filter(|leader| nodes.contains(leader))
    })
    .await;
    acknowledges(&cluster.api(nodes[0])).await;
}

/// Waits until a node acknowledges a write.
async fn acknowledges(node: &Api) {
    eventually(READY, "writes resume", async || {
        match node.relay(&register(&invite_code(), &peer_id())).attempt().await {
            Ok(reply) if reply.status == 503 => None,
            Ok(reply) => Some(reply.ok()),
            Err(NoAnswer(why)) => panic!("{why}"),
        }
    })
    .await;
}

/// Of an operation under way while nodes are cut off, how often they may elect: each election is a second without a
/// leader, so twice that is no storm, whatever the machine is doing beside.
fn elections_max(took: Duration) -> u64 {
    2 + took.as_secs() / 2
}

/// Cuts the leader off as `cut` does, and checks that the rest goes on and that all agree after healing.
async fn leader_lost_one_way(cut: impl FnOnce(&Net, u64)) {
    let mut cluster = Cluster::builder().unmetered().intercepted().start().await;
    let old = cluster.leader().await;
    let others = cluster.followers().await;
    cut(cluster.net(), old);
    elects(&cluster, &others).await;
    let term = cluster.status_from(others[0]).await.expect("the admin API answers").term;
    let (pair, began) = (Pair::fresh(), Instant::now());
    for index in 0..50 {
        let node = cluster.api(others[index as usize % 2]);
        node.relay(&pair.send(index, 50, &format!("chunk {index}"))).send().await.ok();
    }
    let now = cluster.status_from(others[0]).await.expect("the admin API answers").term;
    let took = began.elapsed();
    assert!(now <= term + elections_max(took), "an election storm: term {term} became {now} in {took:?}");

    cluster.net().heal();
    cluster.wait_ready().await;
    for index in 0..50 {
        let got = cluster.api(old).relay(&pair.receive()).keyed().send().await.ok();
        assert_eq!(got["chunk"]["data"], format!("chunk {index}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_not_heard_is_replaced() {
    leader_lost_one_way(Net::mute).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hears_nobody_is_replaced() {
    leader_lost_one_way(Net::deafen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_cut_off_disturbs_nobody() {
    let mut cluster = Cluster::builder().unmetered().intercepted().start().await;
    // A busy machine may hold an election of its own; one that a return costs, it costs every time.
    for round in 1.. {
        let before = cluster.status().await;
        let leader = before.leader.expect("there is one");
        let followers = cluster.followers().await;
        let (away, with_us) = (followers[0], followers[1]);
        cluster.net().isolate(away);
        refuses(&cluster.api(away), 3).await;
        let pair = Pair::fresh();
        cluster.api(with_us).relay(&pair.send(0, 1, "meanwhile")).send().await.ok();
        let term = cluster.status_from(away).await.expect("the admin API answers").term;
        assert!(term <= before.term, "alone it stands for no election: term {} became {term}", before.term);

        cluster.net().heal();
        cluster.wait_ready().await;
        let after = cluster.status().await;
        let got = cluster.api(away).relay(&pair.receive()).keyed().send().await.ok();
        assert_eq!(got["chunk"], json!({"chunkIndex": 0, "totalChunks": 1, "data": "meanwhile"}));
        if (after.leader, after.term) == (Some(leader), before.term) {
            return;
        }
        assert!(round < 3, "its return costs an election, from term {} to {}", before.term, after.term);
    }
}
