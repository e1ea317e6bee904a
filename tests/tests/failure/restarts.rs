//! A node that is restarted again and again.

use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::relay::Pair;
use conclave_tests::wait::eventually;
use futures_util::future::join_all;

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
        cluster.kill(1);
        cluster.restart(1);
        cluster.wait_ready().await;
    }
    let node = cluster.node(1);
    eventually(READY, "a snapshot is on the disk", async || {
        (!node.files("snapshot").is_empty()).then_some(())
    })
    .await;
}
