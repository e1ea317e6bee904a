//! A node that is drained or removed learns it, says it, and sends its clients elsewhere.

use std::time::Duration;

use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::events::Events;
use conclave_tests::http::NoAnswer;
use conclave_tests::http::Reply;
use conclave_tests::metrics::metric;
use conclave_tests::relay::{Pair, peer_id, poll, with, word};
use conclave_tests::socket::Socket;
use conclave_tests::wait::eventually;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const FRONT: u64 = 4;
const SAID: &str = "this node was removed from the cluster";
/// The guarantee is two seconds for the node to know it, and a quarter of `socket.drain_per_second` for one socket; the rest
/// is this machine, which runs other tests beside.
const SOON: Duration = Duration::from_secs(10);
/// For how long a node that is cut off hears nobody, and must not draw the wrong conclusion.
const CUT_OFF: Duration = Duration::from_secs(3);

/// Long enough for a node that goes on asking to ask ten times.
const QUIET: Duration = Duration::from_millis(500);

/// Clients of one node that wait for something.
struct Guests {
    socket: Socket,
    events: Events,
    polling: JoinHandle<Result<Reply, NoAnswer>>,
}

impl Guests {
    async fn enter(cluster: &Cluster, node: u64) -> Self {
        let api = cluster.api(node);
        let mut socket = Socket::open(&api).await;
        socket.ok(json!({"op": "join", "room": word("room")})).await;
        socket.ok(json!({"op": "claim", "peerId": peer_id()})).await;
        let listen = format!("/api/v1/events?room={}", word("room"));
        let mut events = api.get(&listen).open().await.expect("a stream");
        events.expect("welcome").await;
        let waiting = with(&poll(&peer_id()), "waitMs", Some(json!(25_000)));
        let polling = tokio::spawn(api.relay(&waiting).attempt());
        Self { socket, events, polling }
    }

    /// Asserts that all of them are told to go soon, the socket to one of `others`, and end.
    async fn are_sent_to(mut self, others: &[String]) {
        let going = async {
            let told = self.socket.push("drain").await;
            let url = told["url"].as_str().expect("it says where to go");
            assert!(others.iter().any(|other| other == url), "{told}");
            assert_eq!(self.socket.end().await, Some(1012));
            let told = eventually(SOON, "the stream says it", async || {
                let event = self.events.next().await.expect("it says so before it ends");
                (event.name == "drain").then_some(event)
            })
            .await;
            assert!(told.data["retryAfterMs"].is_u64(), "{told:?}");
            assert_eq!(self.events.next().await, None);
            let reply = self.polling.await.expect("the call ends").expect("with an answer");
            assert!([200, 503].contains(&reply.status), "{}", reply.text());
        };
        timeout(SOON, going).await.expect("they are told soon");
    }
}

/// Runs `conclave cluster …` against a node.
async fn command(cluster: &Cluster, at: u64, args: &[&str]) -> String {
    let admin = cluster.node(at).admin.to_string();
    let (code, printed) = cluster.command(&[&["cluster"], args, &["--url", &admin]].concat()).await;
    assert_eq!(code, Some(0), "{args:?}: {printed}");
    printed
}

/// Asserts that a node says everywhere that it was removed, and serves nobody.
async fn says_that_it_is_gone(cluster: &Cluster, node: u64) {
    let (api, admin) = (cluster.api(node), cluster.admin(node));
    let line = cluster.says(node, SAID).await;
    let line = line.lines().find(|line| line.contains(SAID)).expect("it is there");
    assert!(line.contains("ERROR"), "{line}");
    let body = api.get("/readyz").once().await.refused(503, "shutting_down");
    assert_eq!(body["failed"], json!(["removed"]), "{body}");
    let checks = admin.get("/readyz").once().await;
    assert_eq!((checks.status, checks.json()["checks"].clone()), (503, json!(["removed"])));
    assert_eq!(api.get("/livez").once().await.status, 200);
    assert_eq!(Socket::try_at(&api, "/api/v1/socket", &[]).await.err(), Some(503));
    api.relay(&Pair::fresh().send(0, 1, "AAEC")).once().await.refused(503, "shutting_down");

    let printed = command(cluster, node, &["status"]).await;
    assert!(printed.contains("the node that was asked was removed from the cluster"), "{printed}");
    let status: Value = admin.get("/cluster/status").send().await.ok();
    assert_eq!((&status["removed"], &status["leader"]), (&json!(true), &Value::Null), "{status}");
    let nodes = status["nodes"].as_array().expect("a list");
    let own = nodes.iter().find(|told| told["id"] == node).expect("it names itself");
    assert_eq!(own["role"], "removed", "{status}");
}

/// What a node refused because it came from no member.
async fn refusals(cluster: &Cluster, node: u64) -> f64 {
    metric(&cluster.admin(node), "conclave_peer_refusals_total{reason=\"not_member\"}").await
}

