//! `conclave dev`: a cluster in one command.

use std::time::Duration;

use conclave_tests::binary;
use conclave_tests::http::Api;
use conclave_tests::relay::Pair;
use conclave_tests::scratch::Scratch;
use conclave_tests::wait::eventually;
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(45);

/// Starts `conclave dev --json` and reads the one line it prints.
async fn dev(args: &[&str]) -> (Child, Value) {
    dev_in(&std::env::temp_dir(), args).await
}

/// The same, with its temporary files in this folder.
async fn dev_in(folder: &Path, args: &[&str]) -> (Child, Value) {
    let mut child = Command::new(binary::conclave())
        .args(["dev", "--json"])
        .args(args)
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary can be run");
    let mut lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
    let line =
        timeout(LIMIT, lines.next_line()).await.expect("the cluster is up in time").expect("a line of text");
    (child, serde_json::from_str(&line.expect("a line is printed")).expect("JSON"))
}

fn signal(pid: u64, name: &str) {
    let status = std::process::Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
    assert!(status.expect("there is a shell").success());
}

fn alive(pid: u64) -> bool {
    // A process that ended and was not waited for yet is no longer alive.
    std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

fn pids(cluster: &Value) -> Vec<u64> {
    let nodes = cluster["nodes"].as_array().expect("nodes");
    nodes.iter().map(|node| node["pid"].as_u64().expect("a pid")).collect()
}

#[tokio::test]
async fn three_nodes_come_up_serve_and_go_together() {
    let (mut child, cluster) = dev(&[]).await;
    let nodes: Vec<Api> = cluster["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| Api::new(node["http"].as_str().expect("a URL")))
        .collect();
    assert_eq!(nodes.len(), 3);
    assert!((1..=3).contains(&cluster["leader"].as_u64().expect("a leader")), "{cluster}");
    let pair = Pair::fresh();
    nodes[0].relay(&pair.send(0, 1, "AAEC")).send().await.ok();
    assert_eq!(nodes[2].relay(&pair.receive()).keyed().send().await.ok()["chunk"]["data"], "AAEC");

    signal(child.id().expect("it runs").into(), "TERM");
    let status = timeout(LIMIT, child.wait()).await.expect("it ends in time").expect("it can be waited for");
    assert_eq!(status.code(), Some(0));
    for pid in pids(&cluster) {
        assert!(!alive(pid), "node process {pid} outlived its parent");
    }
}

#[tokio::test]
async fn a_node_that_dies_is_started_again() {
    let (child, cluster) = dev(&[]).await;
    let victim = &cluster["nodes"][1];
    let api = Api::new(victim["http"].as_str().expect("a URL"));
    signal(victim["pid"].as_u64().expect("a pid"), "KILL");
    let admin = Api::new(victim["admin"].as_str().expect("a URL"));
    eventually(LIMIT, "another process is ready in its place", async || {
        let ready = api.get("/readyz").attempt().await.ok()?.status == 200;
        let status = admin.get("/cluster/status").attempt().await.ok()?.json();
        let nodes = status["nodes"].as_array()?.clone();
        let now = nodes.iter().find(|node| node["id"] == victim["id"])?["pid"].clone();
        (ready && now != victim["pid"]).then_some(())
    })
    .await;
    drop(child);
}

#[tokio::test]
async fn the_nodes_do_not_outlive_a_parent_that_was_killed() {
    let (mut child, cluster) = dev(&["--nodes", "1"]).await;
    assert_eq!(pids(&cluster).len(), 1);
    child.kill().await.expect("a child can be killed");
    eventually(LIMIT, "the nodes notice", async || {
        pids(&cluster).iter().all(|pid| !alive(*pid)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_terminal_that_is_closed_ends_all_nodes_and_leaves_nothing() {
    let scratch = Scratch::new();
    let (mut child, cluster) = dev_in(scratch.path(), &[]).await;
    assert_eq!(std::fs::read_dir(scratch.path()).expect("a folder").count(), 1);
    signal(child.id().expect("it runs").into(), "HUP");
    // A second on a machine that does nothing else.
    let status = timeout(LIMIT / 5, child.wait()).await.expect("it ends soon").expect("it can be waited for");
    assert_eq!(status.code(), Some(0));
    assert!(pids(&cluster).iter().all(|pid| !alive(*pid)), "no node is left");
    assert_eq!(std::fs::read_dir(scratch.path()).expect("a folder").count(), 0, "and no file");
}

#[tokio::test]
async fn what_differs_between_nodes_is_refused_for_all_of_them() {
    let output = Command::new(binary::conclave())
        .args(["dev", "--set", "http.listen=127.0.0.1:3000"])
        .output()
        .await
        .expect("the binary can be run");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("http.listen") && said.contains("--base-port"), "{said}");
}
