//! What nodes post to others as it happens.

use std::collections::BTreeSet;

use conclave_tests::cluster::Cluster;
use conclave_tests::issuer::Issuer;
use conclave_tests::metrics;
use conclave_tests::relay::{peer_id, signal, word};
use conclave_tests::socket::Socket;
use conclave_tests::wait::eventually;
use conclave_tests::webhook_receiver::{Answer, WebhookReceiver};
use hyper::Method;
use serde_json::{Value, json};
use tokio::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

async fn metric(cluster: &Cluster, series: &str) -> u64 {
    metrics::metric(&cluster.admin(1), series).await as u64
}

async fn listed(cluster: &Cluster, kind: &str) -> String {
    let listing = cluster.admin(1).get(&format!("/admin/v1/{kind}")).send().await.ok();
    listing["items"][0]["id"].as_str().expect("one is listed").to_owned()
}

/// A session that began, so that it is told of.
async fn hello(cluster: &Cluster, node: u64) -> Socket {
    let mut socket = Socket::open(&cluster.api(node)).await;
    socket.ok(json!({"op": "hello"})).await;
    socket
}

#[tokio::test]
async fn what_a_socket_does_is_told_in_order_signed_and_without_a_name() {
    let receiver = WebhookReceiver::start(&[]).await;
    let cluster = receiver.told_by(Cluster::builder().nodes(1).unmetered()).start().await;
    let (room, other, secret) = (word("room"), word("room"), word("said"));
    let mut socket = Socket::open(&cluster.api(1)).await;
    let welcome = socket.ok(json!({"op": "hello"})).await;
    let session = welcome["session"].as_str().expect("the id of the session").to_owned();
    socket.ok(json!({"op": "join", "room": room})).await;
    let ids = (listed(&cluster, "sockets").await, listed(&cluster, "rooms").await);
    socket.ok(json!({"op": "publish", "data": secret})).await;
    // It is in there already.
    socket.ok(json!({"op": "join", "room": room})).await;
    socket.ok(json!({"op": "join", "room": other})).await;
    socket.ok(json!({"op": "leave"})).await;
    socket.ok(json!({"op": "join", "room": room})).await;
    socket.close().await;
    let events = receiver.until("the end", |event| event["type"] == "socket.disconnected").await;
    assert_eq!(
        kinds(&events),
        [
            "socket.connected",
            "room.joined",
            "room.left",
            "room.joined",
            "room.left",
            "room.joined",
            "room.left",
            "socket.disconnected",
        ]
    );
    let (first, entered, last) = (&events[0], &events[1], &events[7]);
    assert_eq!((first["socket"].as_str(), entered["room"].as_str()), (Some(&*ids.0), Some(&*ids.1)));
    assert_eq!(entered["room"], events[2]["room"], "the one before is left first");
    assert_ne!(entered["room"], events[3]["room"]);
    assert_eq!((&first["resumed"], &last["resumable"]), (&json!(false), &json!(true)));
    assert_eq!((&events[2]["resumable"], &events[6]["resumable"]), (&json!(false), &json!(true)));
    let mut times = Vec::new();
    for event in &events {
        assert_eq!((&event["node"], &event["socket"]), (&json!(1), &first["socket"]));
        assert_eq!(event["connection"], first["connection"]);
        times.push(event["atMs"].as_u64().expect("a time"));
    }
    assert!(times.is_sorted(), "{times:?}");
    let unique: BTreeSet<_> = events.iter().map(|event| event["id"].to_string()).collect();
    assert_eq!(unique.len(), events.len());
    let bodies: String = receiver.received().into_iter().map(|received| received.body).collect();
    for secret in [&room, &other, &secret, &session] {
        assert!(!bodies.contains(secret.as_str()), "{bodies}");
    }
    eventually(PATIENCE, "all are counted", async || {
        let delivered = metric(&cluster, "conclave_webhook_events_delivered_total").await;
        let waiting = metric(&cluster, "conclave_webhook_queue_events").await;
        ((delivered, waiting) == (8, 0)).then_some(())
    })
    .await;
    assert!(!cluster.node(1).printed().contains("not-for-logs"), "an address may hold a secret");
}

