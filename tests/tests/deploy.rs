//! The files under `docs/deploy`: what they say is true, and they work with the programs they are for.

mod prometheus;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use conclave_tests::authority::{Authority, Client};
use conclave_tests::cluster::{Cluster, Signal};
use conclave_tests::proxy::{Proxy, is_installed, path};
use conclave_tests::raw::{Raw, statuses};
use conclave_tests::relay::{Pair, peer_id, poll, with, word};
use conclave_tests::scratch::Scratch;
use conclave_tests::socket::{PATIENCE, Socket};
use conclave_tests::wait::eventually;
use serde_json::{Value, json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/deploy")
}

fn file(name: &str) -> String {
    fs::read_to_string(folder().join(name)).expect("the file is there")
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .env("PATH", path())
        .current_dir(folder())
        .output()
        .expect("the program is there");
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {printed}");
    printed
}

#[test]
fn every_alarm_fires_and_goes_out() {
    if !is_installed("promtool") {
        return;
    }
    run("promtool", &["check", "rules", "alerts.yml"]);
    run("promtool", &["test", "rules", "alerts.test.yml"]);
    let tests = file("alerts.test.yml");
    for alarm in file("alerts.yml").lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(
            tests.contains(&format!("{{eval_time: 20s, alertname: {alarm}}}"))
                || tests.contains(&format!("{{eval_time: 30s, alertname: {alarm}}}"))
                || tests.contains(&format!("{{eval_time: 1m, alertname: {alarm}}}")),
            "{alarm} is not tested"
        );
    }
}

#[test]
fn alarms_are_about_metrics_that_there_are() {
    let guide = fs::read_to_string(folder().join("../metrics.md")).expect("the guide is there");
    let rules = file("alerts.yml");
    let names = rules
        .split(|char: char| !char.is_ascii_alphanumeric() && char != '_')
        .filter(|word| word.starts_with("conclave_") || word.starts_with("process_"))
        .map(|word| word.trim_end_matches("_bucket"));
    for name in names {
        assert!(guide.contains(&format!("`{name}")), "docs/metrics.md says nothing of {name}");
    }
}

#[tokio::test]
async fn metrics_are_as_prometheus_wants_them() {
    if !is_installed("promtool") {
        return;
    }
    let cluster = Cluster::builder().nodes(1).unmetered().start().await;
    let page = cluster.admin(1).get("/metrics").once().await.text();
    let scratch = Scratch::new();
    let at = scratch.path().join("page");
    fs::write(&at, page).expect("the scratch folder can be written");
    let printed = run("sh", &["-c", &format!("promtool check metrics < {}", at.display())]);
    assert_eq!(printed.trim(), "", "nothing is complained of");
}

#[tokio::test]
async fn every_documented_metric_is_there_from_the_start() {
    // Of three, since links are counted by peer; with TLS, since certificates end.
    let authority = Authority::new();
    let cluster = authority.serve(Cluster::builder()).unmetered().start().await;
    let connected = authority.connect(&cluster.api(1), &Client::default()).await;
    let mut asked = Raw::over(connected.expect("a handshake"));
    asked.send("GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert_eq!(statuses(&asked.rest().await), [200]);
    let page = cluster.admin(1).get("/metrics").once().await.text();
    let guide = fs::read_to_string(folder().join("../metrics.md")).expect("the guide is there");
    let names = guide.lines().filter_map(|line| line.strip_prefix("| `"));
    for name in names.filter_map(|rest| rest.split(['`', '{']).next()) {
        let kept = format!("# TYPE {name} ");
        assert!(page.contains(&kept), "{name} is not there");
    }
}

#[test]
fn the_unit_is_shut_off_and_gives_a_node_its_time() {
    let unit = file("conclave.service");
    let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).expect("it is set");
    let stop: u64 = stop.parse().expect("seconds");
    // shutdown.lame_duck, shutdown.grace, the log's flush.
    assert!(stop >= 5 + 20 + 3, "{stop}");
    if is_installed("systemd-analyze") {
        // In tenths.
        run("systemd-analyze", &["security", "--offline=true", "--threshold=30", "conclave.service"]);
    }
}

