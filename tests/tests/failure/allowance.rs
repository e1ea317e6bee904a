//! An allowance is exact over the whole cluster.

use conclave_tests::cluster::Cluster;
use conclave_tests::relay::{invite_code, peer_id, register};
use conclave_tests::shared::limits;
use futures_util::{StreamExt as _, stream};
use serde_json::Value;

const LIMIT: u32 = 100;
const REQUESTS: usize = 2_000;
const AT_ONCE: usize = 96;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_thousand_requests_sprayed_over_three_nodes_exactly_a_hundred_are_admitted() {
    let cluster = limits(Cluster::builder(), LIMIT, "60s").start().await;
    let nodes = cluster.apis();
    let replies: Vec<_> = stream::iter(0..REQUESTS)
        .map(|turn| nodes[turn % nodes.len()].relay(&register(&invite_code(), &peer_id())).send())
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let admitted = replies.iter().filter(|reply| reply.status == 200).count();
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        let body: Value = reply.refused(429, "rate_limit_exceeded");
        assert!(body["retryAfter"].as_u64().is_some_and(|seconds| (1..=60).contains(&seconds)), "{body}");
    }
    assert_eq!(admitted, LIMIT as usize);
}
