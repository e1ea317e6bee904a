//! Clients that use up the descriptors: the node lives, its log goes on, and operators and others are served.

use std::time::Duration;

use conclave_tests::builder::Builder;
use conclave_tests::cluster::Cluster;
use conclave_tests::http::Api;
use conclave_tests::relay::Pair;
use conclave_tests::wait::eventually;
use futures_util::future::join_all;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// What the shell leaves a node, hard and soft.
const LIMIT: u64 = 256;
/// Connections of one client, more than there are descriptors.
const FLOOD: usize = 400;
/// As much as a chunk may have.
const CHUNK: usize = 49_000;
const SERVED: Duration = Duration::from_secs(10);

/// Snapshots come often, so that files are opened in the flood.
fn short_of_descriptors(builder: Builder) -> Builder {
    builder.set("allowance.enabled", "false").descriptors(LIMIT, LIMIT).set("raft.snapshot_log_bytes", "1MiB")
}

/// Keep-alive connections of a client of its own.
async fn flood(node: &Api) -> Vec<TcpStream> {
    let one = async || {
        let socket = TcpSocket::new_v4().expect("this test has descriptors");
        socket.bind("127.0.7.7:0".parse().expect("an address")).expect("loopback is a network");
        let mut stream = timeout(SERVED, socket.connect(node.address())).await.ok()?.ok()?;
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
        Some(stream)
    };
    join_all((0..FLOOD).map(|_| one())).await.into_iter().flatten().collect()
}

/// Writes chunks, one after the other.
async fn write(node: &Api, chunks: u32) {
    let data = "x".repeat(CHUNK);
    let mut pair = Pair::fresh();
    for index in 0..chunks {
        if index % 100 == 0 {
            pair = Pair::fresh();
        }
        node.relay(&pair.send(index % 100, 100, &data)).send().await.ok();
    }
}

async fn operators_are_served(cluster: &Cluster, id: u64) {
    let page = timeout(SERVED, cluster.admin(id).get("/metrics").send()).await.expect("in time");
    assert_eq!(page.status, 200);
}

#[tokio::test]
async fn a_node_lives_through_more_connections_than_it_has_descriptors() {
    let cluster = short_of_descriptors(Cluster::builder().nodes(1)).start().await;
    let (node, earlier) = (cluster.api(1), cluster.api(1));
    cluster.says(1, "LimitNOFILE").await;
    write(&earlier, 1).await;
    let held = flood(&node).await;
    operators_are_served(&cluster, 1).await;
    // Past the end of many logs of a mebibyte.
    write(&earlier, 300).await;
    operators_are_served(&cluster, 1).await;
    // One client takes only its part, so others come in meanwhile.
    let other = node.seen_from([127, 0, 7, 8].into());
    timeout(SERVED, write(&other, 1)).await.expect("another client is served in the flood");
    eventually(SERVED, "a snapshot is written in the flood", async || {
        let page = cluster.admin(1).get("/metrics").send().await.text();
        let snapshots = page.lines().find_map(|line| line.strip_prefix("conclave_raft_snapshots_total "));
        snapshots.filter(|count| *count != "0").map(drop)
    })
    .await;
    drop(held);
    write(&cluster.api(1), 1).await;
}

#[tokio::test]
async fn three_nodes_live_through_it_at_once() {
    let cluster = short_of_descriptors(Cluster::builder()).start().await;
    let nodes = cluster.apis();
    join_all(nodes.iter().map(|node| write(node, 1))).await;
    let held = join_all(nodes.iter().map(flood)).await;
    join_all(nodes.iter().map(|node| write(node, 50))).await;
    for id in 1..=3 {
        operators_are_served(&cluster, id).await;
    }
    drop(held);
    join_all(cluster.apis().iter().map(|node| write(node, 1))).await;
    assert_eq!(cluster.running(), [1, 2, 3]);
}

#[tokio::test]
async fn a_soft_limit_is_raised() {
    let builder = Cluster::builder().nodes(1).descriptors(300, 4096).set("http.connections_max", "1000");
    let cluster = builder.start().await;
    let page = cluster.admin(1).get("/metrics").send().await.text();
    let limit = page.lines().find_map(|line| line.strip_prefix("process_max_fds ")).expect("a gauge");
    assert_eq!(limit, "1256", "what is wanted for 1000 connections");
    cluster.says(1, "file descriptors").await;
}
