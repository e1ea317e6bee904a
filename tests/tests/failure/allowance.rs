//! An allowance is exact over the whole cluster.

use conclave_tests::cluster::Cluster;
use conclave_tests::relay::{invite_code, peer_id, register};
use conclave_tests::shared::limits;
use futures_util::{StreamExt as _, stream};

const LIMIT: u32 = 100;
const REQUESTS: usize = 2_000;
const AT_ONCE: usize = 96;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_thousand_requests_sprayed_over_three_nodes_exactly_a_hundred_are_admitted() {
    let cluster = limits(Cluster::builder(), LIMIT, "60s").start().await;
    let nodes = cluster.apis();
    let replies: Vec<_> = stream::iter(0..REQUESTS)
        .map(|turn| nodes[turn % nodes.len()].relay(&register(&invite_code(), &peer_id())).once())
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let (mut admitted, mut unknown) = (0, 0);
    for reply in replies {
        match reply.status {
            200 => admitted += 1,
            // In the midst of an election: it may have been admitted.
            503 => unknown += 1,
            _ => {
                let body = reply.refused(429, "rate_limit_exceeded");
                let seconds = body["retryAfter"].as_u64();
                assert!(seconds.is_some_and(|seconds| (1..=60).contains(&seconds)), "{body}");
            }
        }
    }
    assert!(admitted <= LIMIT && admitted + unknown >= LIMIT, "{admitted} admitted, {unknown} unknown");
}
