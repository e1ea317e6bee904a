//! Nodes come and go while the cluster works.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use conclave_tests::cluster::Status;
use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::http::Api;
use conclave_tests::relay::Pair;
use conclave_tests::roam::Roamer;
use conclave_tests::wait::eventually;

/// Starts node `id`, adds it, and makes it a voter.
pub(super) async fn grow(cluster: &mut Cluster, id: u64) {
    cluster.join(id).await;
    let peer = cluster.installation(id).advertise.to_string();
    let name = id.to_string();
    for args in [&["add", &name, &peer][..], &["promote", &name]] {
        command(cluster, args).await;
    }
    cluster.wait_ready_at(id).await;
    role(cluster, id, Some("follower")).await;
}

/// Removes a node from the cluster.
pub(super) async fn remove(cluster: &Cluster, id: u64) {
    command(cluster, &["remove", &id.to_string()]).await;
    role(cluster, id, None).await;
}

/// Runs `conclave cluster …` against the leader; it has to succeed, if not in the midst of an election.
async fn command(cluster: &Cluster, args: &[&str]) {
    eventually(READY, &format!("{args:?} succeeds"), async || {
        let admin = cluster.node(cluster.leader().await).admin.to_string();
        let all = [&["cluster"], args, &["--url", &admin]].concat();
        let (code, printed) = cluster.command(&all).await;
        // Of a removal whose answer was lost the second one finds nothing left to do.
        let removed = args[0] == "remove" && printed.contains("is not a member");
        let interrupted = ["no leader", "another change"].iter().any(|why| printed.contains(why));
        assert!(code == Some(0) || removed || interrupted, "{args:?}: {code:?}, {printed}");
        (code == Some(0) || removed).then_some(())
    })
    .await;
}

