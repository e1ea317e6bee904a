//! Rooms over `GET /api/v1/socket`, JSON: one order, who comes and goes, once each.

use conclave_tests::relay::word;
use conclave_tests::shared;
use conclave_tests::socket::Socket;
use serde_json::{Value, json};

#[tokio::test]
async fn a_room_has_one_order_for_all_its_members_on_all_nodes() {
    let cluster = shared::standard().await;
    let room = word("room");
    let mut members = Vec::new();
    for api in cluster.apis() {
        let mut member = Socket::open(&api).await;
        let joined = member.ok(json!({"op": "join", "room": room})).await;
        assert_eq!(joined["members"].as_array().map(Vec::len), Some(members.len() + 1), "{joined}");
        members.push(member);
    }
    for turn in 0..20 {
        for (place, member) in members.iter_mut().enumerate() {
            member.say(&json!({"op": "publish", "data": {"from": place, "turn": turn}})).await;
        }
    }
    let (mut heard, all) = (Vec::new(), members.len());
    for (place, member) in members.iter_mut().enumerate() {
        let mut own = Vec::new();
        for _ in 0..20 * (all - 1) {
            let event = member.push("message").await;
            assert_eq!(event["room"], room);
            own.push((event["offset"].as_u64().expect("an offset"), event["data"].clone()));
        }
        assert!(own.is_sorted_by_key(|(offset, _)| *offset), "in order");
        assert!(own.iter().all(|(_, data)| data["from"] != place), "nobody hears itself");
        for sender in (0..all).filter(|sender| *sender != place) {
            let turns: Vec<_> = own
                .iter()
                .filter(|(_, data)| data["from"] == sender)
                .map(|(_, data)| &data["turn"])
                .collect();
            assert_eq!(turns, (0..20).map(Value::from).collect::<Vec<_>>().iter().collect::<Vec<_>>());
        }
        heard.extend(own);
    }
    heard.sort_by_key(|(offset, _)| *offset);
    heard.dedup();
    let offsets: Vec<_> = heard.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, (1..=20 * all as u64).collect::<Vec<_>>(), "one message an offset, the same for all");
}

#[tokio::test]
async fn members_are_told_who_comes_and_goes() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let room = word("room");
    let (mut one, mut other) = (Socket::open(&here).await, Socket::open(&there).await);
    let first = one.ok(json!({"op": "join", "room": room})).await;
    let second = other.ok(json!({"op": "join", "room": room})).await;
    assert_eq!(one.push("join").await["member"], second["member"]);
    let members = one.ok(json!({"op": "members"})).await;
    let mut expected = [first["member"].clone(), second["member"].clone()];
    expected.sort_by_key(ToString::to_string);
    assert_eq!(members["members"], json!(expected));
    other.ok(json!({"op": "leave"})).await;
    assert_eq!(one.push("leave").await["member"], second["member"]);
    other.refused(json!({"op": "publish", "data": 1}), "not_in_room").await;
    other.refused(json!({"op": "members"}), "not_in_room").await;
    // A second join leaves the first room.
    one.ok(json!({"op": "join", "room": word("room")})).await;
    let again = other.ok(json!({"op": "join", "room": room})).await;
    assert_eq!(again["members"], json!([second["member"]]));
}

#[tokio::test]
async fn a_published_number_is_published_once() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let room = word("room");
    let (mut one, mut other) = (Socket::open(&here).await, Socket::open(&there).await);
    one.ok(json!({"op": "join", "room": room})).await;
    other.ok(json!({"op": "join", "room": room})).await;
    let number = 12_345_678_901_234_567_890_u64;
    let first = one.ok(json!({"op": "publish", "data": "x", "messageId": number})).await;
    let again = one.ok(json!({"op": "publish", "data": "x", "messageId": number})).await;
    assert_eq!((&first["offset"], &first["epoch"]), (&again["offset"], &again["epoch"]));
    one.ok(json!({"op": "publish", "data": "y"})).await;
    assert_eq!(other.push("message").await["data"], "x");
    assert_eq!(other.push("message").await["data"], "y");
}

#[tokio::test]
async fn a_volatile_message_reaches_who_is_there_on_every_node() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let room = word("room");
    let (mut one, mut near, mut far) =
        (Socket::open(&here).await, Socket::open(&here).await, Socket::open(&there).await);
    for socket in [&mut one, &mut near, &mut far] {
        socket.ok(json!({"op": "join", "room": room})).await;
    }
    // At most once is all it promises, so that one is sent until it arrives.
    for socket in [&mut near, &mut far] {
        let event = loop {
            let said = one.ok(json!({"op": "publish", "data": [1, 2], "volatile": true})).await;
            assert_eq!(said["volatile"], true);
            let wait = std::time::Duration::from_millis(500);
            if let Ok(event) = tokio::time::timeout(wait, socket.push("message")).await {
                break event;
            }
        };
        assert_eq!((&event["data"], &event["volatile"]), (&json!([1, 2]), &json!(true)));
        assert!(event.get("offset").is_none() && event.get("epoch").is_none());
    }
    assert_eq!(one.ok(json!({"op": "publish", "data": 0})).await["offset"], 1, "nothing of it is kept");
}
