//! Clients that ask for much and take little, or send what their allowance does not admit: what a node holds for them is
//! bounded, and the others are served.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use conclave_sigma::{Frame, encode};
use conclave_tests::authority::{Authority, Client};
use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::http::Api;
use conclave_tests::memory::resident_kib;
use conclave_tests::raw::Stream;
use conclave_tests::relay::{Pair, peer_id};
use conclave_tests::socket::Socket;
use conclave_tests::wait::eventually;
use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
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
    eventually(SIEGE * 4, "all is given back", async || (gauge(&admin).await == 0.0).then_some(())).await;
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
    let grew = resident_kib(pid).saturating_sub(before);
    assert!(grew < GROWTH_KIB_MAX, "the node grew by {grew} KiB");
    drop(streams);
}

/// A binary message of so many bytes, unmasked in effect: its mask is zero.
fn message(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x82];
    match payload.len() {
        len @ ..126 => bytes.push(0x80 | len as u8),
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// FlatBuffers sockets whose client has spent its allowance are held back, and each could have 32 messages of 80 KiB wait.
#[tokio::test]
async fn what_sockets_send_beyond_their_allowance_stays_outside() {
    const SOCKETS: usize = 60;
    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 8, 30));
    /// A fifth of what the node may hold.
    const PART: f64 = (8 << 20) as f64 / 5.0;
    let cluster = Cluster::builder()
        .nodes(1)
        .set("allowance.tiers.socket.limit", "20")
        .set("allowance.tiers.socket.window", "30m")
        .set("http.buffers_bytes_max", "8MiB")
        .start()
        .await;
    let (node, admin) = (cluster.api(1), cluster.admin(1));
    let pid = cluster.node(1).pid().expect("it runs");
    let mut spender = Socket::open(&node.seen_from(CLIENT)).await;
    spender.ok(json!({"op": "join", "room": "a"})).await;
    while spender.ask(json!({"op": "publish", "data": 1})).await["ok"] == true {}
    drop(spender);
    let before = resident_kib(pid);
    let end = Instant::now() + SIEGE;
    let flood = join_all((0..SOCKETS).map(async |_| {
        let socket = TcpSocket::new_v4().expect("this test has descriptors");
        socket.bind((CLIENT, 0).into()).expect("loopback is a network");
        let mut stream = socket.connect(node.address()).await.expect("the node listens");
        let connect = Frame::Connect { client_version: String::new(), session_id: peer_id() };
        let words = [message(&encode(&connect)), message(&[0; 80_000]).repeat(32)].concat();
        let asked = "GET /ws?room=a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(asked.as_bytes()).await.expect("the node listens");
        let mut answer = [0; 1024];
        let len = stream.read(&mut answer).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer[..len]);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        let _ = tokio::time::timeout_at(end, stream.write_all(&words)).await;
        let _ = tokio::time::timeout_at(end, std::future::pending::<()>()).await;
    }));
    let other = node.seen_from([127, 0, 8, 20].into());
    let (mut grew, mut held) = (0, 0.0_f64);
    let watching = async {
        while Instant::now() < end {
            grew = grew.max(resident_kib(pid).saturating_sub(before));
            held = held.max(gauge(&admin).await);
            let chunk = Pair::fresh().send(0, 1, &"AAAA".repeat(11_000));
            timeout(SERVED, other.relay(&chunk).once()).await.expect("the others are served").ok();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::join!(flood, watching);
    assert!((PART..2.0 * PART).contains(&held), "{held} bytes were held");
    assert!(grew < GROWTH_KIB_MAX, "the node grew by {grew} KiB");
    // The flood has left, and could pay for nothing of what still waits.
    eventually(READY, "what waited is given back", async || {
        (gauge(&admin).await < PART / 10.0).then_some(())
    })
    .await;
    let mut spent = Socket::open(&node.seen_from(CLIENT)).await;
    spent.refused(json!({"op": "join", "room": "a"}), "rate_limited").await;
}
