//! `/api/v1/sessions`: one WebRTC offer and its answer.

use conclave_tests::http::Api;
use conclave_tests::relay::with;
use conclave_tests::relay::word;
use conclave_tests::shared;
use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

async fn open(node: &Api) -> String {
    let session = node.post("/api/v1/sessions", &json!({})).send().await.ok();
    session["sessionId"].as_str().expect("an id").to_owned()
}

fn envelope(session: &str) -> Value {
    json!({"version": 1, "sessionId": session, "nonce": "0123456789ab", "ct": word("ciphertext")})
}

#[tokio::test]
async fn a_session_is_opened_with_or_without_a_pin() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for body in [json!({}), json!({"pin": word("pin")})] {
        let session = node.post("/api/v1/sessions", &body).send().await.ok();
        assert_eq!(session["ttlSec"], 180);
        let id = session["sessionId"].as_str().expect("an id");
        assert!(Uuid::parse_str(id).is_ok(), "{id} is not a UUID");
    }
}

#[tokio::test]
async fn a_pin_resolves_on_another_node() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let pin = word("pin");
    let session = here.post("/api/v1/sessions", &json!({"pin": pin})).send().await.ok();
    let resolved = there.get(&format!("/api/v1/sessions/resolve?pin={pin}")).send().await.ok();
    assert_eq!(resolved, json!({"sessionId": session["sessionId"]}));
}

#[tokio::test]
async fn every_path_answers_without_api_too() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let pin = word("pin");
    let session = node.post("/v1/sessions", &json!({"pin": pin})).send().await.ok();
    let resolved = node.get(&format!("/v1/sessions/resolve?pin={pin}")).send().await.ok();
    assert_eq!(resolved["sessionId"], session["sessionId"]);
}

#[tokio::test]
async fn a_pin_in_use_is_refused() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let pin = word("pin");
    here.post("/api/v1/sessions", &json!({"pin": pin})).send().await.ok();
    there.post("/api/v1/sessions", &json!({"pin": pin})).send().await.refused(409, "pin_in_use");
}

#[tokio::test]
async fn of_many_sessions_that_want_one_pin_at_once_one_gets_it() {
    let cluster = shared::standard().await;
    let nodes = cluster.apis();
    let wish = json!({"pin": word("pin")});
    let replies = join_all((0..12).map(|turn| nodes[turn % 3].post("/api/v1/sessions", &wish).send())).await;
    let (won, lost): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
    assert_eq!(won.len(), 1);
    for reply in lost {
        reply.refused(409, "pin_in_use");
    }
}

#[tokio::test]
async fn a_pin_is_a_string_of_at_most_64_characters() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let longest = format!("{:p<64}", word("pin"));
    node.post("/api/v1/sessions", &json!({"pin": longest})).send().await.ok();
    for pin in [json!(longest + "p"), json!(7)] {
        let reply = node.post("/api/v1/sessions", &json!({"pin": pin})).send().await;
        assert_eq!(reply.status, 400, "{}", reply.text());
    }
}

#[tokio::test]
async fn a_deleted_session_gives_its_pin_back() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let wish = json!({"pin": word("pin")});
    let first = here.post("/api/v1/sessions", &wish).send().await.ok();
    let id = first["sessionId"].as_str().expect("an id");
    there.delete(&format!("/api/v1/sessions/{id}")).send().await.ok();
    let second = here.post("/api/v1/sessions", &wish).send().await.ok();
    assert_ne!(first["sessionId"], second["sessionId"]);
}

#[tokio::test]
async fn resolving_needs_a_pin() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for path in ["/api/v1/sessions/resolve", "/api/v1/sessions/resolve?pin="] {
        node.get(path).send().await.refused(400, "missing_pin");
    }
}

#[tokio::test]
async fn a_pin_nobody_holds_is_not_found() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let path = format!("/api/v1/sessions/resolve?pin={}", word("pin"));
    node.get(&path).send().await.refused(404, "pin_not_found");
}

