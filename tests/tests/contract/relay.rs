//! `POST /api/relay`: choosing an action, and the four actions about chunks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use conclave_tests::http::Api;
use conclave_tests::relay::{Pair, with};
use conclave_tests::shared;
use futures_util::future::join_all;
use serde_json::{Value, json};

#[tokio::test]
async fn a_body_without_an_action_is_refused() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    node.relay(&json!({"pin": "1234"})).send().await.refused(400, "missing_action");
}

#[tokio::test]
async fn an_unknown_action_is_not_found() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    node.relay(&json!({"action": "teleport"})).send().await.refused(404, "unknown_action");
}

#[tokio::test]
async fn what_is_not_json_is_refused() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for text in ["", "{", "{\"action\":\"send\",", "action=send"] {
        node.post("/api/relay", &Value::Null).json(text).send().await.refused(400, "invalid_json");
    }
}

#[tokio::test]
async fn a_chunk_is_sent() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let reply = node.relay(&Pair::fresh().send(0, 2, "AAEC")).send().await;
    assert_eq!(reply.ok(), json!({"status": "waiting"}));
}

#[tokio::test]
async fn a_send_needs_every_field_in_its_type() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let whole = Pair::fresh().send(0, 2, "AAEC");
    for field in ["pin", "passwordHash", "chunkIndex", "totalChunks", "data"] {
        let wrong = match field {
            "chunkIndex" | "totalChunks" => json!("1"),
            _ => json!(7),
        };
        for value in [None, Some(Value::Null), Some(wrong)] {
            let body = node.relay(&with(&whole, field, value)).send().await.refused(400, "missing_fields");
            assert_eq!(body["status"], "waiting", "clients read it: {body}");
        }
    }
    for field in ["pin", "passwordHash", "data"] {
        node.relay(&with(&whole, field, Some(json!("")))).send().await.refused(400, "missing_fields");
    }
}

#[tokio::test]
async fn a_chunk_out_of_range_is_invalid_but_not_an_http_error() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let cases = [
        ("chunkIndex", json!(-1)),
        ("chunkIndex", json!(2)),
        ("chunkIndex", json!(0.5)),
        ("totalChunks", json!(0)),
        ("totalChunks", json!(-3)),
        ("totalChunks", json!(2049)),
        ("totalChunks", json!(1.5)),
        ("data", json!("A".repeat(49_153))),
        ("pin", json!("p".repeat(129))),
        ("passwordHash", json!("h".repeat(513))),
    ];
    for (field, value) in cases {
        let wish = with(&Pair::fresh().send(0, 2, "AAEC"), field, Some(value));
        let body = node.relay(&wish).send().await.refused(200, "invalid_chunk");
        assert_eq!(body["status"], "waiting", "{field}: {body}");
    }
}

#[tokio::test]
async fn the_bounds_themselves_are_allowed() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let unique = Pair::fresh();
    let widest = Pair {
        pin: format!("{:p<128}", unique.pin),
        password_hash: format!("{:h<512}", unique.password_hash),
    };
    let reply = node.relay(&widest.send(2047, 2048, &"A".repeat(49_152))).send().await;
    assert_eq!(reply.ok(), json!({"status": "waiting"}));
}

#[tokio::test]
async fn the_same_chunk_again_is_a_success_that_says_so() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    here.relay(&pair.send(0, 2, "AAEC")).send().await.ok();
    let again = there.relay(&pair.send(0, 2, "AAEC")).send().await.ok();
    assert_eq!(again, json!({"status": "waiting", "duplicate": true}));
}

#[tokio::test]
async fn other_bytes_under_the_same_index_are_refused() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    here.relay(&pair.send(0, 2, "AAEC")).send().await.ok();
    let body = there.relay(&pair.send(0, 2, "BBBB")).send().await.refused(200, "duplicate_chunk");
    assert_eq!(body["status"], "waiting");
}

#[tokio::test]
async fn a_chunk_that_was_delivered_cannot_be_sent_again() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let pair = Pair::fresh();
    node.relay(&pair.send(0, 2, "AAEC")).send().await.ok();
    assert_eq!(node.relay(&pair.receive()).send().await.ok()["status"], "chunkAvailable");
    node.relay(&pair.send(0, 2, "AAEC")).send().await.refused(200, "duplicate_chunk");
}

