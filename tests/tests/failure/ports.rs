//! A port that is open answers: while a node waits for its cluster, while it is about to go, and while it drains.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::http::{Api, Reply};
use conclave_tests::relay::{Pair, peer_id, poll};
use conclave_tests::socket::Socket;
use conclave_tests::wait::eventually;
use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer takes milliseconds; a busy machine may need longer, and a port that hangs says nothing for as long as the
/// node waits or drains.
const AT_ONCE: Duration = Duration::from_secs(3);
const SOCKETS: usize = 12;
/// Clients that ask while a node begins to serve, each for so many answers once it does.
const ASKERS: usize = 8;
const SERVED: usize = 20;

/// Waits until the public port answers `/livez`, and checks what it says of everything else.
async fn waits(api: &Api, why: &str) {
    let live = eventually(READY, "the public port answers", async || {
        api.get("/livez").patience(AT_ONCE).attempt().await.ok()
    })
    .await;
    assert_eq!(live.status, 200, "{}", live.text());
    let refused = |reply: Reply| {
        assert_eq!(reply.status, 503, "{}", reply.text());
        assert!(reply.retry_after().is_some(), "{:?}", reply.headers);
        reply.json()
    };
    let ready = refused(api.get("/readyz").patience(AT_ONCE).once().await);
    assert_eq!(ready["failed"], json!([why]), "{ready}");
    refused(api.relay(&poll(&peer_id())).patience(AT_ONCE).once().await);
    refused(api.get("/").patience(AT_ONCE).once().await);
}

#[tokio::test]
async fn a_node_that_waits_for_its_first_members_answers_at_once() {
    let mut cluster = Cluster::builder().unmetered().start_only(&[1]).await;
    waits(&cluster.api(1), "waiting_for_members").await;
    cluster.restart(2);
    waits(&cluster.api(2), "waiting_for_members").await;
    waits(&cluster.api(1), "waiting_for_members").await;
    cluster.restart(3);
    cluster.wait_ready().await;
    cluster.api(1).relay(&Pair::fresh().send(0, 1, "AAEC")).send().await.ok();
}

#[tokio::test]
async fn a_node_that_waits_to_be_added_answers_at_once() {
    let mut cluster = Cluster::builder().nodes(1).unmetered().start().await;
    cluster.join(2).await;
    waits(&cluster.api(2), "waiting_to_be_added").await;
}

#[tokio::test]
async fn a_node_that_begins_to_serve_loses_no_connection_and_refuses_nothing_any_more() {
    let cluster = Cluster::builder().nodes(1).start_only(&[1]).await;
    let api = cluster.api(1);
    let url = format!("http://{}", api.address());
    eventually(READY, "the port is open", async || TcpStream::connect(api.address()).await.ok()).await;
    let serves = AtomicBool::new(false);
    let askers = (0..ASKERS).map(async |_| {
        let mut served = 0;
        while served < SERVED {
            let expected = serves.load(Ordering::SeqCst);
            let reply = Api::new(&url).get("/readyz").patience(AT_ONCE).once().await;
            assert!(reply.status == 200 || !expected, "refused again: {}", reply.text());
            if reply.status == 200 {
                serves.store(true, Ordering::SeqCst);
                served += 1;
            }
        }
    });
    join_all(askers).await;
}

#[tokio::test]
async fn a_node_that_is_about_to_go_serves_everything_and_leads_no_more() {
    let mut cluster = Cluster::builder().unmetered().set("shutdown.lame_duck", "10s").start().await;
    let leader = cluster.leader().await;
    let (api, admin) = (cluster.api(leader), cluster.admin(leader));
    cluster.signal(leader, conclave_tests::cluster::Signal::TERM);
    let failed = eventually(READY, "it says that it goes", async || {
        let reply = api.get("/readyz").attempt().await.ok()?;
        (reply.status == 503).then(|| reply.json())
    })
    .await;
    assert_eq!(failed["failed"], json!(["draining"]), "{failed}");
    assert_eq!(admin.get("/readyz").once().await.status, 503);
    assert_eq!(api.get("/livez").once().await.status, 200);
    eventually(READY, "another node leads", async || {
        let seen = cluster.status_from(leader).await?;
        seen.leader.filter(|now| *now != leader)
    })
    .await;
    // Not refused once: this is asked of a node that still serves.
    let pair = Pair::fresh();
    let sent = api.relay(&pair.send(0, 1, "AAEC")).once().await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    assert_eq!(cluster.exit_code(leader).await, Some(0));
    assert!(cluster.node(leader).printed().contains("handed leadership over"));
}

/// What became of one request on a connection of its own.
enum Fresh {
    Status(u16),
    Refused,
}

/// Panics if nothing comes at once.
async fn fresh(address: SocketAddr, path: &str) -> Fresh {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    match timeout(AT_ONCE, ask).await.expect("an answer or a refusal, but no silence") {
        Ok(answer) if answer.len() > 12 => {
            let status = std::str::from_utf8(&answer[9..12]).expect("an HTTP answer");
            Fresh::Status(status.parse().expect("a status"))
        }
        Ok(_) | Err(_) => Fresh::Refused,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_drains_answers_fresh_connections_until_its_port_is_closed() {
    let mut cluster =
        Cluster::builder().nodes(1).unmetered().set("socket.drain_per_second", "2").start().await;
    let api = cluster.api(1);
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let mut socket = Socket::open(&api).await;
        socket.ok(json!({"op": "hello"})).await;
        sockets.push(socket);
    }
    let readers: Vec<_> = sockets
        .into_iter()
        .map(|mut socket| tokio::spawn(async move { while socket.read().await.is_ok() {} }))
        .collect();

    cluster.signal(1, conclave_tests::cluster::Signal::TERM);
    let (mut unready, mut alive, mut closed) = (0, 0, false);
    while !closed {
        match fresh(api.address(), "/readyz").await {
            Fresh::Status(503) => unready += 1,
            // Before the signal was heard.
            Fresh::Status(200) => assert_eq!(unready, 0, "it does not become ready again"),
            Fresh::Status(status) => panic!("{status}"),
            Fresh::Refused => closed = true,
        }
        for path in ["/livez", "/health"] {
            match fresh(api.address(), path).await {
                Fresh::Status(status) => {
                    assert_eq!(status, 200, "{path} says that it lives");
                    alive += 1;
                }
                Fresh::Refused => closed = true,
            }
        }
    }
    assert!(unready > 0 && alive > 0, "it was seen draining: {unready}, {alive}");
    assert_eq!(cluster.exit_code(1).await, Some(0));
    for reader in readers {
        reader.await.expect("a reader does not panic");
    }
}
