//! Several cells: a cluster grows into them and out of them under load, and one of them is lost.

use std::time::Duration;

use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::http::Api;
use conclave_tests::relay::{Pair, peer_id, poll, signal, ticker, with, word};
use conclave_tests::socket::Socket;
use conclave_tests::wait::eventually;
use serde_json::{Value, json};

/// How long slots may take to move, on a busy machine.
const MOVED: Duration = Duration::from_secs(60);
const SLOTS: u64 = 1024;

/// What a node says of the cells.
async fn cells(admin: &Api) -> Option<Vec<Value>> {
    let status = admin.get("/cluster/status").attempt().await.ok()?;
    status.json()["cells"].as_array().cloned()
}

/// Waits until there are so many cells, all of them are led, and the slots lie evenly among them.
async fn settled(cluster: &Cluster, node: u64, count: u64) {
    let admin = cluster.admin(node);
    eventually(MOVED, &format!("the slots lie evenly in {count} cells"), async || {
        let cells = cells(&admin).await?;
        let held: Vec<u64> = cells.iter().filter_map(|cell| cell["slots"].as_u64()).collect();
        let at_rest = cells.iter().all(|cell| cell["leader"].is_u64() && cell["moving"] == 0);
        let even = held.iter().all(|slots| [SLOTS / count, SLOTS / count + 1].contains(slots));
        (held.len() as u64 == count && held.iter().sum::<u64>() == SLOTS && at_rest && even).then_some(())
    })
    .await;
}

/// Runs `conclave cluster …` against the leader of the first cell.
async fn command(cluster: &Cluster, args: &[&str]) {
    let admin = cluster.node(cluster.leader().await).admin.to_string();
    let (code, printed) = cluster.command(&[&["cluster"], args, &["--url", &admin]].concat()).await;
    assert_eq!(code, Some(0), "{args:?}: {printed}");
}

async fn add(cluster: &mut Cluster, id: u64) {
    cluster.join(id).await;
    let peer = cluster.installation(id).advertise.to_string();
    command(cluster, &["add", &id.to_string(), &peer]).await;
    cluster.wait_ready_at(id).await;
}

/// What clients began before the cluster changed, and what must still be so afterwards.
struct Before {
    pairs: Vec<Pair>,
    mailboxes: Vec<String>,
}

impl Before {
    async fn begin(api: &Api) -> Self {
        let (pairs, mailboxes) =
            ((0..20).map(|_| Pair::fresh()).collect(), (0..20).map(|_| peer_id()).collect());
        let this = Self { pairs, mailboxes };
        for pair in &this.pairs {
            api.relay(&pair.send(0, 2, "AAEC")).send().await.ok();
        }
        for peer in &this.mailboxes {
            api.relay(&signal(&peer_id(), peer, "offer", json!({"n": 1}))).send().await.ok();
        }
        this
    }

    /// Goes on with all of it at another node.
    async fn goes_on(&self, api: &Api) {
        for pair in &self.pairs {
            api.relay(&pair.send(1, 2, "AwQF")).send().await.ok();
            let chunks =
                [api.relay(&pair.receive()).send().await.ok(), api.relay(&pair.receive()).send().await.ok()];
            let data: Vec<_> = chunks.iter().map(|chunk| chunk["chunk"]["data"].clone()).collect();
            assert_eq!(data, ["AAEC", "AwQF"]);
        }
        for peer in &self.mailboxes {
            let polled = api.relay(&poll(peer)).send().await.ok();
            assert_eq!(polled["messages"][0]["payload"], json!({"n": 1}), "{polled}");
        }
    }
}