#[tokio::test]
async fn a_socket_is_told_of_by_the_node_that_it_is_at() {
    let receiver = WebhookReceiver::start(&[]).await;
    let cluster = receiver.told_by(Cluster::builder().unmetered()).start().await;
    let room = word("room");
    let mut socket = Socket::open(&cluster.api(2)).await;
    let welcome = socket.ok(json!({"op": "hello"})).await;
    socket.ok(json!({"op": "join", "room": room})).await;
    let mut again = Socket::open(&cluster.api(3)).await;
    again.ok(json!({"op": "hello", "resume": {"session": welcome["session"]}})).await;
    let gone = |event: &Value| event["type"] == "socket.disconnected" && event["node"] == 2;
    receiver.until("the first connection is gone", gone).await;
    let came = |event: &Value| event["type"] == "room.joined" && event["node"] == 3;
    let events = receiver.until("it is in its room again", came).await;
    let of = |kind: &str, node: u64| {
        let fits = |event: &&Value| event["type"] == kind && event["node"] == node;
        events.iter().find(fits).unwrap_or_else(|| panic!("no {kind} of {node} in {events:?}"))
    };
    let (first, second) = (of("socket.connected", 2), of("socket.connected", 3));
    assert_eq!(first["socket"], second["socket"]);
    assert_ne!(first["connection"], second["connection"]);
    assert_eq!(second["resumed"], true);
    assert_eq!(of("socket.disconnected", 2)["connection"], first["connection"]);
    assert_eq!(of("room.joined", 3)["resumed"], true);
    assert_eq!(of("room.joined", 3)["room"], of("room.joined", 2)["room"]);
    again.ok(json!({"op": "bye"})).await;
    let over = |event: &Value| event["type"] == "socket.disconnected" && event["node"] == 3;
    let events = receiver.until("the session is over", over).await;
    assert_eq!(events.iter().find(|event| over(event)).expect("it is there")["resumable"], false);
}

#[tokio::test]
async fn an_event_stream_is_told_of_when_it_is_opened_and_when_it_ends() {
    let receiver = WebhookReceiver::start(&[]).await;
    let cluster = receiver.told_by(Cluster::builder().nodes(1).unmetered()).start().await;
    let (api, room, peer) = (cluster.api(1), word("room"), peer_id());
    let _member = {
        let mut socket = hello(&cluster, 1).await;
        socket.ok(json!({"op": "join", "room": room})).await;
        socket
    };
    api.relay(&signal("someone", &peer, "offer", json!(1))).send().await.ok();
    for (path, kind, field) in [
        (format!("/api/v1/events?room={room}"), "rooms", "room"),
        (format!("/api/v1/events?peerId={peer}"), "mailboxes", "mailbox"),
    ] {
        assert_eq!(api.call(Method::HEAD, &path).send().await.status, 200);
        let mut stream = api.get(&path).open().await.expect("a stream");
        stream.expect("welcome").await;
        let id = listed(&cluster, kind).await;
        let opened = |event: &Value| event["type"] == "stream.opened" && event[field] == *id;
        let events = receiver.until("it is open", opened).await;
        let opened = events.into_iter().find(opened).expect("it is there");
        drop(stream);
        let closed = |event: &Value| event["type"] == "stream.closed" && event["stream"] == opened["stream"];
        let events = receiver.until("it is over", closed).await;
        assert_eq!(events.into_iter().find(closed).expect("it is there")[field], *id);
    }
    let events = receiver.events();
    let of = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    assert_eq!((of("stream.opened"), of("stream.closed")), (2, 2), "a HEAD opens none: {events:?}");
    let bodies: String = receiver.received().into_iter().map(|received| received.body).collect();
    assert!(!bodies.contains(&room) && !bodies.contains(&peer), "{bodies}");
}

#[tokio::test]
async fn what_was_not_taken_comes_again_as_it_was() {
    let receiver = WebhookReceiver::start(&[Answer::Status(500), Answer::Status(429)]).await;
    let builder = Cluster::builder().nodes(1).unmetered().set("webhooks.events", "socket.connected");
    let cluster = receiver.told_by(builder).start().await;
    let _socket = hello(&cluster, 1).await;
    let events = receiver.until("it is taken", |event| event["type"] == "socket.connected").await;
    assert_eq!(events.len(), 1);
    let [first, second, third] = &receiver.received()[..] else { panic!("three attempts") };
    assert_eq!((&first.id, &first.body), (&second.id, &second.body));
    assert_eq!((&first.id, &first.body), (&third.id, &third.body));
    cluster.says(1, "a webhook does not take its events").await;
    cluster.says(1, "a webhook takes its events again").await;
    assert_eq!(metric(&cluster, "conclave_webhook_attempts_total{result=\"failed\"}").await, 2);
}

#[tokio::test]
async fn what_is_refused_is_given_up_and_the_next_goes_on() {
    let receiver = WebhookReceiver::start(&[Answer::Status(307), Answer::Status(410)]).await;
    let builder = Cluster::builder().nodes(1).unmetered().set("webhooks.events", "socket.connected");
    let cluster = receiver.told_by(builder).start().await;
    for refused in 1..=2 {
        let _socket = hello(&cluster, 1).await;
        eventually(PATIENCE, "it is given up", async || {
            let lost = metric(&cluster, "conclave_webhook_events_lost_total{reason=\"refused\"}").await;
            (lost == refused).then_some(())
        })
        .await;
    }
    let _socket = hello(&cluster, 1).await;
    receiver.until("the next is taken", |event| event["type"] == "socket.connected").await;
    let received = receiver.received();
    let ids: BTreeSet<_> = received.iter().map(|received| &received.id).collect();
    assert_eq!((received.len(), ids.len()), (3, 3), "each came once: {received:?}");
    cluster.says(1, "it answered 307, and redirects are not followed").await;
}