#[tokio::test]
async fn another_total_than_first_seen_is_refused() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    here.relay(&pair.send(0, 2, "AAEC")).send().await.ok();
    let body = there.relay(&pair.send(1, 3, "AAEC")).send().await.refused(200, "totalChunks_mismatch");
    assert_eq!(body["status"], "waiting");
}

#[tokio::test]
async fn chunks_sent_on_one_node_are_received_on_another_lowest_first_and_once_each() {
    let (_cluster, sender, receiver) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    for index in [2, 0, 1] {
        sender.relay(&pair.send(index, 3, &BASE64.encode(format!("chunk {index}")))).send().await.ok();
    }
    for index in 0..3 {
        let got = receiver.relay(&pair.receive()).send().await.ok();
        let data = BASE64.encode(format!("chunk {index}"));
        let chunk = json!({"chunkIndex": index, "totalChunks": 3, "data": data});
        assert_eq!(got, json!({"status": "chunkAvailable", "chunk": chunk}));
    }
    assert_eq!(receiver.relay(&pair.receive()).send().await.ok(), json!({"status": "done"}));
}

#[tokio::test]
async fn a_receiver_ahead_of_its_sender_waits() {
    let (_cluster, sender, receiver) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    sender.relay(&pair.send(1, 2, "AAEC")).send().await.ok();
    assert_eq!(receiver.relay(&pair.receive()).send().await.ok()["chunk"]["chunkIndex"], 1);
    assert_eq!(receiver.relay(&pair.receive()).send().await.ok(), json!({"status": "waiting"}));
    sender.relay(&pair.send(0, 2, "AAEC")).send().await.ok();
    assert_eq!(receiver.relay(&pair.receive()).send().await.ok()["chunk"]["chunkIndex"], 0);
}

#[tokio::test]
async fn data_comes_back_as_it_was_spelled() {
    let (_cluster, sender, receiver) = shared::standard().await.and_two_nodes().await;
    // Canonical base64, base64 without its padding, with stray bits, of the other alphabet, and no base64 at all.
    let spellings = ["YWI=", "YWI", "YWJ=", "_-_-", "naïve 🔒 \"quoted\" \\ text\n"];
    let pair = Pair::fresh();
    for (index, data) in (0..).zip(spellings) {
        sender.relay(&pair.send(index, spellings.len() as u32, data)).send().await.ok();
    }
    for data in spellings {
        assert_eq!(receiver.relay(&pair.receive()).send().await.ok()["chunk"]["data"], data);
    }
}

#[tokio::test]
async fn nothing_lives_under_a_pair_nobody_used() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    assert_eq!(node.relay(&Pair::fresh().receive()).send().await.ok(), json!({"status": "expired"}));
}

#[tokio::test]
async fn a_wrong_password_hash_finds_nothing() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let pair = Pair::fresh();
    node.relay(&pair.send(0, 1, "AAEC")).send().await.ok();
    let guess = Pair { password_hash: "guess".to_owned(), ..pair };
    assert_eq!(node.relay(&guess.receive()).send().await.ok(), json!({"status": "expired"}));
}

#[tokio::test]
async fn a_receive_needs_pin_and_hash() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for field in ["pin", "passwordHash"] {
        for value in [None, Some(json!("")), Some(json!(7))] {
            let reply = node.relay(&with(&Pair::fresh().receive(), field, value)).send().await;
            let body = reply.refused(400, "missing_pin_or_passwordHash");
            assert_eq!(body["status"], "waiting");
        }
    }
}

#[tokio::test]
async fn an_acknowledgement_is_seen_by_the_sender_on_another_node() {
    let (_cluster, sender, receiver) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    sender.relay(&pair.send(0, 1, "AAEC")).send().await.ok();
    assert_eq!(sender.relay(&pair.ack_status()).send().await.ok(), json!({"acknowledged": false}));
    receiver.relay(&pair.receive()).send().await.ok();
    assert_eq!(receiver.relay(&pair.ack()).send().await.ok(), json!({"ok": true}));
    assert_eq!(sender.relay(&pair.ack_status()).send().await.ok(), json!({"acknowledged": true}));
}

