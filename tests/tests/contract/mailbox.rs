//! `POST /api/relay`, actions `signal` and `poll`: a peer's mailbox.

use std::time::{SystemTime, UNIX_EPOCH};

use conclave_tests::relay::{peer_id, poll, signal, with};
use conclave_tests::shared;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};

const TYPES: [&str; 5] = ["offer", "answer", "ice-candidate", "ready", "bye"];

#[tokio::test]
async fn signals_of_every_type_arrive_on_another_node_in_order_and_once() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (from, to) = (peer_id(), peer_id());
    for (turn, kind) in TYPES.iter().enumerate() {
        let queued = here.relay(&signal(&from, &to, kind, json!({"turn": turn}))).send().await.ok();
        assert_eq!(queued, json!({"status": "queued"}));
    }
    let polled = there.relay(&poll(&to)).send().await.ok();
    let messages = polled["messages"].as_array().expect("a list");
    assert_eq!(messages.len(), TYPES.len(), "{polled}");
    for (turn, (message, kind)) in messages.iter().zip(TYPES).enumerate() {
        assert_eq!((&message["from"], &message["type"]), (&json!(from), &json!(kind)));
        assert_eq!(message["payload"], json!({"turn": turn}));
    }
    assert_eq!(there.relay(&poll(&to)).send().await.ok(), json!({"messages": []}));
    assert_eq!(here.relay(&poll(&to)).send().await.ok(), json!({"messages": []}));
}

#[tokio::test]
async fn a_signal_carries_the_time_it_was_queued() {
    let cluster = shared::standard().await;
    let node = cluster.follower().await;
    let to = peer_id();
    let now_ms =
        || SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set").as_millis() as u64;
    let before = now_ms();
    node.relay(&signal(&peer_id(), &to, "ready", json!({}))).send().await.ok();
    let polled = node.relay(&poll(&to)).send().await.ok();
    let stamp = polled["messages"][0]["timestamp"].as_u64().expect("milliseconds since the Unix epoch");
    // The cluster's clock never goes back; this machine's may have been set meanwhile.
    assert!((before - 1_000..=now_ms() + 1_000).contains(&stamp), "{stamp} is not between {before} and now");
}

#[tokio::test]
async fn a_payload_comes_back_byte_for_byte() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let payloads = [
        r#"{"sdp":"v=0\r\n" ,  "z":1,"a":1.0e5,"z":2,"big":123456789012345678901234567890}"#,
        r#""just text, caf\u00e9""#,
        "[ 1, 2.50 , null ]",
        "true",
    ];
    for payload in payloads {
        let to = peer_id();
        let text = format!(
            r#"{{"action":"signal","from":"{}","to":"{to}","type":"offer","payload":{payload}}}"#,
            peer_id()
        );
        here.post("/api/relay", &Value::Null).json(text).send().await.ok();
        let polled = there.relay(&poll(&to)).send().await.text();
        assert!(polled.contains(&format!("\"payload\":{payload}")), "{payload} came back as {polled}");
    }
}

#[tokio::test]
async fn a_payload_that_strict_parsers_cannot_read_is_refused_when_it_is_posted() {
    // Else it would break the poll of whom it is for.
    let (_cluster, node) = shared::standard().await.and_node().await;
    let to = peer_id();
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let post = |payload: String| {
        let text =
            format!(r#"{{"action":"signal","from":"a","to":"{to}","type":"offer","payload":{payload}}}"#);
        node.post("/api/relay", &Value::Null).json(text).send()
    };
    for payload in [
        r#""\ud800""#.to_owned(),
        r#""\udc00\ud800""#.to_owned(),
        r#"{"\ud800":1}"#.to_owned(),
        "1e400".to_owned(),
        "[-1e400]".to_owned(),
        nested(65),
    ] {
        assert_eq!(post(payload.clone()).await.status, 400, "{payload}");
    }
    for payload in [r#""\ud83d\ude00""#.to_owned(), "1e308".to_owned(), nested(64)] {
        assert_eq!(post(payload.clone()).await.status, 200, "{payload}");
    }
    let polled = node.relay(&poll(&to)).send().await.ok();
    assert_eq!(polled["messages"].as_array().map(Vec::len), Some(3), "{polled}");
}

#[tokio::test]
async fn a_payload_has_at_most_64_kib() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let to = peer_id();
    // With its two quotation marks exactly 65,536 bytes of JSON.
    let largest = "x".repeat(65_534);
    node.relay(&signal(&peer_id(), &to, "offer", json!(largest))).send().await.ok();
    let polled = node.relay(&poll(&to)).send().await.ok();
    assert_eq!(polled["messages"][0]["payload"], json!(largest));
    let larger = signal(&peer_id(), &to, "offer", json!(largest + "x"));
    let body = node.relay(&larger).send().await.refused(413, "payload_too_large");
    assert_eq!(body["limit"], 65_536);
}

#[tokio::test]
async fn an_unknown_type_is_refused_with_the_known_ones() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for kind in ["OFFER", "candidate", "offer "] {
        let wish = signal(&peer_id(), &peer_id(), kind, json!({}));
        let body = node.relay(&wish).send().await.refused(400, "invalid_signal_type");
        assert_eq!(body["validTypes"], json!(TYPES));
    }
}

#[tokio::test]
async fn a_signal_needs_every_field() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let whole = signal(&peer_id(), &peer_id(), "offer", json!({}));
    for field in ["from", "to", "type", "payload"] {
        node.relay(&with(&whole, field, None)).send().await.refused(400, "missing_fields");
    }
    for field in ["from", "to", "type"] {
        for value in [json!(""), json!(7)] {
            node.relay(&with(&whole, field, Some(value))).send().await.refused(400, "missing_fields");
        }
    }
}

#[tokio::test]
async fn a_mailbox_that_is_full_refuses_and_keeps_what_it_has() {
    const SIGNALS_MAX: usize = 512;
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (from, to) = (peer_id(), peer_id());
    let wish = signal(&from, &to, "ice-candidate", json!({}));
    let mut sent = stream::iter(0..SIGNALS_MAX).map(|_| here.relay(&wish).send()).buffer_unordered(32);
    while let Some(reply) = sent.next().await {
        assert_eq!(reply.ok(), json!({"status": "queued"}));
    }
    there.relay(&wish).send().await.refused(429, "mailbox_full");
    let mut polled = 0;
    loop {
        let messages = there.relay(&poll(&to)).send().await.ok();
        match messages["messages"].as_array().expect("a list").len() {
            0 => break,
            some => polled += some,
        }
    }
    assert_eq!(polled, SIGNALS_MAX);
    here.relay(&wish).send().await.ok();
}

#[tokio::test]
async fn a_poll_needs_a_peer() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for value in [None, Some(json!("")), Some(json!(7))] {
        node.relay(&with(&poll("nobody"), "peerId", value)).send().await.refused(400, "missing_peer_id");
    }
}
