//! No spelling of a path gets a request past what its plain path is guarded by: every route, every letter of it in every
//! encoding, every kind of credential that is none, by every way in.

mod paths;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use conclave_tests::authority::Authority;
use conclave_tests::cluster::Cluster;
use conclave_tests::http::Api;
use conclave_tests::issuer::{Issuer, now};
use conclave_tests::proxy::{Proxy, is_installed};
use conclave_tests::raw::{Answer, Exchange, Raw};
use conclave_tests::relay::{Pair, peer_id, poll, word};
use conclave_tests::wait::eventually;
use futures_util::future::join_all;
use serde_json::json;
use tokio::net::TcpStream;

use paths::{Endpoint, endpoints, oddities, spellings};

/// Connections that ask at once.
const LANES: usize = 12;
/// So many requests without a right credential are the least that is made.
const REQUESTS_MIN: usize = 20_000;

const UPGRADE: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// What a request must come to.
type Must = fn(&Answer) -> bool;

/// Makes all of these requests at once, over few connections, and returns how many they were.
async fn ask_all(address: SocketAddr, requests: Vec<String>, must: Must) -> usize {
    let requests = Arc::new(requests);
    let next = Arc::new(AtomicUsize::new(0));
    let lane = || {
        let (requests, next) = (requests.clone(), next.clone());
        tokio::spawn(async move {
            let mut exchange = None;
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                // A connection that was closed behind the last answer is no answer.
                let mut answer = None;
                for _ in 0..2 {
                    let mut open = match exchange.take() {
                        Some(open) => open,
                        None => {
                            let stream = TcpStream::connect(address).await.expect("it listens");
                            Exchange::over(Raw::over(stream))
                        }
                    };
                    answer = open.ask(request).await;
                    if let Some(answer) = &answer {
                        exchange = (!answer.is_last).then_some(open);
                        break;
                    }
                }
                let answer = answer.unwrap_or_else(|| panic!("no answer to {request}"));
                assert!(must(&answer), "{request}\nwas answered with {} {}", answer.status, answer.body);
            }
        })
    };
    for done in join_all((0..LANES).map(|_| lane())).await {
        done.expect("every request came to what it must");
    }
    requests.len()
}

/// Refused for what it shows, or for where it goes.
fn is_refused(answer: &Answer) -> bool {
    matches!(answer.status, 400 | 401 | 404 | 405)
}

fn is_unauthorized(answer: &Answer) -> bool {
    answer.status == 401
}

/// Answered by what is behind the guard, whatever it says.
fn is_answered(answer: &Answer) -> bool {
    !matches!(answer.status, 401 | 403 | 405 | 500..) && !answer.body.contains("Not found.")
}

struct Guarded {
    cluster: Cluster,
    issuer: Issuer,
    parameters: BTreeMap<&'static str, String>,
    right: String,
    /// Headers that show nothing that is worth anything.
    wrong: Vec<String>,
}

