//! Sockets and streams that end while their node hears no majority, beside others that go on.

use std::time::{Duration, Instant};

use conclave_sigma::Frame;
use conclave_tests::cluster::Cluster;
use conclave_tests::http::Api;
use conclave_tests::relay::{peer_id, poll, signal, word};
use conclave_tests::sigma::{Sigma, connect};
use conclave_tests::socket::{PATIENCE, Socket};
use conclave_tests::wait::eventually;
use serde_json::{Value, json};

/// For how long a session outlives its connection.
const LEASE: Duration = Duration::from_secs(20);
/// For an election after the outage, on a busy machine.
const ELECTED: Duration = Duration::from_secs(10);
/// For how long a member stays whose connection was lost.
const GRACE: Duration = Duration::from_secs(10);

/// A member that holds a peer id.
async fn member(api: &Api, room: &str) -> (Socket, Value, String) {
    let mut socket = Socket::open(api).await;
    let member = socket.ok(json!({"op": "join", "room": room})).await["member"].clone();
    let peer = peer_id();
    socket.ok(json!({"op": "claim", "peerId": peer})).await;
    (socket, member, peer)
}

/// Waits until nobody holds a peer id, and polls are answered.
async fn freed(api: &Api, peer: &str, within: Duration) {
    eventually(within, "the peer id is free", async || {
        let mut socket = Socket::open(api).await;
        (socket.ask(json!({"op": "claim", "peerId": peer})).await["ok"] == true).then_some(())
    })
    .await;
    api.relay(&signal("x", peer, "offer", json!(1))).send().await.ok();
    eventually(within, "what waits is given", async || {
        let found = api.relay(&poll(peer)).send().await.ok()["messages"].clone();
        (found[0]["payload"] == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_ends_at_a_follower_while_nobody_leads_is_gone_once_somebody_does() {
    let cluster = Cluster::builder().unmetered().set("socket.lease", &format!("{}s", LEASE.as_secs()));
    let cluster = cluster.start().await;
    let near = cluster.followers().await[0];
    what_ends_is_gone(cluster, near).await;
}

#[tokio::test]
async fn what_ends_at_a_leader_that_hears_nobody_is_gone_once_it_does() {
    let cluster = Cluster::builder().unmetered().set("socket.lease", &format!("{}s", LEASE.as_secs()));
    let cluster = cluster.start().await;
    let near = cluster.leader().await;
    what_ends_is_gone(cluster, near).await;
}

async fn what_ends_is_gone(mut cluster: Cluster, near: u64) {
    let far: Vec<u64> = cluster.running().into_iter().filter(|id| *id != near).collect();
    let (api, other) = (cluster.api(near), cluster.api(far[0]));
    let room = word("room");
    let mut watcher = Socket::open(&other).await;
    let own = watcher.ok(json!({"op": "join", "room": room})).await["member"].clone();
    // It stays, and with it the lease of its node.
    let (mut neighbour, _, _) = member(&api, &word("room")).await;
    let (lost, _, lost_peer) = member(&api, &room).await;
    let (closed, _, closed_peer) = member(&api, &room).await;
    let (mut ended, _, ended_peer) = member(&api, &room).await;
    let (mut leaving, left, _) = member(&api, &room).await;
    let page = word("page");
    let sigma = Sigma::connected(&api, &room, &page).await;
    let stream_peer = peer_id();
    let path = format!("/api/v1/events?peerId={stream_peer}");
    let mut stream = api.get(&path).open().await.expect("a stream");
    stream.expect("welcome").await;

    far.iter().for_each(|id| cluster.freeze(*id));
    let wanted = word("room");
    eventually(PATIENCE, "the node hears nobody", async || {
        let refused = neighbour.ask(json!({"op": "join", "room": wanted})).await;
        (refused["error"]["code"] == "no_leader").then_some(())
    })
    .await;
    drop((lost, sigma, stream));
    closed.close().await;
    let refused = ended.ask(json!({"op": "bye"})).await;
    assert_eq!(refused["error"]["code"], "no_leader", "{refused}");
    assert_eq!(ended.end().await, Some(1000), "there is nothing to go on with");
    leaving.refused(json!({"op": "leave"}), "no_leader").await;
    // After that the first try of all that ended before is over.
    leaving.refused(json!({"op": "leave"}), "no_leader").await;
    far.iter().for_each(|id| cluster.thaw(*id));

    let thawed = Instant::now();
    let heard = watcher.find("somebody leaves", |event| event["push"] == "leave").await;
    assert_eq!(heard["room"], room);
    freed(&other, &ended_peer, ELECTED).await;
    freed(&other, &closed_peer, ELECTED).await;
    assert!(thawed.elapsed() < LEASE, "they were free at once");
    eventually(ELECTED, "a room is left when the cluster answers", async || {
        (leaving.ask(json!({"op": "leave"})).await["ok"] == true).then_some(())
    })
    .await;
    eventually(ELECTED + GRACE, "nobody is left in the room", async || {
        let members = watcher.ok(json!({"op": "members"})).await["members"].clone();
        assert!(members.as_array().is_some_and(|members| members.contains(&own)), "{members}");
        (members == json!([own])).then_some(())
    })
    .await;
    // The answer to a question may come before what is pushed of the same change.
    let mut told = vec![heard["member"].clone()];
    while told.len() < 5 {
        told.push(watcher.push("leave").await["member"].clone());
    }
    assert!(told.contains(&left), "{told:?}");
    assert!(watcher.early().iter().all(|event| event["push"] != "leave"), "each is told once");
    // It is not in the room that it asked for in vain, and in its own one still.
    let mut stranger = Socket::open(&other).await;
    let joined = stranger.ok(json!({"op": "join", "room": wanted})).await;
    assert_eq!(joined["members"], json!([joined["member"]]));
    neighbour.ok(json!({"op": "publish", "data": 1})).await;
    freed(&other, &lost_peer, LEASE + ELECTED).await;
    freed(&other, &stream_peer, LEASE + ELECTED).await;
    let mut again = Sigma::open(&other, &room).await;
    again.say(&connect(&page)).await;
    again.say(&Frame::Heartbeat { timestamp: 1 }).await;
    let answer = again.hear().await;
    assert!(matches!(answer, Frame::Heartbeat { .. }), "the session is free: {answer:?}");
}
