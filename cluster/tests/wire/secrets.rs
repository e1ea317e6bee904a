//! The shared secret: who has it, who claims to, and how one replaces the other. Nothing here has certificates, unless
//! it says so.

use conclave_cluster::wire::{Error, Lane, Options, Reason, Secrets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::logs::Logs;
use crate::support::{Node, SOON, echo, options, request, until};

const OLD: &str = "0123456789abcdef0123456789abcdef";
const NEW: &str = "fedcba9876543210fedcba9876543210";

fn with(id: u64, text: &str) -> Options {
    Options { secrets: Some(Secrets::from_text(text).unwrap()), ..options(id) }
}

async fn call(from: &Node, to: &Node) -> Result<(), Error> {
    from.call(to, Lane::Control, request(1)).await.map(drop)
}

/// One frame as it came, its prefix included.
async fn frame(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; 8];
    stream.read_exact(&mut bytes).await?;
    let length = u32::from_be_bytes(*bytes.first_chunk().unwrap()) as usize;
    bytes.resize(8 + length, 0);
    stream.read_exact(&mut bytes[8..]).await?;
    Ok(bytes)
}

/// The frame with another header, and the checksum that belongs to it.
fn with_header(frame: &[u8], header: &[u8]) -> Vec<u8> {
    let mut body = frame[8..20].to_vec();
    body.extend((header.len() as u32).to_be_bytes());
    body.extend(header);
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend(crc32c::crc32c(&body).to_be_bytes());
    bytes.extend(body);
    bytes
}

const ROLE: usize = 9;
const HELLO: u8 = 0;
const REFUSAL: u8 = 1;
const PROOF: u8 = 7;

fn is_refusal(frame: &[u8], reason: Reason) -> bool {
    (frame[8], frame[ROLE]) == (reason as u8, REFUSAL)
}

/// What a dialer sends to be let in, recorded on its way to a node that lets it in: its greeting and its proof.
async fn recorded(node: &Node, dialer: Options) -> [Vec<u8>; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let id = node.id;
    let dialer = Node::start(dialer, echo()).await;
    let asking = tokio::spawn(async move {
        let _ = dialer.links.call(id, &address, Lane::Control, request(1), SOON).await;
    });
    let (mut outer, _) = listener.accept().await.unwrap();
    let mut inner = TcpStream::connect(&node.address).await.unwrap();
    let mut sent = [Vec::new(), Vec::new()];
    for sent in &mut sent {
        *sent = frame(&mut outer).await.unwrap();
        inner.write_all(sent).await.unwrap();
        outer.write_all(&frame(&mut inner).await.unwrap()).await.unwrap();
    }
    asking.abort();
    sent
}