#[tokio::test]
async fn a_receiver_that_hangs_costs_events_and_holds_up_nobody() {
    let receiver = WebhookReceiver::start(&[Answer::Silence; 100]).await;
    let builder = Cluster::builder().nodes(1).unmetered().set("webhooks.queue_events_max", "20");
    let cluster = receiver.told_by(builder.set("webhooks.timeout", "1m")).start().await;
    let mut socket = hello(&cluster, 1).await;
    eventually(PATIENCE, "it hangs", async || (!receiver.received().is_empty()).then_some(())).await;
    let rooms = 40;
    for _ in 0..rooms {
        socket.ok(json!({"op": "join", "room": word("room")})).await;
    }
    // Joined each, and left all but the last; twenty of these wait. The answer to the last join may be read before its event
    // is emitted.
    let mut lost = 0;
    eventually(PATIENCE, "the last join is told of", async || {
        lost = metric(&cluster, "conclave_webhook_events_lost_total{reason=\"queue_full\"}").await;
        (lost >= 2 * rooms - 1 - 20).then_some(())
    })
    .await;
    assert_eq!(lost, 2 * rooms - 1 - 20);
    assert_eq!(metric(&cluster, "conclave_webhook_queue_events").await, 21);
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn what_is_not_taken_in_time_is_lost() {
    let receiver = WebhookReceiver::start(&[Answer::Status(503); 100]).await;
    let builder = Cluster::builder().nodes(1).unmetered().set("webhooks.events", "socket.connected");
    let cluster = receiver.told_by(builder.set("webhooks.retry_for", "1s")).start().await;
    let _socket = hello(&cluster, 1).await;
    eventually(PATIENCE, "it is given up", async || {
        let lost = metric(&cluster, "conclave_webhook_events_lost_total{reason=\"expired\"}").await;
        (lost == 1).then_some(())
    })
    .await;
    assert!(receiver.received().len() >= 2, "it was tried again");
    let line = cluster.says(1, "events were lost on their way to a webhook").await;
    assert!(line.contains("\"reason\":\"expired\""));
}

#[tokio::test]
async fn a_device_that_waits_is_told_of_once_with_its_organisation() {
    let (issuer, receiver) = (Issuer::new(), WebhookReceiver::start(&[]).await);
    let builder = issuer.guard(Cluster::builder().nodes(1).unmetered());
    let builder = builder.set("auth.tenant_claim", "org").set("auth.require_approved_device", "true");
    let builder =
        builder.env("QSAFEVAULT_EDITION", "enterprise").env("QSAFEVAULT_ENTERPRISE_ACKNOWLEDGED", "true");
    let cluster = receiver.told_by(builder).start().await;
    let user = word("user");
    for (device, key) in [("phone", "MCowBQYDK2VwAyEA"), ("phone", "MCowBQYDK2VwAyEA"), ("desk", "k")] {
        let token = issuer.token(&user, json!({"scope": "devices", "device": device, "org": "acme"}));
        let body = json!({"userId": user, "deviceId": device, "publicKey": key});
        let call = cluster.api(1).post("/api/v1/devices", &body);
        let answer = call.header("authorization", &format!("Bearer {token}")).send().await.ok();
        assert_eq!(answer["approval"], "pending");
    }
    let events = receiver.until("the last of them", |event| event["device"] == "desk").await;
    assert_eq!(kinds(&events), ["device.pending", "device.pending"]);
    let phone = &events[0];
    assert_eq!((&phone["subject"], &phone["organisation"]), (&json!(user), &json!("acme")));
    assert_eq!(phone["subjectId"], events[1]["subjectId"]);
    assert!(receiver.received().iter().all(|received| !received.body.contains("MCow")));
}

#[tokio::test]
async fn an_address_of_this_machine_is_posted_to_only_where_that_is_allowed() {
    let receiver = WebhookReceiver::start(&[]).await;
    let builder = receiver.told_by(Cluster::builder().nodes(1).unmetered());
    let cluster = builder.set("webhooks.allow_private", "false").start().await;
    let _socket = hello(&cluster, 1).await;
    cluster.says(1, "webhooks.allow_private = true allows it").await;
    assert_eq!(receiver.connections(), 0, "it was not connected to");
}

#[tokio::test]
async fn what_waits_is_delivered_before_a_node_ends() {
    let receiver = WebhookReceiver::start(&[]).await;
    let mut cluster = receiver.told_by(Cluster::builder().nodes(1).unmetered()).start().await;
    let mut socket = hello(&cluster, 1).await;
    socket.ok(json!({"op": "join", "room": word("room")})).await;
    // The answer may be read before its event is emitted.
    receiver.until("it joined", |event| event["type"] == "room.joined").await;
    assert_eq!(cluster.terminate(1).await, Some(0));
    let events = receiver.events();
    assert_eq!(kinds(&events), ["socket.connected", "room.joined", "room.left", "socket.disconnected"]);
}
