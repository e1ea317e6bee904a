//! `GET /api/v1/ice`: servers that help peers find each other, and what to log in with.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use conclave_tests::cluster::Cluster;
use conclave_tests::issuer::now;
use conclave_tests::scratch::Scratch;
use conclave_tests::shared;
use conclave_tests::wait::eventually;
use conclave_tests::{Ports, Process};
use serde_json::{Value, json};
use tokio::net::TcpStream;

const SECRET: &str = "what the TURN server knows, too";
const OLD_SECRET: &str = "what the TURN server knew before";
const STUN: &str = "stun:turn.example:3478";

/// Whether coturn must be here. Elsewhere than in CI a machine may do without.
fn coturn_is_needed() -> bool {
    std::env::var_os("CONCLAVE_CI").is_some()
}

fn coturn_is_here() -> bool {
    let here = |name: &str| {
        Command::new(name).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let both = here("turnserver") && here("turnutils_uclient");
    assert!(both || !coturn_is_needed(), "coturn is missing: apt-get install coturn");
    both
}

/// A TURN server on loopback, which ends with this.
struct Turn {
    _process: Process,
    port: u16,
    _ports: Ports,
    _scratch: Scratch,
}

impl Turn {
    async fn start(secret: &str) -> Self {
        let (mut ports, scratch) = (Ports::default(), Scratch::new());
        let port = ports.take().expect("a port is free");
        let mut program = Command::new("turnserver");
        program
            .args([
                "-n",
                "--no-tls",
                "--no-dtls",
                "--no-cli",
                "--allow-loopback-peers",
                "--log-file",
                "stdout",
            ])
            .args(["--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--realm", "conclave.example"])
            .args(["--listening-port", &port.to_string()])
            .args(["--use-auth-secret", "--static-auth-secret", secret])
            .arg("--pidfile")
            .arg(scratch.path().join("pid"))
            .arg("--userdb")
            .arg(scratch.path().join("db"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::start(program).expect("it is installed");
        let turn = Self { _process: process, port, _ports: ports, _scratch: scratch };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        eventually(Duration::from_secs(20), "the TURN server listens", async || {
            TcpStream::connect(address).await.ok()
        })
        .await;
        turn
    }

    /// Whether the server lets this login have a relay address.
    async fn allocates(&self, username: &str, credential: &str) -> bool {
        let mut client = Command::new("turnutils_uclient");
        client.args(["-t", "-y", "-c", "-n", "1", "-m", "1", "-u", username, "-w", credential]).args([
            "-p",
            &self.port.to_string(),
            "127.0.0.1",
        ]);
        let output = tokio::task::spawn_blocking(move || client.output());
        output
            .await
            .expect("running a command does not panic")
            .expect("coturn's client can be run")
            .status
            .success()
    }
}

async fn asked(cluster: &Cluster) -> Value {
    cluster.api(1).get("/api/v1/ice").send().await.ok()
}

#[tokio::test]
async fn without_servers_the_list_is_empty() {
    let cluster = shared::standard().await;
    let body = cluster.follower().await.get("/api/v1/ice").send().await.ok();
    assert_eq!(body["iceServers"], json!([]));
}

#[tokio::test]
async fn a_login_says_until_when_and_the_newest_secret_signs() {
    let scratch = Scratch::new();
    let file = |name: &str, secret: &str| {
        let path = scratch.path().join(name);
        fs::write(&path, secret).expect("the scratch folder is writable");
        path.display().to_string()
    };
    let secrets = format!("{},{}", file("new", &format!("{SECRET}\n")), file("old", OLD_SECRET));
    let cluster = Cluster::builder()
        .nodes(1)
        .set("ice.stun", STUN)
        .set("ice.turn", "turn:turn.example:3478?transport=udp,turns:turn.example:5349")
        .set("ice.secrets", &secrets)
        .set("ice.ttl", "10m")
        .start()
        .await;
    let body = asked(&cluster).await;
    assert_eq!(body["ttl"], 600);
    let servers = body["iceServers"].as_array().expect("a list");
    assert_eq!(servers[0], json!({"urls": [STUN]}));
    let turn = &servers[1];
    assert_eq!(turn["urls"], json!(["turn:turn.example:3478?transport=udp", "turns:turn.example:5349"]));
    let username = turn["username"].as_str().expect("a name");
    let (expiry, user) = username.split_once(':').expect("expiry and user");
    let expiry: u64 = expiry.parse().expect("seconds");
    assert!((now() + 540..=now() + 660).contains(&expiry), "{username}");
    assert_eq!(user.len(), 16);
    let other = asked(&cluster).await;
    assert_ne!(
        other["iceServers"][1]["username"], turn["username"],
        "nobody in particular is always another"
    );

    if !coturn_is_here() {
        return;
    }
    let credential = turn["credential"].as_str().expect("a password");
    let server = Turn::start(SECRET).await;
    assert!(server.allocates(username, credential).await, "coturn lets it in");
    assert!(!server.allocates(username, "bm90IHRoZSBjcmVkZW50aWFsIQ==").await, "and nobody else");
    let longer = format!("{}:{user}", expiry + 600);
    assert!(!server.allocates(&longer, credential).await, "nor the same for longer");
    let behind = Turn::start(OLD_SECRET).await;
    assert!(!behind.allocates(username, credential).await, "the old secret does not sign");
}
