//! The heads of requests, as bytes: what is not written as it must be is refused, and the connection with it.

use std::time::Duration;

use conclave_tests::cluster::Cluster;
use conclave_tests::raw::{Raw, statuses};
use conclave_tests::relay::{peer_id, poll, signal, word};
use conclave_tests::shared;
use serde_json::{Value, json};
use tokio::time::Instant;

const HEALTH: &str = "GET /health HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn what_two_readers_could_read_differently_is_refused_and_nothing_behind_it_is_read() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for (what, head) in [
        ("bare LF after a header", "GET /health HTTP/1.1\r\nhost: a\nx: y\r\n\r\n"),
        ("bare LF after the request line", "GET /health HTTP/1.1\nhost: a\r\n\r\n"),
        ("bare LF at the end", "GET /health HTTP/1.1\r\nhost: a\r\n\n"),
        ("obs-fold", "GET /health HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n"),
        ("NUL in a value", "GET /health HTTP/1.1\r\nhost: a\r\nx: y\0z\r\n\r\n"),
        ("NUL in a name", "GET /health HTTP/1.1\r\nhost: a\r\nx\0: y\r\n\r\n"),
        ("bare CR", "GET /health HTTP/1.1\r\nhost: a\r\nx: y\rz\r\n\r\n"),
        ("a blank before the colon", "GET /health HTTP/1.1\r\nhost : a\r\n\r\n"),
        ("no host", "GET /health HTTP/1.1\r\n\r\n"),
        ("two hosts", "GET /health HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n"),
        ("two hosts in one", "GET /health HTTP/1.1\r\nhost: a.example, b.example\r\n\r\n"),
        ("a host without a name", "GET /health HTTP/1.1\r\nhost:\r\n\r\n"),
        ("somebody at a host", "GET /health HTTP/1.1\r\nhost: b.example@a.example\r\n\r\n"),
        ("a host with two ports", "GET /health HTTP/1.1\r\nhost: a.example:80:80\r\n\r\n"),
        ("a host with two ends", "GET /health HTTP/1.1\r\nhost: a.example..\r\n\r\n"),
        ("a target without a host", "GET http:///health HTTP/1.1\r\nhost: a\r\n\r\n"),
        (
            "length and chunks",
            "POST /api/relay HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunks and length",
            "POST /api/relay HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        ),
        (
            "two lengths",
            "POST /api/relay HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ncontent-length: 40\r\n\r\n",
        ),
        (
            "the same length twice",
            "POST /api/relay HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n{}",
        ),
        ("a list of lengths", "POST /api/relay HTTP/1.1\r\nhost: a\r\ncontent-length: 2, 2\r\n\r\n{}"),
        (
            "another coding",
            "POST /api/relay HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        ),
        ("another version", "GET /health HTTP/2.0\r\nhost: a\r\n\r\n"),
    ] {
        let mut connection = Raw::open(&node).await;
        connection.send(format!("{HEALTH}{head}{HEALTH}")).await;
        let read = connection.rest().await;
        assert_eq!(statuses(&read), [200, 400], "{what}: {read}");
        let refused = &read[read.rfind("HTTP/1.1 400").expect("it was found")..];
        assert!(refused.contains("\"error\":\"invalid_input\""), "{what}: {refused}");
        for header in ["x-request-id: ", "x-content-type-options: nosniff", "connection: close"] {
            assert!(refused.to_ascii_lowercase().contains(header), "{header} of {what}: {refused}");
        }
    }
}

#[tokio::test]
async fn a_head_may_come_in_pieces_and_several_at_once() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let post =
        "POST /api/relay HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let last = "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let all = format!("{HEALTH}{post}{HEALTH}{last}");
    for len in [1, 7, 64, all.len()] {
        let mut connection = Raw::open(&node).await;
        for piece in all.as_bytes().chunks(len) {
            connection.send(piece).await;
        }
        let read = connection.rest().await;
        assert_eq!(statuses(&read), [200, 400, 200, 200], "pieces of {len}: {read}");
        assert!(read.contains("missing_action"), "the body was read: {read}");
    }
}

#[tokio::test]
async fn a_giant_head_is_refused_before_it_is_whole() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let line = format!("x: {}\r\n", "y".repeat(1000));
    for head in [
        format!("GET /health HTTP/1.1\r\nhost: a\r\n{}", line.repeat(200)),
        format!("GET /health HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(200_000)),
        format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(100_000)),
        format!("GET /health HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(200)),
    ] {
        let mut connection = Raw::open(&node).await;
        connection.send(&head).await;
        let read = connection.rest().await;
        assert_eq!(statuses(&read), [431], "{read}");
        assert!(read.contains("headers_too_large"), "{read}");
    }
}

