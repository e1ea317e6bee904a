//! Tokens: who gets in, and what they may touch.

use std::time::Duration;

use conclave_tests::cluster::Cluster;
use conclave_tests::http::{Api, Call, Reply};
use conclave_tests::issuer::{Issuer, now};
use conclave_tests::relay::{Pair, invite_code, lookup, peer_id, poll, register, signal, word};
use conclave_tests::shared;
use conclave_tests::socket::Socket;
use conclave_tests::wait::eventually;
use hyper::Method;
use serde_json::{Value, json};

const CHALLENGE: &str = "Bearer realm=\"conclave\", error=\"invalid_token\"";

fn bearing(call: Call, token: &str) -> Call {
    call.header("authorization", &format!("Bearer {token}"))
}

async fn sent(node: &Api, token: &str) -> Reply {
    bearing(node.relay(&Pair::fresh().send(0, 1, "AAEC")), token).send().await
}

/// The refusal that tells nothing, but for the id of the request.
fn told(reply: &Reply) -> Value {
    let mut body = reply.refused(401, "unauthorized");
    assert_eq!(reply.header("www-authenticate"), Some(CHALLENGE));
    body.as_object_mut().expect("errors are objects").remove("requestId");
    body
}

#[tokio::test]
async fn where_credentials_are_required_nobody_gets_in_without() {
    let (cluster, _) = shared::guarded().await;
    let node = cluster.follower().await;
    for (method, path) in [
        (Method::POST, "/api/relay"),
        (Method::POST, "/v1/relay"),
        (Method::POST, "/api/v1/sessions"),
        (Method::GET, "/api/v1/sessions/resolve?pin=1"),
        (Method::GET, "/api/v1/sessions/7/offer"),
        (Method::DELETE, "/api/v1/sessions/7"),
        (Method::POST, "/api/v1/transfers"),
        (Method::GET, "/api/v1/transfers/7"),
        (Method::PUT, "/v1/transfers/7/chunks/0"),
        (Method::POST, "/api/v1/transfers/7/ack"),
        (Method::POST, "/api/v1/devices"),
        (Method::GET, "/api/v1/devices/bob"),
        (Method::GET, "/api/v1/jobs/7"),
        (Method::POST, "/api/v1/tickets"),
        (Method::GET, "/api/v1/ice"),
        (Method::GET, "/api/v1/nodes"),
        (Method::GET, "/api/v1/events?room=lobby"),
    ] {
        let reply = node.call(method.clone(), path).send().await;
        assert_eq!(reply.status, 401, "{method} {path}: {}", reply.text());
        told(&reply);
    }
    for path in ["/health", "/livez", "/readyz", "/api/v1/edition"] {
        node.get(path).send().await.ok();
    }
    let report = node.post("/api/v1/csp-reports", &json!({})).send().await;
    assert_eq!(report.status, 204);
    node.get("/api/v1/nothing").send().await.refused(404, "not_found");
}

