//! `waitMs`: an answer as soon as there is something, on whatever node it happens.

use std::time::{Duration, Instant};

use conclave_tests::http::{Call, Reply};
use conclave_tests::relay::{Pair, peer_id, poll, signal, with};
use conclave_tests::shared;
use serde_json::json;
use uuid::Uuid;

/// Much longer than any of these tests takes unless a wake is lost.
const LONG_MS: u32 = 20_000;
/// What a wake across nodes may take here, where other tests keep the machine busy.
const SOON: Duration = Duration::from_secs(5);
const SHORT_MS: u32 = 400;

/// Starts `waiting`, makes sure it waits, does `then`, and returns the answer, which has to come soon after.
async fn woken(waiting: Call, then: Call) -> Reply {
    let mut waiting = tokio::spawn(waiting.send());
    let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(early.is_err(), "answered before there was anything: {early:?}");
    then.send().await.ok();
    let began = Instant::now();
    let reply = waiting.await.expect("the call gets an answer");
    assert!(began.elapsed() < SOON, "woken only after {:?}", began.elapsed());
    reply
}

#[tokio::test]
async fn a_receive_is_woken_by_a_send_on_another_node() {
    let (_cluster, sender, receiver) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    sender.relay(&pair.send(1, 2, "later half")).send().await.ok();
    receiver.relay(&pair.receive()).send().await.ok();
    let waiting = receiver.relay(&with(&pair.receive(), "waitMs", Some(json!(LONG_MS))));
    let reply = woken(waiting, sender.relay(&pair.send(0, 2, "first half"))).await;
    assert_eq!(reply.ok()["chunk"]["data"], "first half");
}

#[tokio::test]
async fn a_receive_that_comes_before_the_first_chunk_is_woken_too() {
    let (_cluster, sender, receiver) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    let waiting = receiver.relay(&with(&pair.receive(), "waitMs", Some(json!(LONG_MS))));
    let reply = woken(waiting, sender.relay(&pair.send(0, 1, "the only one"))).await;
    assert_eq!(reply.ok()["chunk"]["data"], "the only one");
}

#[tokio::test]
async fn a_poll_is_woken_by_a_signal_on_another_node() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let to = peer_id();
    let waiting = there.relay(&with(&poll(&to), "waitMs", Some(json!(LONG_MS))));
    let reply = woken(waiting, here.relay(&signal(&peer_id(), &to, "offer", json!({"n": 1})))).await;
    assert_eq!(reply.ok()["messages"][0]["payload"], json!({"n": 1}));
}

#[tokio::test]
async fn a_reader_of_an_offer_is_woken_by_it() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let session = here.post("/api/v1/sessions", &json!({})).send().await.ok();
    let id = session["sessionId"].as_str().expect("an id").to_owned();
    let nonce = Uuid::new_v4().simple().to_string();
    let envelope = json!({"version": 1, "sessionId": id, "nonce": nonce, "ct": "c".repeat(16)});
    for side in ["offer", "answer"] {
        let path = format!("/api/v1/sessions/{id}/{side}");
        let waiting = there.get(&format!("{path}?waitMs={LONG_MS}"));
        let reply = woken(waiting, here.post(&path, &envelope)).await;
        assert_eq!(reply.ok(), json!({"envelope": envelope}));
    }
}

#[tokio::test]
async fn of_two_receivers_that_wait_one_gets_the_chunk() {
    let (_cluster, one, other) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    one.relay(&pair.send(0, 2, "first")).send().await.ok();
    one.relay(&pair.receive()).send().await.ok();
    let wish = with(&pair.receive(), "waitMs", Some(json!(2_000)));
    let (first, second, _) = tokio::join!(
        one.relay(&wish).send(),
        other.relay(&wish).send(),
        one.relay(&pair.send(1, 2, "second")).send()
    );
    let statuses = [first.ok()["status"].clone(), second.ok()["status"].clone()];
    let got = statuses.iter().filter(|status| **status == "chunkAvailable").count();
    let done = statuses.iter().filter(|status| **status == "done").count();
    assert_eq!((got, done), (1, 1), "the other sees that all is delivered: {statuses:?}");
}

#[tokio::test]
async fn a_wait_that_passes_ends_as_if_there_had_been_none() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let pair = Pair::fresh();
    node.relay(&pair.send(1, 2, "AAEC")).send().await.ok();
    node.relay(&pair.receive()).send().await.ok();

    let began = Instant::now();
    let receive = node.relay(&with(&pair.receive(), "waitMs", Some(json!(SHORT_MS)))).send();
    let polled = node.relay(&with(&poll(&peer_id()), "waitMs", Some(json!(SHORT_MS)))).send();
    let (received, polled) = tokio::join!(receive, polled);
    let took = began.elapsed();
    assert_eq!(received.ok(), json!({"status": "waiting"}));
    assert_eq!(polled.ok(), json!({"messages": []}));
    assert!(took >= Duration::from_millis(SHORT_MS.into()), "only {took:?}");
    assert!(took < Duration::from_millis(SHORT_MS.into()) + SOON, "{took:?}");
}

#[tokio::test]
async fn what_is_there_already_is_given_at_once() {
    let (_cluster, sender, receiver) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    sender.relay(&pair.send(0, 1, "AAEC")).send().await.ok();
    let began = Instant::now();
    let wish = with(&pair.receive(), "waitMs", Some(json!(LONG_MS)));
    assert_eq!(receiver.relay(&wish).send().await.ok()["status"], "chunkAvailable");
    assert_eq!(receiver.relay(&wish).send().await.ok()["status"], "done", "nothing is left to wait for");
    assert!(began.elapsed() < SOON);
}

#[tokio::test]
async fn a_wait_has_its_bounds() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for wait in [json!(-1), json!(25_001), json!(0.5), json!("100")] {
        for wish in [Pair::fresh().receive(), poll(&peer_id())] {
            node.relay(&with(&wish, "waitMs", Some(wait.clone()))).send().await.refused(400, "invalid_input");
        }
    }
    assert_eq!(node.relay(&with(&poll(&peer_id()), "waitMs", Some(json!(0)))).send().await.status, 200);
}