#[tokio::test]
async fn methods_of_proxies_are_refused_and_the_connection_closed() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for head in [
        "TRACE / HTTP/1.1\r\nhost: a\r\nx-secret: s\r\n\r\n",
        "TRACE /health HTTP/1.1\r\nhost: a\r\nx-secret: s\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let mut connection = Raw::open(&node).await;
        connection.send(format!("{head}{HEALTH}")).await;
        let read = connection.rest().await;
        assert_eq!(statuses(&read), [405], "{head}: {read}");
        assert!(!read.contains("x-secret"), "nothing is given back: {read}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_is_given_up() {
    let cluster = Cluster::builder().nodes(1).set("http.request_timeout", "1s").start().await;
    let node = cluster.api(1);
    for before in ["", HEALTH] {
        for begun in ["", "GET /health HTTP/1.1\r\nhost: a\r\nx: "] {
            if !before.is_empty() && begun.is_empty() {
                continue; // That is an idle connection, which has a time of its own.
            }
            let mut connection = Raw::open(&node).await;
            let began = Instant::now();
            connection.send(before).await;
            connection.send(begun).await;
            let mut late = tokio::spawn(async move { connection.rest().await });
            // Others notice nothing.
            while tokio::time::timeout(Duration::from_millis(50), &mut late).await.is_err() {
                node.get("/health").once().await.ok();
                assert!(began.elapsed() < Duration::from_secs(10), "it is given up in bounded time");
            }
            assert!(began.elapsed() >= Duration::from_millis(900), "not before its time");
        }
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_given_up() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let stalled = async |path: &str, length: usize| {
        let mut connection = Raw::open(&node).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{{"
        );
        connection.send(head).await;
        connection.rest().await
    };
    let (read, unread) = tokio::join!(stalled("/api/relay", 100), stalled("/api/v1/nothing", 100));
    assert_eq!(statuses(&read), [408], "{read}");
    assert_eq!(statuses(&unread), [404], "{unread}");
}

#[tokio::test]
async fn a_large_body_that_nobody_wants_does_not_keep_the_answer_from_its_client() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let body = "b".repeat(60_000);
    let mut connection = Raw::open(&node).await;
    let head = format!("POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    connection.send(format!("{head}{body}")).await;
    let read = connection.rest().await;
    assert_eq!(statuses(&read), [404], "{read}");
    assert!(read.to_ascii_lowercase().contains("connection: close"), "{read}");
}

/// A refusal is told to the server beside the bytes: no client can ask for one by what it sends.
#[tokio::test]
async fn nobody_can_send_what_stands_for_a_refusal() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let mut connection = Raw::open(&node).await;
    let empty = "POST /api/relay HTTP/1.1\r\nhost: a\r\ncontent-length: 00000\r\n\r\n";
    let home = "GET / HTTP/1.1\r\nhost: -\r\n\r\n";
    let last = "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    connection.send(format!("{empty}{home}{last}")).await;
    let read = connection.rest().await;
    assert_eq!(statuses(&read), [400, 200, 200], "{read}");
    for method in ["X-MALFORMED", "X-TOO-LARGE", "X-METHOD", "X-LATE"] {
        let mut connection = Raw::open(&node).await;
        connection.send(format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n{last}")).await;
        assert_eq!(statuses(&connection.rest().await)[0], 405, "{method}");
    }
}

#[tokio::test]
async fn a_wish_for_a_socket_where_there_is_none_changes_nothing_about_where_a_request_ends() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let wish = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let last = "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    for (what, request) in [
        (
            "a length",
            format!("POST /api/v1/sessions HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n{wish}\r\n{{}}"),
        ),
        (
            "chunks",
            format!(
                "POST /api/v1/sessions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n{wish}\r\n2\r\n{{}}\r\n0\r\n\r\n"
            ),
        ),
        ("no body", format!("POST /api/v1/sessions HTTP/1.1\r\nhost: a\r\n{wish}\r\n")),
        (
            "another protocol",
            "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n".to_owned(),
        ),
        ("no protocol", "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n\r\n".to_owned()),
    ] {
        let mut connection = Raw::open(&node).await;
        connection.send(format!("{request}{HEALTH}{last}")).await;
        let read = connection.rest().await;
        assert_eq!(statuses(&read), [200, 200, 200], "{what}: {read}");
    }
    for more in ["upgrade: websocket, x\r\n", "upgrade: websocket\r\ntransfer-encoding: chunked\r\n"] {
        let mut connection = Raw::open(&node).await;
        connection.send(format!("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n{more}\r\n")).await;
        assert_eq!(statuses(&connection.rest().await), [400], "{more}");
    }
}

#[tokio::test]
async fn a_trailer_that_is_no_header_and_a_target_that_is_no_path_are_refused() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let head =
        "POST /api/v1/sessions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n";
    let mut connection = Raw::open(&node).await;
    let last = "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    connection.send(format!("{head}x-sum: 1\r\n\r\n{last}")).await;
    assert_eq!(statuses(&connection.rest().await), [200, 200]);
    for bad in ["x: y\n\r\n", "x: y\0\r\n\r\n", "x\r\n\r\n", "x: y\r\n z\r\n\r\n", "\n"] {
        let mut connection = Raw::open(&node).await;
        connection.send(format!("{head}{bad}{HEALTH}")).await;
        let read = connection.rest().await;
        assert_eq!(statuses(&read), [400], "{bad:?}: {read}");
    }
    for target in ["x:80", "*", "relay"] {
        let mut connection = Raw::open(&node).await;
        connection.send(format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert_eq!(statuses(&connection.rest().await), [400], "{target}");
    }
}

fn request(line: &str, more: &str) -> String {
    format!("{line}\r\nhost: a\r\n{more}\r\n")
}

fn relayed(body: &Value) -> String {
    let body = body.to_string();
    format!("{}{body}", request("POST /api/relay HTTP/1.1", &format!("content-length: {}\r\n", body.len())))
}

#[tokio::test]
async fn of_pipelined_requests_each_is_answered_in_its_own_manner() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let last = request("GET /livez HTTP/1.1", "connection: close\r\n");
    let asked = async |text: String| {
        let mut connection = Raw::open(&node).await;
        connection.send(text).await;
        connection.rest().await
    };
    // What a handler waits for is looked up in the cluster; the requests behind it are here all the time.
    let peer = peer_id();
    node.relay(&signal(&peer_id(), &peer, "offer", json!("SECRET"))).send().await.ok();
    let read = asked(format!("{}{}{last}", relayed(&poll(&peer)), request("HEAD /livez HTTP/1.1", ""))).await;
    assert_eq!(statuses(&read), [200, 200, 200], "{read}");
    assert!(read.contains("SECRET"), "an answer keeps its body: {read}");
    assert_eq!(read.matches("\"ok\"").count(), 1, "one to HEAD has none: {read}");

    // An answer to HEAD that has a body would be taken for the next answer.
    let open =
        node.post("/api/v1/transfers", &json!({"pin": word("pin"), "passwordHash": "h", "totalChunks": 1}));
    let id = open.send().await.status(201)["transferId"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/transfers/{id}/chunks/0");
    node.put(&path, "HTTP/1.1 299 Mine\r\n\r\n").send().await.status(201);
    let read = asked(format!("{}{last}", request(&format!("HEAD {path} HTTP/1.1"), ""))).await;
    assert_eq!(statuses(&read), [200, 200], "{read}");

    // Nor does the version or the end of one request become that of the one before it.
    let old = request("GET /livez HTTP/1.0", "");
    let read = asked(format!("{}{old}", relayed(&poll(&peer_id())))).await;
    let versions = ["HTTP/1.1 200", "HTTP/1.0 200"].map(|version| read.matches(version).count());
    assert!(read.starts_with("HTTP/1.1") && versions == [1, 1], "{read}");
    let read = asked(format!("{}{last}", relayed(&poll(&peer_id())))).await;
    assert_eq!(statuses(&read), [200, 200], "{read}");
    assert_eq!(read.to_ascii_lowercase().matches("connection: close").count(), 1, "{read}");
}

#[tokio::test]
async fn behind_a_request_that_closes_the_connection_nothing_is_carried_out() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for closing in [
        request("GET /livez HTTP/1.1", "connection: close\r\n"),
        request("GET /livez HTTP/1.0", ""),
        relayed(&poll(&peer_id())).replacen("host: a", "host: a\r\nconnection: close", 1),
    ] {
        let peer = peer_id();
        let mut connection = Raw::open(&node).await;
        connection.send(format!("{closing}{}", relayed(&signal(&peer_id(), &peer, "offer", json!(1))))).await;
        let read = connection.rest().await;
        assert_eq!(read.matches("HTTP/1.").count(), 1, "{closing}: {read}");
        let waiting = node.relay(&poll(&peer)).send().await.ok();
        assert_eq!(waiting["messages"], json!([]), "{closing}");
    }
}