/// Waits until the leader knows a node in this role, or does not know it.
async fn role(cluster: &Cluster, id: u64, role: Option<&str>) {
    eventually(READY, &format!("node {id} has the role {role:?}"), async || {
        let status = cluster.status().await;
        (status.node(id).map(|node| node.role.as_str()) == role).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_three_to_four_and_back_nothing_is_lost() {
    let mut cluster = Cluster::builder().unmetered().start().await;
    let leaving = cluster.followers().await[0];
    let staying: Vec<Api> =
        cluster.running().into_iter().filter(|id| *id != leaving).map(|id| cluster.api(id)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(write(staying, stop.clone()));

    grow(&mut cluster, 4).await;
    remove(&cluster, leaving).await;
    cluster.kill(leaving).await;

    stop.store(true, Ordering::Relaxed);
    let written = load.await.expect("the cluster works all the while");
    assert!(!written.is_empty(), "something was written meanwhile");
    let newcomer = cluster.api(4);
    for (turn, pair) in written.iter().enumerate() {
        let got = newcomer.relay(&pair.receive()).keyed().send().await.ok();
        assert_eq!(got["chunk"]["data"], format!("turn {turn}"), "{got}");
    }
}

/// Writes until it is told to stop.
async fn write(nodes: Vec<Api>, stop: Arc<AtomicBool>) -> Vec<Pair> {
    let client = Roamer::new(nodes);
    let mut written = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let (turn, pair) = (written.len(), Pair::fresh());
        client.relay(turn, &pair.send(0, 2, &format!("turn {turn}"))).await;
        written.push(pair);
    }
    written
}

#[tokio::test]
async fn leadership_is_handed_over_on_request() {
    let cluster = Cluster::builder().unmetered().start().await;
    let heir = cluster.followers().await[0];
    command(&cluster, &["transfer-leader", &heir.to_string()]).await;
    eventually(READY, "the heir leads", async || (cluster.leader().await == heir).then_some(())).await;
    let follower = cluster.follower().await;
    follower.relay(&Pair::fresh().send(0, 1, "AAEC")).send().await.ok();
}

#[tokio::test]
async fn the_status_command_says_what_the_admin_api_says() {
    let cluster = Cluster::builder().unmetered().start().await;
    let leader = cluster.leader().await;
    let admin = cluster.node(leader).admin.to_string();
    let (code, printed) = cluster.command(&["cluster", "status", "--json", "--url", &admin]).await;
    assert_eq!(code, Some(0), "{printed}");
    let status: Status = serde_json::from_str(printed.trim()).expect("JSON and nothing else");
    assert_eq!(status.leader, Some(leader));
    assert_eq!(status.nodes.len(), 3);
}

#[tokio::test]
async fn the_status_command_says_why_a_node_is_not_reached() {
    let mut cluster = Cluster::builder().unmetered().start().await;
    let victim = cluster.followers().await[0];
    cluster.kill(victim).await;
    let address = cluster.installation(victim).advertise;
    let line = format!("node {victim} at {address}: Connection refused");
    // Right after it was killed other words are true of it, and on a busy machine of others, too.
    eventually(READY, "the table says why", async || {
        let (code, printed) = told(&cluster, &["status"]).await;
        assert_eq!(code, Some(0), "{printed}");
        let told = printed.matches(": Connection refused").count();
        (told > 0 && told == printed.matches(&line).count()).then_some(())
    })
    .await;
    eventually(READY, "JSON says why, of this node alone", async || {
        let (_, printed) = told(&cluster, &["status", "--json"]).await;
        let status: serde_json::Value = serde_json::from_str(printed.trim()).expect("JSON and nothing else");
        let nodes = status["nodes"].as_array().expect("a list");
        let faults = nodes.iter().filter(|node| node.get("fault").is_some());
        let faults: Vec<_> = faults.map(|node| (&node["id"], node["fault"].as_str())).collect();
        match &faults[..] {
            [(id, Some(fault))] => (**id == victim && fault.contains("Connection refused")).then_some(()),
            _ => None,
        }
    })
    .await;
}

/// What one run of `conclave cluster …` against the leader comes to, refusals included.
async fn told(cluster: &Cluster, args: &[&str]) -> (Option<i32>, String) {
    let admin = cluster.node(cluster.leader().await).admin.to_string();
    cluster.command(&[&["cluster"], args, &["--url", &admin]].concat()).await
}

/// Asserts that a change is refused with exit code 3 and these words.
async fn refused(cluster: &Cluster, args: &[&str], words: &str) {
    let (code, printed) = told(cluster, args).await;
    assert_eq!(code, Some(3), "{args:?}: {printed}");
    assert!(printed.to_lowercase().contains(&words.to_lowercase()), "{args:?}: {printed}");
}

/// Asserts that a write is accepted.
async fn writes_go_on(cluster: &Cluster) {
    let leader = cluster.api(cluster.leader().await);
    leader.relay(&Pair::fresh().send(0, 1, "AAEC")).send().await.ok();
}

#[tokio::test]
async fn who_does_not_answer_is_neither_added_nor_promoted() {
    let mut cluster = Cluster::builder().nodes(1).unmetered().start().await;
    refused(&cluster, &["add", "2", "127.0.0.1:1", "--timeout", "3s"], "does not answer").await;
    refused(&cluster, &["add", "2", "127.0.0.1:0"], "is not the host:port").await;
    let own = cluster.installation(1).advertise.to_string();
    refused(&cluster, &["add", "2", &own], "node 1 is the member at").await;
    refused(&cluster, &["promote", "2"], "is not a member").await;
    assert_eq!(cluster.status().await.nodes.len(), 1);
    writes_go_on(&cluster).await;

    cluster.join(2).await;
    let peer = cluster.installation(2).advertise.to_string();
    command(&cluster, &["add", "2", &peer]).await;
    cluster.wait_ready_at(2).await;
    cluster.kill(2).await;
    refused(&cluster, &["promote", "2", "--timeout", "10s"], "does not answer").await;
    writes_go_on(&cluster).await;
}

#[tokio::test]
async fn a_node_answers_when_it_is_added_and_has_caught_up_when_it_is_promoted() {
    let mut cluster = Cluster::builder().nodes(1).unmetered().start().await;
    let pair = Pair::fresh();
    for index in 0..200 {
        cluster.api(1).relay(&pair.send(index, 200, "AAEC")).send().await.ok();
    }
    cluster.join(2).await;
    let there = cluster.log_end().await.index;
    let peer = cluster.installation(2).advertise.to_string();
    command(&cluster, &["add", "2", &peer]).await;
    cluster.wait_ready_at(2).await;
    let front = cluster.status().await.node(2).cloned().expect("it is a member");
    assert_eq!((&*front.role, front.last_log), ("front", 0), "it holds nothing");
    let chunk = cluster.api(2).relay(&pair.receive()).send().await.ok();
    assert_eq!(chunk["chunk"]["data"], "AAEC", "{chunk}");

    command(&cluster, &["promote", "2"]).await;
    let member = cluster.status().await.node(2).cloned().expect("it is a member");
    assert!(member.last_log >= there, "it has {} of the {there} entries there were", member.last_log);
}

#[tokio::test]
async fn what_would_leave_no_majority_is_refused() {
    let mut cluster = Cluster::builder().unmetered().start().await;
    let followers = cluster.followers().await;
    cluster.kill(followers[0]).await;
    eventually(READY, "the status tells that it is away", async || {
        let (code, printed) = told(&cluster, &["status"]).await;
        assert_eq!(code, Some(0), "{printed}");
        printed.contains("2 of 3 voters reachable, 2 needed").then_some(())
    })
    .await;
    let (dead, alive) = (followers[0].to_string(), followers[1].to_string());
    refused(&cluster, &["remove", &alive], "only 1 of the 2 voters").await;
    writes_go_on(&cluster).await;
    command(&cluster, &["remove", &dead]).await;
    writes_go_on(&cluster).await;
}

#[tokio::test]
async fn a_removed_id_stays_removed() {
    let mut cluster = Cluster::builder().nodes(1).unmetered().start().await;
    cluster.join(2).await;
    let peer = cluster.installation(2).advertise.to_string();
    command(&cluster, &["add", "2", &peer]).await;
    cluster.wait_ready_at(2).await;
    remove(&cluster, 2).await;
    refused(&cluster, &["add", "2", &peer], "was removed").await;
}

#[tokio::test]
async fn leadership_that_is_handed_to_the_leader_stays_where_it_is() {
    let cluster =
        Cluster::builder().unmetered().env("CONCLAVE_ADMIN_URL", "http://127.0.0.1:9400").start().await;
    let before = cluster.status().await;
    let leader = before.leader.expect("`status` waits for a leader");
    let (code, printed) = told(&cluster, &["transfer-leader", &leader.to_string()]).await;
    assert_eq!(code, Some(0), "{printed}");
    let after = cluster.status().await;
    assert_eq!((after.leader, after.term), (before.leader, before.term));
}
