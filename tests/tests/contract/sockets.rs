//! `GET /api/v1/socket`, JSON: sessions, mailboxes, watches, over all nodes.

use conclave_tests::cluster::Cluster;
use conclave_tests::relay::{Pair, invite_code, lookup, peer_id, poll, signal, word};
use conclave_tests::shared;
use conclave_tests::socket::{PATIENCE, Socket};
use serde_json::json;

#[tokio::test]
async fn a_hello_is_welcomed_twice() {
    let cluster = shared::standard().await;
    let mut socket = Socket::open(&cluster.follower().await).await;
    let answer = socket.ok(json!({"op": "hello"})).await;
    let welcome = socket.push("welcome").await;
    let session = answer["session"].as_str().expect("a session id");
    assert_eq!(session.len(), 32);
    assert_eq!(welcome["session"], session);
    assert_eq!(answer["recovered"], false);
    assert_eq!(answer["leaseMs"], 300_000);
    socket.refused(json!({"op": "hello"}), "already_open").await;
}

#[tokio::test]
async fn a_signal_posted_on_one_node_arrives_on_a_socket_of_another_and_in_no_poll() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (from, to) = (peer_id(), peer_id());
    let mut socket = Socket::open(&there).await;
    socket.ok(json!({"op": "claim", "peerId": to})).await;
    let mut numbers = Vec::new();
    for turn in 0..5 {
        here.relay(&signal(&from, &to, "offer", json!({"turn": turn}))).send().await.ok();
        let push = socket.push("signal").await;
        numbers.push(push["seq"].as_u64().expect("a number"));
        assert_eq!((&push["from"], &push["type"]), (&json!(from), &json!("offer")));
        assert_eq!(push["payload"], json!({"turn": turn}));
        assert_eq!(here.relay(&poll(&to)).send().await.ok(), json!({"messages": []}));
    }
    // What was acknowledged is gone, what was not comes by poll once the socket is gone.
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]) && numbers[4] < 1 << 53, "{numbers:?}");
    socket.ok(json!({"op": "ack", "seq": numbers[2]})).await;
    socket.close().await;
    let polled = conclave_tests::wait::eventually(conclave_tests::socket::PATIENCE, "the rest", async || {
        let polled = here.relay(&poll(&to)).send().await.ok();
        polled["messages"].as_array().filter(|messages| !messages.is_empty()).cloned()
    })
    .await;
    let turns: Vec<_> = polled.iter().map(|message| message["payload"]["turn"].clone()).collect();
    assert_eq!(turns, [json!(3), json!(4)]);
}

#[tokio::test]
async fn signals_go_from_socket_to_socket_byte_for_byte() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (alice, bob) = (peer_id(), peer_id());
    let (mut one, mut other) = (Socket::open(&here).await, Socket::open(&there).await);
    one.refused(json!({"op": "signal", "to": bob, "type": "offer", "payload": 1}), "not_claimed").await;
    one.ok(json!({"op": "claim", "peerId": alice})).await;
    let code = invite_code();
    other.ok(json!({"op": "claim", "peerId": bob, "inviteCode": code})).await;
    assert_eq!(one.ok(json!({"op": "lookup", "inviteCode": code})).await["peerId"], bob);
    assert_eq!(here.relay(&lookup(&code)).send().await.ok()["peerId"], bob);
    let payload = r#"{"sdp":"v=0\r\n" ,  "z":1.0e5,"z":2}"#;
    let text = format!(r#"{{"op":"signal","to":"{bob}","type":"answer","payload":{payload}}}"#);
    one.send(text).await;
    let raw = other.next_text().await;
    assert!(raw.contains(&format!("\"payload\":{payload}")), "{raw}");
}

