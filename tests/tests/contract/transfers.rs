//! `/api/v1/transfers`: the relay's transfers, resumable.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use conclave_tests::http::Api;
use conclave_tests::relay::{Pair, with};
use conclave_tests::shared;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Where an opened transfer is.
async fn open(node: &Api, pair: &Pair, total: u32) -> String {
    let reply = node.post("/api/v1/transfers", &pair.open(total)).send().await;
    assert!(matches!(reply.status, 200 | 201), "{}", reply.text());
    format!("/api/v1/transfers/{}", reply.json()["transferId"].as_str().expect("an id"))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64.encode(Sha256::digest(bytes)))
}

#[tokio::test]
async fn a_transfer_is_opened_once_and_found_again_on_another_node() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    let opened = here.post("/api/v1/transfers", &pair.open(3)).send().await.status(201);
    assert_eq!(opened["ttlSec"], 60);
    let found = there.post("/api/v1/transfers", &pair.open(3)).send().await.status(200);
    assert_eq!(found["transferId"], opened["transferId"], "derived from pin and hash");
}

#[tokio::test]
async fn another_total_is_refused() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    open(&here, &pair, 3).await;
    there.post("/api/v1/transfers", &pair.open(4)).send().await.refused(409, "total_mismatch");
}

#[tokio::test]
async fn opening_needs_every_field_in_range() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let whole = Pair::fresh().open(3);
    for field in ["pin", "passwordHash", "totalChunks"] {
        node.post("/api/v1/transfers", &with(&whole, field, None))
            .send()
            .await
            .refused(400, "missing_fields");
    }
    for total in [json!(0), json!(2049), json!(-1), json!(1.5)] {
        let wish = with(&whole, "totalChunks", Some(total));
        node.post("/api/v1/transfers", &wish).send().await.refused(400, "invalid_input");
    }
    node.post("/api/v1/transfers", &Value::Null).json("{").send().await.refused(400, "invalid_json");
}

#[tokio::test]
async fn a_chunk_is_put_once_and_again() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let at = open(&here, &Pair::fresh(), 2).await;
    let chunk = format!("{at}/chunks/0");
    assert_eq!(here.put(&chunk, "some bytes").send().await.status, 201);
    assert_eq!(there.put(&chunk, "some bytes").send().await.status, 200);
    there.put(&chunk, "other bytes").send().await.refused(409, "chunk_conflict");
}

#[tokio::test]
async fn the_digest_is_checked_where_it_is_given() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let at = open(&node, &Pair::fresh(), 2).await;
    let put = |index: u32| node.put(&format!("{at}/chunks/{index}"), "some bytes");
    assert_eq!(put(0).header("content-digest", &digest(b"some bytes")).send().await.status, 201);
    put(1).header("content-digest", &digest(b"other bytes")).send().await.refused(422, "digest_mismatch");
    assert_eq!(
        node.get(&at).send().await.ok()["received"],
        json!([[0, 0]]),
        "what does not match is not stored"
    );
}

#[tokio::test]
async fn a_chunk_has_at_most_48_kib() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let at = open(&node, &Pair::fresh(), 1).await;
    let too_large = node.put(&format!("{at}/chunks/0"), vec![7; 49_153]).send().await;
    assert_eq!(too_large.refused(413, "payload_too_large")["limit"], 49_152);
    assert_eq!(node.put(&format!("{at}/chunks/0"), vec![7; 49_152]).send().await.status, 201);
}

#[tokio::test]
async fn nothing_at_all_is_a_chunk_too() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    let at = open(&here, &pair, 1).await;
    let chunk = format!("{at}/chunks/0");
    let stored = here.put(&chunk, "").header("content-digest", &digest(b"")).send().await;
    assert_eq!(stored.status, 201);
    assert_eq!(there.put(&chunk, "").send().await.ok()["duplicate"], true);
    here.put(&chunk, "x").send().await.refused(409, "chunk_conflict");
    assert_eq!(there.get(&at).send().await.ok()["received"], json!([[0, 0]]));
    let reply = there.get(&chunk).send().await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert_eq!(reply.header("content-digest"), Some(digest(b"").as_str()));
    let received = there.relay(&pair.receive()).send().await.ok();
    assert_eq!(received["chunk"], json!({"chunkIndex": 0, "totalChunks": 1, "data": ""}));
}

#[tokio::test]
async fn what_was_received_is_shown_as_ranges() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let at = open(&here, &Pair::fresh(), 8).await;
    for index in [0, 1, 2, 5, 7] {
        here.put(&format!("{at}/chunks/{index}"), format!("chunk {index}")).send().await;
    }
    let view = there.get(&at).send().await.ok();
    assert_eq!(view["totalChunks"], 8);
    assert_eq!(view["received"], json!([[0, 2], [5, 5], [7, 7]]));
    assert_eq!(view["delivered"], 0);
    assert_eq!(view["acknowledged"], false);
    assert!(!view["expiresAt"].is_null(), "{view}");
}

#[tokio::test]
async fn a_chunk_can_be_read_again_and_again_until_it_is_acknowledged() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let at = open(&here, &Pair::fresh(), 1).await;
    let bytes: Vec<u8> = (0..=255).collect();
    here.put(&format!("{at}/chunks/0"), bytes.clone()).send().await;
    for node in [&there, &here, &there] {
        let reply = node.get(&format!("{at}/chunks/0")).send().await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.body, bytes);
        assert_eq!(reply.header("content-digest"), Some(digest(&bytes).as_str()));
    }
    assert_eq!(there.post(&format!("{at}/ack"), &json!({})).send().await.status, 200);
    here.get(&format!("{at}/chunks/0")).send().await.refused(404, "not_found");
}

