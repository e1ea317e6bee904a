//! Nothing outlives its TTL, and touching prolongs it. On a cluster where everything is brief.

use std::time::{Duration, Instant};

use conclave_tests::http::{Api, Call};
use conclave_tests::relay::{Pair, invite_code, lookup, peer_id, poll, register, signal, word};
use conclave_tests::shared::{self, BRIEF_TTL_MS};
use conclave_tests::wait::eventually;
use serde_json::{Value, json};

const TTL: Duration = Duration::from_millis(BRIEF_TTL_MS);
const SLACK: Duration = Duration::from_secs(5);

/// Repeats a call that changes nothing until it finds nothing, and checks that this was not before its time.
async fn expires(began: Instant, call: impl Fn() -> Call, gone: impl Fn(u16, &Value) -> bool) {
    eventually(TTL + SLACK, "it expires", async || {
        let reply = call().send().await;
        gone(reply.status, &reply.json()).then_some(())
    })
    .await;
    assert!(began.elapsed() >= TTL, "gone after {:?}", began.elapsed());
}

/// Asserts that something is still there, which `story` tells with how long it may have gone untouched. Where that is
/// a TTL, because the machine was busy, there is nothing to see and the story is told again.
async fn in_time(mut story: impl AsyncFnMut() -> (Duration, bool)) {
    eventually(TTL * 40, "the machine has time for the story", async || {
        let (untouched, still_there) = story().await;
        assert!(still_there || untouched >= TTL, "gone after {untouched:?}");
        still_there.then_some(())
    })
    .await;
}

/// Lets a TTL pass on the cluster's own clock: a registration made now is gone afterwards.
async fn one_ttl(node: &Api) {
    let (code, began) = (invite_code(), Instant::now());
    node.relay(&register(&code, &peer_id())).send().await.ok();
    expires(began, || node.relay(&lookup(&code)), |status, _| status == 404).await;
}

#[tokio::test]
async fn a_registration_expires_and_its_code_is_free() {
    let (_cluster, here, there) = shared::brief().await.and_two_nodes().await;
    let (code, began) = (invite_code(), Instant::now());
    here.relay(&register(&code, &peer_id())).send().await.ok();
    expires(began, || there.relay(&lookup(&code)), |status, _| status == 404).await;
    there.relay(&register(&code, &peer_id())).send().await.ok();
}

#[tokio::test]
async fn a_transfer_expires_with_its_chunks() {
    let (_cluster, here, there) = shared::brief().await.and_two_nodes().await;
    let (pair, began) = (Pair::fresh(), Instant::now());
    let opened = here.post("/api/v1/transfers", &pair.open(2)).send().await.status(201);
    let at = format!("/api/v1/transfers/{}", opened["transferId"].as_str().expect("an id"));
    here.put(&format!("{at}/chunks/0"), "some bytes").send().await;
    one_ttl(&here).await;
    there.get(&format!("{at}/chunks/0")).send().await.refused(404, "not_found");
    assert_eq!(there.relay(&pair.receive()).send().await.ok(), json!({"status": "expired"}));
    assert!(began.elapsed() >= TTL);
}

#[tokio::test]
async fn a_chunk_prolongs_the_life_of_its_transfer() {
    let (_cluster, node) = shared::brief().await.and_node().await;
    in_time(async || {
        let pair = Pair::fresh();
        let mut pace = tokio::time::interval(TTL / 4);
        let (mut touched, mut longest) = (Instant::now(), Duration::ZERO);
        for index in 0..8 {
            pace.tick().await;
            let began = Instant::now();
            node.relay(&pair.send(index, 8, "AAEC")).send().await.ok();
            longest = longest.max(touched.elapsed());
            touched = began;
        }
        let first = node.relay(&pair.receive()).send().await.ok();
        (longest.max(touched.elapsed()), first["chunk"]["chunkIndex"] == 0)
    })
    .await;
}

#[tokio::test]
async fn an_acknowledgement_is_forgotten() {
    let (_cluster, node) = shared::brief().await.and_node().await;
    let pair = Pair::fresh();
    in_time(async || {
        let began = Instant::now();
        node.relay(&pair.ack()).send().await.ok();
        let status = node.relay(&pair.ack_status()).send().await.ok();
        (began.elapsed(), status == json!({"acknowledged": true}))
    })
    .await;
    one_ttl(&node).await;
    assert_eq!(node.relay(&pair.ack_status()).send().await.ok(), json!({"acknowledged": false}));
}

#[tokio::test]
async fn a_signal_nobody_polled_expires() {
    let (_cluster, here, there) = shared::brief().await.and_two_nodes().await;
    let to = peer_id();
    here.relay(&signal(&peer_id(), &to, "offer", json!({}))).send().await.ok();
    one_ttl(&here).await;
    assert_eq!(there.relay(&poll(&to)).send().await.ok(), json!({"messages": []}));
}

#[tokio::test]
async fn a_session_expires_and_so_does_what_its_pin_resolves_to() {
    let (_cluster, here, there) = shared::brief().await.and_two_nodes().await;
    let (pin, began) = (word("pin"), Instant::now());
    let session = here.post("/api/v1/sessions", &json!({"pin": pin})).send().await.ok();
    let id = session["sessionId"].as_str().expect("an id");
    expires(began, || there.get(&format!("/api/v1/sessions/{id}/offer")), |status, _| status == 410).await;
    let resolved = there.get(&format!("/api/v1/sessions/resolve?pin={pin}")).send().await;
    let code = resolved.status(404)["error"].clone();
    assert!(code == "session_expired" || code == "pin_not_found", "{code}");
    here.post("/api/v1/sessions", &json!({"pin": pin})).send().await.ok();
}