impl Guarded {
    async fn start() -> Self {
        let issuer = Issuer::new();
        let builder = issuer
            .guard(Cluster::builder().nodes(1))
            .unmetered()
            .set("admission.opens", "1000000")
            .env("QSAFEVAULT_EDITION", "enterprise")
            .env("QSAFEVAULT_ENTERPRISE_ACKNOWLEDGED", "true");
        let cluster = builder.start().await;
        let grants = json!({"scope": "relay signal socket devices ice", "peers": "*", "rooms": "*"});
        let right = issuer.token("alice", grants.clone());
        let subject = word("subject");
        let revoked = issuer.token(&subject, grants.clone());
        let mut expired = Issuer::claims("alice", grants.clone());
        expired["exp"] = json!(now() - 120);
        let forged = Issuer::sign(
            b"what only a stranger knows, 32 bytes or more",
            &json!({"alg": "HS256"}),
            &Issuer::claims("alice", grants),
        );
        let node = cluster.api(1);
        let bearer = |token: &str| format!("authorization: Bearer {token}\r\n");
        issuer.revoke(&format!("sub {subject}"));
        eventually(conclave_tests::raw::PATIENCE, "the revocation is known", async || {
            let call = node.get("/api/v1/nodes").header("authorization", &format!("Bearer {revoked}"));
            (call.send().await.status == 401).then_some(())
        })
        .await;
        let wrong = vec![
            String::new(),
            bearer(&issuer.token_of(&expired)),
            bearer(&revoked),
            bearer(&forged),
            bearer("a.b.c"),
        ];
        let mut this = Self { cluster, issuer, parameters: BTreeMap::new(), right, wrong };
        let slowly = node.relay(&Pair::fresh().send(0, 1, "AAEC")).header("prefer", "respond-async");
        let job = this.with(slowly).send().await.header("location").expect("a place to ask").to_owned();
        let job = job.rsplit('/').next().expect("the last segment is its id").to_owned();
        this.parameters = BTreeMap::from([
            ("transferId", this.transfer().await),
            ("n", "0".to_owned()),
            ("sessionId", this.session().await),
            ("userId", "alice".to_owned()),
            ("jobId", job),
        ]);
        this
    }

    fn with(&self, call: conclave_tests::http::Call) -> conclave_tests::http::Call {
        call.header("authorization", &format!("Bearer {}", self.right))
    }

    /// A transfer that has its chunk.
    async fn transfer(&self) -> String {
        let open = self.node().post("/api/v1/transfers", &Pair::fresh().open(1));
        let transfer = self.with(open).send().await.json()["transferId"].clone();
        let transfer = transfer.as_str().expect("an id").to_owned();
        let put = self.node().put(&format!("/api/v1/transfers/{transfer}/chunks/0"), "bytes");
        let put = self.with(put).send().await;
        assert_eq!(put.status, 201, "{}", put.text());
        transfer
    }

    /// A session with an offer and an answer.
    async fn session(&self) -> String {
        let open = self.node().post("/api/v1/sessions", &json!({}));
        let session = self.with(open).send().await.json()["sessionId"].clone();
        let session = session.as_str().expect("an id").to_owned();
        for part in ["offer", "answer"] {
            let envelope = json!({
                "version": 1, "sessionId": session, "nonce": "n".repeat(12), "ct": "c".repeat(16),
            });
            let put = self.node().post(&format!("/api/v1/sessions/{session}/{part}"), &envelope);
            self.with(put).send().await.ok();
        }
        session
    }

    /// The path of an endpoint in every spelling that leaves its ids as they are: spelled in other letters they are others. What
    /// is deleted is another thing each time.
    async fn spellings_around_ids(&self, endpoint: &Endpoint) -> Vec<String> {
        let parts: Vec<&str> = endpoint.path.split('/').collect();
        let ids = parts.iter().filter(|part| self.parameters.values().any(|id| id == *part));
        let ids: Vec<&str> = ids.copied().collect();
        // Digits are in no other path, and have no case.
        let mut template = endpoint.path.clone();
        for (number, id) in ids.iter().enumerate() {
            template = template.replacen(&format!("/{id}"), &format!("/999{number}"), 1);
        }
        let mut all = Vec::new();
        let keeps_ids = |path: &String| {
            (0..ids.len()).all(|number| path.split('/').any(|part| part == format!("999{number}")))
        };
        for spelled in spellings(&template).into_iter().filter(keeps_ids) {
            let mut path = spelled;
            for (number, id) in ids.iter().enumerate() {
                let id = match (endpoint.method.as_str(), endpoint.path.contains("/sessions/")) {
                    ("DELETE", true) => self.session().await,
                    ("DELETE", false) => self.transfer().await,
                    _ => (*id).to_owned(),
                };
                path = path.replacen(&format!("/999{number}"), &format!("/{id}"), 1);
            }
            all.push(path);
        }
        all
    }

