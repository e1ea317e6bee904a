//! `GET /api/v1/socket`, FlatBuffers: what the shipped clients of that schema rely on.

use std::time::{Duration, Instant};

use bytes::Bytes;
use conclave_sigma::Frame;
use conclave_tests::cluster::Cluster;
use conclave_tests::relay::word;
use conclave_tests::shared;
use conclave_tests::sigma::{Sigma, connect, data, now_ms, reconnect};
use conclave_tests::socket::Socket;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn data_reaches_the_other_members_in_either_encoding() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let room = word("room");
    let mut one = Sigma::connected(&here, &room, &word("session")).await;
    let mut other = Sigma::connected(&there, &room, &word("session")).await;
    let mut json = Socket::open(&there).await;
    json.ok(json!({"op": "join", "room": room})).await;
    for (payload, id) in [("first", 11), ("second", 12), ("second", 12), ("third", 13)] {
        one.say(&data(payload, id)).await;
    }
    for (offset, payload) in (1..).zip(["first", "second", "third"]) {
        assert_eq!(other.data().await, (Bytes::from_static(payload.as_bytes()), offset));
        let event = json.push("message").await;
        assert_eq!(event["offset"], offset);
        assert!(event.get("data").is_none() && event["base64"].is_string(), "{event}");
    }
    json.ok(json!({"op": "publish", "data": {"x": 1}})).await;
    for sigma in [&mut one, &mut other] {
        assert_eq!(sigma.data().await, (Bytes::from_static(br#"{"x":1}"#), 4));
    }
}

#[tokio::test]
async fn what_is_out_of_order_is_refused_by_number() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (room, session) = (word("room"), word("session"));
    let mut sigma = Sigma::open(&here, &room).await;
    sigma.refused(&data("x", 1), 401).await;
    sigma.refused(&reconnect("nobody-s", 0), 404).await;
    sigma.say(&connect(&session)).await;
    sigma.refused(&connect(&session), 409).await;
    let mut thief = Sigma::open(&there, &room).await;
    thief.refused(&connect(&session), 409).await;
    let mut homeless = Sigma(Socket::at(&there, "/ws").await);
    homeless.say(&connect(&word("session"))).await;
    homeless.refused(&data("x", 1), 403).await;
}

#[tokio::test]
async fn a_client_whose_allowance_is_spent_is_held_back_and_loses_nothing() {
    let cluster = Cluster::builder()
        .set("allowance.tiers.socket.limit", "20")
        .set("allowance.tiers.socket.window", "2s")
        .intercepted()
        .start()
        .await;
    let node = cluster.api(cluster.followers().await[0]);
    let room = word("room");
    let mut one = Sigma::connected(&node, &room, &word("session")).await;
    let mut other = Sigma::connected(&node, &room, &word("session")).await;
    // What is paid counts although the log does not know of it yet.
    cluster.net().slow(Duration::from_millis(40));
    let began = Instant::now();
    // More than two windows admit, of which the first is open already.
    for id in 1..=41 {
        one.say(&data("x", id)).await;
    }
    for offset in 1..=41 {
        assert_eq!(other.data().await.1, offset);
    }
    // A node's clock may be a few milliseconds ahead of the leader's.
    assert!(began.elapsed() > Duration::from_millis(1900), "done after {:?}", began.elapsed());
}

#[tokio::test]
async fn ten_violations_are_the_end() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let mut sigma = Sigma::connected(&node, &word("room"), &word("session")).await;
    sigma.refused(&Frame::Error { code: 1, message: String::new() }, 400).await;
    for len in [12, 12, 12, 12, 66_000, 66_000, 200_000, 200_000] {
        sigma.0.send(Message::binary(vec![0; len])).await;
        sigma.error(400).await;
    }
    sigma.say(&Frame::Error { code: 1, message: String::new() }).await;
    assert_eq!(sigma.0.end().await, Some(1008));
}

#[tokio::test]
async fn a_client_s_clock_is_its_own_affair() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let room = word("room");
    let mut one = Sigma::open(&node, &room).await;
    one.say(&connect(&word("session"))).await;
    let mut other = Sigma::connected(&node, &room, &word("session")).await;
    // Two that answer each heartbeat find an end, and the wrong clock is answered with the right one.
    one.say(&Frame::Heartbeat { timestamp: u64::MAX }).await;
    match one.hear().await {
        Frame::Heartbeat { timestamp } => assert!(timestamp.abs_diff(now_ms()) < 60_000, "{timestamp}"),
        frame => panic!("{frame:?} instead of a heartbeat"),
    }
    for (id, timestamp) in (1..).zip([0, 1, now_ms() - 6 * 60_000, now_ms() + 3_600_000, u64::MAX]) {
        one.say(&Frame::Data { payload: Bytes::from_static(b"x"), message_id: id, timestamp }).await;
        match other.beyond_heartbeats().await.expect("it is open") {
            Frame::Data { message_id, timestamp, .. } => {
                assert_eq!(message_id, id);
                assert!(timestamp.abs_diff(now_ms()) < 60_000, "others are told the server's time");
            }
            frame => panic!("{frame:?} instead of data"),
        }
    }
}

