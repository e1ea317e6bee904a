//! What a socket must show before it is one.

use std::time::Duration;

use conclave_tests::http::{Api, Call, Reply};
use conclave_tests::relay::word;
use conclave_tests::shared;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const TRIES: usize = 10;
/// A revocation is known within a second; a busy machine may take longer.
const KNOWN: Duration = Duration::from_secs(5);
const POLICY: u16 = 1008;

fn handshake(node: &Api, query: &str) -> Call {
    node.get(&format!("/api/v1/socket{query}"))
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

fn bearing(call: Call, token: &str) -> Call {
    call.header("authorization", &format!("Bearer {token}"))
}

fn is_open(reply: &Reply) -> bool {
    reply.status == 101
}

#[tokio::test]
async fn an_origin_that_is_not_listed_gets_no_socket() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for origin in [
        "https://evil.example",
        "https://app.example.evil.example",
        "https://evil-app.example",
        "http://app.example",
        "null",
    ] {
        let reply = handshake(&node, "").header("origin", origin).send().await;
        reply.refused(403, "origin_not_allowed");
    }
    for origin in shared::ORIGINS {
        assert!(is_open(&handshake(&node, "").header("origin", origin).send().await), "{origin}");
    }
    assert!(is_open(&handshake(&node, "").send().await), "no origin is no browser");
}

#[tokio::test]
async fn a_token_may_come_in_every_way_and_must_come_in_one() {
    let (cluster, issuer) = shared::guarded().await;
    let node = cluster.follower().await;
    let token = issuer.token("alice", json!({"scope": "socket"}));
    handshake(&node, "").send().await.refused(401, "unauthorized");
    assert!(is_open(&bearing(handshake(&node, ""), &token).send().await));
    assert!(is_open(&handshake(&node, &format!("?token={token}")).send().await));
    let offered = format!("conclave.v1.json, conclave.bearer.{token}");
    let reply = handshake(&node, "").header("sec-websocket-protocol", &offered).send().await;
    assert!(is_open(&reply), "{}", reply.text());
    assert_eq!(reply.header("sec-websocket-protocol"), Some("conclave.v1.json"), "the token is not echoed");
    // Offers may be on several lines.
    let other = handshake(&node, "").header("sec-websocket-protocol", "chat");
    let reply = other.header("sec-websocket-protocol", &offered).send().await;
    assert!(is_open(&reply), "{}", reply.text());
    assert_eq!(reply.header("sec-websocket-protocol"), Some("conclave.v1.json"));
    let alone = format!("conclave.bearer.{token}");
    let reply = handshake(&node, "").header("sec-websocket-protocol", &alone).send().await;
    assert_eq!(reply.header("sec-websocket-protocol"), None);
    for worthless in ["conclave.bearer.a.b.c", "conclave.bearer."] {
        let reply = handshake(&node, "").header("sec-websocket-protocol", worthless).send().await;
        reply.refused(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_token_without_the_scope_or_the_room_gets_no_socket() {
    let (cluster, issuer) = shared::guarded().await;
    let node = cluster.follower().await;
    let relay = issuer.token("alice", json!({"scope": "relay", "rooms": "*"}));
    bearing(handshake(&node, ""), &relay).send().await.refused(403, "forbidden");
    let lobby = issuer.token("alice", json!({"scope": "socket", "rooms": ["lobby"]}));
    bearing(handshake(&node, "?room=vault"), &lobby).send().await.refused(403, "forbidden");
    assert!(is_open(&bearing(handshake(&node, "?room=lobby"), &lobby).send().await));
}

#[tokio::test]
async fn a_ticket_used_twice_at_two_nodes_at_once_makes_exactly_one_socket() {
    let (cluster, issuer) = shared::guarded().await;
    let nodes = cluster.apis();
    let token = issuer.token("alice", json!({"scope": "socket"}));
    for _ in 0..TRIES {
        let issued = bearing(nodes[0].post("/api/v1/tickets", &Value::Null), &token).send().await.status(201);
        let query = format!("?ticket={}", issued["ticket"].as_str().expect("a ticket"));
        let replies = join_all(nodes.iter().chain(&nodes).map(|node| handshake(node, &query).send())).await;
        assert_eq!(replies.iter().filter(|reply| is_open(reply)).count(), 1, "{replies:?}");
        for refused in replies.iter().filter(|reply| !is_open(reply)) {
            refused.refused(401, "unauthorized");
        }
    }
}

/// A socket by hand: just enough of RFC 6455 to say one thing and to hear how it ends.
struct Socket(TcpStream);

impl Socket {
    async fn open(url: &str, token: &str) -> Self {
        let address = url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.expect("the node listens");
        let request = format!(
            "GET /api/v1/socket HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("the node reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("the node answers"));
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        Self(stream)
    }

    /// Says hello, so that it is a session and not somebody who keeps silent.
    async fn hello(&mut self) {
        let text = br#"{"op":"hello"}"#;
        let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(text);
        self.0.write_all(&frame).await.expect("the node reads");
        let (opcode, payload) = self.frame().await;
        assert_eq!(opcode, 1, "{}", String::from_utf8_lossy(&payload));
    }

    /// The code with which it is closed.
    async fn closed(&mut self) -> u16 {
        loop {
            let (opcode, payload) = self.frame().await;
            if opcode == 8 {
                return u16::from_be_bytes(*payload.first_chunk().expect("a close says why"));
            }
        }
    }

    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let opcode = self.0.read_u8().await.expect("a frame comes") & 0x0f;
        let len = match self.0.read_u8().await.expect("a frame has a length") {
            126 => usize::from(self.0.read_u16().await.expect("a longer frame, too")),
            short => usize::from(short),
        };
        let mut payload = vec![0; len];
        self.0.read_exact(&mut payload).await.expect("a frame is whole");
        (opcode, payload)
    }
}

#[tokio::test]
async fn sockets_of_a_revoked_token_are_closed_on_every_node() {
    let (cluster, issuer) = shared::guarded().await;
    let id = word("token");
    let token = issuer.token("alice", json!({"scope": "socket", "jti": id}));
    let mut sockets = Vec::new();
    for node in cluster.running() {
        let mut socket = Socket::open(&cluster.node(node).http.to_string(), &token).await;
        socket.hello().await;
        sockets.push(socket);
    }
    let began = Instant::now();
    issuer.revoke(&format!("jti {id}"));
    for socket in &mut sockets {
        let code = timeout(KNOWN, socket.closed()).await.expect("the socket is closed");
        assert_eq!(code, POLICY);
    }
    assert!(began.elapsed() < KNOWN);
}