#[tokio::test]
async fn a_peer_id_is_one_session_s() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let peer = peer_id();
    let (mut one, mut other) = (Socket::open(&here).await, Socket::open(&there).await);
    one.ok(json!({"op": "claim", "peerId": peer})).await;
    one.ok(json!({"op": "claim", "peerId": peer})).await;
    other.refused(json!({"op": "claim", "peerId": peer}), "peer_in_use").await;
    // A second claim moves, and frees the first.
    one.ok(json!({"op": "claim", "peerId": peer_id()})).await;
    other.ok(json!({"op": "claim", "peerId": peer})).await;
}

#[tokio::test]
async fn a_goodbye_frees_everything_at_once() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (room, peer) = (word("room"), peer_id());
    let (mut one, mut other) = (Socket::open(&here).await, Socket::open(&there).await);
    let session = one.ok(json!({"op": "hello"})).await["session"].clone();
    one.ok(json!({"op": "claim", "peerId": peer})).await;
    let joined = one.ok(json!({"op": "join", "room": room})).await;
    other.ok(json!({"op": "join", "room": room})).await;
    one.ok(json!({"op": "bye"})).await;
    other.ok(json!({"op": "claim", "peerId": peer})).await;
    assert_eq!(other.push("leave").await["member"], joined["member"]);
    assert_eq!(one.end().await, Some(1000));
    let mut again = Socket::open(&here).await;
    let welcome = again.ok(json!({"op": "hello", "resume": {"session": session}})).await;
    assert_eq!(welcome["recovered"], false);
    // One who never said anything else may go, too.
    let mut brief = Socket::open(&here).await;
    brief.ok(json!({"op": "bye"})).await;
    assert_eq!(brief.end().await, Some(1000));
}

#[tokio::test]
async fn a_close_in_good_order_frees_the_peer_id_and_keeps_the_session() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    for code in [1000, 1001] {
        let peer = peer_id();
        let mut one = Socket::open(&here).await;
        let session = one.ok(json!({"op": "hello"})).await["session"].clone();
        one.ok(json!({"op": "claim", "peerId": peer})).await;
        one.close_with(code).await;
        let mut other = Socket::open(&there).await;
        let claim = json!({"op": "claim", "peerId": peer});
        conclave_tests::wait::eventually(
            std::time::Duration::from_secs(2),
            "the peer id is free",
            async || (other.ask(claim.clone()).await["ok"] == true).then_some(()),
        )
        .await;
        other.ok(json!({"op": "bye"})).await;
        // Resumed all the same, it has its mailbox again.
        let mut again = Socket::open(&there).await;
        let welcome = again.ok(json!({"op": "hello", "resume": {"session": session}})).await;
        assert_eq!(welcome["recovered"], true);
        here.relay(&signal("x", &peer, "ready", json!(7))).send().await.ok();
        assert_eq!(again.push("signal").await["payload"], 7);
    }
    // A connection that is closed without a word on why may come back.
    let peer = peer_id();
    let mut one = Socket::open(&here).await;
    one.ok(json!({"op": "claim", "peerId": peer})).await;
    one.close_without_code().await;
    let mut other = Socket::open(&there).await;
    other.refused(json!({"op": "claim", "peerId": peer}), "peer_in_use").await;
}

#[tokio::test]
async fn what_is_written_over_sockets_is_charged() {
    let cluster = Cluster::builder()
        .set("allowance.tiers.socket.limit", "10")
        .set("allowance.tiers.poll.limit", "5")
        .start()
        .await;
    // Where every charge has been applied when it is answered: a follower may admit a read for a moment longer.
    let node = cluster.api(cluster.leader().await);
    // All sockets of one client spend one allowance.
    let (mut one, mut other) = (Socket::open(&node).await, Socket::open(&node).await);
    one.ok(json!({"op": "claim", "peerId": peer_id()})).await;
    one.ok(json!({"op": "join", "room": word("room")})).await;
    other.ok(json!({"op": "join", "room": word("room")})).await;
    // A long message costs more than a short one: one, and one more for each 16 KiB.
    other.ok(json!({"op": "publish", "data": "x".repeat(40_000)})).await;
    for _ in 0..4 {
        one.ok(json!({"op": "publish", "data": 1})).await;
    }
    for socket in [&mut one, &mut other] {
        socket.refused(json!({"op": "publish", "data": 1}), "rate_limited").await;
        socket.refused(json!({"op": "join", "room": word("room")}), "rate_limited").await;
        socket.refused(json!({"op": "claim", "peerId": peer_id()}), "rate_limited").await;
    }
    for _ in 0..3 {
        one.ok(json!({"op": "ack", "seq": 0})).await;
    }
    for _ in 0..2 {
        one.ok(json!({"op": "members"})).await;
    }
    one.refused(json!({"op": "ack", "seq": 0}), "rate_limited").await;
    other.refused(json!({"op": "members"}), "rate_limited").await;
    // What ends things is free.
    one.ok(json!({"op": "leave"})).await;
    one.ok(json!({"op": "bye"})).await;
}

