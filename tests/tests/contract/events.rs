//! `GET /api/v1/events`: a stream in place of a socket.

use std::time::Duration;

use conclave_tests::cluster::Cluster;
use conclave_tests::events::Events;
use conclave_tests::http::{Api, Reply};
use conclave_tests::raw::Raw;
use conclave_tests::relay::{peer_id, poll, signal, word};
use conclave_tests::shared;
use conclave_tests::socket::Socket;
use conclave_tests::wait::eventually;
use futures_util::future::join;
use hyper::Method;
use serde_json::{Value, json};

/// For a node to notice that a connection is gone: two heartbeats of its stream, on a busy machine.
const NOTICE: Duration = Duration::from_secs(28);

#[tokio::test]
async fn a_stream_says_where_it_begins() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let room = word("room");
    let mut stream = node.get(&format!("/api/v1/events?room={room}")).open().await.expect("a stream");
    let welcome = stream.expect("welcome").await;
    assert_eq!(welcome.data["room"], room);
    assert!(welcome.data["recovered"].is_null(), "nothing was asked for: {welcome:?}");
}

#[tokio::test]
async fn a_history_that_is_not_there_is_not_recovered() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let call = node.get(&format!("/api/v1/events?room={}", word("room"))).header("last-event-id", "7:3");
    let mut stream = call.open().await.expect("a stream");
    assert_eq!(stream.expect("welcome").await.data["recovered"], false);
}

#[tokio::test]
async fn a_stream_over_http_1_0_is_as_long_as_its_connection() {
    let mut cluster = Cluster::builder().nodes(1).start().await;
    let mut connection = Raw::open(&cluster.api(1)).await;
    connection.send("GET /api/v1/events?room=lobby HTTP/1.0\r\nHost: node\r\n\r\n").await;
    let begun = connection.until("event: welcome\n").await;
    let (head, body) = begun.split_once("\r\n\r\n").expect("a head before the body");
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("http/1.0 200 ok\r\n"), "{head}");
    assert!(!head.contains("transfer-encoding") && !head.contains("content-length"), "{head}");
    assert!(!head.contains("keep-alive"), "{head}");
    assert!(body.starts_with("retry: "), "nothing but events: {body:?}");
    let (code, rest) = join(cluster.terminate(1), connection.rest()).await;
    assert_eq!(code, Some(0));
    assert!(rest.contains("event: drain\n") && rest.ends_with("\n\n"), "{rest:?}");
}

#[tokio::test]
async fn a_head_request_claims_nothing() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let path = format!("/api/v1/events?peerId={}", peer_id());
    let reply = node.call(Method::HEAD, &path).send().await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(reply.header("content-length"), None, "as GET");
    let bad = node.call(Method::HEAD, "/api/v1/events").send().await;
    assert_eq!(bad.status, 400, "as GET");
    let mut stream = node.get(&path).open().await.expect("nobody else claimed it");
    stream.expect("welcome").await;
}

#[tokio::test]
async fn a_stream_is_about_one_thing() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let long = "x".repeat(129);
    for query in ["", "?room=", &format!("?room={long}"), "?room=a&peerId=b"] {
        node.get(&format!("/api/v1/events{query}")).send().await.refused(400, "invalid_input");
    }
}

#[tokio::test]
async fn a_stream_is_told_when_its_node_goes_away() {
    let mut cluster = Cluster::builder().nodes(1).start().await;
    let mut stream = cluster.api(1).get("/api/v1/events?room=lobby").open().await.expect("a stream");
    stream.expect("welcome").await;
    let listening = async {
        let drain = stream.expect("drain").await;
        (drain, stream.next().await)
    };
    let (code, (drain, after)) = join(cluster.terminate(1), listening).await;
    assert!(drain.data["retryAfterMs"].as_u64().is_some_and(|ms| ms <= 3_000), "{drain:?}");
    assert_eq!((code, after), (Some(0), None), "nobody waits for the other");
}

