//! Requests whose client has gone: they take nothing and hold no place.

use std::time::Duration;

use conclave_tests::cluster::Cluster;
use conclave_tests::events::Events;
use conclave_tests::http::Api;
use conclave_tests::raw::{Raw, statuses};
use conclave_tests::relay::{Pair, peer_id, poll, signal, with};
use conclave_tests::shared;
use conclave_tests::wait::eventually;
use serde_json::{Value, json};

const LONG_MS: u32 = 25_000;
/// For a node to have read that a connection ended, on a busy machine.
const NOTICED: Duration = Duration::from_secs(2);

/// A relay request as it is sent.
fn request(body: &Value) -> String {
    let text = body.to_string();
    format!(
        "POST /api/relay HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
}

/// Opens a connection and sends a relay request; the answer is not waited for.
async fn ask(api: &Api, body: &Value) -> Raw {
    let mut raw = Raw::open(api).await;
    raw.send(request(body)).await;
    raw
}

/// Waits until so many long polls wait on a node.
async fn waits(cluster: &Cluster, node: u64, expected: u32) {
    let admin = cluster.admin(node);
    eventually(NOTICED * 5, "long polls are counted", async || {
        let counted = admin.get("/metrics").send().await.text();
        let line = format!("conclave_actors_waits {expected}");
        counted.lines().any(|counted| counted == line).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_wait_whose_client_has_closed_takes_nothing_and_holds_no_place() {
    let cluster = Cluster::builder().unmetered().set("limits.waits_max", "4").start().await;
    let followers = cluster.followers().await;
    let (here, there) = (cluster.api(followers[0]), cluster.api(followers[1]));
    let to = peer_id();
    let pair = Pair::fresh();
    // One connection is half closed, the other is gone altogether.
    for gone in [false, true] {
        let polling = ask(&here, &with(&poll(&to), "waitMs", Some(json!(LONG_MS)))).await;
        let receiving = ask(&here, &with(&pair.receive(), "waitMs", Some(json!(LONG_MS)))).await;
        waits(&cluster, followers[0], 2).await;
        let mut left = [polling, receiving];
        for raw in &mut left {
            raw.finish().await;
        }
        if gone {
            drop(left);
        }
        waits(&cluster, followers[0], 0).await;
    }
    there.relay(&signal(&peer_id(), &to, "offer", json!({"n": 1}))).send().await.ok();
    there.relay(&pair.send(0, 1, "AAEC")).send().await.ok();
    let polled = here.relay(&poll(&to)).send().await.ok();
    assert_eq!(polled["messages"][0]["payload"], json!({"n": 1}), "{polled}");
    assert_eq!(here.relay(&pair.receive()).send().await.ok()["chunk"]["data"], "AAEC");

    // More than there are places were left; those who stay have theirs.
    for _ in 0..3 {
        let mut left = Vec::new();
        for _ in 0..4 {
            left.push(ask(&here, &with(&poll(&peer_id()), "waitMs", Some(json!(LONG_MS)))).await);
        }
        waits(&cluster, followers[0], 4).await;
        drop(left);
        waits(&cluster, followers[0], 0).await;
    }
    here.relay(&with(&poll(&peer_id()), "waitMs", Some(json!(300)))).send().await.ok();
}

#[tokio::test]
async fn what_is_there_is_kept_from_a_client_that_has_closed() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let (to, pair) = (peer_id(), Pair::fresh());
    node.relay(&signal(&peer_id(), &to, "offer", json!(1))).send().await.ok();
    node.relay(&pair.send(0, 1, "AAEC")).send().await.ok();
    // The second request has its turn when the first is over, and that ends because the end of the connection was read.
    let waiting = request(&with(&poll(&peer_id()), "waitMs", Some(json!(LONG_MS))));
    for body in [poll(&to), pair.receive()] {
        let mut raw = Raw::open(&node).await;
        raw.send(format!("{waiting}{}", request(&body))).await;
        raw.finish().await;
        let read = raw.rest().await;
        assert_eq!(statuses(&read), [200, 400], "{read}");
        assert!(read.contains("connection_closed"), "{read}");
    }
    assert_eq!(node.relay(&poll(&to)).send().await.ok()["messages"][0]["payload"], json!(1));
    assert_eq!(node.relay(&pair.receive()).send().await.ok()["chunk"]["data"], "AAEC");
}

#[tokio::test]
async fn an_event_stream_whose_client_has_gone_lets_go_of_its_mailbox() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (from, to) = (peer_id(), peer_id());
    let mut events: Events = here.get(&format!("/api/v1/events?peerId={to}")).open().await.expect("a stream");
    events.expect("welcome").await;
    let refused = there.get(&format!("/api/v1/events?peerId={to}")).send().await;
    assert_eq!(
        refused.retry_after(),
        Some(Duration::from_secs(30)),
        "it says when the claim is over at the latest"
    );
    refused.refused(409, "peer_in_use");
    drop(events);
    there.relay(&signal(&from, &to, "offer", json!(7))).send().await.ok();
    // Long before the stream's next heartbeat would be written.
    eventually(NOTICED * 3, "a poll is answered again", async || {
        let polled = there.relay(&poll(&to)).send().await.ok();
        (polled["messages"][0]["payload"] == json!(7)).then_some(())
    })
    .await;
}
