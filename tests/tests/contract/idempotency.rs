//! `Idempotency-Key` on `receive` and `poll`: a lost reply loses nothing.

use conclave_tests::relay::{Pair, invite_code, lookup, peer_id, poll, register, signal, with, word};
use conclave_tests::shared;
use serde_json::{Value, json};

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

/// What waits for a peer, as who sent it and what.
fn waiting(polled: &Value) -> Vec<(&str, &Value)> {
    let messages = polled["messages"].as_array().expect("a list");
    messages.iter().map(|one| (one["from"].as_str().expect("a sender"), &one["payload"])).collect()
}

#[tokio::test]
async fn a_signal_under_a_key_that_somebody_else_used_arrives() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (to, alice, mallory) = (peer_id(), peer_id(), peer_id());
    let send = async |from: &str, kind: &str, payload: Value| {
        // A retry of each, by another node.
        for node in [&here, &there] {
            let call = node.relay(&signal(from, &to, kind, payload.clone()));
            call.header("idempotency-key", "1").send().await.ok();
        }
    };
    send(&mallory, "offer", json!(0)).await;
    send(&alice, "offer", json!(0)).await;
    send(&alice, "offer", json!({"sdp": "v=1"})).await;
    send(&alice, "answer", json!({"sdp": "v=1"})).await;
    let polled = here.relay(&poll(&to)).send().await.ok();
    let (zero, sdp) = (json!(0), json!({"sdp": "v=1"}));
    let (alice, mallory) = (alice.as_str(), mallory.as_str());
    let expected = [(mallory, &zero), (alice, &zero), (alice, &sdp), (alice, &sdp)];
    assert_eq!(waiting(&polled), expected, "each once");
}

#[tokio::test]
async fn a_registration_or_chunk_that_differs_is_not_taken_for_the_one_before_it() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (code, pair, key) = (invite_code(), Pair::fresh(), word("key"));
    let (one, other) = (peer_id(), peer_id());
    here.relay(&register(&code, &one)).header("idempotency-key", &key).send().await.ok();
    there.relay(&register(&code, &one)).header("idempotency-key", &key).send().await.ok();
    let taken = there.relay(&register(&code, &other)).header("idempotency-key", &key).send().await;
    taken.refused(400, "invite_code_in_use");
    assert_eq!(here.relay(&lookup(&code)).send().await.ok()["peerId"], one);
    for chunk in [pair.send(0, 2, "AAEC"), pair.send(1, 2, "AAEC"), pair.send(1, 2, "plain")] {
        let sent = here.relay(&chunk).header("idempotency-key", &key).send().await;
        let again = there.relay(&chunk).header("idempotency-key", &key).send().await;
        assert_eq!(with(&sent.json(), "requestId", None), with(&again.json(), "requestId", None));
    }
    let status = here.relay(&pair.receive()).send().await.ok();
    assert_eq!(status["chunk"]["chunkIndex"], 0);
    assert_eq!(here.relay(&pair.receive()).send().await.ok()["chunk"]["data"], "AAEC", "both were stored");
}

#[tokio::test]
async fn what_one_subject_took_under_a_key_another_does_not_get_again() {
    let (cluster, issuer) = shared::guarded().await;
    let node = cluster.follower().await;
    let pair = Pair::fresh();
    let receive = async |subject: &str| {
        let token = issuer.token(subject, json!({"scope": "relay"}));
        let call = node.relay(&pair.receive()).header("idempotency-key", "1");
        call.header("authorization", &format!("Bearer {token}")).send().await.ok()
    };
    for index in 0..2 {
        let token = issuer.token("sender", json!({"scope": "relay"}));
        let call = node.relay(&pair.send(index, 2, "AAEC"));
        call.header("authorization", &format!("Bearer {token}")).send().await.ok();
    }
    assert_eq!(receive("alice").await["chunk"]["chunkIndex"], 0);
    assert_eq!(receive("alice").await["chunk"]["chunkIndex"], 0, "a retry under another token of hers");
    assert_eq!(receive("bob").await["chunk"]["chunkIndex"], 1);
}