#[tokio::test]
async fn a_stream_ends_on_every_node_when_its_token_is_revoked() {
    let (cluster, issuer) = shared::guarded().await;
    let id = word("token");
    let token = issuer.token("alice", json!({"scope": "socket", "rooms": ["lobby"], "jti": id}));
    let mut streams = Vec::new();
    for node in cluster.apis() {
        let call = node.get("/api/v1/events?room=lobby").header("authorization", &format!("Bearer {token}"));
        let mut stream = call.open().await.expect("a stream");
        stream.expect("welcome").await;
        streams.push(stream);
    }
    issuer.revoke(&format!("jti {id}"));
    for stream in &mut streams {
        assert_eq!(stream.next().await, None);
    }
}

/// What a stream says of a signal.
async fn signalled(stream: &mut Events) -> (Value, String) {
    let event = stream.expect("signal").await;
    (event.data["payload"].clone(), event.id.expect("every signal has an id"))
}

async fn send(node: &Api, to: &str, payload: u64) {
    node.relay(&signal("sender", to, "offer", json!(payload))).send().await.ok();
}

async fn listen(node: &Api, peer: &str, last: Option<&str>) -> Result<Events, Reply> {
    let call = node.get(&format!("/api/v1/events?peerId={peer}"));
    let call = match last {
        Some(last) => call.header("last-event-id", last),
        None => call,
    };
    let mut stream = call.open().await?;
    assert_eq!(stream.expect("welcome").await.data["peerId"], peer);
    Ok(stream)
}

#[tokio::test]
async fn signals_are_on_a_stream_of_another_node_in_order_and_a_poll_finds_none() {
    let cluster = shared::standard().await;
    let (here, there) = cluster.two_followers().await;
    let peer = peer_id();
    send(&here, &peer, 0).await;
    let mut stream = listen(&there, &peer, None).await.expect("a stream");
    for payload in 1..5 {
        send(&here, &peer, payload).await;
    }
    for payload in 0..5 {
        assert_eq!(signalled(&mut stream).await.0, payload);
    }
    for node in cluster.apis() {
        assert_eq!(node.relay(&poll(&peer)).send().await.ok()["messages"], json!([]), "one queue");
    }
}

#[tokio::test]
async fn the_next_stream_goes_on_after_what_arrived_on_any_node() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let peer = peer_id();
    let mut stream = listen(&here, &peer, None).await.expect("a stream");
    for payload in 0..3 {
        send(&there, &peer, payload).await;
    }
    let _ = signalled(&mut stream).await;
    let (_, arrived) = signalled(&mut stream).await;
    // The first stream is still there: it gives way to one that shows its id.
    let mut next = listen(&there, &peer, Some(&arrived)).await.expect("the id is the right to go on");
    assert_eq!(signalled(&mut next).await.0, 2, "what arrived is acknowledged, the rest is sent again");
    // The third signal is told here, too, unless the other stream took over before it was.
    let mut end = stream.next().await.expect("the stream goes on");
    if end.name == "signal" {
        end = stream.next().await.expect("the stream goes on");
    }
    assert_eq!((&*end.name, end.data), ("replaced", json!({})));
    assert_eq!(stream.next().await, None);
    send(&here, &peer, 3).await;
    assert_eq!(signalled(&mut next).await.0, 3);
}

