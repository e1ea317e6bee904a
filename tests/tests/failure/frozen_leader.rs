//! A leader that stops for five seconds and then goes on as if nothing had happened.

use std::collections::BTreeSet;
use std::time::Duration;

use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::http::{Api, Call, Reply};
use conclave_tests::relay::{Pair, invite_code, peer_id, register};
use conclave_tests::shared::limits;
use conclave_tests::wait::eventually;
use serde_json::Value;
use tokio::time::{Instant, interval, sleep_until};

const FROZEN: Duration = Duration::from_secs(5);

/// How many chunks a node shows; absent where it refuses to say.
async fn shown(node: &Api, at: &str) -> Option<u64> {
    let reply = node.get(at).attempt().await.ok()?;
    if reply.status == 503 {
        return None;
    }
    let ranges = reply.ok()["received"].as_array().expect("ranges").clone();
    let count = |range: &Value| Some(range[1].as_u64()? - range[0].as_u64()? + 1);
    Some(ranges.iter().map(|range| count(range).expect("a range has two ends")).sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_frozen_shows_nothing_stale() {
    let mut cluster = Cluster::builder().unmetered().start().await;
    let old = cluster.leader().await;
    let others = cluster.followers().await;
    let (frozen, writer) = (cluster.api(old), cluster.api(others[0]));
    let pair = Pair::fresh();
    let opened = writer.post("/api/v1/transfers", &pair.open(2048)).send().await.status(201);
    let at = format!("/api/v1/transfers/{}", opened["transferId"].as_str().expect("an id"));

    cluster.freeze(old);
    let thaw_at = Instant::now() + FROZEN;
    let mut written = 0;
    let mut pace = interval(Duration::from_millis(20));
    while Instant::now() < thaw_at {
        pace.tick().await;
        if let Ok(reply) =
            writer.put(&format!("{at}/chunks/{written}"), format!("chunk {written}")).attempt().await
            && matches!(reply.status, 200 | 201)
        {
            written += 1;
        }
    }
    assert!(written > 0, "the others elected a leader and went on");
    // Asked while it sleeps, to be answered by whatever it believes on waking.
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let (node, at) = (frozen.clone(), at.clone());
            tokio::spawn(async move { shown(&node, &at).await })
        })
        .collect();
    tokio::task::yield_now().await;
    cluster.thaw(old);
    for answer in asked {
        if let Some(count) = answer.await.expect("a read ends") {
            assert!(count >= written, "showed {count} chunks after {written} had been acknowledged");
        }
    }

    let mut last = written;
    for _ in 0..200 {
        if let Some(count) = shown(&frozen, &at).await {
            assert!(count >= last, "showed {count} chunks after {last} had been acknowledged or shown");
            last = count;
        }
        let reply = writer.put(&format!("{at}/chunks/{written}"), format!("chunk {written}")).once().await;
        if matches!(reply.status, 200 | 201) {
            written += 1;
            last = last.max(written);
        }
    }
    cluster.wait_ready().await;
    // One more than was acknowledged, if the last write's outcome is unknown.
    let count = eventually(READY, "a ready node answers", async || shown(&frozen, &at).await).await;
    assert!((written..=written + 1).contains(&count), "{count} chunks, {written} acknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_frozen_admits_nobody_twice() {
    const LIMIT: usize = 50;
    let mut cluster = limits(Cluster::builder(), LIMIT as u32, "120s").start().await;
    let old = cluster.leader().await;
    let nodes = cluster.apis();
    let spray = |count: usize| -> Vec<tokio::task::JoinHandle<Option<Reply>>> {
        let calls = (0..count).map(|turn| nodes[turn % 3].relay(&register(&invite_code(), &peer_id())));
        calls.map(|call: Call| tokio::spawn(async move { call.attempt().await.ok() })).collect()
    };
    let mut admitted = 30;
    for turn in 0..admitted {
        nodes[turn % 3].relay(&register(&invite_code(), &peer_id())).send().await.ok();
    }
    let mut asked = spray(120);
    cluster.freeze(old);
    let thaw_at = Instant::now() + FROZEN;
    asked.extend(spray(300));
    sleep_until(thaw_at).await;
    cluster.thaw(old);
    asked.extend(spray(300));

    let mut strange = BTreeSet::new();
    for call in asked {
        match call.await.expect("a call ends").map(|reply| reply.status) {
            Some(200) => admitted += 1,
            // An unknown outcome may have been admitted, so it weakens the lower bound only.
            Some(429 | 503) | None => {}
            Some(other) => _ = strange.insert(other),
        }
    }
    assert!(strange.is_empty(), "{strange:?}");
    assert!(admitted <= LIMIT, "{admitted} were told they were admitted, of {LIMIT}");
    cluster.wait_ready().await;
    let spent = eventually(READY, "the window is seen as spent", async || {
        let reply = nodes[old as usize - 1].relay(&register(&invite_code(), &peer_id())).send().await;
        (reply.status == 429).then_some(reply)
    })
    .await;
    spent.refused(429, "rate_limit_exceeded");
}
