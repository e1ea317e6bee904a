//! Sockets whose node or client goes wrong.

use std::time::{Duration, Instant};

use conclave_tests::cluster::Cluster;
use conclave_tests::issuer::Issuer;
use conclave_tests::relay::{peer_id, poll, signal, word};
use conclave_tests::socket::{PATIENCE, Socket};
use conclave_tests::wait::eventually;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

/// A socket that goes on as if nothing happened around it.
async fn undisturbed(socket: &mut Socket) {
    let began = Instant::now();
    socket.ok(json!({"op": "ping"})).await;
    assert!(began.elapsed() < Duration::from_secs(5), "others wait: {:?}", began.elapsed());
}

#[tokio::test]
async fn whoever_misbehaves_goes_alone() {
    let cluster = Cluster::builder().unmetered().set("socket.hello_timeout", "1s").start().await;
    let api = cluster.follower().await;
    let mut other = Socket::open(&api).await;
    undisturbed(&mut other).await;

    let mut silent = Socket::open(&api).await;
    assert_eq!(silent.end().await, Some(1008), "nothing was said");
    undisturbed(&mut other).await;

    let mut large = Socket::open(&api).await;
    large.send(Message::text("x".repeat(5 << 20))).await;
    assert_eq!(large.read().await.expect("an answer first")["error"]["code"], "payload_too_large");
    assert_eq!(large.end().await, Some(1009));
    undisturbed(&mut other).await;

    let mut wild = Socket::open(&api).await;
    for _ in 0..10 {
        wild.send("no JSON").await;
    }
    assert_eq!(wild.end().await, Some(1008), "ten violations");
    undisturbed(&mut other).await;

    let mut two = Socket::open(&api).await;
    two.ok(json!({"op": "ping"})).await;
    two.send(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(two.end().await, Some(1003));
    undisturbed(&mut other).await;

    let mut flood = Socket::open(&api).await;
    for id in 0..150 {
        flood.say(&json!({"op": "ping", "id": id})).await;
    }
    let mut refused = 0;
    for id in 0..150 {
        let answer = flood.find("the next answer", |event| event.get("id").is_some()).await;
        assert_eq!(answer["id"], id, "every request is answered by its name, in its turn");
        assert!(answer["ok"] == true || answer["error"]["code"] == "rate_limited", "{answer}");
        refused += u32::from(answer["ok"] != true);
    }
    assert!(refused > 0, "so many at once are beyond the rate");
    for _ in 0..300 {
        flood.say(&json!({"op": "ping"})).await;
    }
    assert_eq!(flood.end().await, Some(1008), "it goes on");
    undisturbed(&mut other).await;
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_let_go_and_its_session_stays() {
    let cluster = Cluster::builder()
        .unmetered()
        .set("socket.ping_interval_min", "200ms")
        .set("socket.ping_interval_max", "200ms")
        .start()
        .await;
    let node = cluster.followers().await[0];
    let (api, admin) = (cluster.api(node), cluster.admin(node));
    let mut socket = Socket::open(&api).await;
    let session = socket.ok(json!({"op": "hello"})).await["session"].clone();
    // Nobody reads, so that no ping is answered; the server has given up when the socket is not listed any more.
    eventually(PATIENCE, "the connection ends", async || {
        (admin.get("/sockets").send().await.ok()["count"] == 0).then_some(())
    })
    .await;
    assert_eq!(socket.end().await, Some(1001));
    let mut again = Socket::open(&api).await;
    assert_eq!(again.ok(json!({"op": "hello", "resume": {"session": session}})).await["recovered"], true);
}

#[tokio::test]
async fn a_slow_reader_is_closed_and_comes_back_complete() {
    let cluster = Cluster::builder()
        .unmetered()
        .set("socket.messages_per_second", "10000")
        .set("socket.bytes_per_second", "64MiB")
        .set("socket.history_messages_max", "10000")
        .set("socket.history_bytes_max", "16MiB")
        .start()
        .await;
    let follower = cluster.followers().await[0];
    let (api, admin) = (cluster.api(follower), cluster.admin(follower));
    let room = word("room");
    let mut slow = Socket::open(&api).await;
    let session = slow.ok(json!({"op": "hello"})).await["session"].clone();
    let joined = slow.ok(json!({"op": "join", "room": room})).await;
    let mut quick = Socket::open(&api).await;
    quick.ok(json!({"op": "join", "room": room})).await;
    let mut speaker = Socket::open(&api).await;
    speaker.ok(json!({"op": "join", "room": room})).await;
    let fell_behind = async || {
        let counted = admin.get("/metrics").send().await.text();
        let dropped =
            counted.lines().find_map(|line| line.strip_prefix("conclave_sockets_messages_dropped_total "));
        dropped.is_some_and(|count| count != "0")
    };
    // As much as the queue and the system's buffers hold, and no more: once the queue is too long the client has a few
    // seconds to read why.
    let (mut count, data) = (0_u64, "x".repeat(60_000));
    while !fell_behind().await {
        count += 1;
        assert!(count <= 400, "it should have fallen behind by now");
        let said = speaker.ok(json!({"op": "publish", "data": data})).await;
        assert_eq!(said["offset"], count);
        assert_eq!(quick.push("message").await["offset"], count, "others are not held up");
    }
    let mut last = 0;
    let code = loop {
        match slow.read().await {
            Ok(event) if event["push"] == "message" => {
                assert_eq!(event["offset"], last + 1);
                last += 1;
            }
            Ok(_) => {}
            Err(code) => break code,
        }
    };
    assert_eq!(code, Some(4008), "after {last} messages");
    assert!(last < count);
    let mut again = Socket::open(&api).await;
    let resume = json!({"session": session, "epoch": joined["epoch"], "offset": last});
    assert_eq!(again.ok(json!({"op": "hello", "resume": resume})).await["recovered"], true);
    for turn in last + 1..=count {
        assert_eq!(again.push("message").await["offset"], turn);
    }
}

#[tokio::test]
async fn a_stranger_s_page_gets_no_socket() {
    let cluster = Cluster::builder().unmetered().env("ALLOWED_ORIGINS", "https://app.example").start().await;
    let api = cluster.follower().await;
    for origin in ["https://evil.example", "https://app.example.evil.example", "null"] {
        let refused = Socket::try_at(&api, "/ws", &[("origin", origin)]).await.err();
        assert_eq!(refused, Some(403), "{origin}");
    }
    let mut page =
        Socket::try_at(&api, "/ws", &[("origin", "https://app.example")]).await.expect("it is listed");
    page.ok(json!({"op": "ping"})).await;
}

#[tokio::test]
async fn a_stolen_session_id_is_worth_nothing_and_a_revoked_token_no_longer() {
    let issuer = Issuer::new();
    let cluster = issuer.guard(Cluster::builder().unmetered()).start().await;
    let (here, there) = cluster.two_followers().await;
    let grants = json!({"peers": ["alice*"], "rooms": ["lobby"], "scope": "socket signal"});
    let (alice, mallory) = (issuer.token("alice", grants.clone()), issuer.token("mallory", grants));
    let bearer = |token: &str| format!("Bearer {token}");
    assert_eq!(Socket::try_at(&here, "/ws", &[]).await.err(), Some(401));

    let mut owner =
        Socket::try_at(&here, "/ws", &[("authorization", &bearer(&alice))]).await.expect("it is granted");
    let session = owner.ok(json!({"op": "hello"})).await["session"].clone();
    let mut thief =
        Socket::try_at(&there, "/ws", &[("authorization", &bearer(&mallory))]).await.expect("granted");
    let welcome = thief.ok(json!({"op": "hello", "resume": {"session": session}})).await;
    assert_eq!(welcome["recovered"], false, "as if it had never been");
    assert_ne!(welcome["session"], session);
    owner.ok(json!({"op": "ping"})).await;

    owner.refused(json!({"op": "claim", "peerId": "bob"}), "forbidden").await;
    owner.refused(json!({"op": "join", "room": "cellar"}), "forbidden").await;
    assert_eq!(
        Socket::try_at(&there, "/ws?room=cellar", &[("authorization", &bearer(&alice))]).await.err(),
        Some(403)
    );
    owner.ok(json!({"op": "join", "room": "lobby"})).await;

    issuer.revoke("sub alice");
    let began = Instant::now();
    assert_eq!(owner.end().await, Some(1008));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    thief.ok(json!({"op": "ping"})).await;
}

#[tokio::test]
async fn a_join_that_the_node_has_no_room_for_leaves_all_as_it_was() {
    // The session of each socket and the room of the first.
    let cluster = Cluster::builder().unmetered().set("limits.sessions_max", "4").start().await;
    let followers = cluster.followers().await;
    let (full, other) = (cluster.api(followers[0]), cluster.api(followers[1]));
    let (own, wanted) = (word("room"), word("room"));
    let mut member = Socket::open(&full).await;
    member.ok(json!({"op": "join", "room": own})).await;
    let mut newcomer = Socket::open(&full).await;
    newcomer.ok(json!({"op": "hello"})).await;
    let mut third = Socket::open(&full).await;
    third.ok(json!({"op": "hello"})).await;

    member.refused(json!({"op": "join", "room": wanted}), "overloaded").await;
    newcomer.refused(json!({"op": "join", "room": wanted}), "overloaded").await;
    let mut far = Socket::open(&other).await;
    far.ok(json!({"op": "join", "room": wanted})).await;
    eventually(PATIENCE, "whoever was refused is no member", async || {
        let members = far.ok(json!({"op": "members"})).await["members"].clone();
        (members.as_array().map(Vec::len) == Some(1)).then_some(())
    })
    .await;
    let mut listener = Socket::open(&other).await;
    listener.ok(json!({"op": "join", "room": own})).await;
    assert_eq!(member.push("join").await["room"], own, "it hears of its own room");
    member.ok(json!({"op": "publish", "data": 1})).await;
    assert_eq!(listener.push("message").await["data"], 1);
    member.refused(json!({"op": "join", "room": ""}), "missing_fields").await;
    member.refused(json!({"op": "join", "room": "x".repeat(129)}), "invalid_input").await;
    member.ok(json!({"op": "publish", "data": 2})).await;
    assert_eq!(listener.push("message").await["data"], 2);
}

#[tokio::test]
async fn what_was_attached_to_a_node_that_was_frozen_is_attached_anew() {
    let mut cluster = Cluster::builder().unmetered().start().await;
    let followers = cluster.followers().await;
    let (frozen, other) = (followers[0], cluster.api(followers[1]));
    let (by_socket, by_stream) = (peer_id(), peer_id());
    let mut socket = Socket::open(&cluster.api(frozen)).await;
    socket.ok(json!({"op": "hello"})).await;
    socket.ok(json!({"op": "claim", "peerId": by_socket})).await;
    let path = format!("/api/v1/events?peerId={by_stream}");
    let mut stream = cluster.api(frozen).get(&path).open().await.expect("a stream");
    stream.expect("welcome").await;

    cluster.freeze(frozen);
    for peer in [&by_socket, &by_stream] {
        other.relay(&signal("x", peer, "offer", json!(1))).send().await.ok();
        eventually(PATIENCE + PATIENCE, "the lease lapses, and polls are answered", async || {
            let found = other.relay(&poll(peer)).send().await.ok()["messages"].clone();
            (found[0]["payload"] == 1).then_some(())
        })
        .await;
    }
    cluster.thaw(frozen);
    // It goes on once the node found out and attached both again.
    for peer in [&by_socket, &by_stream] {
        other.relay(&signal("x", peer, "offer", json!(2))).send().await.ok();
    }
    assert_eq!(socket.push("signal").await["payload"], 2);
    assert_eq!(stream.expect("signal").await.data["payload"], 2);
}

#[tokio::test]
async fn a_session_that_went_on_elsewhere_stays_there_when_its_node_comes_back() {
    let mut cluster = Cluster::builder().unmetered().start().await;
    let followers = cluster.followers().await;
    let (frozen, other) = (followers[0], cluster.api(followers[1]));
    let (by_socket, by_stream, by_third) = (peer_id(), peer_id(), peer_id());
    let mut before = Socket::open(&cluster.api(frozen)).await;
    let session = before.ok(json!({"op": "hello"})).await["session"].clone();
    before.ok(json!({"op": "claim", "peerId": by_socket})).await;
    before.ok(json!({"op": "join", "room": word("room")})).await;
    let path = format!("/api/v1/events?peerId={by_stream}");
    let mut stream = cluster.api(frozen).get(&path).open().await.expect("a stream");
    let id = stream.expect("welcome").await.id.expect("an id");
    let mut third = Socket::open(&cluster.api(frozen)).await;
    third.ok(json!({"op": "claim", "peerId": by_third})).await;

    cluster.freeze(frozen);
    let mut after = Socket::open(&other).await;
    let resume = json!({"op": "hello", "resume": {"session": session}});
    assert_eq!(after.ok(resume).await["recovered"], true);
    let mut next = other.get(&path).header("last-event-id", &id).open().await.expect("a stream");
    next.expect("welcome").await;
    other.relay(&signal("x", &by_third, "offer", json!(1))).send().await.ok();
    eventually(PATIENCE + PATIENCE, "the lease lapses, and polls are answered", async || {
        let found = other.relay(&poll(&by_third)).send().await.ok()["messages"].clone();
        (found[0]["payload"] == 1).then_some(())
    })
    .await;
    cluster.thaw(frozen);
    // What is still there is attached again.
    other.relay(&signal("x", &by_third, "offer", json!(2))).send().await.ok();
    assert_eq!(third.push("signal").await["payload"], 2);
    assert_eq!(before.end().await, Some(4009));
    while stream.next().await.is_some() {}

    for peer in [&by_socket, &by_stream] {
        other.relay(&signal("x", peer, "offer", json!(3))).send().await.ok();
    }
    assert_eq!(after.push("signal").await["payload"], 3);
    assert_eq!(next.expect("signal").await.data["payload"], 3);
    after.ok(json!({"op": "publish", "data": "still here"})).await;
}