#[tokio::test]
async fn an_invite_code_ends_with_its_session_and_is_renewed_whatever_neighbours_spend() {
    let cluster =
        Cluster::builder().set("allowance.tiers.create.limit", "3").set("ttl.register", "2s").start().await;
    let followers = cluster.followers().await;
    let (here, there) = (cluster.api(followers[0]), cluster.api(followers[1]));
    let (peer, code) = (peer_id(), invite_code());
    let mut one = Socket::open(&here).await;
    one.ok(json!({"op": "claim", "peerId": peer, "inviteCode": code})).await;
    // Neighbours of the same address spend all there is, and more.
    for _ in 0..2 {
        there.relay(&conclave_tests::relay::register(&invite_code(), &peer_id())).send().await.ok();
    }
    let refused = there.relay(&conclave_tests::relay::register(&invite_code(), &peer_id())).send().await;
    refused.refused(429, "rate_limit_exceeded");
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_secs(5) {
        assert_eq!(there.relay(&lookup(&code)).send().await.ok()["peerId"], peer);
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    one.close().await;
    let gone = async || (there.relay(&lookup(&code)).send().await.status == 404).then_some(());
    conclave_tests::wait::eventually(PATIENCE, "the code is free", gone).await;
}

#[tokio::test]
async fn an_invite_code_is_free_long_before_its_time_once_its_socket_ends() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let code = invite_code();
    let mut one = Socket::open(&here).await;
    one.ok(json!({"op": "claim", "peerId": peer_id(), "inviteCode": code})).await;
    there.relay(&lookup(&code)).send().await.ok();
    one.ok(json!({"op": "bye"})).await;
    let gone = async || (there.relay(&lookup(&code)).send().await.status == 404).then_some(());
    conclave_tests::wait::eventually(PATIENCE, "the code is free", gone).await;
}

#[tokio::test]
async fn what_is_too_large_is_answered_by_name_and_the_rest_goes_on() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (room, peer) = (word("room"), peer_id());
    let (mut one, mut other) = (Socket::open(&here).await, Socket::open(&there).await);
    one.ok(json!({"op": "claim", "peerId": peer})).await;
    one.ok(json!({"op": "join", "room": room})).await;
    other.ok(json!({"op": "join", "room": room})).await;
    // A JSON string of so many bytes.
    let sized = |bytes: usize| json!("x".repeat(bytes - 2));
    let (code, name) = (invite_code(), "n".repeat(70_000));
    for bytes in [65_537, 70_000, 90_000, 200_000] {
        let signal = json!({"op": "signal", "to": peer, "type": "offer", "payload": sized(bytes)});
        one.refused(signal, "payload_too_large").await;
        one.refused(json!({"op": "publish", "data": sized(bytes)}), "payload_too_large").await;
        one.refused(json!({"op": "lookup", "inviteCode": code}), "peer_not_found").await;
    }
    one.refused(json!({"op": "claim", "peerId": name}), "invalid_input").await;
    let largest = sized(65_536);
    one.ok(json!({"op": "signal", "to": peer, "type": "offer", "payload": largest})).await;
    assert_eq!(one.push("signal").await["payload"], largest);
    one.ok(json!({"op": "publish", "data": largest})).await;
    assert_eq!(other.push("message").await["data"], largest);
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_requests_whatever_each_takes() {
    let cluster = shared::standard().await;
    let mut socket = Socket::open(&cluster.follower().await).await;
    let peer = peer_id();
    socket.ok(json!({"op": "claim", "peerId": peer})).await;
    let requests = [
        json!({"op": "signal", "to": peer, "type": "offer", "payload": 1}),
        json!({"op": "publish", "room": "elsewhere", "data": 1}),
        json!({"op": "ack", "seq": 1}),
        json!({"op": "unheard of"}),
        json!({"op": "signal", "to": peer, "type": "answer", "payload": 2}),
        json!({"op": "ping"}),
    ];
    for (number, mut request) in requests.into_iter().enumerate() {
        request["id"] = json!(number);
        socket.say(&request).await;
    }
    for (number, code) in
        [None, Some("not_in_room"), None, Some("unknown_op"), None, None].into_iter().enumerate()
    {
        let answer = socket.find("an answer", |text| text.get("id").is_some()).await;
        assert_eq!(answer["id"], number);
        assert_eq!(answer["error"]["code"], json!(code));
    }
}