    fn node(&self) -> Api {
        self.cluster.api(1)
    }

    /// Endpoints to what is there.
    fn endpoints(&self) -> Vec<Endpoint> {
        endpoints(&self.parameters)
    }

    /// The same endpoints, to nothing in particular.
    fn endpoints_to_nothing(&self) -> Vec<Endpoint> {
        endpoints(&self.parameters.keys().map(|name| (*name, "7".to_owned())).collect())
    }
}

/// Whether what is behind an endpoint stays open.
fn is_stream(endpoint: &Endpoint) -> bool {
    ["/socket", "/ws", "/events"].iter().any(|end| endpoint.path.ends_with(end))
}

/// Whether what is behind an endpoint ends what others ask for.
fn ends_something(endpoint: &Endpoint) -> bool {
    endpoint.method == "DELETE" || endpoint.path.ends_with("/ack")
}

#[tokio::test]
async fn no_spelling_of_a_path_opens_it_to_who_shows_nothing_right_and_all_open_it_to_who_does() {
    let guarded = Guarded::start().await;
    let address = guarded.node().address();
    let (endpoints, nowhere) = (guarded.endpoints(), guarded.endpoints_to_nothing());
    assert!(endpoints.len() > 40, "{}", endpoints.len());
    let (mut refused, mut unauthorized) = (Vec::new(), Vec::new());
    for endpoint in &nowhere {
        let is_socket = endpoint.path.ends_with("/socket") || endpoint.path == "/ws";
        let shake = if is_socket { UPGRADE } else { "" };
        for path in spellings(&endpoint.path) {
            for wrong in &guarded.wrong {
                unauthorized.push(endpoint.request(&endpoint.method, &path, "", &format!("{shake}{wrong}")));
            }
            // In the query, as clients do that set no headers; and as a ticket that nobody issued.
            let ticket = "ticket=0123456789012345678901234567890123456789012";
            let tokens = guarded
                .wrong
                .iter()
                .filter_map(|line| line.trim_end().strip_prefix("authorization: Bearer "));
            for query in
                tokens.map(|token| format!("token={token}")).chain([ticket.to_owned(), "ticket=7".to_owned()])
            {
                unauthorized.push(endpoint.request(&endpoint.method, &path, &query, shake));
            }
            if endpoint.method == "GET" && !is_socket {
                unauthorized.push(endpoint.request("HEAD", &path, "", ""));
                unauthorized.push(endpoint.request("GET", &path, "", UPGRADE));
            } else if !is_socket {
                // Not an upgrade: its body ends where its length says.
                unauthorized.push(endpoint.request(&endpoint.method, &path, "", UPGRADE));
            }
            unauthorized.push(endpoint.request(
                &endpoint.method,
                &path,
                "",
                &format!("{shake}accept: text/event-stream\r\n"),
            ));
        }
        for path in oddities(&endpoint.path) {
            for wrong in &guarded.wrong {
                refused.push(endpoint.request(&endpoint.method, &path, "", &format!("{shake}{wrong}")));
            }
        }
    }
    let asked =
        ask_all(address, unauthorized, is_unauthorized).await + ask_all(address, refused, is_refused).await;
    assert!(asked >= REQUESTS_MIN, "{asked}");

    // In the same run, and on the same routes: with the right credential every spelling is answered.
    let bearer = format!("authorization: Bearer {}\r\n", guarded.right);
    let (streams, others): (Vec<_>, Vec<_>) = endpoints.iter().partition(|endpoint| is_stream(endpoint));
    // What is acknowledged is gone for those who read.
    let (last, first): (Vec<_>, Vec<_>) = others.iter().partition(|endpoint| endpoint.path.ends_with("/ack"));
    let mut answered = 0;
    for some in [first, last] {
        let mut right = Vec::new();
        for endpoint in some {
            for path in guarded.spellings_around_ids(endpoint).await {
                right.push(endpoint.request(&endpoint.method, &path, "", &bearer));
            }
        }
        answered += ask_all(address, right, is_answered).await;
    }
    assert!(answered > 1000, "{answered} answers at {} endpoints", endpoints.len());
    for endpoint in streams {
        let shake = if endpoint.path.ends_with("/events") { "" } else { UPGRADE };
        for path in spellings(&endpoint.path) {
            let mut connection = Raw::over(TcpStream::connect(address).await.expect("it listens"));
            connection.send(endpoint.request("GET", &path, "", &format!("{shake}{bearer}"))).await;
            let head = connection.until("\r\n\r\n").await;
            let expected = if shake.is_empty() { "HTTP/1.1 200" } else { "HTTP/1.1 101" };
            assert!(head.starts_with(expected), "{path}: {head}");
            answered += 1;
        }
    }
    println!("{asked} requests without a right credential, {answered} with one");
    drop(guarded.issuer);
}

