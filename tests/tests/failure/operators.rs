//! Clients that take the connections of the admin or the telemetry listener, or have it hold much: operators and probes are
//! served, and the node stays small.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use conclave_tests::authority::Authority;
use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::http::Api;
use conclave_tests::memory::resident_kib;
use conclave_tests::raw::{Exchange, Raw};
use conclave_tests::wait::eventually;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const LIVE: &str = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
/// More than all connections there are.
const CROWD: usize = 40;
/// Longer than a connection rests.
const SIEGE: Duration = Duration::from_secs(7);
/// No answer to anybody else takes longer; a busy machine needs some of it. A place that is waited for would take as long as
/// the siege.
const SERVED: Duration = Duration::from_secs(4);
/// What a node may grow by: unread answers took nine times as much.
const GROWTH_KIB_MAX: u64 = 64 << 10;
/// After which whoever was sent away comes again: so that the crowd leaves a connection the time to say something.
const PAUSE: Duration = Duration::from_millis(200);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What a client does with its connection, again and again.
#[derive(Debug, Clone, Copy)]
enum Habit {
    /// Asks every now and then.
    Probes,
    /// Says nothing.
    Silent,
    /// Sends a body byte by byte.
    Trickles,
    /// Takes no answer to all that it asks.
    Hoards,
}