#[tokio::test]
async fn a_session_goes_on_on_another_node_where_it_was() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (room, peer) = (word("room"), peer_id());
    let (mut one, mut other) = (Socket::open(&here).await, Socket::open(&there).await);
    let session = one.ok(json!({"op": "hello"})).await["session"].clone();
    one.ok(json!({"op": "claim", "peerId": peer})).await;
    let joined = one.ok(json!({"op": "join", "room": room})).await;
    other.ok(json!({"op": "join", "room": room})).await;
    other.ok(json!({"op": "publish", "data": 1})).await;
    let seen = one.push("message").await;
    one.close().await;
    for turn in 2..=100 {
        other.ok(json!({"op": "publish", "data": turn})).await;
    }
    here.relay(&signal("x", &peer, "ready", json!(7))).send().await.ok();

    let mut again = Socket::open(&there).await;
    let resume = json!({
        "session": session, "epoch": seen["epoch"], "offset": seen["offset"],
    });
    let welcome = again.ok(json!({"op": "hello", "resume": resume})).await;
    assert_eq!((&welcome["recovered"], &welcome["room"]), (&json!(true), &json!(room)), "{welcome}");
    assert_eq!(welcome["session"], session);
    for turn in 2..=100 {
        let event = again.push("message").await;
        assert_eq!((&event["data"], &event["offset"]), (&json!(turn), &json!(turn)));
    }
    assert_eq!(again.push("signal").await["payload"], 7);
    other.ok(json!({"op": "publish", "data": "live"})).await;
    assert_eq!(again.push("message").await["data"], "live");
    assert_eq!(again.ok(json!({"op": "members"})).await["members"].as_array().map(Vec::len), Some(2));
    again.ok(json!({"op": "signal", "to": peer, "type": "bye", "payload": null})).await;
    assert_eq!(again.push("signal").await["from"], peer);
    assert_eq!(joined["epoch"], seen["epoch"]);
}

#[tokio::test]
async fn what_is_lost_is_said_to_be_lost() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let room = word("room");
    let mut socket = Socket::open(&node).await;
    let joined = socket.ok(json!({"op": "join", "room": room})).await;
    let epoch = joined["epoch"].as_u64().expect("an epoch");
    for (epoch, offset, recovered) in [(epoch, 0, true), (epoch + 1, 0, false), (epoch, 7, false)] {
        let again = socket.ok(json!({"op": "join", "room": room, "epoch": epoch, "offset": offset})).await;
        assert_eq!(again["recovered"], recovered, "{epoch} {offset}");
    }
    let mut stranger = Socket::open(&node).await;
    let resume = json!({"session": "0".repeat(32)});
    let welcome = stranger.ok(json!({"op": "hello", "resume": resume})).await;
    assert_eq!(welcome["recovered"], false);
    assert_ne!(welcome["session"], "0".repeat(32));
}

