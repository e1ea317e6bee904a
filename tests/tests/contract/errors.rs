//! One shape for every error.

use conclave_tests::cluster::Cluster;
use conclave_tests::http::Reply;
use conclave_tests::relay::{Pair, invite_code, peer_id, poll, register, signal, word};
use conclave_tests::shared;
use hyper::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_path_that_does_not_exist_is_not_found() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for path in ["/nothing", "/api", "/api/v1", "/api/v1/nothing", "/api/v2/sessions", "/api/relay/more"] {
        node.get(path).send().await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn one_slash_at_the_end_and_the_case_of_a_path_do_not_matter() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for path in ["/api/relay/", "/API/Relay", "/v1/RELAY/", "/Api/V1/Relay"] {
        node.post(path, &poll(&peer_id())).send().await.ok();
    }
    for path in ["/Health", "/livez/", "/api/v1/Edition/"] {
        node.get(path).send().await.ok();
    }
    node.post("/api/relay//", &poll(&peer_id())).send().await.refused(404, "not_found");
}

#[tokio::test]
async fn a_method_that_does_not_fit_is_refused_with_those_that_do() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let cases = [
        (Method::GET, "/api/relay", "POST"),
        (Method::DELETE, "/api/relay", "POST"),
        (Method::PUT, "/api/v1/sessions", "POST"),
        (Method::DELETE, "/api/v1/edition", "GET"),
        (Method::POST, "/health", "GET"),
    ];
    for (method, path, allowed) in cases {
        let reply = node.call(method, path).send().await;
        reply.refused(405, "method_not_allowed");
        let allow = reply.header("allow").expect("405 says what is allowed").to_owned();
        assert!(allow.split(',').any(|method| method.trim() == allowed), "{path}: {allow}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_the_limit() {
    // Little enough for the kernel to take it all: a server may answer and close before it has read everything.
    const OVER: usize = 400_000;
    let (_cluster, node) = shared::standard().await.and_node().await;
    let body = format!("{{\"action\":\"send\",\"data\":\"{}\"}}", "A".repeat(OVER));
    let refusal =
        node.post("/api/relay", &Value::Null).json(body).send().await.refused(413, "payload_too_large");
    let limit = refusal["limit"].as_u64().expect("a number of bytes");
    assert!((65_536..OVER as u64).contains(&limit), "{limit}");
}

#[tokio::test]
async fn a_body_of_another_media_type_is_refused() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let call =
        node.call(Method::POST, "/api/v1/transfers").header("content-type", "application/xml").body("<x/>");
    call.send().await.refused(415, "unsupported_media_type");
}

/// As zlib, in a block that is stored as it is (RFC 1950, RFC 1951).
fn zlib(plain: &[u8]) -> Vec<u8> {
    let (a, b) = plain.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    let len = u16::try_from(plain.len()).expect("one block is enough");
    let (head, length) = ([0x78, 0x01, 0x01], [len.to_le_bytes(), (!len).to_le_bytes()].concat());
    [&head[..], &length, plain, &(b << 16 | a).to_be_bytes()].concat()
}

#[tokio::test]
async fn a_coded_body_is_charged_for_what_it_comes_to() {
    let cluster = Cluster::builder().nodes(1).set("allowance.tiers.poll.limit", "10").start().await;
    let node = cluster.api(1);
    let call = |pad: usize, coded: bool| {
        let text = json!({"action": "poll", "peerId": "nobody", "pad": "a".repeat(pad)}).to_string();
        let call = node.call(Method::POST, "/api/relay");
        if coded {
            call.header("content-encoding", "deflate").json(zlib(text.as_bytes()))
        } else {
            call.json(text)
        }
    };
    let left = |reply: &Reply| reply.header("x-ratelimit-remaining").map(str::to_owned);
    for (pad, coded, remaining) in
        [(60_000, false, "9"), (10, true, "8"), (60_000, true, "4"), (60_000, true, "0")]
    {
        let reply = call(pad, coded).once().await;
        assert_eq!((reply.status, left(&reply).as_deref()), (200, Some(remaining)), "{pad} {coded}");
    }
    call(60_000, true).once().await.refused(429, "rate_limit_exceeded");
}

/// Brotli that means 16 MiB.
const WIDE: &[u8] = &[0x9f, 0xef, 0xff, 0xff, 0x00, 0x24, 0x00, 0xe2, 0xb1, 0x40, 0x52, 0xef, 0xff, 0x01];

#[tokio::test]
async fn a_coded_body_is_decoded_and_another_coding_refused() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let poll = poll(&peer_id()).to_string();
    let call = |coding: &'static str, body: Vec<u8>| {
        node.call(Method::POST, "/api/relay").header("content-encoding", coding).json(body)
    };
    call("deflate", zlib(poll.as_bytes())).send().await.ok();
    call("identity", poll.clone().into_bytes()).send().await.ok();
    call("br", poll.clone().into_bytes()).send().await.refused(400, "invalid_coding");
    // The window is wider than what is taken, and wider than RFC 7932 knows.
    call("br", WIDE.to_vec()).send().await.refused(413, "payload_too_large");
    call("br", vec![0x11, 0x1e, 0xff, 0xff, 0xff, 0x07, 0]).send().await.refused(400, "invalid_coding");
    for coding in ["zstd", "gzip, deflate", "compress"] {
        let reply = call(coding, poll.clone().into_bytes()).send().await;
        reply.refused(415, "unsupported_media_type");
        assert_eq!(reply.header("accept-encoding"), Some("gzip, deflate, br"));
    }
}

