//! `GET /api/v1/socket`, FlatBuffers: what the shipped clients of that schema rely on.

use std::time::{Duration, Instant};

use bytes::Bytes;
use conclave_sigma::Frame;
use conclave_tests::cluster::Cluster;
use conclave_tests::http::Api;
use conclave_tests::relay::word;
use conclave_tests::shared;
use conclave_tests::sigma::{Sigma, connect, data, now_ms, reconnect};
use conclave_tests::socket::{PATIENCE, Socket};
use conclave_tests::wait::eventually;
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
async fn a_reconnect_replays_what_was_missed() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
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
}

/// Waits until a session that was here counts as detached, so that it can be opened anew.
async fn reopened(api: &Api, room: &str, session: &str) -> Sigma {
    eventually(PATIENCE, "the session can be opened again", async || {
        let mut sigma = Sigma::open(api, room).await;
        sigma.say(&connect(session)).await;
        sigma.say(&Frame::Heartbeat { timestamp: now_ms() }).await;
        match sigma.hear().await {
            Frame::Heartbeat { .. } => Some(sigma),
            Frame::Error { code: 409, .. } => None,
            other => panic!("{other:?} instead of a heartbeat"),
        }
    })
    .await
}

#[tokio::test]
async fn a_page_that_was_reloaded_counts_from_one_again_and_is_heard() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (room, session) = (word("room"), word("session"));
    let mut other = Sigma::connected(&there, &room, &word("session")).await;
    let mut offset = 0;
    let mut hear = async |payload: &str| {
        offset += 1;
        assert_eq!(other.data().await, (Bytes::copy_from_slice(payload.as_bytes()), offset));
    };
    let mut one = Sigma::connected(&here, &room, &session).await;
    for turn in ["first", "second", "third"] {
        for id in 1..=3 {
            one.say(&data(format!("{turn} {id}"), id)).await;
            // A repetition within a numbering is one.
            one.say(&data(format!("{turn} {id}"), id)).await;
            hear(&format!("{turn} {id}")).await;
        }
        // The page goes as browsers let it go, or says goodbye before.
        if turn == "second" {
            one.say(&Frame::Disconnect { reason: String::new() }).await;
            assert_eq!(one.0.end().await, Some(1000));
        } else {
            one.0.close_with(1001).await;
        }
        one = reopened(&there, &room, &session).await;
    }
    // A reconnect goes on with its numbering.
    one.say(&data("last", 4)).await;
    hear("last").await;
    one.0.close().await;
    let mut again = Sigma::open(&here, &room).await;
    again.say(&reconnect(&session, 4)).await;
    again.say(&data("last", 4)).await;
    again.say(&data("new", 5)).await;
    hear("new").await;
}

#[tokio::test]
async fn a_client_that_says_its_own_counter_misses_nothing() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (room, session) = (word("room"), word("session"));
    let mut one = Sigma::connected(&here, &room, &session).await;
    let mut other = Sigma::connected(&there, &room, &word("session")).await;
    for id in 1..=3 {
        one.say(&data("mine", id)).await;
        assert_eq!(other.data().await.1, id);
    }
    for (offset, id) in (4..=8).zip(1..) {
        other.say(&data(format!("theirs {id}"), id)).await;
        assert_eq!(one.data().await.1, offset);
    }
    one.0.close_without_code().await;
    other.say(&data("meanwhile", 6)).await;
    // Its own last number is 3, and so is an offset that it never was told; 5 would be believed if it had sent less.
    for last in [3, 5, 99, 0] {
        let mut again = Sigma::open(&there, &room).await;
        again.say(&reconnect(&session, last)).await;
        let mut offsets = Vec::new();
        while offsets.last() != Some(&9) {
            offsets.push(again.data().await.1);
        }
        assert_eq!(offsets, [4, 5, 6, 7, 8, 9], "from what is known to have arrived, said {last}");
        again.0.close_without_code().await;
    }
}

