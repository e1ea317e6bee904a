//! A large transfer goes on while the leader is killed, twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use conclave_tests::cluster::Cluster;
use conclave_tests::net::Weather;
use conclave_tests::relay::{Pair, ticker, word};
use conclave_tests::roam::Roamer;
use conclave_tests::wait::eventually;
use futures_util::{StreamExt as _, stream};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

const CHUNKS: u32 = 2048;
/// 49,152 characters of `data`: the largest chunk there is.
const CHUNK_BYTES: usize = 36_864;
const AT_ONCE: usize = 32;
/// Longer than any one wish is pursued.
const STALL: Duration = Duration::from_secs(90);

/// Chunk number `index`, of which no two are alike.
fn chunk(index: u32) -> Vec<u8> {
    let mut bytes = vec![0; CHUNK_BYTES];
    StdRng::seed_from_u64(index.into()).fill(&mut bytes[..]);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_of_a_transfer_arrives_though_the_leader_is_killed_twice() {
    let mut cluster = Cluster::builder().unmetered().set("ttl.chunk", "10m").start().await;
    let client = cluster.roamer();
    let pair = Pair::fresh();
    let (uploaded, downloaded) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let upload = tokio::spawn(upload(client.clone(), pair.clone(), uploaded.clone()));
    let receiver = *cluster.followers().await.last().expect("a cluster of three has followers");
    let download = tokio::spawn(download(client, pair, receiver as usize - 1, downloaded.clone()));

    for kill_at in [CHUNKS / 8, CHUNKS * 3 / 8] {
        eventually(Duration::from_secs(120), "the upload goes on", async || {
            (uploaded.load(Ordering::Relaxed) >= kill_at).then_some(())
        })
        .await;
        let leader = cluster.leader().await;
        cluster.kill(leader).await;
        assert!(uploaded.load(Ordering::Relaxed) < CHUNKS, "it is killed during the transfer");
        assert_ne!(cluster.leader().await, leader, "the others elect one of them");
        cluster.restart(leader);
        cluster.wait_ready().await;
    }
    // However long it takes on a busy machine, it goes on all the while.
    while !(upload.is_finished() && download.is_finished()) {
        let progress = || (uploaded.load(Ordering::Relaxed), downloaded.load(Ordering::Relaxed));
        let before = progress();
        eventually(STALL, &format!("the transfer goes on from {before:?}"), async || {
            let over = upload.is_finished() && download.is_finished();
            (over || progress() != before).then_some(())
        })
        .await;
    }
    upload.await.expect("every chunk is uploaded");
    download.await.expect("every chunk is downloaded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_dies_elsewhere_is_no_error_for_clients_of_the_others() {
    // As a client that never tries again: one request at a time, and each must succeed within its time-out.
    let mut cluster = Cluster::builder().unmetered().start().await;
    let followers = cluster.followers().await;
    let leader = cluster.leader().await;
    let tickers: Vec<_> = followers.iter().map(|node| ticker(cluster.api(*node))).collect();
    // They are under way when it dies, and go on while there is none, and after the next was elected.
    tokio::time::sleep(Duration::from_millis(200)).await;
    cluster.kill(leader).await;
    for node in &followers {
        // By the refusal of its port, and not by its silence.
        cluster.says(*node, r#""evidence":"ended""#).await;
    }
    assert_ne!(cluster.leader().await, leader, "the others elect one of them");
    tokio::time::sleep(Duration::from_millis(500)).await;
    for (stop, asked) in tickers {
        stop.send_replace(true);
        assert!(asked.await.expect("every request succeeds") > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_reset_move_no_leadership() {
    // Who hears nothing for so long would stand, on a busy machine also without any fault: that is not what is looked at.
    let builder = Cluster::builder().set("raft.election_min", "5s").set("raft.election_max", "10s");
    let cluster = builder.unmetered().intercepted().start().await;
    let before = cluster.status().await;
    for turn in 0..5 {
        // Whatever passes ends its connection. Once a second: more often, links would wait longer before each attempt.
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.net().weather(Weather { reset: 1.0, ..Weather::default() });
        tokio::time::sleep(Duration::from_millis(50)).await;
        cluster.net().heal();
        let pair = Pair::fresh();
        cluster.apis()[turn % 3].relay(&pair.send(0, 1, "AAEC")).send().await.ok();
    }
    let after = cluster.status().await;
    assert_eq!((after.leader, after.term), (before.leader, before.term));
    for node in cluster.running() {
        assert!(!cluster.node(node).printed().contains("the leader is lost"), "node {node} is misled");
    }
}

/// Uploads all chunks, many at once, over all nodes in turn.
async fn upload(client: Roamer, pair: Pair, uploaded: Arc<AtomicU32>) {
    stream::iter(0..CHUNKS)
        .for_each_concurrent(AT_ONCE, |index| {
            let (client, pair, uploaded) = (&client, &pair, &uploaded);
            async move {
                let body = pair.send(index, CHUNKS, &BASE64.encode(chunk(index)));
                let sent = client.relay(index as usize, &body).await;
                // A chunk whose first reply was lost may have been delivered by the time it is sent again.
                let error = &sent["error"];
                assert!(
                    sent["status"] == "waiting" && (error.is_null() || error == "duplicate_chunk"),
                    "{sent}"
                );
                uploaded.fetch_add(1, Ordering::Relaxed);
            }
        })
        .await;
}

/// Receives until all is done, under a key for each wish, and checks that each chunk came once and whole.
async fn download(client: Roamer, pair: Pair, node: usize, downloaded: Arc<AtomicU32>) {
    let mut seen = vec![false; CHUNKS as usize];
    loop {
        let mut body = pair.receive();
        body["waitMs"] = Value::from(1_000);
        let got = client.relay_once(node, &word("wish"), &body).await;
        match got["status"].as_str() {
            // Before the first chunk there is nothing under the pair.
            Some("waiting") => {}
            Some("expired") if !seen.contains(&true) => {}
            Some("done") => break,
            Some("chunkAvailable") => {
                let index = got["chunk"]["chunkIndex"].as_u64().expect("an index") as u32;
                let data = got["chunk"]["data"].as_str().expect("base64");
                assert!(
                    BASE64.decode(data).expect("base64") == chunk(index),
                    "chunk {index} is not what was sent"
                );
                assert!(!seen[index as usize], "chunk {index} was delivered twice");
                seen[index as usize] = true;
                downloaded.fetch_add(1, Ordering::Relaxed);
            }
            _ => panic!("{got}"),
        }
    }
    assert!(seen.iter().all(|seen| *seen), "done before every chunk was delivered");
    assert_eq!(client.relay(node, &pair.ack()).await["ok"], true);
}