/// A proxy with the file `name` of `docs/deploy`, in the clear on loopback, in front of these nodes; with changes to the file as
/// somebody would make them who needs something else.
async fn shipped(program: &str, name: &str, cluster: &Cluster, edit: impl FnOnce(String) -> String) -> Proxy {
    let mut text = edit(file(name));
    for id in 1..=3_u64 {
        text = text.replace(&format!("10.0.0.{id}:3000"), &cluster.api(id).address().to_string());
    }
    match program {
        "nginx" => {
            let with_tls = |line: &&str| !line.trim_start().starts_with("ssl_");
            let text: String = text.lines().filter(with_tls).collect::<Vec<_>>().join("\n");
            Proxy::nginx(|own| text.replace("listen 443 ssl;", &format!("listen {own};"))).await
        }
        _ => {
            let with_tls = "bind :443 ssl crt /etc/haproxy/conclave.pem";
            Proxy::haproxy(|own| text.replace(with_tls, &format!("bind {own}"))).await
        }
    }
}

/// Everything that clients do passes through, and goes on while a node goes.
async fn carries(program: &str, name: &str) {
    if !is_installed(program) {
        return;
    }
    let mut cluster = Cluster::builder()
        .unmetered()
        .set("http.trusted_proxies", "127.0.0.1/32")
        // As the guide has it: a proxy sees by its health checks that a node goes, before the node's port closes.
        .set("shutdown.lame_duck", "4s")
        .start()
        .await;
    let proxy = shipped(program, name, &cluster, |text| text).await;
    let api = proxy.api.clone();

    // A chunk, there and back.
    let pair = Pair::fresh();
    api.relay(&pair.send(0, 1, "AAEC")).send().await.ok();
    assert_eq!(api.relay(&pair.receive()).keyed().send().await.ok()["chunk"]["data"], "AAEC");
    // A long poll that waits for what another sends.
    let peer = peer_id();
    let waits = tokio::spawn(api.relay(&with(&poll(&peer), "waitMs", Some(json!(20_000)))).send());
    let signal = json!({"action": "signal", "from": peer_id(), "to": peer, "type": "offer", "payload": "x"});
    api.relay(&signal).send().await.ok();
    let heard = waits.await.expect("the poll ends").ok();
    assert_eq!(heard["messages"].as_array().map(Vec::len), Some(1), "{heard}");
    // One that was given up takes nothing.
    let peer = peer_id();
    let mut given_up = Raw::open(&api).await;
    given_up.send(posted(&with(&poll(&peer), "waitMs", Some(json!(20_000))))).await;
    polls(&cluster, 1).await;
    given_up.finish().await;
    polls(&cluster, 0).await;
    let signal = json!({"action": "signal", "from": peer_id(), "to": peer, "type": "offer", "payload": "x"});
    api.relay(&signal).send().await.ok();
    let heard = api.relay(&poll(&peer)).keyed().send().await.ok();
    assert_eq!(heard["messages"].as_array().map(Vec::len), Some(1), "{heard}");
    // A socket and an event stream in a room.
    let room = word("room");
    let mut socket = Socket::open(&api).await;
    socket.ok(json!({"op": "hello"})).await;
    socket.ok(json!({"op": "join", "room": room})).await;
    let mut stream = api.get(&format!("/api/v1/events?room={room}")).open().await.expect("a stream");
    stream.expect("welcome").await;
    socket.ok(json!({"op": "publish", "data": 1})).await;
    assert_eq!(stream.expect("message").await.data["data"], 1);
    drop((socket, stream));

    // Whoever follows Retry-After loses nothing while a node goes.
    let leaving = cluster.followers().await[0];
    cluster.signal(leaving, Signal::TERM);
    let pair = Pair::fresh();
    for index in 0..20 {
        let sent = api.relay(&pair.send(index, 20, "AAEC")).patience(Duration::from_secs(10)).send().await;
        assert_eq!(sent.status, 200, "{} {}", sent.status, sent.text());
    }
    assert_eq!(cluster.exit_code(leaving).await, Some(0));
    api.relay(&Pair::fresh().send(0, 1, "AAEC")).send().await.ok();
}

