//! What a backend says through the admin listener: in rooms, and to peers.

use std::io::Write as _;
use std::process::{Command, Stdio};

use bytes::Bytes;
use conclave_tests::cluster::Cluster;
use conclave_tests::http::Call;
use conclave_tests::issuer::Issuer;
use conclave_tests::relay::{peer_id, poll, signal, word};
use conclave_tests::sigma::Sigma;
use conclave_tests::socket::Socket;
use conclave_tests::{binary, shared};
use serde_json::{Value, json};

const PUBLISH: &str = "/admin/v1/publish";
const SIGNAL: &str = "/admin/v1/signal";
const BACKEND: &str = "0000000000000000";

#[tokio::test]
async fn what_is_published_reaches_members_of_either_encoding_and_streams() {
    let (cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let room = word("room");
    let mut socket = Socket::open(&here).await;
    let joined = socket.ok(json!({"op": "join", "room": room})).await;
    let mut sigma = Sigma::connected(&there, &room, &word("session")).await;
    let mut stream = there.get(&format!("/api/v1/events?room={room}")).open().await.expect("a stream");
    stream.expect("welcome").await;
    let body = format!(r#"{{"room":"{room}","data":{{ "x":1.0 }}}}"#);
    let published = cluster.admin(1).call(hyper::Method::POST, PUBLISH).json(body).send().await.ok();
    assert_eq!(published["epoch"], joined["epoch"]);
    let message = socket.push("message").await;
    assert_eq!((&message["from"], &message["data"]), (&json!(BACKEND), &json!({"x": 1.0})), "{message}");
    assert_eq!(message["offset"], published["offset"]);
    let offset = published["offset"].as_u64().expect("an offset");
    assert_eq!(sigma.data().await, (Bytes::from_static(br#"{ "x":1.0 }"#), offset), "letter by letter");
    let event = stream.expect("message").await;
    assert_eq!((&event.data["from"], &event.data["offset"]), (&json!(BACKEND), &published["offset"]));
    // It is no member.
    let members = socket.ok(json!({"op": "members"})).await;
    assert!(!members.to_string().contains(BACKEND), "{members}");
}

#[tokio::test]
async fn a_hundred_published_at_once_arrive_once_each() {
    let (cluster, here, _) = shared::standard().await.and_two_nodes().await;
    let room = word("room");
    let mut socket = Socket::open(&here).await;
    socket.ok(json!({"op": "join", "room": room})).await;
    let admin = cluster.admin(2);
    let publish = async |n: u32| {
        admin.post(PUBLISH, &json!({"room": room, "data": n})).send().await.ok();
    };
    futures_util::future::join_all((0..100).map(publish)).await;
    let mut heard = Vec::new();
    for _ in 0..100 {
        heard.push(socket.push("message").await["data"].as_u64().expect("a number"));
    }
    heard.sort_unstable();
    assert_eq!(heard, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_signal_comes_from_a_name_that_no_client_can_send_from() {
    let (cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (socket_peer, polled_peer) = (peer_id(), peer_id());
    let mut socket = Socket::open(&here).await;
    socket.ok(json!({"op": "claim", "peerId": socket_peer})).await;
    let body = |to: &str| json!({"from": "billing", "to": to, "type": "ready", "payload": {"paid": true}});
    for to in [&socket_peer, &polled_peer] {
        let sent = cluster.admin(1).post(SIGNAL, &body(to)).send().await.ok();
        assert_eq!(sent["from"], "backend:billing");
    }
    let pushed = socket.push("signal").await;
    assert_eq!((&pushed["from"], &pushed["type"]), (&json!("backend:billing"), &json!("ready")));
    let polled = there.relay(&poll(&polled_peer)).send().await.ok();
    assert_eq!(polled["messages"][0]["from"], "backend:billing");
    assert_eq!(polled["messages"][0]["payload"], json!({"paid": true}));
    // Clients answer it like anybody, and none sends in its name.
    let answer = signal(&polled_peer, "backend:billing", "answer", json!(1));
    there.relay(&answer).send().await.ok();
    let forged = signal("backend:billing", &polled_peer, "offer", json!(1));
    there.relay(&forged).send().await.refused(403, "forbidden");
    socket.refused(json!({"op": "claim", "peerId": "backend:billing"}), "forbidden").await;
}

#[tokio::test]
async fn what_is_sent_to_a_backend_is_read_by_who_is_granted_its_names_and_nobody_acts_as_it() {
    let issuer = Issuer::new();
    let cluster = issuer.guard(Cluster::builder().nodes(1).unmetered()).start().await;
    let (open, node) = (shared::standard().await.follower().await, cluster.api(1));
    let shop = format!("backend:{}", word("shop"));
    let register = json!({"action": "register", "inviteCode": "ABCDEFGH12", "peerId": shop});
    let stream = format!("/api/v1/events?peerId={shop}");
    for call in [open.relay(&poll(&shop)), open.relay(&register), open.get(&stream)] {
        call.send().await.refused(403, "forbidden");
    }
    let token = |peers: Value| issuer.token(&word("s"), json!({"scope": "signal socket", "peers": peers}));
    let show = |call: Call, token: &str| call.header("authorization", &format!("Bearer {token}"));
    let (all, backend) = (token(json!("*")), token(json!([shop, "backend:other*"])));
    for call in [node.relay(&poll(&shop)), node.relay(&register), node.get(&stream)] {
        show(call, &all).send().await.refused(403, "forbidden");
    }
    let sent = |n: u32| signal("customer", &shop, "answer", json!(n));
    show(node.relay(&sent(1)), &all).send().await.ok();
    let polled = show(node.relay(&poll(&shop)), &backend).send().await.ok();
    assert_eq!(polled["messages"][0]["payload"], 1);
    let mut events = show(node.get(&stream), &backend).open().await.expect("a stream");
    events.expect("welcome").await;
    show(node.relay(&sent(2)), &all).send().await.ok();
    assert_eq!(events.expect("signal").await.data["payload"], 2);
    show(node.relay(&register), &backend).send().await.refused(403, "forbidden");
    let forged = signal(&shop, "customer", "offer", json!(1));
    show(node.relay(&forged), &backend).send().await.refused(403, "forbidden");
    let bearer = format!("Bearer {backend}");
    let mut socket = Socket::try_at(&node, "/ws", &[("authorization", &bearer)]).await.expect("opened");
    socket.refused(json!({"op": "claim", "peerId": shop}), "forbidden").await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_what_it_is() {
    let cluster = shared::standard().await;
    let admin = cluster.admin(1);
    let long = "x".repeat(65_535);
    for (path, body, status, code) in [
        (PUBLISH, json!({"room": "a"}), 400, "invalid_json"),
        (PUBLISH, json!({"room": "a", "data": 1, "from": "me"}), 400, "invalid_json"),
        (PUBLISH, json!({"room": "", "data": 1}), 400, "invalid_input"),
        (PUBLISH, json!({"room": "r".repeat(129), "data": 1}), 400, "invalid_input"),
        (PUBLISH, json!({"room": "a", "data": 1, "tenant": "ACME"}), 400, "invalid_input"),
        (PUBLISH, json!({"room": "a", "data": long}), 413, "payload_too_large"),
        (PUBLISH, json!({"room": "a", "data": "x".repeat(80_000)}), 413, "payload_too_large"),
        (SIGNAL, json!({"from": "a", "to": "b", "type": "video", "payload": 1}), 400, "invalid_input"),
        (
            SIGNAL,
            json!({"from": "a".repeat(249), "to": "b", "type": "bye", "payload": 1}),
            400,
            "invalid_input",
        ),
        (SIGNAL, json!({"from": "a", "to": "", "type": "bye", "payload": 1}), 400, "invalid_input"),
        (SIGNAL, json!({"from": "a", "type": "bye", "payload": 1}), 400, "invalid_json"),
    ] {
        let refused = admin.post(path, &body).send().await.refused(status, code);
        assert!(refused["message"].is_string());
    }
    let half = format!(r#"{{"room":"{}","data":"\ud800"}}"#, word("room"));
    admin.call(hyper::Method::POST, PUBLISH).json(half).send().await.refused(400, "invalid_input");
    // As long as it may be.
    let room = word("room");
    admin.post(PUBLISH, &json!({"room": room, "data": "x".repeat(65_534)})).send().await.ok();
    // A mailbox takes as much from a backend as from anybody.
    let peer = peer_id();
    let body = json!({"from": "a", "to": peer, "type": "bye", "payload": "x".repeat(65_000)});
    for _ in 0..64 {
        admin.post(SIGNAL, &body).send().await.ok();
    }
    admin.post(SIGNAL, &body).send().await.refused(429, "mailbox_full");
}

#[tokio::test]
async fn what_is_said_is_told_by_the_audit_log_without_being_in_it_and_pushes_no_change_out() {
    let cluster = Cluster::builder().nodes(1).unmetered().set("admin.security_events", "false").start().await;
    let (admin, room, peer) = (cluster.admin(1), word("room"), peer_id());
    for n in 0..20 {
        admin.post(PUBLISH, &json!({"room": room, "data": {"secret": n}})).send().await.ok();
    }
    let body = json!({"from": "billing", "to": peer, "type": "bye", "payload": "secret"});
    admin.post(SIGNAL, &body).send().await.ok();
    let told =
        conclave_tests::wait::eventually(conclave_tests::cluster::READY, "both are told", async || {
            let page = admin.get("/admin/v1/audit?log=security").send().await.ok();
            let entries = page["entries"].as_array()?.iter().map(|entry| entry["entry"].clone());
            let entries: Vec<Value> = entries.collect();
            let has = |event: &str| entries.iter().any(|entry| entry["event"] == event);
            (has("backend_publishes") && has("backend_signals")).then_some(entries)
        })
        .await;
    let rooms = admin.get("/admin/v1/rooms").send().await.ok();
    let text = json!(told).to_string();
    assert!(told.iter().any(|entry| entry["first"][0]["about"] == rooms["items"][0]["id"]), "{text}");
    assert!(!text.contains("secret") && !text.contains(&room) && !text.contains(&peer), "{text}");
    let changes = admin.get("/admin/v1/audit").send().await.ok();
    assert_eq!(changes["entries"], json!([]));
}

#[tokio::test]
async fn the_command_line_says_the_same_from_an_argument_or_standard_input() {
    let (cluster, here) = shared::standard().await.and_node().await;
    let (room, peer) = (word("room"), peer_id());
    let mut socket = Socket::open(&here).await;
    socket.ok(json!({"op": "join", "room": room})).await;
    socket.ok(json!({"op": "claim", "peerId": peer})).await;
    let url = cluster.node(1).admin.to_string();
    let (code, said) = cluster.command(&["publish", &room, "[1, 2]", "--json", "--url", &url]).await;
    assert!(code == Some(0) && said.starts_with(r#"{"epoch":"#), "{code:?} {said}");
    assert_eq!(socket.push("message").await["data"], json!([1, 2]));
    let (from, to) = ("billing", peer.as_str());
    let args = ["signal", "--from", from, "--to", to, "ready", "--url", &url];
    let mut command = Command::new(binary::conclave());
    let mut running =
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it can be run");
    running.stdin.take().expect("it is piped").write_all(b"{\"n\": 7}\n").expect("it reads");
    let done = tokio::task::spawn_blocking(move || running.wait_with_output()).await.expect("no panic");
    assert_eq!(String::from_utf8_lossy(&done.expect("it ends").stdout), "sent from backend:billing\n");
    assert_eq!(socket.push("signal").await["payload"], json!({"n": 7}));
    let (code, said) = cluster.command(&["publish", &room, "hello", "--url", &url]).await;
    assert!(code == Some(2) && said.contains("not JSON"), "{code:?} {said}");
    let (code, said) = cluster.command(&["publish", "", "1", "--url", &url]).await;
    assert!(code == Some(3) && said.contains("`room`"), "{code:?} {said}");
}
