//! Headers on every response.

use conclave_tests::cluster::Cluster;
use conclave_tests::http::{Api, Reply};
use conclave_tests::relay::{Pair, word};
use conclave_tests::shared;
use hyper::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// A success, and refusals from every layer.
async fn one_of_each(node: &Api) -> Vec<Reply> {
    vec![
        node.get("/health").send().await,
        node.get("/readyz").send().await,
        node.relay(&Pair::fresh().send(0, 1, "AAEC")).send().await,
        node.relay(&json!({})).send().await,
        node.post("/api/relay", &Value::Null).json("{").send().await,
        node.get("/api/v1/nothing").send().await,
        node.get("/api/relay").send().await,
        node.get("/health").header("origin", "https://evil.example").send().await,
    ]
}

#[tokio::test]
async fn a_valid_request_id_comes_back() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for id in ["a".to_owned(), "Req_1.2-3".to_owned(), "x".repeat(128)] {
        for path in ["/health", "/api/v1/nothing"] {
            let reply = node.get(path).header("x-request-id", &id).send().await;
            assert_eq!(reply.header("x-request-id"), Some(id.as_str()));
        }
    }
}

#[tokio::test]
async fn an_invalid_or_absent_request_id_is_replaced_by_a_fresh_one() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let mut replies = vec![node.get("/health").send().await];
    for id in ["".to_owned(), "has space".to_owned(), "semi;colon".to_owned(), "x".repeat(129)] {
        replies.push(node.get("/health").header("x-request-id", &id).send().await);
    }
    replies.extend(one_of_each(&node).await);
    for reply in replies {
        let id = reply.header("x-request-id").expect("every response has one");
        let id = Uuid::parse_str(id).expect("a UUID");
        assert_eq!(id.get_version_num(), 7, "{id}");
    }
}

#[tokio::test]
async fn security_headers_are_on_every_response() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for reply in one_of_each(&node).await {
        let what = format!("{} {}", reply.status, reply.text());
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "strict-origin-when-cross-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "cross-origin"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{name} on {what}");
        }
        let policy = reply.header("content-security-policy").unwrap_or_default();
        assert!(
            policy.contains("default-src 'none'") || policy.contains("default-src 'self'"),
            "{policy} on {what}"
        );
        assert!(policy.contains("report-to"), "{policy} on {what}");
        let permissions = reply.header("permissions-policy").unwrap_or_default();
        for power in ["camera", "microphone", "geolocation"] {
            assert!(permissions.contains(&format!("{power}=()")), "{permissions} on {what}");
        }
        assert!(permissions.contains("screen-wake-lock=(self)"), "{permissions} on {what}");
    }
}

#[tokio::test]
async fn nothing_says_what_software_this_is_or_claims_tls() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for reply in one_of_each(&node).await {
        for name in ["server", "x-powered-by", "strict-transport-security"] {
            assert_eq!(reply.header(name), None);
        }
    }
}

#[tokio::test]
async fn what_is_left_of_an_allowance_is_on_every_call_that_spends_it() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let reply = node.relay(&Pair::fresh().send(0, 1, "AAEC")).send().await;
    let number = |name: &str| reply.header(name).and_then(|value| value.parse::<u64>().ok());
    let limit = number("x-ratelimit-limit").expect("a number");
    let remaining = number("x-ratelimit-remaining").expect("a number");
    assert!(remaining < limit, "{remaining} of {limit}");
    assert!(number("x-ratelimit-reset").is_some());
    assert!(reply.header("ratelimit").is_some() && reply.header("ratelimit-policy").is_some());
}

#[tokio::test]
async fn what_is_left_is_on_answers_that_no_allowance_counts_too() {
    let cluster = Cluster::builder().nodes(1).start().await;
    let node = cluster.api(1);
    for reply in [
        node.get("/api/v1/edition").send().await,
        node.get("/api/v1/nothing").send().await,
        node.call(Method::OPTIONS, "/api/relay").send().await,
        node.get("/api/relay").send().await,
        node.call(Method::POST, "/api/relay").json("{").send().await,
    ] {
        let number = |name: &str| reply.header(name).and_then(|value| value.parse::<u64>().ok());
        let (limit, remaining) = (number("x-ratelimit-limit"), number("x-ratelimit-remaining"));
        assert!(limit.is_some() && remaining <= limit, "{reply:?}");
        assert!(number("x-ratelimit-reset").is_some(), "{reply:?}");
        assert!(reply.header("ratelimit").is_some() && reply.header("ratelimit-policy").is_some());
    }
}

#[tokio::test]
async fn affinity_is_the_same_for_one_session_on_every_node_and_differs_between_two() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let affinity = |reply: Reply| reply.header("x-session-affinity").expect("a token").to_owned();

    let (one, other) = (Pair::fresh(), Pair::fresh());
    let sent = affinity(here.relay(&one.send(0, 1, "AAEC")).send().await);
    assert_eq!(sent, affinity(there.relay(&one.receive()).send().await));
    assert_ne!(sent, affinity(there.relay(&other.receive()).send().await));
    assert!(!sent.contains(&one.pin), "the pin is a secret");

    let session = here.post("/api/v1/sessions", &json!({"pin": word("pin")})).send().await.ok();
    let path = format!("/api/v1/sessions/{}/offer", session["sessionId"].as_str().expect("an id"));
    let first = affinity(here.get(&path).send().await);
    assert_eq!(first, affinity(there.get(&path).send().await));
}