/// A relay request as it is sent.
fn posted(body: &Value) -> String {
    let text = body.to_string();
    format!(
        "POST /api/relay HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
}

/// Waits until so many long polls wait on all nodes together.
async fn polls(cluster: &Cluster, expected: u32) {
    eventually(PATIENCE, &format!("{expected} long polls wait"), async || {
        let mut counted = 0;
        for id in cluster.running() {
            let text = cluster.admin(id).get("/metrics").send().await.text();
            let line = text.lines().find_map(|line| line.strip_prefix("conclave_actors_waits "));
            counted += line.expect("it is counted").parse::<u32>().expect("a number");
        }
        (counted == expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_carries_everything() {
    carries("nginx", "nginx.conf").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_carries_everything() {
    carries("haproxy", "haproxy.cfg").await;
}

/// Under a path everything is there, and nothing is beside it.
async fn carries_under_a_path(program: &str, name: &str, edit: impl FnOnce(String) -> String) {
    if !is_installed(program) {
        return;
    }
    let cluster = Cluster::builder().set("http.trusted_proxies", "127.0.0.1/32").start().await;
    let proxy = shipped(program, name, &cluster, edit).await;
    let api = &proxy.api;
    assert!(api.get("/conclave/").send().await.text().contains("app.js"));
    let pair = Pair::fresh();
    api.post("/conclave/api/relay", &pair.send(0, 1, "AAEC")).send().await.ok();
    let received = api.post("/conclave/api/relay", &pair.receive()).keyed().send().await.ok();
    assert_eq!(received["chunk"]["data"], "AAEC");
    let mut socket = Socket::at(api, "/conclave/api/v1/socket").await;
    socket.ok(json!({"op": "hello"})).await;
    assert_eq!(api.get("/api/v1/nodes").once().await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_carries_everything_under_a_path() {
    carries_under_a_path("nginx", "nginx.conf", |text| {
        let under = text.replace("location / {", "location /conclave/ {");
        under.replace("proxy_pass http://conclave;", "proxy_pass http://conclave/;")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_carries_everything_under_a_path() {
    carries_under_a_path("haproxy", "haproxy.cfg", |text| {
        text.replace("    # http-request ", "    http-request ")
    })
    .await;
}

/// A socket on which nobody says anything outlives proxies that wait little longer than a ping.
///
/// As a node's longest 25 s is to the 30 s of impatient proxies, so is a second to three.
async fn leaves_quiet_sockets(program: &str, name: &str) {
    if !is_installed(program) {
        return;
    }
    let cluster = Cluster::builder()
        .set("socket.ping_interval_min", "500ms")
        .set("socket.ping_interval_max", "1s")
        .start()
        .await;
    let waits =
        ["proxy_read_timeout 60s", "proxy_send_timeout 60s", "timeout client 60s", "timeout server 60s"];
    let proxy = shipped(program, name, &cluster, |text| {
        let text = text.replace("timeout tunnel 1h", "timeout tunnel 3s");
        waits.iter().fold(text, |text, line| text.replace(line, &line.replace("60s", "3s")))
    })
    .await;
    let mut socket = Socket::open(&proxy.api).await;
    socket.ok(json!({"op": "hello"})).await;
    let said = tokio::time::timeout(Duration::from_secs(8), socket.read()).await;
    assert!(said.is_err(), "nothing is said and nothing ends: {said:?}");
    socket.ok(json!({"op": "join", "room": word("room")})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_leaves_quiet_sockets() {
    leaves_quiet_sockets("nginx", "nginx.conf").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_leaves_quiet_sockets() {
    leaves_quiet_sockets("haproxy", "haproxy.cfg").await;
}

/// Each client has its own allowance at the nodes, though all come through one HAProxy that names them in this way.
async fn haproxy_names_its_clients(how: &str) {
    if !is_installed("haproxy") {
        return;
    }
    let limit = 3;
    let cluster = Cluster::builder()
        .set("allowance.tiers.create.limit", &limit.to_string())
        .set("allowance.tiers.create.window", "1h")
        .set("http.proxy_protocol", "127.0.0.7/32")
        .start()
        .await;
    let proxy = shipped("haproxy", "haproxy.cfg", &cluster, |text| {
        let server = format!("check inter 1s fall 2 rise 1 {how} source 127.0.0.7");
        text.replace("    option forwardfor\n", "").replace("check inter 1s fall 2 rise 1", &server)
    })
    .await;
    for client in [11, 12] {
        let client = proxy.api.seen_from([127, 0, 0, client].into());
        let create = || client.post("/api/v1/sessions", &json!({})).send();
        for _ in 0..limit {
            create().await.ok();
        }
        create().await.refused(429, "rate_limit_exceeded");
    }
    let mut socket = Socket::open(&proxy.api).await;
    socket.ok(json!({"op": "hello"})).await;
    let headers = cluster.admin(1).get("/metrics").send().await.text();
    assert!(headers.contains("conclave_proxy_headers_total{result=\"wrong\"} 0"), "{headers}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_names_its_clients_by_version_1_of_the_proxy_protocol() {
    haproxy_names_its_clients("send-proxy").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_names_its_clients_by_version_2_of_the_proxy_protocol() {
    haproxy_names_its_clients("send-proxy-v2").await;
}