#[tokio::test]
async fn a_peer_id_that_somebody_holds_is_refused_to_others() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let peer = peer_id();
    let stream = listen(&here, &peer, None).await.expect("a stream");
    listen(&there, &peer, None).await.expect_err("it is held").refused(409, "peer_in_use");
    let invented = format!("{}.1", "A".repeat(24));
    listen(&there, &peer, Some(&invented)).await.expect_err("it is held").refused(409, "peer_in_use");
    let mut socket = Socket::open(&there).await;
    socket.ok(json!({"op": "hello"})).await;
    socket.refused(json!({"op": "claim", "peerId": peer}), "peer_in_use").await;

    send(&there, &peer, 7).await;
    drop(stream);
    eventually(NOTICE, "polls are answered again", async || {
        let found = there.relay(&poll(&peer)).send().await.ok()["messages"].clone();
        (found[0]["payload"] == 7).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stream_of_signals_is_for_whom_the_token_names() {
    let (cluster, issuer) = shared::guarded().await;
    let node = cluster.follower().await;
    let peer = peer_id();
    let with = |scope: &str, peers: &str| {
        let token = issuer.token("alice", json!({"scope": scope, "peers": peers}));
        node.get(&format!("/api/v1/events?peerId={peer}")).header("authorization", &format!("Bearer {token}"))
    };
    let bearing = |peers: &str| with("socket signal", peers);
    with("socket", &peer).open().await.expect_err("signals are no part of it").refused(403, "forbidden");
    bearing("bob").open().await.expect_err("another's").refused(403, "forbidden");
    let mut first = bearing(&peer).open().await.expect("a stream");
    first.expect("welcome").await;
    let mut second = bearing(&peer).open().await.expect("whoever proves the right to it may take it over");
    second.expect("welcome").await;
    first.expect("replaced").await;
}

#[tokio::test]
async fn a_rooms_messages_are_on_streams_of_other_nodes_and_go_on_where_they_ended() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let room = word("room");
    let mut socket = Socket::open(&here).await;
    socket.ok(json!({"op": "hello"})).await;
    socket.ok(json!({"op": "join", "room": room})).await;
    let path = format!("/api/v1/events?room={room}");
    let mut stream = there.get(&path).open().await.expect("a stream");
    stream.expect("welcome").await;
    let mut said = Vec::new();
    for number in 0..20 {
        let answer = socket.ok(json!({"op": "publish", "room": room, "data": {"n": number}})).await;
        said.push(answer["offset"].clone());
    }
    let mut half = None;
    for (number, offset) in said.iter().enumerate() {
        let event = stream.expect("message").await;
        assert_eq!((&event.data["data"]["n"], &event.data["offset"]), (&json!(number), offset));
        if number == 9 {
            half = event.id;
        }
    }
    let half = half.expect("every message has an id");
    let mut again = here.get(&path).header("last-event-id", &half).open().await.expect("a stream");
    assert_eq!(again.expect("welcome").await.data["recovered"], true);
    for number in 10..20 {
        assert_eq!(again.expect("message").await.data["data"]["n"], number);
    }
}

#[tokio::test]
async fn a_stream_that_began_before_its_room_goes_on_elsewhere_and_misses_nothing() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let room = word("room");
    let path = format!("/api/v1/events?room={room}");
    let mut early = here.get(&path).open().await.expect("a stream");
    let welcome = early.expect("welcome").await;
    assert_eq!(
        (&*welcome.id.expect("an id, though there is no room"), &welcome.data["epoch"]),
        ("0:0", &json!(null))
    );
    drop(early);
    let mut socket = Socket::open(&here).await;
    socket.ok(json!({"op": "join", "room": room})).await;
    for number in 0..3 {
        socket.ok(json!({"op": "publish", "room": room, "data": number})).await;
    }
    let mut again = there.get(&path).header("last-event-id", "0:0").open().await.expect("a stream");
    let welcome = again.expect("welcome").await;
    assert_eq!(
        (&welcome.data["recovered"], &welcome.data["offset"]),
        (&json!(true), &json!(0)),
        "{welcome:?}"
    );
    for number in 0..3 {
        assert_eq!(again.expect("message").await.data["data"], number);
    }
    // A socket goes on from there, too.
    let mut member = Socket::open(&there).await;
    let joined = member.ok(json!({"op": "join", "room": room, "epoch": 0, "offset": 0})).await;
    assert_eq!(joined["recovered"], true, "{joined}");
    for number in 0..3 {
        assert_eq!(member.push("message").await["data"], number);
    }
}