#[tokio::test]
async fn a_sender_who_asks_again_after_the_acknowledgement_learns_of_it() {
    let (_cluster, node, other) = shared::standard().await.and_two_nodes().await;
    let at = open(&node, &Pair::fresh(), 2).await;
    for n in 0..2 {
        node.put(&format!("{at}/chunks/{n}"), "bytes").send().await.status(201);
    }
    node.post(&format!("{at}/ack"), &json!({})).send().await.ok();
    // The answer to the last put was lost.
    let refused = node.put(&format!("{at}/chunks/1"), "bytes").send().await.refused(409, "chunk_conflict");
    assert_eq!(refused["acknowledged"], true, "{refused}");
    assert_eq!(other.get(&at).send().await.ok()["acknowledged"], true);
}

#[tokio::test]
async fn an_acknowledgement_outlives_its_transfer() {
    let (_cluster, node, other) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    let at = open(&node, &pair, 1).await;
    node.put(&format!("{at}/chunks/0"), "bytes").send().await.status(201);
    node.relay(&pair.receive()).send().await.ok();
    node.relay(&pair.ack()).send().await.ok();
    assert_eq!(node.relay(&pair.receive()).send().await.ok()["status"], "done");
    assert_eq!(other.get(&at).send().await.refused(404, "not_found")["acknowledged"], true);
    assert_eq!(node.relay(&pair.ack_status()).send().await.ok()["acknowledged"], true);
    // The next one under the same pin is another one.
    let at = open(&node, &pair, 1).await;
    assert_eq!(other.get(&at).send().await.ok()["acknowledged"], false);
}

#[tokio::test]
async fn a_deleted_transfer_is_gone_on_every_node() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    let at = open(&here, &pair, 1).await;
    here.put(&format!("{at}/chunks/0"), "some bytes").send().await;
    assert_eq!(here.delete(&at).send().await.status, 200);
    absent(&there, &at).await;
    assert_eq!(there.relay(&pair.receive()).send().await.ok(), json!({"status": "expired"}));
}

#[tokio::test]
async fn a_transfer_nobody_opened_is_not_found() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    // An id that exists for nobody, made from one that did; and one that is no id at all.
    let pair = Pair::fresh();
    let deleted = open(&node, &pair, 1).await;
    node.delete(&deleted).send().await.ok();
    absent(&node, &deleted).await;
    absent(&node, "/api/v1/transfers/not-an-id").await;
}

#[tokio::test]
async fn a_chunk_that_is_not_there_is_not_found() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let at = open(&node, &Pair::fresh(), 2).await;
    for index in ["1", "2", "x", "-1"] {
        node.get(&format!("{at}/chunks/{index}")).send().await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn chunks_that_were_put_are_received_by_the_relay() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    let at = open(&here, &pair, 2).await;
    here.put(&format!("{at}/chunks/0"), vec![0, 255, 128]).send().await;
    there.relay(&pair.send(1, 2, &BASE64.encode("by relay"))).send().await.ok();
    let first = there.relay(&pair.receive()).send().await.ok();
    let chunk = json!({"chunkIndex": 0, "totalChunks": 2, "data": BASE64.encode([0, 255, 128])});
    assert_eq!(first["chunk"], chunk);
    assert_eq!(here.get(&at).send().await.ok()["delivered"], 1);
    assert_eq!(there.relay(&pair.receive()).send().await.ok()["chunk"]["chunkIndex"], 1);
    here.post(&format!("{at}/ack"), &json!({})).send().await.ok();
    assert_eq!(there.relay(&pair.ack_status()).send().await.ok(), json!({"acknowledged": true}));
}

#[tokio::test]
async fn chunks_that_were_sent_by_the_relay_are_read_as_bytes() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    here.relay(&pair.send(0, 2, &BASE64.encode([0, 255, 128]))).send().await.ok();
    let at = open(&there, &pair, 2).await;
    let reply = there.get(&format!("{at}/chunks/0")).send().await;
    assert_eq!(reply.body.as_ref(), [0, 255, 128]);
}

#[tokio::test]
async fn no_answer_tells_that_somebody_else_has_the_same_chunk() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let bytes = Pair::fresh().pin;
    let mut replies = Vec::new();
    for node in [&here, &there] {
        let at = open(node, &Pair::fresh(), 1).await;
        node.get(&format!("{at}/chunks/0")).send().await.refused(404, "not_found");
        replies.push(node.put(&format!("{at}/chunks/0"), bytes.clone()).send().await);
    }
    let [first, second] = &replies[..] else { unreachable!("two nodes were asked") };
    assert_eq!((first.status, &first.body), (201, &second.body));
    assert_eq!(second.status, 201);
}

/// Asserts that nothing can be done to a transfer.
async fn absent(node: &Api, at: &str) {
    node.get(at).send().await.refused(404, "not_found");
    node.get(&format!("{at}/chunks/0")).send().await.refused(404, "not_found");
    node.put(&format!("{at}/chunks/0"), "some bytes").send().await.refused(404, "not_found");
    node.post(&format!("{at}/ack"), &json!({})).send().await.refused(404, "not_found");
    node.delete(at).send().await.refused(404, "not_found");
}