#[tokio::test]
async fn acknowledging_frees_the_transfer_at_the_next_receive() {
    let (_cluster, sender, receiver) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    sender.relay(&pair.send(0, 1, "AAEC")).send().await.ok();
    receiver.relay(&pair.receive()).send().await.ok();
    receiver.relay(&pair.ack()).send().await.ok();
    assert_eq!(receiver.relay(&pair.receive()).send().await.ok(), json!({"status": "done"}));
    assert_eq!(receiver.relay(&pair.receive()).send().await.ok(), json!({"status": "expired"}));
    assert_eq!(
        sender.relay(&pair.ack_status()).send().await.ok(),
        json!({"acknowledged": true}),
        "still remembered"
    );
}

#[tokio::test]
async fn a_second_transfer_under_the_same_words_begins_unacknowledged() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    here.relay(&pair.send(0, 1, "AAEC")).send().await.ok();
    there.relay(&pair.receive()).send().await.ok();
    there.relay(&pair.ack()).send().await.ok();
    assert_eq!(there.relay(&pair.receive()).send().await.ok()["status"], "done");
    assert_eq!(here.relay(&pair.ack_status()).send().await.ok(), json!({"acknowledged": true}));
    here.relay(&pair.send(0, 1, "AwQF")).send().await.ok();
    for node in [&here, &there] {
        assert_eq!(node.relay(&pair.ack_status()).send().await.ok(), json!({"acknowledged": false}));
    }
    assert_eq!(there.relay(&pair.receive()).send().await.ok()["chunk"]["data"], "AwQF");
}

#[tokio::test]
async fn what_does_not_exist_can_be_acknowledged() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    assert_eq!(here.relay(&pair.ack()).send().await.ok(), json!({"ok": true}));
    assert_eq!(there.relay(&pair.ack_status()).send().await.ok(), json!({"acknowledged": true}));
}

#[tokio::test]
async fn ack_and_its_status_need_pin_and_hash() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let pair = Pair::fresh();
    for whole in [pair.ack(), pair.ack_status()] {
        for field in ["pin", "passwordHash"] {
            for value in [None, Some(json!("")), Some(json!(7))] {
                node.relay(&with(&whole, field, value)).send().await.refused(400, "missing_fields");
            }
        }
    }
}

#[tokio::test]
async fn two_thousand_and_forty_eight_sends_at_once_over_all_nodes_all_succeed() {
    const TOTAL: u32 = 2048;
    let cluster = shared::standard().await;
    let nodes = cluster.apis();
    let data = |index: u32| BASE64.encode(format!("chunk number {index}"));
    // No client has to come again, unless there is an election in the midst; a busy machine may hold one at any time.
    for round in 1.. {
        let (pair, before) = (Pair::fresh(), cluster.status().await.term);
        let sends = (0..TOTAL).map(|index| {
            let node = &nodes[index as usize % nodes.len()];
            node.relay(&pair.send(index, TOTAL, &data(index))).once()
        });
        let replies = join_all(sends).await;
        let elected = cluster.status().await.term != before;
        if elected && round < 3 && replies.iter().any(|reply| reply.status == 503) {
            continue;
        }
        for reply in replies {
            assert_eq!(reply.ok(), json!({"status": "waiting"}), "no conflict, no duplicate");
        }
        return receive_all(&cluster.follower().await, &pair, TOTAL, data).await;
    }
}

async fn receive_all(node: &Api, pair: &Pair, total: u32, data: impl Fn(u32) -> String) {
    for index in 0..total {
        let got = node.relay(&pair.receive()).keyed().send().await.ok();
        assert_eq!(got["chunk"]["chunkIndex"], index, "{got}");
        assert_eq!(got["chunk"]["data"], data(index));
    }
    assert_eq!(node.relay(&pair.receive()).send().await.ok(), json!({"status": "done"}));
}
