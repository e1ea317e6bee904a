//! Another token on a living socket.

use std::time::Duration;

use conclave_tests::cluster::Cluster;
use conclave_tests::http::Api;
use conclave_tests::issuer::{Issuer, now};
use conclave_tests::relay::{Pair, peer_id, word};
use conclave_tests::socket::Socket;
use conclave_tests::wait::eventually;
use serde_json::{Value, json};

/// For which a first token lives, in seconds: its last tenth is told.
const BRIEF: u64 = 10;

/// Nodes that take a token to the second.
async fn guarded() -> (Cluster, Issuer) {
    let issuer = Issuer::new();
    let cluster = issuer.guard(Cluster::builder()).set("auth.leeway", "0s").start().await;
    (cluster, issuer)
}

fn token(issuer: &Issuer, sub: &str, seconds: u64, grants: Value) -> (String, u64) {
    let mut claims = Issuer::claims(sub, grants);
    let end = now() + seconds;
    claims["exp"] = json!(end);
    (issuer.token_of(&claims), end * 1000)
}

/// A socket at `there`, by a ticket that the token bought at `here`.
async fn open(here: &Api, there: &Api, token: &str) -> Socket {
    let call = here.post("/api/v1/tickets", &Value::Null).header("authorization", &format!("Bearer {token}"));
    let ticket = call.send().await.status(201)["ticket"].as_str().expect("a ticket").to_owned();
    Socket::at(there, &format!("/api/v1/socket?ticket={ticket}")).await
}

#[tokio::test]
async fn a_socket_lives_on_under_a_newer_token_of_the_same_subject() {
    let (cluster, issuer) = guarded().await;
    let (here, there) = cluster.two_followers().await;
    let (peer, room) = (peer_id(), word("room"));
    let all = || json!({"scope": "socket signal relay", "peers": [peer], "rooms": [room]});
    let (first, end_ms) = token(&issuer, "alice", BRIEF, all());
    let mut socket = open(&here, &there, &first).await;
    socket.ok(json!({"op": "hello"})).await;
    socket.ok(json!({"op": "claim", "peerId": peer})).await;
    socket.ok(json!({"op": "join", "room": room})).await;
    let opened = there.post("/api/v1/transfers", &Pair::fresh().open(1));
    let opened = opened.header("authorization", &format!("Bearer {first}")).send().await.status(201);
    socket.ok(json!({"op": "watch", "transfer": opened["transferId"]})).await;

    let told = socket.push("token_expiring").await;
    let left_ms = told["inMs"].as_u64().expect("a time");
    assert!(left_ms <= BRIEF * 1000 / 10, "the last tenth of its life: {told}");

    let long = |sub: &str, grants: Value| token(&issuer, sub, 600, grants).0;
    let part = |scope: &str, peers: Value, rooms: Value| {
        long("alice", json!({"scope": scope, "peers": peers, "rooms": rooms}))
    };
    for (what, token, code) in [
        ("nonsense", "nonsense".to_owned(), "unauthorized"),
        ("one that is over", token(&issuer, "alice", 0, all()).0, "unauthorized"),
        ("another subject", long("mallory", all()), "forbidden"),
        ("no sockets", part("signal relay", json!([peer]), json!([room])), "forbidden"),
        ("no signals", part("socket relay", json!([peer]), json!([room])), "forbidden"),
        ("no relay", part("socket signal", json!([peer]), json!([room])), "forbidden"),
        ("another peer", part("socket signal relay", json!(["other"]), json!([room])), "forbidden"),
        ("another room", part("socket signal relay", json!([peer]), json!(["other"])), "forbidden"),
    ] {
        let answer = socket.ask(json!({"op": "renew", "token": token})).await;
        assert_eq!(answer["error"]["code"], code, "{what}: {answer}");
    }
    let answer = socket.ok(json!({"op": "renew", "token": long("alice", all())})).await;
    let expires_ms = answer["expiresMs"].as_u64().expect("a time");
    assert!((580_000..=600_000).contains(&expires_ms), "{answer}");

    eventually(Duration::from_secs(20), "the first token is over", async || {
        let at = socket.ok(json!({"op": "ping"})).await["at"].as_u64().expect("a time");
        (at > end_ms + 500).then_some(())
    })
    .await;
    socket.ok(json!({"op": "publish", "room": room, "data": 1})).await;
    assert_eq!(socket.early().iter().filter(|event| event["push"] == "token_expiring").count(), 0);
}

#[tokio::test]
async fn a_socket_whose_new_token_is_refused_keeps_the_old_one_until_its_end() {
    let (cluster, issuer) = guarded().await;
    let node = cluster.follower().await;
    let grants = || json!({"scope": "socket", "rooms": "*"});
    let (first, _) = token(&issuer, "alice", 4, grants());
    let mut socket = open(&node, &node, &first).await;
    socket.ok(json!({"op": "hello"})).await;
    socket.push("token_expiring").await;
    let (other, _) = token(&issuer, "bob", 600, grants());
    socket.refused(json!({"op": "renew", "token": other}), "forbidden").await;
    socket.ok(json!({"op": "join", "room": word("room")})).await;
    assert_eq!(socket.end().await, Some(1008));
}

#[tokio::test]
async fn what_is_revoked_renews_nothing_and_a_renewed_socket_can_be_revoked() {
    let (cluster, issuer) = guarded().await;
    let node = cluster.follower().await;
    let (subject, gone, next) = (word("subject"), word("token"), word("token"));
    let of = |id: &str| issuer.token(&subject, json!({"scope": "socket", "rooms": "*", "jti": id}));
    let mut socket = open(&node, &node, &of(&word("token"))).await;
    socket.ok(json!({"op": "hello"})).await;
    issuer.revoke(&format!("jti {gone}"));
    let call = node.get("/api/v1/nodes").header("authorization", &format!("Bearer {}", of(&gone)));
    eventually(Duration::from_secs(5), "the revocation is known", async || {
        (call.clone().send().await.status == 401).then_some(())
    })
    .await;
    socket.refused(json!({"op": "renew", "token": of(&gone)}), "unauthorized").await;
    socket.ok(json!({"op": "renew", "token": of(&next)})).await;
    issuer.revoke(&format!("jti {next}"));
    assert_eq!(socket.end().await, Some(1008));
}

#[tokio::test]
async fn a_socket_without_a_subject_takes_none_by_renewal() {
    let issuer = Issuer::new();
    let cluster = issuer.guard(Cluster::builder().nodes(1)).set("auth.required", "false").start().await;
    let node = cluster.api(1);
    let mut socket = Socket::open(&node).await;
    let token = issuer.token("alice", json!({"scope": "socket", "rooms": "*"}));
    socket.ok(json!({"op": "hello"})).await;
    socket.refused(json!({"op": "renew", "token": token}), "forbidden").await;
    socket.ok(json!({"op": "join", "room": word("room")})).await;
}