#[tokio::test]
async fn nodes_that_share_a_secret_meet() {
    let one = Node::start(with(1, OLD), echo()).await;
    let two = Node::start(with(2, OLD), echo()).await;
    for (from, to) in [(&one, &two), (&two, &one)] {
        for lane in [Lane::Control, Lane::Bulk, Lane::Snapshot] {
            from.call(to, lane, request(1)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_node_with_another_secret_or_none_is_refused_both_ways_and_logged_once() {
    for other in [with(2, NEW), options(2)] {
        let (logs, _guard) = Logs::listen();
        let node = Node::start(with(1, OLD), echo()).await;
        let other = Node::start(other, echo()).await;
        for _ in 0..3 {
            assert_eq!(call(&other, &node).await, Err(Error::Refused(Reason::Secret)));
            assert_eq!(call(&node, &other).await, Err(Error::Refused(Reason::Secret)));
        }
        until(async || logs.count("peer connection refused") == 2).await;
        assert_eq!(logs.count("peer link refused"), 2, "each node once, for the one it dials");
        assert_eq!(logs.count(OLD) + logs.count(NEW), 0);
    }
}

#[tokio::test]
async fn one_secret_replaces_the_other_without_a_pause() {
    let folder = tempfile::tempdir().unwrap();
    let files = [1, 2].map(|id| folder.path().join(format!("secret-{id}")));
    let write = |node: usize, text: &str| std::fs::write(&files[node], text).unwrap();
    (0..2).for_each(|node| write(node, OLD));
    let secrets = [0, 1].map(|node: usize| Secrets::from_file(&files[node]).unwrap());
    let start = async |node: usize| {
        let id = node as u64 + 1;
        Node::start(Options { secrets: Some(secrets[node].clone()), ..options(id) }, echo()).await
    };
    let (one, two) = (start(0).await, start(1).await);
    let both = format!("{OLD}\n{NEW}\n");
    for (node, text) in [(0, both.as_str()), (1, &both), (0, NEW), (1, NEW)] {
        write(node, text);
        secrets[node].reload().unwrap();
        // New connections, since those that are there stay.
        one.links.forget(2);
        two.links.forget(1);
        call(&one, &two).await.unwrap();
        call(&two, &one).await.unwrap();
    }
    let late = Node::start(with(3, OLD), echo()).await;
    assert_eq!(call(&late, &one).await, Err(Error::Refused(Reason::Secret)));
}

#[tokio::test]
async fn a_stranger_hears_a_greeting_and_no_proof() {
    let node = Node::start(with(1, OLD), echo()).await;
    let [greeting, proof] = recorded(&node, with(2, OLD)).await;
    assert_eq!((greeting[ROLE], proof[ROLE]), (HELLO, PROOF));
    // A proof begins with the number of the sender's disk.
    let disk = &proof[24..40];
    let guesses = [vec![0; 32], vec![0xff; 64], vec![], vec![0; 96], proof[40..].to_vec()];
    for guess in guesses {
        let guess = [disk, &guess].concat();
        let mut stream = TcpStream::connect(&node.address).await.unwrap();
        stream.write_all(&greeting).await.unwrap();
        assert_eq!(frame(&mut stream).await.unwrap()[ROLE], HELLO);
        stream.write_all(&with_header(&proof, &guess)).await.unwrap();
        assert!(is_refusal(&frame(&mut stream).await.unwrap(), Reason::Secret));
        assert!(frame(&mut stream).await.is_err(), "and the connection ends");
    }
    // Requests in the place of a proof.
    let mut stream = TcpStream::connect(&node.address).await.unwrap();
    let mut asking = with_header(&proof, b"anything");
    asking[ROLE] = 2;
    let asking = with_header(&asking, b"anything");
    stream.write_all(&[greeting, asking].concat()).await.unwrap();
    assert_eq!(frame(&mut stream).await.unwrap()[ROLE], HELLO);
    assert!(is_refusal(&frame(&mut stream).await.unwrap(), Reason::Garbage));
}

#[tokio::test]
async fn what_was_recorded_lets_nobody_in_again() {
    let node = Node::start(with(1, OLD), echo()).await;
    let sent = recorded(&node, with(2, OLD)).await.concat();
    let mut stream = TcpStream::connect(&node.address).await.unwrap();
    stream.write_all(&sent).await.unwrap();
    assert_eq!(frame(&mut stream).await.unwrap()[ROLE], HELLO);
    assert!(is_refusal(&frame(&mut stream).await.unwrap(), Reason::Secret));
}

/// One who has no secret and gives a dialer back what it said, as if from the node that it wanted.
#[tokio::test]
async fn a_dialer_does_not_take_its_own_words_for_a_proof() {
    let (logs, _guard) = Logs::listen();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mirror = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let greeting = frame(&mut stream).await.unwrap();
        let mut header = greeting[24..].to_vec();
        let (from, to) = (header[12..20].to_vec(), header[20..28].to_vec());
        header[12..20].copy_from_slice(&to);
        header[20..28].copy_from_slice(&from);
        stream.write_all(&with_header(&greeting, &header)).await.unwrap();
        let proof = frame(&mut stream).await.unwrap();
        stream.write_all(&proof).await.unwrap();
        frame(&mut stream).await
    });
    let node = Node::start(with(1, OLD), echo()).await;
    let result = node.links.call(2, &address, Lane::Control, request(1), SOON).await;
    assert_eq!(result, Err(Error::Refused(Reason::Secret)));
    assert!(timeout(SOON, mirror).await.unwrap().unwrap().is_err(), "no request was sent to it");
    assert_eq!(logs.count("peer link refused"), 1);
}
