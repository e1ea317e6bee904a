//! A front: its host is killed, the leader is killed, a member is lost for good and the front takes its seat.

use std::time::Duration;

use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::relay::{Pair, peer_id, poll, signal, ticker, with, word};
use conclave_tests::socket::Socket;
use conclave_tests::wait::eventually;
use serde_json::{Value, json};

const FRONT: u64 = 4;
/// Much longer than any of these tests takes unless a wake-up is lost.
const LONG_MS: u32 = 20_000;

async fn cluster() -> Cluster {
    let cluster = Cluster::builder().nodes(4).unmetered().start().await;
    let role = cluster.status().await.node(FRONT).map(|node| node.role.clone());
    assert_eq!(role.as_deref(), Some("front"));
    cluster.says(FRONT, "this node reads from").await;
    cluster
}

/// The member that the front began to read from last, and how often it began.
fn host(cluster: &Cluster) -> (u64, usize) {
    let printed = cluster.node(FRONT).printed();
    let hosts = printed.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line.trim_start_matches("conclave: ")).ok()?;
        line["message"].as_str()?.starts_with("this node reads from").then(|| line["host"].as_u64())?
    });
    let hosts: Vec<_> = hosts.collect();
    (*hosts.last().expect("it is ready, so it has a host"), hosts.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_at_a_front_is_woken_though_its_host_is_killed() {
    let mut cluster = cluster().await;
    let (front, room, peer) = (cluster.api(FRONT), word("room"), peer_id());
    let mut member = Socket::open(&front).await;
    member.ok(json!({"op": "join", "room": room})).await;
    let waiting = with(&poll(&peer), "waitMs", Some(json!(LONG_MS)));
    let mut polling = tokio::spawn(front.relay(&waiting).send());
    let early = tokio::time::timeout(Duration::from_millis(300), &mut polling).await;
    assert!(early.is_err(), "answered before there was anything: {early:?}");

    let (before, hosts) = host(&cluster);
    cluster.kill(before).await;
    eventually(READY, "the front reads from another member", async || {
        (host(&cluster).1 > hosts).then_some(())
    })
    .await;
    assert_ne!(host(&cluster).0, before);
    let other = cluster.api((1..=3).find(|id| *id != before).expect("two are left"));
    other.relay(&signal(&peer_id(), &peer, "offer", json!({"n": 1}))).send().await.ok();
    let mut speaker = Socket::open(&other).await;
    speaker.ok(json!({"op": "join", "room": room})).await;
    speaker.ok(json!({"op": "publish", "data": "hello"})).await;

    let polled = tokio::time::timeout(READY, polling).await.expect("it is woken").expect("it is answered");
    assert_eq!(polled.ok()["messages"][0]["payload"], json!({"n": 1}));
    assert_eq!(member.push("message").await["data"], "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_dies_is_no_error_for_clients_of_a_front() {
    let mut cluster = cluster().await;
    let leader = cluster.leader().await;
    let (stop, asked) = ticker(cluster.api(FRONT));
    // They are under way when it dies, and go on while there is none, and after the next was elected.
    tokio::time::sleep(Duration::from_millis(200)).await;
    cluster.kill(leader).await;
    assert_ne!(cluster.leader().await, leader, "the others elect one of them");
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.send_replace(true);
    assert!(asked.await.expect("every request succeeds") > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_lost_is_replaced_by_a_front_with_two_commands() {
    let mut cluster = cluster().await;
    let room = word("room");
    let mut listener = Socket::open(&cluster.api(FRONT)).await;
    listener.ok(json!({"op": "join", "room": room})).await;
    let lost = cluster.leader().await;
    let stays = (1..=3).find(|id| *id != lost).expect("two are left");
    let mut speaker = Socket::open(&cluster.api(stays)).await;
    speaker.ok(json!({"op": "join", "room": room})).await;
    let (stop, asked) = ticker(cluster.api(FRONT));
    let speaking = tokio::spawn(async move {
        let mut said = 0_u64;
        // While the member is lost, removed, and replaced.
        while !*stop.subscribe().borrow() && said < 200 {
            speaker.ok(json!({"op": "publish", "data": said})).await;
            said += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.send_replace(true);
        said
    });

    cluster.kill(lost).await;
    command(&cluster, &["remove", &lost.to_string()]).await;
    command(&cluster, &["promote", &FRONT.to_string()]).await;
    let said = speaking.await.expect("every publish succeeds");
    assert!(asked.await.expect("every request at the front succeeds") > 0);
    for number in 0..said {
        assert_eq!(listener.push("message").await["data"], number, "in order, and none is missing");
    }
    let left: Vec<u64> = (1..=4).filter(|id| *id != lost).collect();
    assert_eq!(seated(&cluster).await, left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_at_a_front_is_told_of_every_watched_thing_whatever_else_it_is_told() {
    let cluster = cluster().await;
    let (front, member) = (cluster.api(FRONT), cluster.api(1));
    let peer = peer_id();
    let mut socket = Socket::open(&front).await;
    socket.ok(json!({"op": "claim", "peerId": peer})).await;
    for turn in 0..40 {
        let session = member.post("/api/v1/sessions", &json!({})).send().await.ok()["sessionId"].clone();
        let id = session.as_str().expect("an id").to_owned();
        socket.ok(json!({"op": "watch", "session": id})).await;
        // The look at what changed is under way when the mailbox rings.
        let envelope = json!({"version": 1, "sessionId": id, "nonce": "n".repeat(12), "ct": "c".repeat(16)});
        let offer = member.post(&format!("/api/v1/sessions/{id}/offer"), &envelope);
        let call = member.relay(&signal(&peer_id(), &peer, "offer", json!({"n": turn})));
        let (offered, called) = tokio::join!(offer.send(), call.send());
        offered.ok();
        called.ok();
        let told = socket
            .find("the offer is there", |push| push["session"] == session && push["offer"] == true)
            .await;
        assert_eq!(told["gone"], false, "{told}");
        socket.ok(json!({"op": "unwatch", "session": id})).await;
    }
}

/// Runs a command at the front until it is carried out: between two leaders there is none to ask.
async fn command(cluster: &Cluster, args: &[&str]) {
    let url = cluster.admin(FRONT).target().to_string();
    eventually(READY, &format!("{args:?} is carried out"), async || {
        let (code, printed) = cluster.command(&[&["cluster"], args, &["--url", &url]].concat()).await;
        // What was asked of a leader that had no time to answer may be done.
        let done = code == Some(0) || args[0] == "remove" && printed.contains("is not a member");
        assert!(done || printed.contains("no_leader"), "{args:?}: {printed}");
        done.then_some(())
    })
    .await;
}

/// The ids of those who have a seat, once all nodes that are left do.
async fn seated(cluster: &Cluster) -> Vec<u64> {
    let mut seated = eventually(READY, "all that are left have a seat", async || {
        let nodes = cluster.status().await.nodes;
        let seats = nodes.iter().all(|node| ["leader", "follower"].contains(&&*node.role));
        seats.then(|| nodes.iter().map(|node| node.id).collect::<Vec<_>>())
    })
    .await;
    seated.sort_unstable();
    seated
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vacant_seat_is_filled_by_a_front_without_being_told() {
    let mut cluster = cluster().await;
    let lost = cluster.leader().await;
    cluster.kill(lost).await;
    command(&cluster, &["remove", &lost.to_string()]).await;
    let mut left: Vec<u64> = (1..=4).filter(|id| *id != lost).collect();
    left.sort_unstable();
    assert_eq!(seated(&cluster).await, left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_drained_is_replaced_before_it_goes() {
    let mut cluster = cluster().await;
    let (stop, asked) = ticker(cluster.api(FRONT));
    let goes = cluster.leader().await;
    command(&cluster, &["drain", &goes.to_string()]).await;
    stop.send_replace(true);
    assert!(asked.await.expect("every request succeeds") > 0);
    assert_eq!(cluster.terminate(goes).await, Some(0));
    assert_eq!(seated(&cluster).await, (1..=4).filter(|id| *id != goes).collect::<Vec<_>>());
    let goes = cluster.followers().await[0];
    let admin = cluster.node(cluster.leader().await).admin.to_string();
    let (code, printed) = cluster.command(&["cluster", "drain", &goes.to_string(), "--url", &admin]).await;
    assert!(code == Some(3) && printed.contains("no front that answers"), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_that_reaches_no_member_says_so_and_one_that_is_restarted_is_found() {
    let mut cluster = cluster().await;
    cluster.kill(FRONT).await;
    cluster.restart(FRONT);
    cluster.wait_ready_at(FRONT).await;
    let front = cluster.api(FRONT);
    let pair = Pair::fresh();
    front.relay(&pair.send(0, 1, "AAEC")).send().await.ok();

    for member in 1..=3 {
        cluster.kill(member).await;
    }
    eventually(READY, "it says that it reaches nobody", async || {
        let reply = front.get("/readyz").once().await;
        (reply.status == 503 && reply.json()["failed"] == json!(["no_leader", "no_host"])).then_some(())
    })
    .await;
    front.relay(&pair.send(0, 1, "AAEC")).once().await.refused(503, "no_leader");
    front.relay(&pair.ack_status()).once().await.refused(503, "no_leader");
    for member in 1..=3 {
        cluster.restart(member);
    }
    cluster.wait_ready().await;
    assert_eq!(front.relay(&pair.receive()).send().await.ok()["chunk"]["data"], "AAEC");
}
