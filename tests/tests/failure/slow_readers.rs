//! Clients that ask for much and take little: what a node holds for them is bounded, and the others are served.

use std::fs;
use std::time::Duration;

use conclave_tests::authority::{Authority, Client};
use conclave_tests::cluster::Cluster;
use conclave_tests::http::Api;
use conclave_tests::raw::Stream;
use conclave_tests::wait::eventually;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const ASKED: &[u8] = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
/// Requests that each client sends, unless it is stopped before.
const REQUESTS: usize = 20_000;
const CLIENTS: usize = 100;
/// What a hundred such clients may cost: they could hold 2.5 GiB.
const GROWTH_KIB_MAX: u64 = 64 << 10;
/// For how long the clients go on.
const SIEGE: Duration = Duration::from_secs(8);
const SERVED: Duration = Duration::from_secs(5);

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the node lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

async fn gauge(admin: &Api) -> f64 {
    let page = admin.get("/metrics").send().await.text();
    let line = page.lines().find_map(|line| line.strip_prefix("conclave_buffers_bytes ")).expect("a gauge");
    line.parse().expect("a number")
}

/// Sends all it can, and reads 4 KiB a second.
async fn hoard(stream: impl Stream, end: Instant) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let sending = async {
        for _ in 0..REQUESTS / 100 {
            if writer.write_all(&ASKED.repeat(100)).await.is_err() {
                break;
            }
        }
    };
    let reading = async {
        let mut some = vec![0; 4096];
        while Instant::now() < end && reader.read(&mut some).await.is_ok_and(|count| count > 0) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let _ = tokio::time::timeout_at(end, async { tokio::join!(sending, reading) }).await;
}

/// Runs the clients, and returns by how much the node grew at most.
async fn siege<S: Stream>(cluster: &Cluster, health: impl AsyncFn(), connect: impl AsyncFn() -> S) -> u64 {
    let (pid, admin) = (cluster.node(1).pid().expect("it runs"), cluster.admin(1));
    let before = resident_kib(pid);
    let end = Instant::now() + SIEGE;
    let streams = join_all((0..CLIENTS).map(|_| connect())).await;
    let clients = join_all(streams.into_iter().map(|stream| hoard(stream, end)));
    let mut most = before;
    let watching = async {
        while Instant::now() < end {
            most = most.max(resident_kib(pid));
            timeout(SERVED, health()).await.expect("the others are served");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::join!(clients, watching);
    eventually(SERVED, "all is given back", async || (gauge(&admin).await == 0.0).then_some(())).await;
    most - before
}

#[tokio::test]
async fn pipelined_requests_whose_answers_are_not_read_stay_outside() {
    let cluster = Cluster::builder().nodes(1).start().await;
    let node = cluster.api(1);
    let health = async || drop(node.get("/health").send().await.ok());
    let connect = async || TcpStream::connect(node.address()).await.expect("the node listens");
    let grew = siege(&cluster, health, connect).await;
    assert!(grew < GROWTH_KIB_MAX, "the node grew by {grew} KiB");
}

#[tokio::test]
async fn the_same_under_tls() {
    let authority = Authority::new();
    let cluster = authority.serve(Cluster::builder().nodes(1)).start().await;
    let (node, admin) = (cluster.api(1), cluster.admin(1));
    let health = async || drop(admin.get("/livez").send().await.ok());
    let connect = async || authority.connect(&node, &Client::default()).await.expect("a handshake");
    let grew = siege(&cluster, health, connect).await;
    assert!(grew < GROWTH_KIB_MAX, "the node grew by {grew} KiB");
}

/// A chunked body says not how long it will be, and is held back nevertheless until it is wanted.
#[tokio::test]
async fn bodies_in_chunks_of_requests_that_wait_stay_outside() {
    let cluster = Cluster::builder().nodes(1).start().await;
    let (node, pid) = (cluster.api(1), cluster.node(1).pid().expect("it runs"));
    let before = resident_kib(pid);
    // A long poll, and behind it a request whose turn does not come before that is answered.
    let wish = r#"{"action":"poll","peerId":"nobody","waitMs":20000}"#;
    let poll = format!("POST /api/relay HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{wish}", wish.len());
    let post = "POST /api/relay HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 240 << 10, "x".repeat(240 << 10));
    let clients = (0..CLIENTS).map(async |_| {
        let mut stream = TcpStream::connect(node.address()).await.expect("the node listens");
        let sending = async { stream.write_all(format!("{poll}{post}{chunk}").as_bytes()).await };
        let _ = timeout(Duration::from_secs(5), sending).await;
        stream
    });
    let streams = join_all(clients).await;
    let grew = resident_kib(pid) - before;
    assert!(grew < GROWTH_KIB_MAX, "the node grew by {grew} KiB");
    drop(streams);
}