#[tokio::test]
async fn a_percent_encoded_letter_does_not_get_a_request_past_its_guard() {
    let (cluster, issuer) = shared::guarded().await;
    let node = cluster.follower().await;
    let poll = poll(&peer_id());
    for (method, path) in [
        (Method::POST, "/api/relay"),
        (Method::POST, "/v1/relay"),
        (Method::POST, "/api/v1/sessions"),
        (Method::POST, "/api/v1/transfers"),
        (Method::POST, "/api/v1/tickets"),
        (Method::GET, "/api/v1/ice"),
        (Method::GET, "/api/v1/nodes"),
    ] {
        for (at, letter) in path.bytes().enumerate().filter(|(_, byte)| *byte != b'/') {
            let encoded = format!("{}%{letter:02x}{}", &path[..at], &path[at + 1..]);
            let call = node.call(method.clone(), &encoded).json(poll.to_string());
            told(&call.send().await);
        }
    }
    let token = issuer.token("alice", json!({"scope": "signal", "peers": "*"}));
    let call = node.call(Method::POST, "/api/rela%79").json(poll.to_string());
    bearing(call, &token).send().await.ok();
    for path in ["/api/relay%", "/api/%zz", "/api/./relay", "/api/../api/relay", "/api/%2e%2E/api/relay"] {
        node.call(Method::POST, path).json(poll.to_string()).send().await.refused(400, "invalid_input");
    }
    for path in ["/api//relay", "//api/relay", "/api/rela%2579", "/api%2Frelay"] {
        node.call(Method::POST, path).json(poll.to_string()).send().await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn a_token_in_order_opens_what_it_grants_on_every_node() {
    let (cluster, issuer) = shared::guarded().await;
    let token = issuer.token("alice", json!({"scope": "relay"}));
    for node in cluster.apis() {
        assert_eq!(sent(&node, &token).await.ok()["status"], "waiting");
    }
}

#[tokio::test]
async fn no_attack_on_a_token_gets_in_and_none_is_told_from_another() {
    let (cluster, issuer) = shared::guarded().await;
    let node = cluster.follower().await;
    let scope = || json!({"scope": "relay"});
    let good = Issuer::claims("alice", scope());
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        issuer.token_of(&claims)
    };
    let unsigned = |header: Value| {
        let token = issuer.token_under(&header, &good);
        token.rsplit_once('.').expect("a token has three parts").0.to_owned() + "."
    };
    let header = |header: Value| issuer.token_under(&header, &good);
    let stranger = b"what only a stranger knows, 32 bytes or more";
    let attacks = [
        ("nothing", String::new()),
        ("garbage", "a.b.c".to_owned()),
        ("none", unsigned(json!({"alg": "none"}))),
        ("None", unsigned(json!({"alg": "None"}))),
        ("no signature", unsigned(json!({"alg": "HS256"}))),
        ("swapped algorithm", header(json!({"alg": "HS512"}))),
        ("another algorithm", header(json!({"alg": "RS256"}))),
        ("planted jku", header(json!({"alg": "HS256", "jku": "https://evil.test/keys"}))),
        ("planted jwk", header(json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}}))),
        ("planted x5u", header(json!({"alg": "HS256", "x5u": "https://evil.test/chain"}))),
        ("unknown key", header(json!({"alg": "HS256", "kid": "other"}))),
        ("another secret", Issuer::sign(stranger, &json!({"alg": "HS256"}), &good)),
        ("expired", with("exp", json!(now() - 120))),
        ("early", with("nbf", json!(now() + 120))),
        ("wrong audience", with("aud", json!("other"))),
        ("wrong issuer", with("iss", json!("https://issuer.example.evil.test"))),
        ("several issuers", with("iss", json!([Issuer::NAME, "https://evil.test"]))),
        ("no subject", with("sub", Value::Null)),
    ];
    let expected = told(&node.relay(&Pair::fresh().send(0, 1, "AAEC")).send().await);
    for (what, token) in attacks {
        let reply = sent(&node, &token).await;
        assert_eq!(told(&reply), expected, "{what}");
    }
    assert_eq!(sent(&node, &issuer.token_of(&good)).await.status, 200, "and the same in order gets in");
}

#[tokio::test]
async fn a_scope_is_for_its_own_kind_of_requests() {
    let (cluster, issuer) = shared::guarded().await;
    let node = cluster.follower().await;
    let all = |scope: &str| issuer.token("alice", json!({"scope": scope, "peers": "*", "rooms": "*"}));
    let code = invite_code();
    let (relay, signaling) = (all("relay"), all("signal"));
    for (call, scope, other) in [
        (node.relay(&Pair::fresh().send(0, 1, "AAEC")), &relay, &signaling),
        (node.post("/api/v1/transfers", &Pair::fresh().open(1)), &relay, &signaling),
        (node.relay(&register(&code, "alice")), &signaling, &relay),
        (node.relay(&lookup(&code)), &signaling, &relay),
        (node.relay(&poll("alice")), &signaling, &relay),
        (node.post("/api/v1/sessions", &json!({})), &signaling, &relay),
        (node.get("/api/v1/ice"), &all("ice"), &signaling),
        (node.post("/api/v1/tickets", &json!({})), &all("socket"), &signaling),
    ] {
        bearing(call.clone(), other).send().await.refused(403, "forbidden");
        let reply = bearing(call, scope).send().await;
        assert!((200..300).contains(&reply.status), "{}: {}", reply.status, reply.text());
    }
}

