//! What one client may take of a node: a part, so that the others find room.

use std::time::Duration;

use conclave_tests::authority::{Authority, Client};
use conclave_tests::cluster::Cluster;
use conclave_tests::http::{Api, Call};
use conclave_tests::raw::{Raw, statuses};
use conclave_tests::relay::{Pair, peer_id, poll, register, signal, with};
use conclave_tests::shared::limits;
use conclave_tests::wait::eventually;
use futures_util::future::join_all;
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(20);

fn client(node: &Api, last: u8) -> Api {
    node.seen_from([127, 0, 8, last].into())
}

async fn metric(admin: &Api, name: &str) -> Option<f64> {
    let page = admin.get("/metrics").attempt().await.ok()?.text();
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned);
    value?.parse().ok()
}

async fn connect(node: &Api, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("this test has descriptors");
    socket.bind(([127, 0, 8, last], 0).into()).expect("loopback is a network");
    socket.connect(node.address()).await.expect("the node listens")
}

#[tokio::test]
async fn one_client_has_a_part_of_the_connections() {
    let cluster = Cluster::builder().nodes(1).set("http.connections_max", "64").start().await;
    let node = cluster.api(1);
    let mut held = Vec::new();
    for _ in 0..16 {
        let mut one = Raw::over(connect(&node, 1).await);
        one.send("GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await;
        one.until("\"ok\"").await;
        held.push(one);
    }
    let refused = Raw::over(connect(&node, 1).await).rest().await;
    assert_eq!(statuses(&refused), [429], "{refused}");
    assert!(refused.contains("\"scope\":\"client\"") && refused.contains("retry-after: "), "{refused}");
    client(&node, 2).get("/livez").send().await.ok();
    drop(held);
    let one = client(&node, 1);
    eventually(SOON, "it has room again", async || one.get("/livez").attempt().await.ok()).await;
    let said = cluster.says(1, "http.trusted_proxies").await;
    assert_eq!(said.matches("http.trusted_proxies").count(), 1, "it is said once a minute: {said}");
}

#[tokio::test]
async fn without_shares_whoever_comes_first_may_take_everything() {
    let cluster = Cluster::builder()
        .nodes(1)
        .set("http.connections_max", "64")
        .set("shares.enabled", "false")
        .set("shares.free_burst", "1")
        .start()
        .await;
    let node = cluster.api(1);
    let mut held = Vec::new();
    for _ in 0..40 {
        let mut one = Raw::over(connect(&node, 1).await);
        one.send("GET /nothing HTTP/1.1\r\nhost: a\r\n\r\n").await;
        one.until("not_found").await;
        held.push(one);
    }
}

#[tokio::test]
async fn what_is_free_of_charge_has_a_pace() {
    let cluster = Cluster::builder()
        .nodes(1)
        .set("shares.free_per_second", "1")
        .set("shares.free_burst", "20")
        .start()
        .await;
    let node = cluster.api(1);
    let flood = client(&node, 3);
    let replies = join_all((0..10).flat_map(|_| {
        [
            flood.get("/api/v1/nothing").once(),
            flood.get("/").once(),
            flood.post("/api/relay", &json!({})).once(),
            flood.call(Method::OPTIONS, "/api/relay").once(),
        ]
    }))
    .await;
    let limited = replies.iter().filter(|reply| reply.status == 429).count();
    assert!((1..=20).contains(&limited), "{limited} of 40 were refused");
    let refused = replies.iter().find(|reply| reply.status == 429).expect("there is one");
    assert_eq!(refused.refused(429, "rate_limit_exceeded")["scope"], "client");
    assert!(refused.retry_after().is_some());
    for probe in ["/livez", "/health", "/readyz"] {
        flood.get(probe).send().await.ok();
    }
    client(&node, 4).get("/api/v1/nothing").once().await.refused(404, "not_found");
}

#[tokio::test]
async fn what_is_refused_before_it_is_charged_has_that_pace_too() {
    let cluster = limits(Cluster::builder().nodes(1), 1_000_000, "60s")
        .set("shares.free_per_second", "1")
        .set("shares.free_burst", "5")
        .start()
        .await;
    let node = cluster.api(1);
    let post = |path: &str, body: &'static str| {
        let path = path.to_owned();
        move |node: &Api| node.call(Method::POST, &path).json(body)
    };
    let relay = |body: Value| move |node: &Api| node.relay(&body);
    let put = |path: String| {
        let digest = format!("sha-256=:{}=:", "A".repeat(43));
        move |node: &Api| node.put(&path, "x").header("content-digest", &digest)
    };
    let transfer = |id: &str| format!("/api/v1/transfers/{id}/chunks/0");
    let session = "/api/v1/sessions/11111111-1111-4111-8111-111111111111";
    type Refused = Box<dyn Fn(&Api) -> Call>;
    let refused: [(u16, &str, Refused); 10] = [
        (400, "invalid_json", Box::new(post("/api/v1/transfers", "{"))),
        (400, "missing_fields", Box::new(post("/api/v1/transfers", "{}"))),
        (400, "invalid_json", Box::new(post("/api/v1/sessions", "{"))),
        (400, "invalid_envelope", Box::new(post(&format!("{session}/offer"), "{\"version\":2}"))),
        (404, "not_found", Box::new(put(transfer("x")))),
        (422, "digest_mismatch", Box::new(put(transfer(&"A".repeat(43))))),
        (
            200,
            "invalid_chunk",
            Box::new(relay(with(&Pair::fresh().send(0, 1, "AAEC"), "chunkIndex", Some(json!(5))))),
        ),
        (400, "invalid_invite_code", Box::new(relay(register("!!", "b")))),
        (400, "invalid_signal_type", Box::new(relay(signal("a", "b", "x", json!(1))))),
        (410, "session_expired", Box::new(|node| node.delete("/api/v1/sessions/x"))),
    ];
    for (number, (status, code, call)) in (20..).zip(refused) {
        let client = node.seen_from([127, 0, number, 1].into());
        let mut replies = Vec::new();
        for _ in 0..12 {
            replies.push(call(&client).once().await);
        }
        let limited = replies.iter().filter(|reply| reply.status == 429).count();
        assert!(limited > 0, "{code} was answered twelve times");
        replies.iter().find(|reply| reply.status != 429).expect("a burst is answered").refused(status, code);
        // It stands still for all that is free, and for what is charged as well.
        call(&client).once().await.refused(429, "rate_limit_exceeded");
    }
    // What is charged is not counted there.
    let client = node.seen_from([127, 0, 19, 1].into());
    for _ in 0..12 {
        client.relay(&poll(&peer_id())).once().await.ok();
        client.post("/api/v1/transfers", &Pair::fresh().open(1)).once().await.status(201);
        client.delete(session).once().await.refused(410, "session_expired");
    }
}

