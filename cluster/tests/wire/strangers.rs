//! Those who are not peers, and peers of other clusters. The greeting is spelled out here byte by byte, so that a
//! change of the wire format is noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use conclave_cluster::wire::{Error, Lane, Options, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::logs::Logs;
use crate::support::{Node, SOON, echo, large, options, request, service, until};

/// What a stranger gets for its bytes before the connection ends. The end must come.
async fn send(node: &Node, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(&node.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset instead of an end is as good: the node had no interest in the rest.
    let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the connection ends");
    answer
}

fn frame(role: u8, header: &[u8]) -> Vec<u8> {
    let mut body = vec![0, role, 0, 0];
    body.extend([0; 8]);
    body.extend((header.len() as u32).to_be_bytes());
    body.extend(header);
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend(crc32c::crc32c(&body).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A greeting of node 9 to node 1.
fn greeting() -> Vec<u8> {
    hello((7, 7), 9, 1, "blue")
}

/// The same, and the number of a disk, which is all that is proved where there is no secret.
fn introduction() -> Vec<u8> {
    [greeting(), frame(7, &[7; 16])].concat()
}

fn hello(versions: (u16, u16), from: u64, to: u64, cluster: &str) -> Vec<u8> {
    let mut header = b"conclave".to_vec();
    header.extend(versions.0.to_be_bytes());
    header.extend(versions.1.to_be_bytes());
    header.extend(from.to_be_bytes());
    header.extend(to.to_be_bytes());
    header.push(0);
    header.extend([7; 8]);
    header.push(0);
    header.extend([9; 32]);
    header.extend(cluster.as_bytes());
    frame(0, &header)
}

fn refusal(reason: Reason) -> Vec<u8> {
    let mut body = vec![reason as u8, 1, 0, 0];
    body.extend([0; 12]);
    let mut bytes = 16u32.to_be_bytes().to_vec();
    bytes.extend(crc32c::crc32c(&body).to_be_bytes());
    bytes.extend(body);
    bytes
}

async fn still_serves(node: &Node) {
    let friend = Node::start(options(8), echo()).await;
    friend.call(node, Lane::Control, request(1)).await.unwrap();
}

#[tokio::test]
async fn garbage_is_refused_and_logged_once() {
    let (logs, _guard) = Logs::listen();
    let node = Node::start(options(1), echo()).await;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 100], &[0xff; 100], &frame(2, b"no greeting")] {
        for _ in 0..5 {
            let answer = send(&node, bytes).await;
            assert!(answer.is_empty() || answer == refusal(Reason::Garbage));
        }
    }
    assert_eq!(logs.count("not a greeting"), 1);
    still_serves(&node).await;
}

#[tokio::test]
async fn a_greeting_longer_than_a_kibibyte_is_refused_from_its_length_alone() {
    let node = Node::start(options(1), echo()).await;
    // No byte follows the four of the length, so the answer can only come from them.
    assert_eq!(send(&node, &1025u32.to_be_bytes()).await, refusal(Reason::Garbage));
    assert_eq!(send(&node, &u32::MAX.to_be_bytes()).await, refusal(Reason::Garbage));
}

#[tokio::test]
async fn a_frame_longer_than_allowed_ends_a_greeted_connection_from_its_length_alone() {
    let (logs, _guard) = Logs::listen();
    let node = Node::start(options(1), echo()).await;
    let bytes = [introduction(), ((1u32 << 20) + 1).to_be_bytes().to_vec()].concat();
    let answer = send(&node, &bytes).await;
    assert!(answer.starts_with(&[0, 0, 0]) && answer[9] == 0, "greeted before");
    assert_eq!(logs.count("frame longer than allowed"), 1);
    still_serves(&node).await;
}

#[tokio::test]
async fn a_frame_with_a_flipped_bit_ends_the_connection() {
    let (logs, _guard) = Logs::listen();
    let node = Node::start(options(1), echo()).await;
    let mut request = frame(2, b"a request");
    *request.last_mut().unwrap() ^= 1;
    send(&node, &[introduction(), request].concat()).await;
    assert_eq!(logs.count("frame checksum differs"), 1);
}

#[tokio::test]
async fn an_unknown_version_is_refused() {
    let node = Node::start(options(1), echo()).await;
    for versions in [(1, 6), (8, 9)] {
        assert_eq!(send(&node, &hello(versions, 9, 1, "blue")).await, refusal(Reason::Version));
    }
}

#[tokio::test]
async fn a_greeting_is_followed_by_the_numbers_of_the_disks() {
    let disk = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10;
    let node = Node::start(Options { storage: disk, ..options(1) }, echo()).await;
    for (header, answer) in [
        (&[7; 16][..], frame(7, &disk.to_be_bytes())),
        (&[7; 15], refusal(Reason::Garbage)),
        (&[7; 48], refusal(Reason::Garbage)),
    ] {
        let mut stream = TcpStream::connect(&node.address).await.unwrap();
        stream.write_all(&[greeting(), frame(7, header)].concat()).await.unwrap();
        let mut greeting = vec![0; greeting().len()];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!((greeting[9], &greeting[24..36]), (0, &b"conclave\0\x07\0\x07"[..]));
        let mut proof = vec![0; answer.len()];
        stream.read_exact(&mut proof).await.unwrap();
        assert_eq!(proof, answer, "{} bytes", header.len());
    }
    still_serves(&node).await;
}

#[tokio::test]
async fn another_cluster_is_refused_and_told_so() {
    let (logs, _guard) = Logs::listen();
    let node = Node::start(options(1), echo()).await;
    let red = Node::start(Options::new(2, "red", 2), echo()).await;
    for _ in 0..3 {
        let result = red.call(&node, Lane::Control, request(1)).await;
        assert_eq!(result, Err(Error::Refused(Reason::Cluster)));
    }
    assert_eq!(logs.count("peer connection refused"), 1, "by the one who refused");
    assert_eq!(logs.count("peer link refused"), 1, "by the one who was");
}

#[tokio::test]
async fn a_dialer_that_wanted_another_node_is_refused() {
    let node = Node::start(options(1), echo()).await;
    let two = Node::start(options(2), echo()).await;
    let result = two.links.call(5, &node.address, Lane::Control, request(1), SOON).await;
    assert_eq!(result, Err(Error::Refused(Reason::Identity)));
    assert_eq!(send(&node, &hello((7, 7), 1, 1, "blue")).await, refusal(Reason::Identity));
}

#[tokio::test]
async fn a_silent_stranger_is_dropped_and_cannot_take_every_place() {
    let (logs, _guard) = Logs::listen();
    let mut wary = options(1);
    wary.limits.handshake_timeout = Duration::from_millis(300);
    wary.limits.handshakes_per_address_max = 2;
    let node = Node::start(wary, echo()).await;
    let begun = Instant::now();
    let mut idle = Vec::new();
    for _ in 0..2 {
        idle.push(TcpStream::connect(&node.address).await.unwrap());
    }
    let mut beyond = TcpStream::connect(&node.address).await.unwrap();
    assert!(!matches!(beyond.read(&mut [0]).await, Ok(1..)), "dropped without a word");
    assert!(begun.elapsed() < Duration::from_millis(300), "and without a wait");
    for mut stream in idle {
        assert!(!matches!(timeout(SOON, stream.read(&mut [0])).await, Ok(Ok(1..)) | Err(_)));
    }
    assert_eq!((logs.count("too many connections"), logs.count("no greeting in time")), (1, 1));
    still_serves(&node).await;
}

#[tokio::test]
async fn silent_strangers_give_way_to_who_comes_after_them() {
    let mut wary = options(1);
    wary.limits.handshake_timeout = Duration::from_secs(30);
    wary.limits.handshakes_max = 2;
    let node = Node::start(wary, echo()).await;
    let mut oldest = TcpStream::connect(&node.address).await.unwrap();
    let mut younger = TcpStream::connect(&node.address).await.unwrap();
    still_serves(&node).await;
    assert!(!matches!(timeout(SOON, oldest.read(&mut [0])).await, Ok(Ok(1..)) | Err(_)), "it was dropped");
    let waits = timeout(Duration::from_millis(50), younger.read(&mut [0])).await;
    assert!(waits.is_err(), "one gave way, and no more");
}

#[tokio::test]
async fn answers_that_nobody_reads_stop_the_service() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let service = service(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        async { large(1, 1_000_000) }
    });
    let mut narrow = options(1);
    narrow.limits.in_flight_max = 5;
    narrow.limits.keep_alive = Duration::from_secs(30);
    let node = Node::start(narrow, service).await;
    let mut stream = TcpStream::connect(&node.address).await.unwrap();
    stream.write_all(&[introduction(), frame(2, b"more").repeat(100)].concat()).await.unwrap();

    // Five at work, and what the sockets' buffers take of the answers; never all hundred.
    let settled = async || {
        let before = asked.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(100)).await;
        before >= 5 && asked.load(Ordering::Relaxed) == before
    };
    until(settled).await;
    assert!(asked.load(Ordering::Relaxed) < 50, "{asked:?}");

    let mut answers = vec![0; 100 * 1_000_000];
    timeout(SOON, stream.read_exact(&mut answers)).await.expect("they all come in the end").unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 100);
}
