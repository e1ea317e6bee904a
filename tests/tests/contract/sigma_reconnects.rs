//! `GET /api/v1/socket`, FlatBuffers: a session whose connection broke comes back, and what it is told then.

use std::time::Duration;

use bytes::Bytes;
use conclave_sigma::Frame;
use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::http::Api;
use conclave_tests::relay::word;
use conclave_tests::shared;
use conclave_tests::sigma::{Sigma, connect, data, now_ms, reconnect};
use conclave_tests::socket::PATIENCE;
use conclave_tests::wait::eventually;

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
    // No ping is answered meanwhile, which would tell that everything arrived.
    let cluster = Cluster::builder()
        .unmetered()
        .set("socket.ping_interval_min", "1h")
        .set("socket.ping_interval_max", "1h")
        .start()
        .await;
    let followers = cluster.followers().await;
    let (here, there) = (cluster.api(followers[0]), cluster.api(followers[1]));
    // Its own last number is 3, and so is an offset that it never was told; 5 would be believed if it had sent less.
    for last in [3, 5, 99, 0] {
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
        let mut again = Sigma::open(&there, &room).await;
        let told = told_again(&mut again, &reconnect(&session, last), 9).await;
        assert_eq!(told, [4, 5, 6, 7, 8, 9], "from what is known to have arrived, said {last}");
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
    let quiet = tokio::time::timeout(Duration::from_secs(1), one.beyond_heartbeats()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    // Whoever answered no pings meanwhile was let go.
    let mut other = Sigma::connected(&there, &room, &word("session")).await;
    for id in 1..=2 {
        other.say(&data("not known to have arrived", id)).await;
    }
    one.0.close_without_code().await;
    // What arrived is written down with the end of the connection. Whoever is faster than that is told again.
    let left = format!("/admin/v1/sockets?node={}", followers[0]);
    eventually(READY, "the connection's end is known", async || {
        let sockets = cluster.admin(1).get(&left).send().await.ok();
        sockets["items"].as_array()?.is_empty().then_some(())
    })
    .await;
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
    let quiet = tokio::time::timeout(Duration::from_secs(7), one.beyond_heartbeats()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    cluster.kill(followers[0]).await;
    let rest = one.beyond_heartbeats();
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

/// The offsets that a session is told when it comes back with `reconnect`, up to `last`.
async fn told_again(again: &mut Sigma, reconnect: &Frame, last: u64) -> Vec<u64> {
    again.say(reconnect).await;
    let mut offsets = Vec::new();
    while offsets.last() != Some(&last) {
        offsets.push(again.data().await.1);
    }
    offsets
}

#[tokio::test]
async fn a_line_that_breaks_every_second_gets_on() {
    let cluster = Cluster::builder().unmetered().start().await;
    let followers = cluster.followers().await;
    let (here, there) = (cluster.api(followers[0]), cluster.api(followers[1]));
    let (room, session) = (word("room"), word("session"));
    // What arrived is written down with the end of the connection. Whoever is faster than that is told again.
    let is_left_with = async |node: u64, count: usize| {
        let sockets = format!("/admin/v1/sockets?node={node}");
        eventually(READY, "the connection's end is known", async || {
            let sockets = cluster.admin(1).get(&sockets).send().await.ok();
            (sockets["items"].as_array()?.len() == count).then_some(())
        })
        .await;
    };
    let one = Sigma::connected(&here, &room, &session).await;
    let mut other = Sigma::connected(&there, &room, &word("session")).await;
    one.0.close_without_code().await;
    is_left_with(followers[0], 0).await;
    let mut first = 1;
    for last in 1..=4 {
        other.say(&data("meanwhile", last)).await;
        other.settled().await;
        let mut again = Sigma::open(&there, &room).await;
        let told = told_again(&mut again, &reconnect(&session, u64::MAX), last).await;
        assert_eq!(told, (first..=last).collect::<Vec<_>>());
        // Less than the shortest time between two pings of a session that is there for the first time.
        let quiet = tokio::time::timeout(Duration::from_secs(1), again.beyond_heartbeats()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        again.0.close_without_code().await;
        is_left_with(followers[1], 1).await;
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
    let told = told_again(&mut again, &reconnect(&session, u64::MAX), 110).await;
    // What a ping told to have arrived before is left out.
    assert!((110 - LEFT + 1..=101).contains(&told[0]), "{told:?}");
    assert_eq!(told, (told[0]..=110).collect::<Vec<_>>());
    // What went by itself is said again once something has arrived.
    let quiet = tokio::time::timeout(Duration::from_secs(1), again.beyond_heartbeats()).await;
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
