//! How many guesses a client gets that holds many requests back by their last byte and lets them go at once.

use conclave_tests::cluster::Cluster;
use conclave_tests::http::Api;
use conclave_tests::raw::{Raw, statuses};
use conclave_tests::relay::{invite_code, lookup, peer_id, register, word};
use conclave_tests::shared::limits;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

/// In each tier.
const LIMIT: usize = 300;
/// A miss and a conflict cost five.
const COST: usize = 5;
/// Tries of one client that a node has under way.
const TURNS: usize = 4;
/// Requests that are held back at each node: more than a window admits.
const HELD: usize = 400;

async fn cluster() -> Cluster {
    limits(Cluster::builder(), LIMIT as u32, "600s").start().await
}

fn posted(path: &str, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

/// Sends [`HELD`] requests to each node but for their last byte, then those, and returns all statuses.
async fn at_once(nodes: &[Api], request: impl Fn() -> String) -> Vec<u16> {
    let open = (0..HELD * nodes.len()).map(|turn| {
        let request = request();
        async move {
            let mut connection = Raw::open(&nodes[turn % nodes.len()]).await;
            let (first, last) = request.split_at(request.len() - 1);
            connection.send(first).await;
            (connection, last.to_owned())
        }
    });
    let mut held: Vec<_> = stream::iter(open).buffer_unordered(64).collect().await;
    let released = held.iter_mut().map(async |(connection, last)| {
        connection.send(last).await;
        statuses(&connection.rest().await)
    });
    let statuses: Vec<u16> = join_all(released).await.into_iter().flatten().collect();
    assert_eq!(statuses.len(), HELD * nodes.len(), "every request is answered");
    statuses
}

/// How many have this status, and how many were not carried out in time, as on a busy machine; all others are 429.
fn refused_or(statuses: &[u16], status: u16) -> (usize, usize) {
    let count = |status: u16| statuses.iter().filter(|other| **other == status).count();
    assert_eq!(count(status) + count(503) + count(429), statuses.len(), "{statuses:?}");
    (count(status), count(503))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lookups_that_are_held_back_and_let_go_together_are_no_more_guesses() {
    let cluster = cluster().await;
    let nodes = cluster.apis();
    let code = invite_code();
    nodes[0].relay(&register(&code, &peer_id())).send().await.ok();
    let statuses = at_once(&nodes, || posted("/api/relay", &lookup(&invite_code()))).await;
    let (misses, late) = refused_or(&statuses, 404);
    let most = LIMIT / COST + TURNS * nodes.len();
    assert!(misses <= most && misses + late >= LIMIT / COST, "{misses} guesses, {most} at most, {late} late");
    // Once the window is spent not even what is there is found, so that a refusal tells nothing.
    let mut misses_after = 0;
    while nodes[0].relay(&lookup(&invite_code())).send().await.status != 429 {
        misses_after += 1;
        assert!(misses + misses_after <= most, "{misses_after} guesses more");
    }
    for node in &nodes {
        node.relay(&lookup(&code)).send().await.refused(429, "rate_limit_exceeded");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_are_no_second_door() {
    let cluster = cluster().await;
    let nodes = cluster.apis();
    let (code, pin) = (invite_code(), word("pin"));
    let somebody = nodes[0].seen_from([127, 0, 9, 200].into());
    somebody.relay(&register(&code, &peer_id())).send().await.ok();
    somebody.post("/api/v1/sessions", &json!({"pin": pin})).send().await.ok();
    let most = (LIMIT + (COST - 1) * TURNS * nodes.len()) / COST;
    // Both are charged to one window.
    let mut told = 0;
    for (request, taken) in [
        (posted("/api/relay", &register(&code, &peer_id())), 400),
        (posted("/api/v1/sessions", &json!({"pin": pin})), 409),
    ] {
        let statuses = at_once(&nodes, || request.clone()).await;
        let (conflicts, late) = refused_or(&statuses, taken);
        told += conflicts;
        assert!(told <= most && told + late >= LIMIT / COST, "{told} conflicts, {most} at most, {late} late");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turn_credentials_are_given_as_often_as_the_limit_says() {
    let cluster = cluster().await;
    let request = "GET /api/v1/ice HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let statuses = at_once(&cluster.apis(), || request.to_owned()).await;
    let (given, late) = refused_or(&statuses, 200);
    assert!(given <= LIMIT && given + late >= LIMIT, "{given} of {LIMIT}, {late} late");
}
