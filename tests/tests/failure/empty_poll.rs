//! Looking at nothing costs the log nothing.

use conclave_tests::cluster::Cluster;
use conclave_tests::http::Api;
use conclave_tests::relay::{Pair, peer_id, poll};
use futures_util::{StreamExt as _, stream};
use serde_json::json;

const AT_ONCE: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_polls_of_an_empty_mailbox_append_nothing() {
    let cluster = Cluster::builder().unmetered().start().await;
    // An election appends an entry of its own, and a busy machine may hold one at any time.
    for round in 1.. {
        let before = cluster.log_end().await;
        look_at_nothing(&cluster.apis()).await;
        let after = cluster.log_end().await;
        if after == before {
            return;
        }
        assert!(after.term != before.term && round < 3, "from {before:?} to {after:?}");
    }
}

async fn look_at_nothing(nodes: &[Api]) {
    let (peer, pair) = (peer_id(), Pair::fresh());
    let looks =
        stream::iter(0..10_000).map(|turn: usize| nodes[turn % nodes.len()].relay(&poll(&peer)).send());
    let mut looks = looks.buffer_unordered(AT_ONCE);
    while let Some(reply) = looks.next().await {
        assert_eq!(reply.ok(), json!({"messages": []}));
    }
    for node in nodes {
        assert_eq!(node.relay(&pair.receive()).send().await.ok(), json!({"status": "expired"}));
        assert_eq!(node.relay(&pair.ack_status()).send().await.ok(), json!({"acknowledged": false}));
    }
}

#[tokio::test]
async fn a_signal_appends_something() {
    let cluster = Cluster::builder().unmetered().start().await;
    let node = cluster.follower().await;
    let before = cluster.log_end().await;
    let wish = conclave_tests::relay::signal(&peer_id(), &peer_id(), "offer", json!({}));
    node.relay(&wish).send().await.ok();
    assert!(cluster.log_end().await.index > before.index, "else the test beside this one could not fail");
}