#[tokio::test]
async fn one_client_has_a_part_of_the_waits() {
    let cluster = Cluster::builder().nodes(1).set("limits.waits_max", "64").start().await;
    let node = cluster.api(1);
    let waiting = |node: &Api| node.relay(&with(&poll(&peer_id()), "waitMs", Some(json!(15_000))));
    let flood = client(&node, 5);
    let waits = tokio::spawn(join_all((0..16).map(|_| waiting(&flood).send())));
    eventually(SOON, "its part is taken", async || {
        (metric(&cluster.admin(1), "conclave_actors_waits").await? >= 16.0).then_some(())
    })
    .await;
    waiting(&flood).once().await.refused(429, "rate_limit_exceeded");
    let other = tokio::spawn(waiting(&client(&node, 6)).send());
    for reply in waits.await.expect("no call panics") {
        reply.ok();
    }
    other.await.expect("no call panics").ok();
}

#[tokio::test]
async fn half_open_handshakes_of_one_client_hold_up_itself_and_no_other() {
    let authority = Authority::new();
    let cluster = authority.serve(Cluster::builder().nodes(1)).start().await;
    let node = cluster.api(1);
    let end = Instant::now() + Duration::from_secs(8);
    // More than there are handshakes at once; each begins, says three bytes, and begins again when it is closed.
    let flood = join_all((0..400).map(async |_| {
        while Instant::now() < end {
            let mut stream = connect(&node, 7).await;
            let _ = stream.write_all(&[22, 3, 1]).await;
            let _ = tokio::time::timeout_at(end, stream.read(&mut [0])).await;
        }
    }));
    let mut slowest = Duration::ZERO;
    let honest = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        while Instant::now() < end {
            let began = Instant::now();
            authority.connect(&node, &Client::default()).await.expect("a handshake");
            slowest = slowest.max(began.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::join!(flood, honest);
    // Those that waited behind the flood took all of the 5 s there are, or failed.
    assert!(slowest < Duration::from_secs(4), "{slowest:?}");
}

#[tokio::test]
async fn empty_lines_do_not_keep_an_idle_connection() {
    let cluster = Cluster::builder().nodes(1).set("http.keep_alive", "2s").start().await;
    let mut stream = connect(&cluster.api(1), 9).await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("the node listens");
    let (mut reader, mut writer) = stream.split();
    let trickle = async {
        while writer.write_all(b"\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        std::future::pending().await
    };
    let mut read = Vec::new();
    let closed = async { reader.read_to_end(&mut read).await.map(drop) };
    let ended = timeout(SOON, async {
        tokio::select! {
            _ = closed => {}
            () = trickle => {}
        }
    });
    ended.await.expect("it is closed when it was idle for as long as it may be");
}

#[tokio::test]
async fn one_client_has_a_part_of_what_is_held_for_all() {
    let cluster = Cluster::builder().nodes(1).set("http.buffers_bytes_max", "4MiB").start().await;
    let (node, admin) = (cluster.api(1), cluster.admin(1));
    let head = "POST /api/relay HTTP/1.1\r\nhost: a\r\ncontent-length: 250000\r\n\r\n";
    let hold = async |len| {
        let mut one = Raw::over(connect(&node, 10).await);
        one.send(&format!("{head}{}", " ".repeat(len))).await;
        one
    };
    // More than a fifth of 4 MiB, and far less than all of it. How many of them are refused depends on how they are cut
    // and on who comes first, so small ones go on filling what those leave.
    let mut held = join_all((0..40).map(|_| hold(40_000))).await;
    let chunk = Pair::fresh().send(0, 1, &"AAAA".repeat(11_000));
    let refused = eventually(SOON, "its part is taken", async || {
        held.push(hold(5_000).await);
        let reply = client(&node, 10).relay(&chunk).once().await;
        (reply.status == 429).then_some(reply)
    })
    .await
    .refused(429, "rate_limit_exceeded");
    assert_eq!(refused["scope"], "client");
    client(&node, 11).relay(&chunk).once().await.ok();
    let bytes = metric(&admin, "conclave_buffers_bytes").await.expect("a gauge");
    assert!(bytes < 2_000_000.0, "{bytes} bytes are held");
    drop(held);
    let one = client(&node, 10);
    eventually(SOON, "it has room again", async || {
        let reply = one.relay(&chunk).attempt().await.ok()?;
        (reply.status == 200).then_some(())
    })
    .await;
}