#[tokio::test]
async fn two_parties_that_answer_every_heartbeat_find_an_end() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let mut sigma = Sigma::open(&node, &word("room")).await;
    sigma.say(&connect(&word("session"))).await;
    let began = Instant::now();
    let mut heard = 0;
    // As the shipped client: one of its own, then one for each that comes.
    sigma.say(&Frame::Heartbeat { timestamp: now_ms() }).await;
    while let Ok(frame) = tokio::time::timeout(Duration::from_millis(2_500), sigma.next()).await {
        assert!(matches!(frame, Ok(Frame::Heartbeat { .. })), "{frame:?}");
        heard += 1;
        assert!(heard <= 1 + began.elapsed().as_secs(), "{heard} within {:?}", began.elapsed());
        sigma.say(&Frame::Heartbeat { timestamp: now_ms() }).await;
    }
    assert_eq!(heard, 1, "the answer to an answer is not answered");
}

#[tokio::test]
async fn whoever_waits_for_a_heartbeat_before_it_sends_its_own_hears_one() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let session = word("session");
    for opening in [connect(&session), reconnect(&session, 0)] {
        let mut sigma = Sigma::open(&node, &word("room")).await;
        sigma.say(&opening).await;
        assert!(matches!(sigma.hear().await, Frame::Heartbeat { .. }), "unasked");
        // Its answer is not answered, and no other comes.
        sigma.say(&Frame::Heartbeat { timestamp: now_ms() }).await;
        assert!(tokio::time::timeout(Duration::from_millis(1_500), sigma.next()).await.is_err());
        // Its own is.
        sigma.say(&Frame::Heartbeat { timestamp: now_ms() }).await;
        assert!(matches!(sigma.hear().await, Frame::Heartbeat { .. }));
    }
}

#[tokio::test]
async fn who_sends_only_one_heartbeat_hears_some_unasked() {
    let cluster = Cluster::builder().nodes(1).set("socket.ping_interval_min", "1s").start().await;
    let mut sigma = Sigma::connected(&cluster.api(1), &word("room"), &word("session")).await;
    let began = Instant::now();
    for _ in 0..3 {
        assert!(matches!(sigma.hear().await, Frame::Heartbeat { .. }));
        // The answer to it is not answered.
        sigma.say(&Frame::Heartbeat { timestamp: now_ms() }).await;
    }
    assert!(began.elapsed() > Duration::from_millis(2500), "one a second: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_client_that_sends_too_fast_is_slowed_down_and_loses_nothing() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let room = word("room");
    let mut one = Sigma::connected(&here, &room, &word("session")).await;
    let mut other = Sigma::connected(&there, &room, &word("session")).await;
    let began = Instant::now();
    for id in 1..=400 {
        one.say(&data("x", id)).await;
    }
    for offset in 1..=400 {
        assert_eq!(other.data().await.1, offset);
    }
    assert!(began.elapsed() > Duration::from_secs(2), "100 at once, then 100 a second");
    one.say(&Frame::Heartbeat { timestamp: now_ms() }).await;
    assert!(matches!(one.hear().await, Frame::Heartbeat { .. }), "no error came");
}

#[tokio::test]
async fn a_volatile_connection_keeps_nothing() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let room = word("room");
    let mut one = Sigma(Socket::at(&node, &format!("/ws?room={room}&volatile=1")).await);
    one.say(&connect(&word("session"))).await;
    let mut other = Sigma::connected(&node, &room, &word("session")).await;
    one.say(&data("gone", 7)).await;
    assert_eq!(other.data().await, (Bytes::from_static(b"gone"), 0));
    other.say(&data("kept", 1)).await;
    assert_eq!(one.data().await, (Bytes::from_static(b"kept"), 1));
}

#[tokio::test]
async fn whose_heartbeats_wait_behind_what_it_said_hears_one_all_the_same() {
    // The shipped client takes a minute without a heartbeat for the end, and may have said so much at once that its own is
    // read only after that; or it says only one.
    let cluster = Cluster::builder()
        .nodes(1)
        .set("socket.messages_per_second", "10")
        .set("socket.ping_interval_min", "200ms")
        .set("socket.ping_interval_max", "200ms")
        .start()
        .await;
    let mut sigma = Sigma::connected(&cluster.api(1), &word("room"), &word("session")).await;
    sigma.say(&Frame::Heartbeat { timestamp: now_ms() }).await;
    assert!(matches!(sigma.hear().await, Frame::Heartbeat { .. }));
    let began = Instant::now();
    for id in 1..=60 {
        sigma.say(&data("x", id)).await;
    }
    assert!(matches!(sigma.hear().await, Frame::Heartbeat { .. }));
    assert!(began.elapsed() < Duration::from_secs(4), "before all was read: {:?}", began.elapsed());
}