#[tokio::test]
async fn a_head_is_asked_for_wherever_a_body_is() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for path in [
        "/health",
        "/",
        "/app.js",
        "/api/v1/edition",
        "/api/v1/nodes",
        "/api/v1/ice",
        "/api/v1/events?room=r",
    ] {
        let (whole, head) = (node.get(path).open().await, node.call(Method::HEAD, path).send().await);
        assert!(whole.is_ok(), "{path}");
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        assert!(head.header("content-type").is_some(), "{path}");
    }
    assert_eq!(node.call(Method::HEAD, "/api/v1/transfers/7").send().await.status, 404);
    assert_eq!(node.call(Method::HEAD, "/api/relay").send().await.status, 405);
}

#[tokio::test]
async fn who_asks_for_a_problem_document_gets_one() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let reply = node.get("/api/v1/nothing").header("accept", "application/problem+json").send().await;
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    let problem = reply.status(404);
    assert_eq!(problem["status"], 404);
    assert!(problem["title"].is_string(), "RFC 9457, section 3.1: {problem}");
    assert!(problem.to_string().contains("not_found"), "it is the same error: {problem}");
}

#[tokio::test]
async fn an_answer_is_json_in_utf_8() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for reply in [node.get("/api/v1/edition").send().await, node.get("/api/v1/nothing").send().await] {
        assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"));
    }
}

#[tokio::test]
async fn an_error_tells_nothing_of_the_inside_and_repeats_no_secret() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let secret = word("secret");
    let calls = [
        node.post("/api/relay", &Value::Null).json(format!("{{\"action\":\"send\",\"pin\":\"{secret}\",}}")),
        node.relay(&json!({"action": secret})),
        node.relay(&json!({"action": "receive", "pin": secret})),
        node.relay(&json!({"action": "register", "inviteCode": secret, "peerId": secret})),
        node.relay(
            &json!({"action": "signal", "from": secret, "to": secret, "type": secret, "payload": secret}),
        ),
        node.get(&format!("/api/v1/sessions/resolve?pin={secret}")),
        node.get(&format!("/api/v1/transfers/{secret}")),
        node.post(
            "/api/v1/transfers",
            &json!({"pin": secret, "passwordHash": secret, "totalChunks": "many"}),
        ),
    ];
    for call in calls {
        let reply = call.send().await;
        let text = reply.text();
        assert!((400..500).contains(&reply.status), "{text}");
        assert!(!text.contains(&secret), "{text}");
        for inside in ["serde", "actix", "line 1", "column", ".rs", "127.0.0.1"] {
            assert!(!text.contains(inside), "`{inside}` in {text}");
        }
    }
}

#[tokio::test]
async fn a_cluster_that_stores_as_much_as_it_may_says_so() {
    const CHUNKS: u32 = 64;
    let cluster = Cluster::builder().unmetered().set("storage.bytes_max", "1048576").start().await;
    let node = cluster.follower().await;
    let pair = Pair::fresh();
    let mut stored = 0;
    let refused = loop {
        assert!(stored < CHUNKS, "{CHUNKS} chunks of 48 KiB are over 1 MiB");
        let data = format!("{stored:A<49152}");
        let reply = node.relay(&pair.send(stored, CHUNKS, &data)).send().await;
        if reply.status != 200 {
            break reply;
        }
        stored += 1;
    };
    assert_eq!(refused.refused(507, "storage_full")["scope"], "cluster");
    for index in 0..stored {
        assert_eq!(
            node.relay(&pair.receive()).send().await.ok()["chunk"]["chunkIndex"],
            index,
            "what is in stays"
        );
    }
    let found = node.post("/api/v1/transfers", &pair.open(CHUNKS)).send().await.ok();
    let at = format!("/api/v1/transfers/{}", found["transferId"].as_str().expect("an id"));
    node.delete(&at).send().await.ok();
    let again = Pair::fresh();
    node.relay(&again.send(0, 1, "AAEC")).send().await.ok();
}

#[tokio::test]
async fn a_store_that_is_full_of_chunks_takes_what_is_small() {
    let cluster = Cluster::builder()
        .set("allowance.enabled", "false")
        .set("storage.bytes_max", "1048576")
        .start()
        .await;
    let node = cluster.follower().await;
    let pair = Pair::fresh();
    let data = |index: u32| format!("{index:A<49152}");
    let mut index = 0;
    while node.relay(&pair.send(index, 64, &data(index))).send().await.status == 200 {
        index += 1;
    }
    // What the last chunk left of the part for chunks is taken up, too.
    for small in 0..64 {
        node.relay(&Pair::fresh().send(0, 1, &data(small)[..4096])).send().await;
    }
    let peer = peer_id();
    node.post("/api/v1/sessions", &json!({"pin": word("pin")})).send().await.ok();
    node.relay(&register(&invite_code(), &peer)).send().await.ok();
    node.relay(&signal(&peer, &peer, "ready", json!({}))).send().await.ok();
    node.post("/api/v1/tickets", &Value::Null).send().await.status(201);
    let refused = node.relay(&Pair::fresh().send(0, 1, &data(0))).send().await;
    assert_eq!(refused.refused(507, "storage_full")["scope"], "cluster");
}