#[tokio::test]
async fn offer_and_answer_pass_from_node_to_node() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let id = open(&here).await;
    for (side, writer, reader) in [("offer", &here, &there), ("answer", &there, &here)] {
        let path = format!("/api/v1/sessions/{id}/{side}");
        let sealed = envelope(&id);
        let stored = writer.post(&path, &sealed).send().await.ok();
        assert_eq!(stored, json!({"status": "ok", "ttlSec": 180}));
        for _ in 0..2 {
            assert_eq!(
                reader.get(&path).send().await.ok(),
                json!({"envelope": sealed}),
                "{side} can be read again"
            );
        }
    }
}

#[tokio::test]
async fn an_envelope_comes_back_as_it_was_sent_with_what_nobody_here_knows() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let id = open(&here).await;
    let path = format!("/api/v1/sessions/{id}/offer");
    let plain = envelope(&id).to_string();
    let sent = format!(r#"{}, "later": {{ "a": [2.50, null] }} }}"#, plain.trim_end_matches('}'));
    here.post(&path, &Value::Null).json(sent.clone()).send().await.ok();
    let read = there.get(&path).send().await.text();
    assert!(read.contains(r#""later": { "a": [2.50, null] }"#), "{read} instead of {sent}");
}

#[tokio::test]
async fn what_was_not_offered_yet_is_not_found() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let id = open(&node).await;
    for side in ["offer", "answer"] {
        node.get(&format!("/api/v1/sessions/{id}/{side}")).send().await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn an_envelope_out_of_shape_is_refused() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let id = open(&node).await;
    let path = format!("/api/v1/sessions/{id}/offer");
    let whole = envelope(&id);
    let cases = [
        ("version", None),
        ("version", Some(json!(2))),
        ("version", Some(json!("1"))),
        ("sessionId", None),
        ("sessionId", Some(json!(Uuid::new_v4().to_string()))),
        ("nonce", None),
        ("nonce", Some(json!("n".repeat(11)))),
        ("nonce", Some(json!("n".repeat(33)))),
        ("ct", None),
        ("ct", Some(json!("c".repeat(15)))),
        ("ct", Some(json!("c".repeat(65_537)))),
        ("ct", Some(json!(["c"]))),
    ];
    for (field, value) in cases {
        node.post(&path, &with(&whole, field, value)).send().await.refused(400, "invalid_envelope");
    }
    node.get(&path).send().await.refused(404, "not_found");
}

#[tokio::test]
async fn the_bounds_of_an_envelope_are_allowed() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let id = open(&node).await;
    for (nonce, ct) in [(12, 16), (32, 65_536)] {
        let sealed = json!({"version": 1, "sessionId": id, "nonce": "n".repeat(nonce), "ct": "c".repeat(ct)});
        node.post(&format!("/api/v1/sessions/{id}/offer"), &sealed).send().await.ok();
        assert_eq!(node.get(&format!("/api/v1/sessions/{id}/offer")).send().await.ok()["envelope"], sealed);
    }
}

#[tokio::test]
async fn an_envelope_that_is_not_json_is_refused() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let id = open(&node).await;
    let reply =
        node.post(&format!("/api/v1/sessions/{id}/offer"), &Value::Null).json("{\"version\":").send().await;
    reply.refused(400, "invalid_json");
}

#[tokio::test]
async fn a_session_nobody_opened_counts_as_expired() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let id = Uuid::new_v4().to_string();
    gone(&node, &id).await;
}

#[tokio::test]
async fn a_deleted_session_is_gone_on_every_node() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let id = open(&here).await;
    here.post(&format!("/api/v1/sessions/{id}/offer"), &envelope(&id)).send().await.ok();
    let deleted = here.delete(&format!("/api/v1/sessions/{id}")).send().await.ok();
    assert_eq!(deleted, json!({"status": "deleted"}));
    gone(&there, &id).await;
}

/// Asserts that every call about a session is refused with 410.
async fn gone(node: &Api, id: &str) {
    for side in ["offer", "answer"] {
        let path = format!("/api/v1/sessions/{id}/{side}");
        node.get(&path).send().await.refused(410, "session_expired");
        node.post(&path, &envelope(id)).send().await.refused(410, "session_expired");
    }
    node.delete(&format!("/api/v1/sessions/{id}")).send().await.refused(410, "session_expired");
}
