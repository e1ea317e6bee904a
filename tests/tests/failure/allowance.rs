//! An allowance is exact over the whole cluster, and what is beyond it costs the cluster nothing.

use conclave_tests::cluster::Cluster;
use conclave_tests::relay::{invite_code, peer_id, register, word};
use conclave_tests::shared::limits;
use conclave_tests::socket::Socket;
use futures_util::{StreamExt as _, stream};
use serde_json::json;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_socket_asks_beyond_its_allowance_reaches_no_log() {
    let cluster = limits(Cluster::builder(), 4, "1h").start().await;
    let mut socket = Socket::open(&cluster.follower().await).await;
    socket.ok(json!({"op": "hello"})).await;
    socket.ok(json!({"op": "claim", "peerId": peer_id()})).await;
    socket.ok(json!({"op": "join", "room": word("room")})).await;
    let publish = json!({"op": "publish", "data": 1});
    let signal = json!({"op": "signal", "to": peer_id(), "type": "offer", "payload": "x"});
    for spent in [&publish, &signal] {
        while socket.ask(spent.clone()).await["ok"] == true {}
    }
    let before = cluster.log_end().await;
    for _ in 0..40 {
        socket.refused(publish.clone(), "rate_limited").await;
        socket.refused(signal.clone(), "rate_limited").await;
    }
    let after = cluster.log_end().await;
    // One after the other, each would be an entry. Elections and the nodes' leases append some of their own.
    assert!(after.index - before.index < 40, "from {before:?} to {after:?}");
}
