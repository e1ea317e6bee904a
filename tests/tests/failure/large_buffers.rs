//! Small things in large bodies: what a node stores of a request, and what it waits with, keeps nothing else of it.

use std::time::Duration;

use conclave_tests::cluster::Cluster;
use conclave_tests::http::Api;
use conclave_tests::memory::resident_kib;
use conclave_tests::raw::Raw;
use conclave_tests::relay::peer_id;
use conclave_tests::wait::eventually;
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _, iter};
use serde_json::{Value, json};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes around what is asked.
const PADDING: usize = 240 << 10;
const REQUESTS: usize = 600;
/// They come to 140 MiB.
const GROWTH_KIB_MAX: u64 = 64 << 10;

/// A node that counts nothing against its clients.
async fn lenient() -> Cluster {
    let builder = Cluster::builder().nodes(1);
    builder.set("allowance.enabled", "false").set("shares.enabled", "false").start().await
}

fn memory_of(cluster: &Cluster) -> u64 {
    resident_kib(cluster.node(1).pid().expect("it runs"))
}

fn padded(mut wish: Value) -> Value {
    wish["pad"] = "a".repeat(PADDING).into();
    wish
}

async fn asked(node: &Api, wish: Value) {
    let reply = node.relay(&padded(wish)).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// By how much a node grows while each of these is asked, eight at a time.
async fn growth(wish: impl Fn(usize) -> Value) -> u64 {
    let cluster = lenient().await;
    let node = cluster.api(1);
    let ask = |number| asked(&node, wish(number));
    // What a node needs in any case.
    iter(0..16).map(ask).buffer_unordered(8).collect::<Vec<()>>().await;
    let before = memory_of(&cluster);
    iter(16..REQUESTS).map(ask).buffer_unordered(8).collect::<Vec<()>>().await;
    memory_of(&cluster).saturating_sub(before)
}

#[tokio::test]
async fn a_signal_is_stored_without_the_body_that_it_came_in() {
    let wish = |_| json!({"action": "signal", "from": "a", "to": peer_id(), "type": "offer", "payload": 1});
    let grew = growth(wish).await;
    assert!(grew < GROWTH_KIB_MAX, "the node grew by {grew} KiB");
}

#[tokio::test]
async fn a_chunk_is_stored_without_the_body_that_it_came_in() {
    let wish = |number| {
        json!({"action": "send", "pin": "p", "passwordHash": "h", "chunkIndex": number, "totalChunks": REQUESTS,
            "data": "no base64!"})
    };
    let grew = growth(wish).await;
    assert!(grew < GROWTH_KIB_MAX, "the node grew by {grew} KiB");
}

#[tokio::test]
async fn who_waits_holds_no_body() {
    let cluster = lenient().await;
    let (node, admin) = (cluster.api(1), cluster.admin(1));
    asked(&node, json!({"action": "poll", "peerId": "nobody"})).await;
    let before = memory_of(&cluster);
    let gauge = async |name: &str| {
        let page = admin.get("/metrics").send().await.text();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        let value: f64 = line.expect("there is such a gauge");
        value
    };
    let mut polls = FuturesUnordered::new();
    // A few at a time: what is on its way takes memory that the allocator may keep.
    while polls.len() < REQUESTS {
        for _ in 0..10 {
            let wish = padded(json!({"action": "poll", "peerId": peer_id(), "waitMs": 25_000}));
            polls.push(node.relay(&wish).patience(2 * PATIENCE).send());
        }
        let waiting = polls.len() as f64;
        let all_wait = async || (gauge("conclave_actors_waits").await == waiting).then_some(());
        tokio::select! {
            () = eventually(PATIENCE, "all of them wait", all_wait) => {}
            _ = polls.next() => panic!("a poll was answered"),
        }
    }
    eventually(PATIENCE, "nothing is held for them", async || {
        (gauge("conclave_buffers_bytes").await == 0.0).then_some(())
    })
    .await;
    let grew = memory_of(&cluster).saturating_sub(before);
    assert!(grew < GROWTH_KIB_MAX, "the node grew by {grew} KiB");
}

#[tokio::test]
async fn the_head_of_who_waits_is_on_its_clients_account() {
    let cluster = Cluster::builder().nodes(1).set("http.buffers_bytes_max", "8MiB").start().await;
    let (node, admin) = (cluster.api(1), cluster.admin(1));
    let long = "h".repeat(28 << 10);
    let polls = join_all((0..100).map(async |_| {
        let wish = json!({"action": "poll", "peerId": peer_id(), "waitMs": 25_000});
        node.relay(&wish).header("x-long", &long).once().await.status
    }));
    let refused = async || {
        let page = admin.get("/metrics").send().await.text();
        let held = page.lines().find_map(|line| line.strip_prefix("conclave_buffers_bytes ")?.parse().ok());
        let held: f64 = held.expect("there is such a gauge");
        assert!(held < (4 << 20) as f64, "{held} bytes are held for one client of 8 MiB for all");
        (held > (1 << 20) as f64).then_some(())
    };
    tokio::select! {
        () = eventually(PATIENCE, "its part is in use", refused) => {}
        statuses = polls => assert!(statuses.contains(&429), "{statuses:?}"),
    }
}

/// The server keeps the buffer of a connection's largest head with it, for as long as it rests.
#[tokio::test]
async fn connections_with_large_heads_do_not_rest_where_room_is_scarce() {
    const CONNECTIONS: usize = 200;
    let cluster = Cluster::builder().nodes(1).set("http.buffers_bytes_max", "8MiB").start().await;
    let asked = format!("GET /livez HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "h".repeat(28 << 10));
    let mut resting = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = Raw::open(&cluster.api(1)).await;
        connection.send(&asked).await;
        assert!(connection.until("\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
        resting.push(connection);
    }
    // A fifth of 8 MiB is 58 such heads.
    let rests =
        async |connection: &mut Raw| timeout(Duration::from_millis(100), connection.rest()).await.is_err();
    let mut count = 0;
    for connection in &mut resting {
        count += usize::from(rests(connection).await);
    }
    assert!((40..70).contains(&count), "{count} of {CONNECTIONS} are open");
}
