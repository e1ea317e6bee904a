//! `GET /api/v1/socket`, FlatBuffers: what the shipped clients of that schema rely on.

use bytes::Bytes;
use conclave_sigma::Frame;
use conclave_tests::relay::word;
use conclave_tests::shared;
use conclave_tests::sigma::{Sigma, connect, data, now_ms, reconnect};
use conclave_tests::socket::Socket;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn data_reaches_the_other_members_in_either_encoding() {
    let cluster = shared::standard().await;
    let (here, there) = cluster.two_followers().await;
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
    let cluster = shared::standard().await;
    let (here, there) = cluster.two_followers().await;
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
async fn a_reconnect_replays_what_was_missed() {
    let cluster = shared::standard().await;
    let (here, there) = cluster.two_followers().await;
    let (room, session) = (word("room"), word("session"));
    let mut one = Sigma::connected(&here, &room, &session).await;
    let mut other = Sigma::connected(&there, &room, &word("session")).await;
    other.say(&data("a", 1)).await;
    assert_eq!(one.data().await.1, 1);
    one.0.close().await;
    for (payload, id) in [("b", 2), ("c", 3)] {
        other.say(&data(payload, id)).await;
    }
    let mut again = Sigma::open(&there, &room).await;
    again.say(&reconnect(&session, 1)).await;
    for (offset, payload) in [(2, "b"), (3, "c")] {
        assert_eq!(again.data().await, (Bytes::from_static(payload.as_bytes()), offset));
    }
    other.say(&data("live", 4)).await;
    assert_eq!(again.data().await.1, 4);
    again.say(&Frame::Disconnect { reason: String::new() }).await;
    assert_eq!(again.0.end().await, Some(1000));
    let mut late = Sigma::open(&here, &room).await;
    late.refused(&reconnect(&session, 4), 404).await;
    let lost = Sigma::connected(&here, &room, &session).await;
    lost.0.close().await;
    let mut lost = Sigma::open(&here, &room).await;
    lost.refused(&reconnect(&session, 99), 410).await;
    other.say(&data("still live", 5)).await;
    assert_eq!(lost.data().await.1, 5);
}

#[tokio::test]
async fn ten_violations_are_the_end() {
    let cluster = shared::standard().await;
    let node = cluster.follower().await;
    let mut sigma = Sigma::connected(&node, &word("room"), &word("session")).await;
    let late = now_ms() - 6 * 60_000;
    let stale = Frame::Data { payload: Bytes::new(), message_id: 1, timestamp: late };
    for _ in 0..4 {
        sigma.refused(&stale, 400).await;
    }
    sigma.refused(&Frame::Heartbeat { timestamp: now_ms() + 2 * 60_000 }, 400).await;
    sigma.refused(&Frame::Error { code: 1, message: String::new() }, 400).await;
    for _ in 0..3 {
        sigma.0.send(Message::binary(vec![0; 12])).await;
        assert!(matches!(sigma.hear().await, Frame::Error { code: 400, .. }));
    }
    sigma.say(&stale).await;
    assert_eq!(sigma.0.end().await, Some(1008));
}

#[tokio::test]
async fn a_volatile_connection_keeps_nothing() {
    let cluster = shared::standard().await;
    let node = cluster.follower().await;
    let room = word("room");
    let mut one = Sigma(Socket::at(&node, &format!("/ws?room={room}&volatile=1")).await);
    one.say(&connect(&word("session"))).await;
    let mut other = Sigma::connected(&node, &room, &word("session")).await;
    one.say(&data("gone", 7)).await;
    assert_eq!(other.data().await, (Bytes::from_static(b"gone"), 0));
    other.say(&data("kept", 1)).await;
    assert_eq!(one.data().await, (Bytes::from_static(b"kept"), 1));
}
