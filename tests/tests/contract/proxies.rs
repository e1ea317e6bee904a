//! Whom a request comes from, when a proxy says so: by the PROXY protocol, or by `Forwarded`.

use std::net::Ipv4Addr;

use conclave_tests::cluster::Cluster;
use conclave_tests::http::Api;
use conclave_tests::raw::{Raw, statuses};
use serde_json::json;
use tokio::net::TcpSocket;

/// How much one client may create.
const LIMIT: usize = 2;
/// From where the proxies of these tests call. Others on loopback are strangers.
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const CREATE: &str = "POST /api/v1/sessions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nconnection: close\r\n\
    content-length: 2\r\n\r\n{}";
const EDITION: &str = "GET /api/v1/edition HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

async fn cluster(settings: &[(&str, &str)]) -> (Cluster, Api) {
    let mut builder = Cluster::builder()
        .nodes(1)
        .set("allowance.tiers.create.limit", &LIMIT.to_string())
        .set("allowance.tiers.create.window", "1h")
        .set("http.request_timeout", "1s");
    for (key, value) in settings {
        builder = builder.set(key, value);
    }
    let cluster = builder.start().await;
    let node = cluster.api(1);
    (cluster, node)
}

/// What comes for a request behind a header, on a connection from the proxy.
async fn said(node: &Api, header: &[u8], request: &str) -> String {
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    socket.bind((PROXY, 0).into()).expect("loopback is 127.0.0.0/8");
    let mut connection = Raw::over(socket.connect(node.address()).await.expect("the node listens"));
    connection.send([header, request.as_bytes()].concat()).await;
    connection.rest().await
}

async fn status(node: &Api, header: &[u8], request: &str) -> u16 {
    let said = said(node, header, request).await;
    statuses(&said)[..].first().copied().unwrap_or_else(|| panic!("an answer: {said:?}"))
}

fn v1(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 10.0.0.1 4711 443\r\n").into_bytes()
}

/// Version 2 for a client of IPv4, with this behind the addresses.
fn v2(client: [u8; 4], more: &[u8]) -> Vec<u8> {
    let length = u16::try_from(12 + more.len()).expect("short").to_be_bytes();
    [V2, &[0x21, 0x11], &length, &client, &[10, 0, 0, 1], &[0x12, 0x67, 0x01, 0xbb], more].concat()
}

const FROM_PROXY: (&str, &str) = ("http.proxy_protocol", "[\"127.0.0.7/32\"]");

#[tokio::test]
async fn the_client_is_the_one_that_the_header_names() {
    let (_cluster, node) = cluster(&[FROM_PROXY]).await;
    for header in [v1("203.0.113.1"), v2([203, 0, 113, 2], b"")] {
        for _ in 0..LIMIT {
            assert_eq!(status(&node, &header, CREATE).await, 200);
        }
        assert_eq!(status(&node, &header, CREATE).await, 429);
    }
    // The same client, whichever version says so; and what it claims in a header of HTTP is not believed.
    assert_eq!(status(&node, &v2([203, 0, 113, 1], b""), CREATE).await, 429);
    let forged = CREATE.replace("host: a", "host: a\r\nx-forwarded-for: 203.0.113.77");
    assert_eq!(status(&node, &v1("203.0.113.1"), &forged).await, 429);
    assert_eq!(status(&node, &v1("203.0.113.3"), CREATE).await, 200);
    // Those who call directly are not concerned, and neither are the proxy's own questions.
    node.post("/api/v1/sessions", &json!({})).send().await.ok();
    assert_eq!(status(&node, &[V2, b"\x20\x00\x00\x00"].concat(), EDITION).await, 200);
    assert_eq!(status(&node, b"PROXY UNKNOWN\r\n", EDITION).await, 200);
}

#[tokio::test]
async fn a_header_that_is_wrong_or_missing_is_answered_plainly() {
    let (cluster, node) = cluster(&[FROM_PROXY]).await;
    for header in [
        &b""[..],
        b"PROXY TCP4 1.2.3.4\r\n",
        b"PROXY TCP9 1.2.3.4 1.2.3.4 1 2\r\n",
        &[V2, b"\x21\x11\xff\xff"].concat(),
    ] {
        let said = said(&node, header, EDITION).await;
        assert_eq!(statuses(&said), [400], "{}: {said}", header.escape_ascii());
        assert!(said.contains("PROXY protocol"), "{said}");
    }
    // One that never ends is not waited for.
    let late = said(&node, b"PROXY TCP4 1.2.3.4 ", "").await;
    assert_eq!(statuses(&late), [400], "{late}");
    // A header from anybody else is a request that makes no sense.
    let mut stranger = Raw::open(&node).await;
    stranger.send([&v1("203.0.113.1"), EDITION.as_bytes()].concat()).await;
    assert_eq!(statuses(&stranger.rest().await), [400]);
    let metrics = cluster.admin(1).get("/metrics").send().await.text();
    for counted in ["result=\"wrong\"} 4", "result=\"late\"} 1"] {
        assert!(metrics.contains(&format!("conclave_proxy_headers_total{{{counted}")), "{counted}");
    }
    let log = cluster.says(1, "http.proxy_protocol").await;
    assert_eq!(log.matches("http.proxy_protocol").count(), 1, "it is said once a minute: {log}");
    assert!(log.contains("127.0.0.7"), "{log}");
}

#[tokio::test]
async fn where_tls_is_required_the_header_may_say_that_it_was_there() {
    let (_cluster, node) = cluster(&[FROM_PROXY, ("http.tls.required", "true")]).await;
    let tls = |client: u8| v2([203, 0, 113, 1], &[0x20, 0, 5, client, 0, 0, 0, 0]);
    assert_eq!(status(&node, &tls(1), EDITION).await, 200);
    assert_eq!(status(&node, &tls(0), EDITION).await, 426);
    assert_eq!(status(&node, &v1("203.0.113.1"), EDITION).await, 426);
}

#[tokio::test]
async fn forwarded_names_the_client_where_a_trusted_proxy_writes_it() {
    let (_cluster, node) = cluster(&[("http.trusted_proxies", "[\"127.0.0.1/32\", \"10.0.0.0/8\"]")]).await;
    let create = |node: &Api, forwarded: &str| {
        node.post("/api/v1/sessions", &json!({})).header("forwarded", forwarded).send()
    };
    for _ in 0..LIMIT {
        create(&node, "for=198.51.100.9, for=203.0.113.1;proto=https, for=10.1.1.1").await.ok();
    }
    create(&node, "for=\"203.0.113.1:4711\"").await.refused(429, "rate_limit_exceeded");
    create(&node, "for=203.0.113.1, for=\"[2001:db8::1]:80\"").await.ok();
    // Of a stranger it proves nothing.
    let stranger = node.seen_from([127, 0, 0, 9].into());
    for turn in 0..LIMIT {
        create(&stranger, &format!("for=198.51.100.{turn}")).await.ok();
    }
    create(&stranger, "for=198.51.100.77").await.refused(429, "rate_limit_exceeded");
    // Beside X-Forwarded-For it is what the client wrote.
    let call = node.post("/api/v1/sessions", &json!({})).header("forwarded", "for=198.51.100.78");
    call.header("x-forwarded-for", "203.0.113.1").send().await.refused(429, "rate_limit_exceeded");
}