/// Waits as long as it takes, with one long poll after the other.
async fn wait_for_a_signal(api: Api, peer: String) -> Value {
    let waiting = with(&poll(&peer), "waitMs", Some(json!(20_000)));
    loop {
        let polled = api.relay(&waiting).once().await.ok();
        if let Some(message) = polled["messages"].get(0) {
            return message["payload"].clone();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_grows_to_three_and_to_six_under_load_and_nothing_is_lost() {
    let mut cluster = Cluster::builder().nodes(1).unmetered().start().await;
    let first = cluster.api(1);
    let before = Before::begin(&first).await;
    let (room, watched) = (word("room"), peer_id());
    let mut listener = Socket::open(&first).await;
    listener.ok(json!({"op": "join", "room": room})).await;
    listener.ok(json!({"op": "claim", "peerId": watched})).await;
    let waiting_for = peer_id();
    let polling = tokio::spawn(wait_for_a_signal(first.clone(), waiting_for.clone()));
    let (stop, asked) = ticker(first.clone());

    add(&mut cluster, 2).await;
    add(&mut cluster, 3).await;
    settled(&cluster, 1, 1).await;
    for id in 4..=6 {
        add(&mut cluster, id).await;
    }
    settled(&cluster, 1, 2).await;
    settled(&cluster, 6, 2).await;
    // It has a seat, though not in the first cell.
    command(&cluster, &["promote", "5"]).await;

    let last = cluster.api(6);
    let mut speaker = Socket::open(&last).await;
    speaker.ok(json!({"op": "join", "room": room})).await;
    speaker.ok(json!({"op": "publish", "data": "hello"})).await;
    assert_eq!(listener.push("message").await["data"], "hello");
    last.relay(&signal(&peer_id(), &watched, "offer", json!({"n": 2}))).send().await.ok();
    assert_eq!(listener.push("signal").await["payload"], json!({"n": 2}));
    last.relay(&signal(&peer_id(), &waiting_for, "offer", json!({"n": 3}))).send().await.ok();
    let told = tokio::time::timeout(Duration::from_secs(5), polling).await.expect("it is woken");
    assert_eq!(told.expect("each request succeeds"), json!({"n": 3}));
    let listed = cluster.admin(6).get("/admin/v1/mailboxes").send().await.ok();
    assert!(listed["items"].as_array().is_some_and(|items| items.len() >= 20), "of both cells: {listed}");
    before.goes_on(&last).await;
    stop.send_replace(true);
    assert!(asked.await.expect("every request at the first node succeeds") > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_without_a_front_to_take_a_seat_is_emptied_before_its_nodes_go() {
    let mut cluster = Cluster::builder().nodes(6).unmetered().start().await;
    settled(&cluster, 1, 2).await;
    let before = Before::begin(&cluster.api(6)).await;
    let (stop, asked) = ticker(cluster.api(1));
    for id in [6, 5, 4] {
        command(&cluster, &["drain", &id.to_string()]).await;
        // The last of them leads its cell, which is gone, for as long as it runs.
        cluster.says(id, "this node was removed from the cluster").await;
        assert_eq!(cluster.terminate(id).await, Some(0));
    }
    settled(&cluster, 1, 1).await;
    stop.send_replace(true);
    assert!(asked.await.expect("every request succeeds") > 0);
    before.goes_on(&cluster.api(2)).await;
    eventually(READY, "those who went are listed no more", async || {
        (cluster.status().await.nodes.len() == 3).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_that_is_lost_is_felt_by_its_keys_alone() {
    let mut cluster = Cluster::builder().nodes(6).unmetered().start().await;
    settled(&cluster, 1, 2).await;
    for id in [4, 5, 6] {
        cluster.kill(id).await;
    }
    let api = cluster.api(1);
    eventually(READY, "the second cell is known to be lost", async || {
        let cells = cells(&cluster.admin(1)).await?;
        (cells[1]["leader"].is_null() && cells[1]["majority"]["reachable"] == 0).then_some(())
    })
    .await;
    // None of its nodes is left to say so.
    let metrics = cluster.admin(1).get("/metrics").send().await.text();
    for line in ["conclave_cell_without_leader{cell=\"1\"} 0", "conclave_cell_without_leader{cell=\"2\"} 1"] {
        assert!(metrics.contains(line), "{line}");
    }
    // Wherever the list of what is revoked lies, a node that starts anew serves what is there.
    cluster.kill(2).await;
    cluster.restart(2);
    cluster.wait_ready().await;
    let (mut served, mut refused) = (0, 0);
    for _ in 0..40 {
        let asked = tokio::time::Instant::now();
        let pair = Pair::fresh();
        let reply = api.relay(&pair.send(0, 1, "AAEC")).once().await;
        let took = asked.elapsed();
        if reply.status == 200 {
            assert_eq!(api.relay(&pair.receive()).once().await.ok()["chunk"]["data"], "AAEC");
            served += 1;
        } else {
            reply.refused(503, "no_leader");
            assert!(took < Duration::from_secs(3), "it waits for a cell that can't elect: {took:?}");
            refused += 1;
        }
    }
    // Keys are hashes: that of 40 fewer than four are in either half happens once in fifty million times.
    assert!(served >= 4 && refused >= 4, "{served} served, {refused} refused");
    for id in [4, 5, 6] {
        cluster.restart(id);
    }
    cluster.wait_ready().await;
    // As many keys as were refused in part before.
    for _ in 0..40 {
        cluster.api(4).relay(&Pair::fresh().send(0, 1, "AAEC")).once().await.ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_of_two_cells_are_killed_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::builder().nodes(6).unmetered().start().await;
    settled(&cluster, 1, 2).await;
    let before = Before::begin(&cluster.api(3)).await;
    cluster.kill_all().await;
    for id in 1..=6 {
        cluster.restart(id);
    }
    cluster.wait_ready().await;
    settled(&cluster, 5, 2).await;
    before.goes_on(&cluster.api(5)).await;
}