fn urls(cluster: &Cluster, nodes: impl IntoIterator<Item = u64>) -> Vec<String> {
    nodes.into_iter().map(|id| format!("http://{}", cluster.api(id).address())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_drained_knows_it_and_sends_its_clients_elsewhere() {
    let mut cluster = Cluster::builder().nodes(4).unmetered().start().await;
    let leader = cluster.leader().await;
    let goes = (1..=3).find(|id| *id != leader).expect("two follow");
    let guests = Guests::enter(&cluster, goes).await;
    command(&cluster, leader, &["drain", &goes.to_string()]).await;
    let began = Instant::now();
    guests.are_sent_to(&urls(&cluster, (1..=4).filter(|id| *id != goes))).await;
    println!("its clients were gone after {:?}", began.elapsed());
    says_that_it_is_gone(&cluster, goes).await;
    for stays in (1..=4).filter(|id| *id != goes) {
        cluster.wait_ready_at(stays).await;
        assert!(!cluster.node(stays).printed().contains(SAID), "node {stays} is a member");
    }

    // It has nothing to ask any more, and is not counted as a stranger.
    let before = refusals(&cluster, leader).await;
    sleep(QUIET).await;
    assert!(refusals(&cluster, leader).await <= before, "it asks on");

    // It hears so once more when it is started again.
    assert_eq!(cluster.terminate(goes).await, Some(0));
    cluster.restart(goes);
    eventually(READY, "it says that it is gone", async || {
        let reply = cluster.api(goes).get("/readyz").attempt().await.ok()?;
        (reply.json()["failed"] == json!(["removed"])).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_drained_knows_it() {
    let cluster = Cluster::builder().nodes(4).unmetered().start().await;
    let goes = cluster.leader().await;
    let guests = Guests::enter(&cluster, goes).await;
    command(&cluster, goes, &["drain", &goes.to_string()]).await;
    guests.are_sent_to(&urls(&cluster, (1..=4).filter(|id| *id != goes))).await;
    says_that_it_is_gone(&cluster, goes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_that_is_removed_knows_it_and_sends_its_clients_elsewhere() {
    let mut cluster = Cluster::builder().nodes(4).unmetered().start().await;
    let guests = Guests::enter(&cluster, FRONT).await;
    command(&cluster, cluster.leader().await, &["remove", &FRONT.to_string()]).await;
    guests.are_sent_to(&urls(&cluster, 1..=3)).await;
    says_that_it_is_gone(&cluster, FRONT).await;

    // It has no log, and is told by those whom it is configured with.
    assert_eq!(cluster.terminate(FRONT).await, Some(0));
    cluster.restart(FRONT);
    assert_eq!(cluster.ready_or_ended(FRONT).await, Some(3));
    let printed = cluster.node(FRONT).printed();
    assert!(printed.contains("node 4 was removed from the cluster"), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_one_is_removed_and_knows_it() {
    let mut cluster = Cluster::builder().nodes(1).unmetered().start().await;
    super::membership::grow(&mut cluster, 2).await;
    let guests = Guests::enter(&cluster, 2).await;
    command(&cluster, 1, &["remove", "2"]).await;
    guests.are_sent_to(&urls(&cluster, [1])).await;
    says_that_it_is_gone(&cluster, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_when_it_was_removed_hears_it_when_it_is_back() {
    let cluster = Cluster::builder().nodes(4).unmetered().intercepted().start().await;
    let leader = cluster.leader().await;
    let away = (1..=3).find(|id| *id != leader).expect("two follow");
    let guests = Guests::enter(&cluster, away).await;
    cluster.net().isolate(away);
    command(&cluster, leader, &["remove", &away.to_string(), "--force"]).await;
    assert!(!cluster.node(away).printed().contains(SAID), "nobody could tell it");
    cluster.net().heal();
    guests.are_sent_to(&urls(&cluster, (1..=4).filter(|id| *id != away))).await;
    says_that_it_is_gone(&cluster, away).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_and_fronts_that_are_cut_off_killed_and_healed_were_not_removed() {
    let mut cluster = Cluster::builder().nodes(4).unmetered().intercepted().start().await;
    let follower = cluster.followers().await.into_iter().find(|id| *id != FRONT).expect("two follow");
    let mut socket = Socket::open(&cluster.api(follower)).await;
    socket.ok(json!({"op": "hello"})).await;
    for away in [follower, FRONT] {
        cluster.net().isolate(away);
        eventually(READY, "it hears nobody", async || {
            let reply = cluster.api(away).get("/readyz").once().await;
            let failed = reply.json()["failed"].clone();
            failed.as_array().is_some_and(|failed| failed.contains(&json!("no_leader"))).then_some(())
        })
        .await;
        // Others change meanwhile what it knows.
        for _ in 0..20 {
            let leader = cluster.leader().await;
            cluster.api(leader).relay(&Pair::fresh().send(0, 1, "AAEC")).send().await.ok();
        }
        tokio::time::sleep(CUT_OFF).await;
        cluster.net().heal();
        cluster.wait_ready_at(away).await;
    }
    for killed in [cluster.leader().await, FRONT] {
        cluster.kill(killed).await;
        cluster.restart(killed);
        cluster.wait_ready_at(killed).await;
    }
    // All of them at once: nobody leads for as long as two of them start.
    cluster.kill_all().await;
    for id in 1..=4 {
        cluster.restart(id);
    }
    cluster.wait_ready().await;
    for id in 1..=4 {
        assert!(!cluster.node(id).printed().contains(SAID), "node {id} is a member");
    }
}
