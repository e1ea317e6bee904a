//! More than a node can carry out.

use std::time::Duration;

use conclave_tests::cluster::Cluster;
use conclave_tests::files;
use conclave_tests::http::Api;
use conclave_tests::raw::{Raw, statuses};
use conclave_tests::relay::{Pair, peer_id, poll};
use conclave_tests::wait::eventually;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// More than may be open at a node for as long as they take.
const OPEN: usize = 2_200;
/// More than a node carries out at a time, or takes in without a thought.
const CROWD: usize = 300;
/// Bytes of a large chunk.
const LARGE: usize = 44_000;
const LAST: &str = "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// The head of a request with a large body.
fn head() -> String {
    format!(
        "POST /api/relay HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {LARGE}\r\n\r\n"
    )
}

/// Waits until this gauge of the first node says so many.
async fn until_gauge(cluster: &Cluster, name: &str, count: usize) {
    eventually(Duration::from_secs(20), name, async || {
        let metrics = cluster.admin(1).get("/metrics").attempt().await.ok()?.text();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())?;
        (value >= count as f64).then_some(())
    })
    .await;
}

/// Large chunks, one after the other, for long enough that a node knows its pace.
async fn upload(node: &Api) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        let chunk = Pair::fresh().send(0, 1, &"AAAA".repeat(LARGE / 4));
        let reply = node.relay(&chunk).patience(Duration::from_secs(4)).once().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

/// Whether a large chunk is refused unread. `None` if it is not, or not in time.
async fn refused_unread(node: &Api) -> Option<()> {
    let mut connection = Raw::open(node).await;
    connection.send(head()).await;
    let answer = connection.until("\"retryAfter\":1}");
    let answer = tokio::time::timeout(Duration::from_millis(500), answer).await.ok()?;
    answer.contains("\"error\":\"overloaded\"").then_some(())?;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"status\":\"waiting\""), "{answer}");
    // The large body comes when it was refused, and the connection goes on behind it.
    connection.send("b".repeat(LARGE)).await;
    connection.send(LAST.to_owned()).await;
    let rest = connection.rest().await;
    assert_eq!(statuses(&rest), [200], "{rest}");
    Some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_is_refused_unread_and_its_connection_goes_on() {
    files::raise_limit();
    let mut cluster = Cluster::builder().unmetered().start().await;
    let leader = cluster.leader().await;
    for other in cluster.followers().await {
        cluster.freeze(other);
    }
    // Nothing can be committed, and more waits than may wait.
    let node = cluster.api(leader);
    let mut waiting = JoinSet::new();
    eventually(Duration::from_secs(30), "a large chunk is refused unread", async || {
        while waiting.try_join_next().is_some() {}
        while waiting.len() < OPEN {
            waiting.spawn(node.relay(&Pair::fresh().send(0, 1, "chunk")).attempt());
        }
        refused_unread(&node).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nobody_leads_a_crowd_of_large_chunks_hears_so_together() {
    let mut cluster = Cluster::builder().unmetered().set("http.workers", "1").start().await;
    let leader = cluster.leader().await;
    let node = cluster.api(leader);
    for other in cluster.followers().await {
        cluster.freeze(other);
    }
    let mut refused = JoinSet::new();
    for _ in 0..CROWD {
        let call = node.relay(&Pair::fresh().send(0, 1, &"AAAA".repeat(LARGE / 4)));
        refused.spawn(async {
            let reply = call.attempt().await.expect("an answer comes");
            (reply.status, Instant::now())
        });
    }
    let answers = refused.join_all().await;
    assert!(answers.iter().all(|(status, _)| *status == 503), "{answers:?}");
    let times = || answers.iter().map(|(_, at)| *at);
    let (first, last) = (times().min().expect("there are some"), times().max().expect("there are some"));
    // One that began to be tried when the first was refused would be refused 900 ms later.
    assert!(last - first < Duration::from_millis(900), "{:?}", last - first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_that_wait_with_large_bodies_keep_no_chunk_out() {
    let cluster = Cluster::builder().nodes(1).unmetered().set("http.workers", "1").start().await;
    let node = cluster.api(1);
    let mut waiting = JoinSet::new();
    for _ in 0..CROWD {
        let mut question = poll(&peer_id());
        question["waitMs"] = 25_000.into();
        question["padding"] = "p".repeat(8_000).into();
        waiting.spawn(node.relay(&question).attempt());
    }
    until_gauge(&cluster, "conclave_actors_waits", CROWD).await;
    upload(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_that_stop_halfway_keep_no_chunk_out() {
    let cluster = Cluster::builder().nodes(1).unmetered().set("http.workers", "1").start().await;
    let node = cluster.api(1);
    let mut halves = Vec::new();
    for _ in 0..CROWD {
        let mut half = Raw::open(&node).await;
        half.send(format!("{}{}", head(), "b".repeat(LARGE / 2))).await;
        halves.push(half);
    }
    until_gauge(&cluster, "conclave_http_requests_in_flight", CROWD).await;
    upload(&node).await;
}