#[tokio::test]
async fn a_scope_is_needed_over_a_socket_as_it_is_over_http() {
    let (cluster, issuer) = shared::guarded().await;
    let node = cluster.follower().await;
    let open = async |scope: &str| {
        let token = issuer.token("alice", json!({"scope": scope, "peers": "*", "rooms": "*"}));
        Socket::at(&node, &format!("/api/v1/socket?token={token}")).await
    };
    let code = invite_code();
    let asks = [
        ("signal", json!({"op": "claim", "peerId": peer_id(), "inviteCode": code})),
        ("signal", json!({"op": "signal", "to": peer_id(), "type": "offer", "payload": 1})),
        ("signal", json!({"op": "lookup", "inviteCode": code})),
        ("signal", json!({"op": "ack", "seq": 1})),
        ("signal", json!({"op": "watch", "session": "01a20057-a088-7f50-b558-cda3c7f515c7"})),
        ("relay", json!({"op": "watch", "transfer": "7"})),
    ];
    let mut bare = open("socket").await;
    for (_, ask) in &asks {
        let answer = bare.ask(ask.clone()).await;
        assert_eq!(answer["error"]["code"], "forbidden", "{ask} was answered with {answer}");
    }
    bare.ok(json!({"op": "join", "room": word("room")})).await;
    for scope in ["signal", "relay"] {
        let mut socket = open(&format!("socket {scope}")).await;
        for (needed, ask) in &asks {
            let answer = socket.ask(ask.clone()).await;
            let forbidden = answer["error"]["code"] == "forbidden";
            assert_eq!(forbidden, *needed != scope, "{scope}: {ask} was answered with {answer}");
        }
    }
    // A session that one connection of the subject has is no way to another one.
    let mut first = open("socket").await;
    let session = first.ok(json!({"op": "hello"})).await["session"].clone();
    let mut again = open("socket").await;
    let other = issuer.token("alice", json!({"scope": "signal", "peers": "*"}));
    let resume = json!({"op": "hello", "token": other, "resume": {"session": session}});
    again.refused(resume, "forbidden").await;
    let token = issuer.token("alice", json!({"scope": "socket", "peers": "*"}));
    let stream = bearing(node.get(&format!("/api/v1/events?peerId={}", peer_id())), &token);
    stream.open().await.expect_err("no stream").refused(403, "forbidden");
}

#[tokio::test]
async fn another_scheme_of_authorization_shows_nothing() {
    let (cluster, _) = shared::guarded().await;
    let node = cluster.follower().await;
    let with = |scheme: &str| node.get("/api/v1/nodes").header("authorization", scheme);
    told(&with("Basic YTpi").send().await);
    let issuer = Issuer::new();
    let open = issuer.guard(Cluster::builder().nodes(1)).set("auth.required", "false").start().await;
    let node = open.api(1);
    let with = |scheme: &str| node.get("/api/v1/nodes").header("authorization", scheme);
    with("Basic YTpi").send().await.ok();
    told(&with("Bearer nonsense").send().await);
}

#[tokio::test]
async fn nobody_acts_as_a_peer_that_its_token_does_not_grant() {
    let (cluster, issuer) = shared::guarded().await;
    let (here, there) = cluster.two_followers().await;
    let (alice, mallory) = (peer_id(), peer_id());
    let token = |peer: &str| issuer.token(peer, json!({"scope": "signal", "peers": [peer]}));
    let (of_alice, of_mallory) = (token(&alice), token(&mallory));
    let queued = signal(&mallory, &alice, "offer", json!({}));
    bearing(here.relay(&queued), &of_mallory).send().await.ok();
    for theft in
        [poll(&alice), register(&invite_code(), &alice), signal(&alice, &mallory, "offer", json!({}))]
    {
        bearing(there.relay(&theft), &of_mallory).send().await.refused(403, "forbidden");
    }
    let polled = bearing(there.relay(&poll(&alice)), &of_alice).send().await.ok();
    assert_eq!(polled["messages"].as_array().expect("a list").len(), 1, "and nothing was taken");
}

#[tokio::test]
async fn what_is_revoked_is_refused_on_every_node_without_a_restart() {
    let (cluster, issuer) = shared::guarded().await;
    let (id, subject) = (word("token"), word("subject"));
    let by_id = issuer.token("alice", json!({"scope": "relay", "jti": id}));
    let by_subject = issuer.token(&subject, json!({"scope": "relay"}));
    let other = issuer.token("alice", json!({"scope": "relay", "jti": word("token")}));
    let node = cluster.follower().await;
    for token in [&by_id, &by_subject, &other] {
        sent(&node, token).await.ok();
    }
    issuer.revoke(&format!("jti {id}"));
    issuer.revoke(&format!("sub {subject}"));
    for node in cluster.apis() {
        for token in [&by_id, &by_subject] {
            eventually(Duration::from_secs(5), "the revocation is known", async || {
                (sent(&node, token).await.status == 401).then_some(())
            })
            .await;
        }
        sent(&node, &other).await.ok();
    }
}

#[tokio::test]
async fn an_origin_that_is_not_listed_is_refused_before_its_token_is_looked_at() {
    let (cluster, issuer) = shared::guarded().await;
    let node = cluster.follower().await;
    let token = issuer.token("alice", json!({"scope": "socket", "rooms": "*"}));
    for origin in ["https://evil.example", "https://app.example.evil.example", "null"] {
        let call = bearing(node.get("/api/v1/events?room=lobby"), &token).header("origin", origin);
        call.open().await.expect_err("no stream").refused(403, "origin_not_allowed");
    }
    for origin in shared::ORIGINS {
        let call = bearing(node.get("/api/v1/events?room=lobby"), &token).header("origin", origin);
        call.open().await.expect("a stream").expect("welcome").await;
    }
}

#[tokio::test]
async fn where_no_keys_are_configured_a_token_means_nothing() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    sent(&node, "whatever").await.ok();
}