impl Habit {
    /// Until the connection is closed.
    async fn go(self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut some = [0; 4096];
        match self {
            Self::Probes => loop {
                stream.write_all(LIVE.as_bytes()).await?;
                if stream.read(&mut some).await? == 0 {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_secs(3)).await;
            },
            Self::Silent => drop(stream.read(&mut some).await?),
            Self::Trickles => {
                let head = "POST /admin/v1/devices/approve HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4000\r\n\r\n";
                stream.write_all(head.as_bytes()).await?;
                loop {
                    stream.write_all(b"{").await?;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
            Self::Hoards => loop {
                stream.write_all(LIVE.repeat(500).as_bytes()).await?;
            },
        }
        Ok(())
    }
}

/// A crowd that comes again whenever it is sent away, until this is dropped: one client for each address.
fn besiege(target: SocketAddr, addresses: impl IntoIterator<Item = IpAddr>, habit: Habit) -> JoinSet<()> {
    let mut crowd = JoinSet::new();
    for address in addresses {
        crowd.spawn(async move {
            loop {
                let socket = TcpSocket::new_v4().expect("this test has descriptors");
                socket.bind((address, 0).into()).expect("loopback is a network");
                if let Ok(stream) = socket.connect(target).await {
                    let _ = habit.go(stream).await;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    crowd
}

/// So many clients at one address.
fn one_address(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    std::iter::repeat_n(address, CROWD)
}

/// So many addresses.
fn many_addresses() -> impl Iterator<Item = IpAddr> {
    (1..=CROWD as u8).map(|last| [127, 0, 9, last].into())
}

/// Asks all the time, each time on a connection of its own, and is always answered.
async fn is_served(api: &Api, path: &'static str, token: Option<&str>) {
    let end = Instant::now() + SIEGE;
    // The crowd comes first.
    tokio::time::sleep(Duration::from_millis(500)).await;
    while Instant::now() < end {
        let answered = async {
            // A connection that was closed before its answer is worth repeating.
            loop {
                let call = Api::new(&format!("http://{}", api.address())).get(path);
                let call = match token {
                    Some(token) => call.header("authorization", &format!("Bearer {token}")),
                    None => call,
                };
                if let Ok(reply) = call.attempt().await {
                    break reply;
                }
            }
        };
        let reply = timeout(SERVED, answered).await.expect("an operator is answered in time");
        assert_eq!(reply.status, 200, "{path}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A node that asks operators for its token, and the token.
async fn guarded() -> (Cluster, String) {
    let cluster =
        Cluster::builder().nodes(1).unmetered().set("admin.require_token", "true").start_only(&[1]).await;
    let admin = cluster.admin(1);
    eventually(READY, "it is ready", async || {
        (admin.get("/readyz").attempt().await.ok()?.status == 200).then_some(())
    })
    .await;
    let file = cluster.installation(1).data_dir.join("admin-token");
    let token = std::fs::read_to_string(file).expect("the node made a token").trim().to_owned();
    (cluster, token)
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((LOOPBACK, 0)).expect("there is a free port");
    listener.local_addr().expect("it is bound")
}

#[tokio::test]
async fn operators_and_probes_get_in_beside_one_address_that_takes_all_it_can() {
    let (cluster, token) = guarded().await;
    let admin = cluster.admin(1);
    for habit in [Habit::Probes, Habit::Silent] {
        let crowd = besiege(admin.address(), one_address(LOOPBACK), habit);
        tokio::join!(is_served(&admin, "/cluster/status", Some(&token)), is_served(&admin, "/readyz", None));
        drop(crowd);
    }
}

#[tokio::test]
async fn on_loopback_an_operator_without_a_token_gets_in_beside_bodies_that_trickle() {
    let cluster = Cluster::builder().nodes(1).unmetered().start().await;
    let admin = cluster.admin(1);
    for habit in [Habit::Trickles, Habit::Probes] {
        let crowd = besiege(admin.address(), one_address(LOOPBACK), habit);
        tokio::join!(is_served(&admin, "/cluster/status", None), is_served(&admin, "/livez", None));
        drop(crowd);
    }
}

#[tokio::test]
async fn scrapers_get_in_beside_one_address_that_takes_all_it_can() {
    let address = free_address();
    let builder = Cluster::builder().nodes(1).unmetered().set("telemetry.listen", &address.to_string());
    let cluster = builder.start().await;
    let telemetry = Api::new(&format!("http://{address}"));
    let crowd = besiege(address, one_address(LOOPBACK), Habit::Probes);
    tokio::join!(is_served(&telemetry, "/metrics", None), is_served(&telemetry, "/readyz", None));
    drop(crowd);
    drop(cluster);
}

#[tokio::test]
async fn whoever_has_shown_the_token_keeps_its_connection_beside_strangers_of_many_addresses() {
    let (cluster, token) = guarded().await;
    let admin = cluster.admin(1);
    let ask =
        format!("GET /cluster/status HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n");
    let crowd = besiege(admin.address(), many_addresses(), Habit::Silent);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut operator = Exchange::over(Raw::open(&admin).await);
    for _ in 0..5 {
        let answer = operator.ask(&ask).await.expect("the connection is still there");
        assert_eq!((answer.status, answer.is_last), (200, false), "{}", answer.head);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    is_served(&admin, "/cluster/status", Some(&token)).await;
    drop(crowd);
}

fn text(path: PathBuf) -> String {
    path.display().to_string()
}

#[tokio::test]
async fn whoever_has_a_certificate_gets_in_beside_handshakes_that_never_end() {
    let authority = Authority::new();
    let cluster = authority.control(Cluster::builder().nodes(1).unmetered()).start_only(&[1]).await;
    let url = cluster.node(1).admin.to_string().replace("http://", "https://");
    let (cert, key) = authority.identity("operator");
    let (ca, cert, key) = (text(authority.authority_file()), text(cert), text(key));
    let status = async || {
        let args = [
            "cluster",
            "status",
            "--timeout",
            "4s",
            "--url",
            &url,
            "--ca",
            &ca,
            "--cert",
            &cert,
            "--key",
            &key,
        ];
        cluster.command(&args).await
    };
    eventually(READY, "the operator gets in", async || (status().await.0 == Some(0)).then_some(())).await;
    let crowd = besiege(cluster.admin(1).address(), one_address([127, 0, 9, 1].into()), Habit::Silent);
    tokio::time::sleep(Duration::from_millis(500)).await;
    for _ in 0..5 {
        let (code, said) = status().await;
        assert_eq!(code, Some(0), "{said}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    drop(crowd);
}

#[tokio::test]
async fn pipelined_requests_whose_answers_are_not_read_stay_outside() {
    let address = free_address();
    let builder = Cluster::builder().nodes(1).unmetered().set("telemetry.listen", &address.to_string());
    let cluster = builder.start().await;
    let (admin, pid) = (cluster.admin(1), cluster.node(1).pid().expect("it runs"));
    let before = resident_kib(pid);
    let crowds =
        [admin.address(), address].map(|target| besiege(target, one_address(LOOPBACK), Habit::Hoards));
    let end = Instant::now() + SIEGE;
    let mut most = before;
    while Instant::now() < end {
        most = most.max(resident_kib(pid));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(crowds);
    assert!(most - before < GROWTH_KIB_MAX, "the node grew by {} KiB", most - before);
    let other = [&admin, &Api::new(&format!("http://{address}"))];
    join_all(other.map(async |api| assert_eq!(api.get("/livez").send().await.status, 200))).await;
}
