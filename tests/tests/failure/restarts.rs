//! What becomes of a log: of one that grows over many short lives, and of one that hardly grows at all.

use std::fs;
use std::path::Path;

use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::relay::{Pair, peer_id, signal, word};
use conclave_tests::wait::eventually;
use futures_util::future::join_all;
use serde_json::json;

#[tokio::test]
async fn a_log_that_grows_over_many_short_lives_ends_in_a_snapshot_as_well() {
    let mut cluster = Cluster::builder()
        .nodes(1)
        .unmetered()
        .set("raft.snapshot_log_bytes", "1MiB")
        .set("ttl.chunk", "1s")
        .start()
        .await;
    let data = "A".repeat(40_000);
    for _ in 0..6 {
        let pair = Pair::fresh();
        let node = cluster.api(1);
        let sent = join_all((0..8).map(|index| node.relay(&pair.send(index, 8, &data)).send())).await;
        sent.into_iter().for_each(|reply| {
            reply.ok();
        });
        // None of these lives is long enough for a snapshot of its own: a quarter of a megabyte each.
        cluster.kill(1).await;
        cluster.restart(1);
        cluster.wait_ready().await;
    }
    let node = cluster.node(1);
    eventually(READY, "a snapshot is on the disk", async || {
        (!node.files("snapshot").is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_over_leaves_the_disk_of_a_quiet_node() {
    let cluster =
        Cluster::builder().nodes(1).set("raft.snapshot_age_max", "1s").set("ttl.signal", "1s").start().await;
    let (node, said) = (cluster.api(1), word("said"));
    let files = |ending| cluster.node(1).files(ending);
    let is_there = || ["wal", "snapshot"].into_iter().flat_map(files).any(|file| holds(&file, &said));
    node.relay(&signal(&peer_id(), &peer_id(), "offer", json!(said))).send().await.ok();
    assert!(is_there(), "the log is written before the answer");
    eventually(READY, "what was said is in no file", async || (!is_there()).then_some(())).await;
}

fn holds(file: &Path, text: &str) -> bool {
    // One that is removed meanwhile holds nothing.
    let bytes = fs::read(file).unwrap_or_default();
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