/// What comes that is no heartbeat. Meanwhile pings are answered.
async fn beyond_heartbeats(sigma: &mut Sigma) -> Result<Frame, Option<u16>> {
    loop {
        match sigma.next().await {
            Ok(Frame::Heartbeat { .. }) => {}
            other => return other,
        }
    }
}

#[tokio::test]
async fn what_arrived_before_an_answered_ping_is_not_told_again_on_any_node() {
    let cluster = Cluster::builder()
        .unmetered()
        .set("socket.ping_interval_min", "100ms")
        .set("socket.ping_interval_max", "100ms")
        .start()
        .await;
    let followers = cluster.followers().await;
    let (here, there) = (cluster.api(followers[0]), cluster.api(followers[1]));
    let (room, session) = (word("room"), word("session"));
    let mut one = Sigma::connected(&here, &room, &session).await;
    let mut other = Sigma::connected(&there, &room, &word("session")).await;
    for id in 1..=5 {
        other.say(&data("arrived", id)).await;
        assert_eq!(one.data().await.1, id);
    }
    // Pings are answered while it is listened; afterwards nothing is answered any more.
    let quiet = tokio::time::timeout(Duration::from_secs(1), beyond_heartbeats(&mut one)).await;
    assert!(quiet.is_err(), "{quiet:?}");
    // Whoever answered no pings meanwhile was let go.
    let mut other = Sigma::connected(&there, &room, &word("session")).await;
    for id in 1..=2 {
        other.say(&data("not known to have arrived", id)).await;
    }
    one.0.close_without_code().await;
    let mut again = Sigma::open(&there, &room).await;
    again.say(&reconnect(&session, u64::MAX)).await;
    let first = again.data().await.1;
    assert!((6..=8).contains(&first), "told again from {first}");
    if first == 6 {
        assert_eq!(again.data().await.1, 7);
    }
}

#[tokio::test]
async fn a_node_that_dies_takes_no_knowledge_of_what_arrived_with_it() {
    let mut cluster = Cluster::builder()
        .unmetered()
        .set("socket.ping_interval_min", "100ms")
        .set("socket.ping_interval_max", "100ms")
        .start()
        .await;
    let followers = cluster.followers().await;
    let (here, there) = (cluster.api(followers[0]), cluster.api(followers[1]));
    let (room, session) = (word("room"), word("session"));
    let mut one = Sigma::connected(&here, &room, &session).await;
    let mut other = Sigma::connected(&there, &room, &word("session")).await;
    for id in 1..=5 {
        one.say(&data("mine", id)).await;
        assert_eq!(other.data().await.1, id);
    }
    for (offset, id) in (6..=10).zip(1..) {
        other.say(&data("arrived", id)).await;
        assert_eq!(one.data().await.1, offset);
    }
    // It is written down with a renewal of the lease, every 3 s.
    let quiet = tokio::time::timeout(Duration::from_secs(7), beyond_heartbeats(&mut one)).await;
    assert!(quiet.is_err(), "{quiet:?}");
    cluster.kill(followers[0]).await;
    let rest = beyond_heartbeats(&mut one);
    let rest = tokio::time::timeout(PATIENCE, rest).await.expect("the connection breaks");
    assert!(rest.is_err(), "{rest:?}");
    // Whoever answered no pings meanwhile was let go.
    let mut other = Sigma::connected(&there, &room, &word("session")).await;
    other.say(&data("meanwhile", 1)).await;
    let mut again = Sigma::open(&there, &room).await;
    again.say(&reconnect(&session, 5)).await;
    assert_eq!(again.data().await, (Bytes::from_static(b"meanwhile"), 11));
}

