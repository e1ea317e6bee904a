//! TLS on the HTTP side.

use conclave_tests::authority::{Authority, Client};
use conclave_tests::cluster::{Cluster, Signal};
use conclave_tests::http::Api;
use conclave_tests::raw::{PATIENCE, Raw, statuses};
use conclave_tests::relay::peer_id;
use conclave_tests::wait::eventually;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

const HEALTH: &str = "GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const SOCKET: &str = "GET /api/v1/socket HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

async fn ask(authority: &Authority, node: &Api, client: &Client, request: &str) -> std::io::Result<String> {
    let mut stream = authority.connect(node, client).await?;
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await?;
    let mut read = Vec::new();
    let ended =
        timeout(PATIENCE, stream.read_to_end(&mut read)).await.expect("the connection is closed in time");
    // Its end is said, so that nobody can cut an answer short unnoticed.
    ended.map(|_| String::from_utf8_lossy(&read).into_owned())
}

#[tokio::test]
async fn a_node_speaks_tls_1_3_and_says_so() {
    let authority = Authority::new();
    let cluster = authority.serve(Cluster::builder().nodes(1)).start().await;
    let node = cluster.api(1);
    let read = ask(&authority, &node, &Client::default(), HEALTH).await.expect("an answer");
    assert_eq!(statuses(&read), [200], "{read}");
    assert!(read.contains("strict-transport-security: max-age="), "{read}");
    ask(&authority, &node, &Client::old(), HEALTH).await.expect_err("TLS 1.2 is not spoken");

    let mut plain = Raw::open(&node).await;
    plain.send(HEALTH).await;
    let told = plain.rest().await;
    assert_eq!(statuses(&told), [426], "in the clear, nothing is said but that: {told}");
    assert!(told.contains("upgrade: TLS/1.3") && told.contains("tls_required"), "{told}");

    let mut smuggler = Raw::over(authority.connect(&node, &Client::default()).await.expect("a handshake"));
    smuggler.send("GET /health HTTP/1.1\nhost: a\n\n").await;
    assert_eq!(statuses(&smuggler.rest().await), [400], "heads are looked at under TLS, too");
}

#[tokio::test]
async fn tls_1_2_is_spoken_where_it_is_allowed() {
    let authority = Authority::new();
    let builder = authority.serve(Cluster::builder().nodes(1)).set("http.tls.minimum", "1.2");
    let cluster = builder.start().await;
    let read = ask(&authority, &cluster.api(1), &Client::old(), HEALTH).await.expect("an answer");
    assert_eq!(statuses(&read), [200]);
}

#[tokio::test]
async fn a_socket_lives_and_ends_properly_over_tls() {
    let authority = Authority::new();
    let cluster = authority.serve(Cluster::builder().nodes(1)).start().await;
    let stream = authority.connect(&cluster.api(1), &Client::default()).await.expect("a handshake");
    let (mut socket, _) = tokio_tungstenite::client_async("wss://localhost/api/v1/socket", stream)
        .await
        .expect("the upgrade is accepted");
    let hello = json!({"id": 1, "op": "hello"});
    socket.send(Message::text(hello.to_string())).await.expect("the socket is open");
    let welcome =
        timeout(PATIENCE, socket.next()).await.expect("in time").expect("an event").expect("a message");
    let welcome: Value = serde_json::from_str(welcome.to_text().expect("text")).expect("JSON");
    assert!(welcome["push"] == "welcome" || welcome["ok"] == true, "{welcome}");
    socket.close(None).await.expect("a close frame can be sent");
    let rest = async {
        while let Some(message) = socket.next().await {
            message.expect("closed by both sides, and by TLS");
        }
    };
    timeout(PATIENCE, rest).await.expect("the connection ends");
}

#[tokio::test]
async fn a_new_certificate_is_taken_without_a_restart_and_a_bad_one_is_not() {
    let authority = Authority::new();
    let cluster = authority.serve(Cluster::builder().nodes(1)).start().await;
    let (node, admin) = (cluster.api(1), cluster.admin(1));
    let shown = async || {
        let stream = authority.connect(&node, &Client::default()).await.expect("a handshake");
        let chain = stream.get_ref().1.peer_certificates().expect("the node shows one").to_vec();
        chain[0].clone().into_owned()
    };
    let old = Raw::over(authority.connect(&node, &Client::default()).await.expect("a handshake"));
    let expiry = "conclave_certificate_expiry_timestamp_seconds{certificate=\"http\"} ";
    assert!(admin.get("/metrics").send().await.text().contains(expiry), "when it ends can be watched");
    let fresh = authority.renew();
    eventually(PATIENCE, "the new certificate is shown", async || (shown().await == fresh).then_some(()))
        .await;

    authority.spoil();
    eventually(PATIENCE, "the bad file is noticed", async || {
        let counted = admin.get("/metrics").send().await.text();
        let failed = |line: &&str| line.starts_with("conclave_tls_reloads_total{result=\"failed\"}");
        counted.lines().find(failed).filter(|line| !line.ends_with(" 0")).map(drop)
    })
    .await;
    assert_eq!(shown().await, fresh, "what cannot be used changes nothing");
    eventually(PATIENCE, "it is said", async || {
        cluster.node(1).printed().contains("stays as it was").then_some(())
    })
    .await;

    let mut old = old;
    old.send(HEALTH).await;
    assert_eq!(statuses(&old.rest().await), [200], "what is open stays open");
}

