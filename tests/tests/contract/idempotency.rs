//! `Idempotency-Key` on `receive` and `poll`: a lost reply loses nothing.

use conclave_tests::relay::{Pair, peer_id, poll, signal, word};
use conclave_tests::shared;
use serde_json::json;

#[tokio::test]
async fn a_receive_repeated_under_its_key_gets_the_same_chunk_on_any_node() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (pair, key) = (Pair::fresh(), word("key"));
    for index in 0..2 {
        here.relay(&pair.send(index, 2, &format!("chunk {index}"))).send().await.ok();
    }
    let first = here.relay(&pair.receive()).header("idempotency-key", &key).send().await.ok();
    let again = there.relay(&pair.receive()).header("idempotency-key", &key).send().await.ok();
    assert_eq!(first["chunk"]["chunkIndex"], 0);
    assert_eq!(first, again);
    let next = there.relay(&pair.receive()).header("idempotency-key", &word("key")).send().await.ok();
    assert_eq!(next["chunk"]["chunkIndex"], 1, "another key is another wish");
}

#[tokio::test]
async fn a_poll_repeated_under_its_key_gets_the_same_messages_on_any_node() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (to, key) = (peer_id(), word("key"));
    here.relay(&signal(&peer_id(), &to, "offer", json!({"n": 1}))).send().await.ok();
    let first = here.relay(&poll(&to)).header("idempotency-key", &key).send().await.ok();
    assert_eq!(first["messages"].as_array().map(Vec::len), Some(1));
    here.relay(&signal(&peer_id(), &to, "offer", json!({"n": 2}))).send().await.ok();
    let again = there.relay(&poll(&to)).header("idempotency-key", &key).send().await.ok();
    assert_eq!(first, again);
    let next = there.relay(&poll(&to)).send().await.ok();
    assert_eq!(next["messages"][0]["payload"], json!({"n": 2}), "what came later still waits");
}

#[tokio::test]
async fn one_key_for_two_things_is_two_wishes() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let (one, other, key) = (Pair::fresh(), Pair::fresh(), word("key"));
    node.relay(&one.send(0, 1, "one")).send().await.ok();
    node.relay(&other.send(0, 1, "other")).send().await.ok();
    for (pair, data) in [(&one, "one"), (&other, "other")] {
        let got = node.relay(&pair.receive()).header("idempotency-key", &key).send().await.ok();
        assert_eq!(got["chunk"]["data"], data);
    }
}

#[tokio::test]
async fn many_receives_at_once_under_one_key_take_one_chunk() {
    let cluster = shared::standard().await;
    let nodes = cluster.apis();
    let (pair, key) = (Pair::fresh(), word("key"));
    for index in 0..4 {
        nodes[0].relay(&pair.send(index, 4, &format!("chunk {index}"))).send().await.ok();
    }
    let receives = (0..12)
        .map(|turn| nodes[turn % nodes.len()].relay(&pair.receive()).header("idempotency-key", &key).send());
    for reply in futures_util::future::join_all(receives).await {
        assert_eq!(reply.ok()["chunk"]["chunkIndex"], 0);
    }
    assert_eq!(nodes[1].relay(&pair.receive()).send().await.ok()["chunk"]["chunkIndex"], 1);
}