#[tokio::test]
async fn no_spelling_of_a_path_gets_a_certificate_past_what_it_grants() {
    let authority = Authority::new();
    let cluster = authority.identify(Cluster::builder().nodes(1)).unmetered().start().await;
    let node = cluster.api(1);
    let client = authority.client("client.example");
    let connection = authority.connect(&node, &client).await.expect("a handshake");
    let mut exchange = Exchange::over(Raw::over(connection));
    for path in ["/api/relay", "/v1/relay", "/api/v1/relay"] {
        for spelling in spellings(path) {
            for (peer, status) in [(peer_id(), 403), ("client.example".to_owned(), 200)] {
                let body = poll(&peer).to_string();
                let request = format!(
                    "POST {spelling} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let answer = exchange.ask(&request).await.expect("an answer");
                assert_eq!(answer.status, status, "{spelling} {peer}: {}", answer.body);
            }
        }
    }
}

/// A proxy with hardly any configuration in front of a node; `None` if it is not installed.
async fn front(program: &str, node: SocketAddr) -> Option<Proxy> {
    if !is_installed(program) {
        return None;
    }
    Some(match program {
        "nginx" => {
            Proxy::nginx(|own| {
                format!(
                    "server {{ listen {own}; location / {{ proxy_pass http://{node}; proxy_http_version 1.1; \
                     proxy_set_header Host $host; proxy_set_header Connection \"\"; }} }}"
                )
            })
            .await
        }
        _ => Proxy::haproxy(|own| {
            format!(
                "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
                     frontend f\n  bind {own}\n  default_backend b\nbackend b\n  server s {node}\n"
            )
        })
        .await,
    })
}

#[tokio::test]
async fn no_spelling_of_a_path_opens_it_behind_a_proxy() {
    let guarded = Guarded::start().await;
    for program in ["nginx", "haproxy"] {
        let Some(front) = front(program, guarded.node().address()).await else { continue };
        let address = front.api.address();
        let (mut refused, mut right) = (Vec::new(), Vec::new());
        let bearer = format!("authorization: Bearer {}\r\n", guarded.right);
        for endpoint in guarded.endpoints_to_nothing() {
            for path in spellings(&endpoint.path).into_iter().chain(oddities(&endpoint.path)) {
                refused.push(endpoint.request(&endpoint.method, &path, "", ""));
                refused.push(endpoint.request(&endpoint.method, &path, "", &guarded.wrong[1]));
            }
        }
        for endpoint in guarded.endpoints() {
            if !is_stream(&endpoint) && !ends_something(&endpoint) {
                right.push(endpoint.request(&endpoint.method, &endpoint.path, "", &bearer));
            }
        }
        // A socket without a handshake is refused for that.
        let must: Must = |answer| is_refused(answer) || answer.status == 426;
        let asked = ask_all(address, refused, must).await;
        assert!(asked > 1000, "{program}: {asked}");
        ask_all(address, right, is_answered).await;
    }
}