#[tokio::test]
async fn sighup_has_the_files_read_again() {
    let authority = Authority::new();
    let cluster = authority.serve(Cluster::builder().nodes(1)).start().await;
    cluster.signal(1, Signal::HUP);
    let node = cluster.node(1);
    eventually(PATIENCE, "the signal is noticed", async || {
        let printed = node.printed();
        let after = printed.split("SIGHUP").nth(1)?.to_owned();
        assert!(after.contains("the configuration and ice.secrets are not"), "{after}");
        after.contains("read the public certificate").then_some(())
    })
    .await;
    let read = ask(&authority, &cluster.api(1), &Client::default(), HEALTH).await.expect("it still runs");
    assert_eq!(statuses(&read), [200]);
}

#[tokio::test]
async fn a_client_without_a_certificate_of_the_authority_stays_outside() {
    let authority = Authority::new();
    let builder = authority.identify(Cluster::builder().nodes(1)).set("auth.required", "true").unmetered();
    let cluster = builder.start().await;
    let node = cluster.api(1);
    ask(&authority, &node, &Client::default(), HEALTH).await.expect_err("there is no certificate");
    let stranger = Authority::new().client("phone.example");
    ask(&authority, &node, &stranger, HEALTH).await.expect_err("another authority's");

    let phone = authority.client("phone.example");
    let poll = |peer: &str| {
        let body = json!({"action": "poll", "peerId": peer}).to_string();
        format!(
            "POST /api/relay HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let own = ask(&authority, &node, &phone, &poll("phone.example")).await.expect("an answer");
    assert_eq!(statuses(&own), [200], "the certificate is the credential: {own}");
    let other = ask(&authority, &node, &phone, &poll(&peer_id())).await.expect("an answer");
    assert_eq!(statuses(&other), [403], "{other}");
}

#[tokio::test]
async fn where_tls_is_required_only_a_trusted_proxy_may_say_it_was_there() {
    let cluster = Cluster::builder()
        .nodes(1)
        .set("http.tls.required", "true")
        .set("http.trusted_proxies", "[\"127.0.0.1/32\"]")
        .start()
        .await;
    let node = cluster.api(1);
    let stranger = node.seen_from([127, 0, 0, 9].into());
    let proto = |api: &Api, said: &'static str| api.get("/api/v1/edition").header("x-forwarded-proto", said);
    for refused in [
        node.get("/api/v1/edition").send().await,
        proto(&node, "http").send().await,
        proto(&node, "https, http").send().await,
        proto(&stranger, "https").send().await,
    ] {
        refused.refused(426, "tls_required");
        assert_eq!(refused.header("upgrade"), Some("TLS/1.3, HTTP/1.1"));
        assert_eq!(refused.header("connection"), Some("upgrade"));
    }
    proto(&node, "https").send().await.ok();
    stranger.get("/livez").send().await.ok();

    let mut socket = Raw::open(&node).await;
    socket.send(format!("{SOCKET}\r\n")).await;
    assert!(socket.until("tls_required").await.starts_with("HTTP/1.1 426"));
    let mut socket = Raw::open(&node).await;
    socket.send(format!("{SOCKET}x-forwarded-proto: https\r\n\r\n")).await;
    assert!(socket.until("\r\n\r\n").await.starts_with("HTTP/1.1 101"));
}

#[tokio::test]
async fn a_handshake_that_stalls_is_given_up() {
    let authority = Authority::new();
    let builder = authority.serve(Cluster::builder().nodes(1)).set("http.tls.handshake_timeout", "500ms");
    let cluster = builder.start().await;
    // Nothing at all, and the beginning of a record that says it is a handshake.
    for begun in [&[][..], &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]] {
        let mut stalled = Raw::open(&cluster.api(1)).await;
        stalled.send(begun).await;
        assert_eq!(stalled.rest().await, "");
    }
}

/// What a node says at its start that listens on every address.
async fn said_beyond_loopback(settings: &[(&str, &str)]) -> String {
    let mut cluster = Cluster::builder().nodes(1).start_only(&[]).await;
    let listen = format!("0.0.0.0:{}", cluster.api(1).address().port());
    cluster.set("http.listen", &listen);
    for (key, value) in settings {
        cluster.set(key, value);
    }
    cluster.restart(1);
    cluster.wait_ready().await;
    cluster.says(1, r#""message":"serving""#).await
}

#[tokio::test]
async fn a_node_that_is_reached_from_elsewhere_without_tls_says_so_unless_that_is_meant() {
    let warning = "clients reach this node without TLS (http.listen)";
    assert!(said_beyond_loopback(&[]).await.contains(warning));
    for meant in ["http.behind_tls", "http.insecure"] {
        let said = said_beyond_loopback(&[(meant, "true")]).await;
        assert!(!said.contains(warning), "{meant}: {said}");
    }
}
