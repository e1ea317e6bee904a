//! More than a node can carry out.

use std::time::Duration;

use conclave_tests::cluster::Cluster;
use conclave_tests::files;
use conclave_tests::http::Api;
use conclave_tests::raw::{Raw, statuses};
use conclave_tests::relay::Pair;
use tokio::task::JoinSet;

/// More than may be open at a node for as long as they take.
const OPEN: usize = 2_200;
const ROUNDS: usize = 5;
/// So many within the time that what waits has.
const PROBES: usize = 10;
const LAST: &str = "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// What a large chunk is answered with, and what a request that says of itself that it was refused for its size. `None` if
/// there was no time for either.
async fn refusals(node: &Api) -> Option<(String, String)> {
    let head = |length: &str| {
        format!(
            "POST /api/relay HTTP/1.1\r\nhost: a\r\nx-request-id: one\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let mut connection = Raw::open(node).await;
    // The large body comes when it was refused, and the connection goes on behind it.
    connection.send(head("44000")).await;
    let answer =
        tokio::time::timeout(Duration::from_millis(500), connection.until("\"retryAfter\":1}")).await.ok()?;
    if !answer.contains("overloaded") {
        return None;
    }
    connection.send(format!("{}{}{LAST}", "b".repeat(44_000), head("00000"))).await;
    let rest = connection.rest().await;
    assert_eq!(statuses(&rest), [503, 200], "{rest}");
    let (usual, _) = rest.split_at(rest.find("HTTP/1.1 200").expect("it was found"));
    Some((answer, usual.to_owned()))
}

/// An answer's header lines in order, without `Date`, which the short way does not have, and its body.
fn parts(answer: &str) -> (Vec<String>, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head has an end");
    let mut lines: Vec<String> = head.split("\r\n").map(str::to_owned).collect();
    lines.retain(|line| !line.to_ascii_lowercase().starts_with("date:"));
    lines.sort();
    (lines, body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_that_is_refused_unread_is_answered_like_any_other_refusal() {
    files::raise_limit();
    let mut cluster = Cluster::builder().unmetered().start().await;
    let leader = cluster.leader().await;
    for other in cluster.followers().await {
        cluster.freeze(other);
    }
    // Nothing can be committed, and more waits than may wait.
    let mut waiting = JoinSet::new();
    for round in 0..ROUNDS {
        let node = cluster.api(leader);
        for _ in 0..OPEN {
            let call = node.relay(&Pair::fresh().send(0, 1, "chunk"));
            waiting.spawn(call.attempt());
        }
        for _ in 0..PROBES {
            let Some((answer, usual)) = refusals(&cluster.api(leader)).await else { continue };
            assert_eq!(parts(&answer), parts(&usual), "round {round}");
            if !answer.to_ascii_lowercase().contains("\r\ndate: ") {
                return;
            }
        }
        waiting.shutdown().await;
    }
    panic!("the server was asked each time");
}