#[tokio::test]
async fn a_session_has_one_connection() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let mut first = Socket::open(&here).await;
    let session = first.ok(json!({"op": "hello"})).await["session"].clone();
    for api in [&there, &here] {
        let mut next = Socket::open(api).await;
        let welcome = next.ok(json!({"op": "hello", "resume": {"session": session}})).await;
        assert_eq!(welcome["session"], session);
        assert_eq!(first.end().await, Some(4009));
        first = next;
    }
    first.ok(json!({"op": "ping"})).await;
}

#[tokio::test]
async fn a_transfer_and_an_exchange_are_watched() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    let opened = here.post("/api/v1/transfers", &pair.open(2)).send().await.status(201);
    let id = opened["transferId"].clone();
    let mut socket = Socket::open(&there).await;
    socket.ok(json!({"op": "watch", "transfer": id})).await;
    let first = socket.push("transfer").await;
    assert_eq!((&first["received"], &first["total"], &first["done"]), (&json!(0), &json!(2), &json!(false)));
    for index in 0..2 {
        here.relay(&pair.send(index, 2, "chunk")).send().await.ok();
        let event = socket.push("transfer").await;
        assert_eq!((&event["received"], &event["done"]), (&json!(index + 1), &json!(index == 1)));
    }
    here.relay(&pair.ack()).send().await.ok();
    assert_eq!(socket.push("transfer").await["acknowledged"], true);
    socket.ok(json!({"op": "unwatch", "transfer": id})).await;
    socket.refused(json!({"op": "unwatch", "transfer": id}), "not_watched").await;

    let session = here.post("/api/v1/sessions", &json!({})).send().await.ok()["sessionId"].clone();
    let session = session.as_str().expect("an id");
    socket.ok(json!({"op": "watch", "session": session})).await;
    assert_eq!(socket.push("exchange").await["offer"], false);
    let envelope = json!({"version": 1, "sessionId": session, "nonce": "n".repeat(12), "ct": "c".repeat(16)});
    here.post(&format!("/api/v1/sessions/{session}/offer"), &envelope).send().await.ok();
    let event = socket.push("exchange").await;
    assert_eq!((&event["offer"], &event["answer"]), (&json!(true), &json!(false)));
    here.delete(&format!("/api/v1/sessions/{session}")).send().await.ok();
    assert_eq!(socket.push("exchange").await["gone"], true);
}

#[tokio::test]
async fn what_is_wrong_is_answered_and_changes_nothing() {
    let cluster = shared::standard().await;
    let mut socket = Socket::open(&cluster.follower().await).await;
    for (request, code) in [
        (json!({"op": "fly"}), "unknown_op"),
        (json!({"op": "ping", "wings": 2}), "unknown_field"),
        (json!({"op": "ping", "room": "r"}), "unknown_field"),
        (json!({"op": "join"}), "missing_fields"),
        (json!({"op": "lookup", "inviteCode": "short"}), "invalid_invite_code"),
        (json!({"op": "publish", "data": 1}), "not_in_room"),
        (json!({"op": "ack", "seq": 1}), "not_claimed"),
        (json!({"op": "watch", "transfer": "short"}), "invalid_input"),
        (json!({"op": "lookup", "inviteCode": invite_code()}), "peer_not_found"),
    ] {
        socket.refused(request, code).await;
    }
    let nested = format!("{}{}", "[".repeat(65), "]".repeat(65));
    for payload in [r#""\ud800""#, "1e400", &nested] {
        let request = format!(
            r#"{{"id":"strict","op":"signal","from":"a","to":"b","type":"offer","payload":{payload}}}"#
        );
        socket.send(request).await;
        socket.find("an error", |event| event["error"].is_object()).await;
    }
    socket.send("[]").await;
    let answer = socket.find("an error", |event| event["error"]["code"] == "invalid_json").await;
    assert!(answer.get("id").is_none());
    socket.ok(json!({"op": "ping"})).await;
}