#[tokio::test]
async fn a_client_whose_allowance_is_spent_is_held_back_and_loses_nothing() {
    let cluster = Cluster::builder()
        .set("allowance.tiers.signal.limit", "20")
        .set("allowance.tiers.signal.window", "2s")
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
        match beyond_heartbeats(&mut other).await.expect("it is open") {
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

#[tokio::test]
async fn who_said_more_itself_than_the_history_holds_misses_nothing() {
    let cluster = Cluster::builder().nodes(1).set("socket.history_messages_max", "64").start().await;
    let node = cluster.api(1);
    let (room, session) = (word("room"), word("session"));
    let mut one = Sigma::connected(&node, &room, &session).await;
    let mut other = Sigma::connected(&node, &room, &word("session")).await;
    for id in 1..=100 {
        one.say(&data("mine", id)).await;
        assert_eq!(other.data().await.1, id);
    }
    one.settled().await;
    one.0.close_without_code().await;
    other.say(&data("meanwhile", 1)).await;
    let mut again = Sigma::open(&node, &room).await;
    again.say(&reconnect(&session, 100)).await;
    assert_eq!(again.data().await, (Bytes::from_static(b"meanwhile"), 101));
}

/// The offsets that a session is told when it comes back, up to `last`.
async fn told_again(again: &mut Sigma, session: &str, last: u64) -> Vec<u64> {
    again.say(&reconnect(session, u64::MAX)).await;
    let mut offsets = Vec::new();
    while offsets.last() != Some(&last) {
        offsets.push(again.data().await.1);
    }
    offsets
}

#[tokio::test]
async fn a_line_that_breaks_every_second_gets_on() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (room, session) = (word("room"), word("session"));
    let one = Sigma::connected(&here, &room, &session).await;
    let mut other = Sigma::connected(&there, &room, &word("session")).await;
    one.0.close_without_code().await;
    let mut first = 1;
    for last in 1..=4 {
        other.say(&data("meanwhile", last)).await;
        other.settled().await;
        let mut again = Sigma::open(&there, &room).await;
        let told = told_again(&mut again, &session, last).await;
        assert_eq!(told, (first..=last).collect::<Vec<_>>());
        // Less than the shortest time between two pings of a session that is there for the first time.
        let quiet = tokio::time::timeout(Duration::from_secs(1), beyond_heartbeats(&mut again)).await;
        assert!(quiet.is_err(), "{quiet:?}");
        again.0.close_without_code().await;
        first = last + 1;
    }
}

#[tokio::test]
async fn whose_place_is_in_the_history_no_more_is_told_once_and_told_what_is_left() {
    const LEFT: u64 = 64;
    let cluster = Cluster::builder().nodes(1).set("socket.history_messages_max", "64").start().await;
    let node = cluster.api(1);
    let (room, session) = (word("room"), word("session"));
    let one = Sigma::connected(&node, &room, &session).await;
    let mut other = Sigma::connected(&node, &room, &word("session")).await;
    one.0.close_without_code().await;
    for id in 1..=100 {
        other.say(&data("meanwhile", id)).await;
    }
    other.settled().await;
    let mut again = Sigma::open(&node, &room).await;
    again.refused(&reconnect(&session, 0), 410).await;
    for offset in 100 - LEFT + 1..=100 {
        assert_eq!(again.data().await.1, offset);
    }
    // One that takes the word for the end comes back at once, while the room goes on: it is not told for ever that it is late.
    again.0.close_without_code().await;
    for id in 101..=110 {
        other.say(&data("meanwhile", id)).await;
    }
    other.settled().await;
    let mut again = Sigma::open(&node, &room).await;
    let told = told_again(&mut again, &session, 110).await;
    assert_eq!(told, (110 - LEFT + 1..=110).collect::<Vec<_>>());
    // What went by itself is said again once something has arrived.
    let quiet = tokio::time::timeout(Duration::from_secs(1), beyond_heartbeats(&mut again)).await;
    assert!(quiet.is_err(), "{quiet:?}");
    again.0.close_without_code().await;
    for id in 111..=180 {
        other.say(&data("meanwhile", id)).await;
    }
    other.settled().await;
    let mut again = Sigma::open(&node, &room).await;
    again.refused(&reconnect(&session, 0), 410).await;
    assert_eq!(again.data().await.1, 180 - LEFT + 1);
}
