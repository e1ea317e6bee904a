//! Every route and every operation of a socket, with every kind of credential. The rows are held against what is documented,
//! which is held against the table of routes: one without a row fails.

use std::collections::BTreeSet;

use conclave_tests::cluster::Cluster;
use conclave_tests::http::{Api, Call};
use conclave_tests::issuer::{Issuer, now};
use conclave_tests::openapi;
use conclave_tests::relay::{Pair, peer_id, word};
use conclave_tests::shared::limits;
use conclave_tests::socket::Socket;
use hyper::Method;
use serde_json::{Value, json};

const PROTOCOL: &str = include_str!("../../../docs/protocol.md");
const ONION: &str = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrstuvwx.onion";
const ALL: &str = "relay signal socket devices ice";

/// Whose token it is in the end does not matter here, but for devices.
const ALICE: &str = "alice";

/// A route, the scope that it takes, and how it is called.
struct Row {
    method: Method,
    path: &'static str,
    scope: Scope,
    call: fn(&Api) -> Call,
}

/// What a route takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Nothing at all.
    Open,
    /// A credential, whatever it grants.
    Any,
    One(&'static str),
}

use Scope::{Any, One, Open};

fn row(method: Method, path: &'static str, scope: Scope, call: fn(&Api) -> Call) -> Row {
    Row { method, path, scope, call }
}

fn session(node: &Api, method: Method, rest: &str) -> Call {
    node.call(method, &format!("/api/v1/sessions/{}{rest}", uuid::Uuid::new_v4()))
}

fn transfer(node: &Api, method: Method, rest: &str) -> Call {
    node.call(method, &format!("/api/v1/transfers/{}{rest}", "A".repeat(43)))
}

fn envelope() -> String {
    json!({"version": 1, "sessionId": "s", "nonce": "AAAAAAAAAAAAAAAA", "ct": "AAAA"}).to_string()
}

fn rows() -> Vec<Row> {
    vec![
        row(Method::POST, "/api/relay", One("relay"), |node| node.relay(&Pair::fresh().send(0, 1, "AAEC"))),
        row(Method::POST, "/api/v1/sessions", One("signal"), |node| {
            node.post("/api/v1/sessions", &json!({}))
        }),
        row(Method::GET, "/api/v1/sessions/resolve", One("signal"), |node| {
            node.get("/api/v1/sessions/resolve?pin=1234")
        }),
        row(Method::DELETE, "/api/v1/sessions/{id}", One("signal"), |node| session(node, Method::DELETE, "")),
        row(Method::GET, "/api/v1/sessions/{id}/offer", One("signal"), |node| {
            session(node, Method::GET, "/offer")
        }),
        row(Method::POST, "/api/v1/sessions/{id}/offer", One("signal"), |node| {
            session(node, Method::POST, "/offer").json(envelope())
        }),
        row(Method::GET, "/api/v1/sessions/{id}/answer", One("signal"), |node| {
            session(node, Method::GET, "/answer")
        }),
        row(Method::POST, "/api/v1/sessions/{id}/answer", One("signal"), |node| {
            session(node, Method::POST, "/answer").json(envelope())
        }),
        row(Method::POST, "/api/v1/transfers", One("relay"), |node| {
            let body = json!({"pin": word("pin"), "passwordHash": word("hash"), "totalChunks": 1});
            node.post("/api/v1/transfers", &body)
        }),
        row(Method::GET, "/api/v1/transfers/{id}", One("relay"), |node| transfer(node, Method::GET, "")),
        row(Method::DELETE, "/api/v1/transfers/{id}", One("relay"), |node| {
            transfer(node, Method::DELETE, "")
        }),
        row(Method::GET, "/api/v1/transfers/{id}/chunks/{n}", One("relay"), |node| {
            transfer(node, Method::GET, "/chunks/0")
        }),
        row(Method::PUT, "/api/v1/transfers/{id}/chunks/{n}", One("relay"), |node| {
            node.put(&format!("/api/v1/transfers/{}/chunks/0", "A".repeat(43)), "x")
        }),
        row(Method::POST, "/api/v1/transfers/{id}/ack", One("relay"), |node| {
            transfer(node, Method::POST, "/ack")
        }),
        row(Method::POST, "/api/v1/devices", One("devices"), |node| {
            node.post("/api/v1/devices", &json!({"userId": ALICE, "deviceId": "phone", "onion": ONION}))
        }),
        row(Method::GET, "/api/v1/devices/{userId}", One("devices"), |node| {
            node.get("/api/v1/devices/alice")
        }),
        row(Method::GET, "/api/v1/jobs/{id}", Any, |node| {
            node.get(&format!("/api/v1/jobs/{}", uuid::Uuid::new_v4()))
        }),
        row(Method::POST, "/api/v1/tickets", One("socket"), |node| node.post("/api/v1/tickets", &json!({}))),
        row(Method::GET, "/api/v1/ice", One("ice"), |node| node.get("/api/v1/ice")),
        row(Method::GET, "/api/v1/events", One("socket"), |node| {
            // Of a stream that is let in only the head is of interest.
            node.call(Method::HEAD, &format!("/api/v1/events?room={}", word("room")))
        }),
        row(Method::GET, "/api/v1/nodes", Any, |node| node.get("/api/v1/nodes")),
        row(Method::GET, "/api/v1/edition", Open, |node| node.get("/api/v1/edition")),
        row(Method::GET, "/api/v1/openapi.json", Open, |node| node.get("/api/v1/openapi.json")),
        row(Method::GET, "/docs", Open, |node| node.get("/docs")),
        row(Method::POST, "/api/v1/csp-reports", Open, |node| node.post("/api/v1/csp-reports", &json!({}))),
        row(Method::GET, "/health", Open, |node| node.get("/health")),
        row(Method::GET, "/livez", Open, |node| node.get("/livez")),
        row(Method::GET, "/readyz", Open, |node| node.get("/readyz")),
        row(Method::GET, "/api/v1/socket", One("socket"), |node| {
            let call =
                node.get("/api/v1/socket").header("connection", "upgrade").header("upgrade", "websocket");
            call.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        }),
    ]
}

#[test]
fn every_route_that_is_documented_has_a_row_and_no_other() {
    let rows: BTreeSet<_> = rows().iter().map(|row| (row.method.to_string(), row.path.to_owned())).collect();
    assert_eq!(rows, openapi::endpoints().into_iter().collect());
}

async fn cluster(issuer: &Issuer) -> Cluster {
    let builder = issuer.guard(limits(Cluster::builder(), 1_000_000, "60s"));
    builder
        .set("auth.tenant_claim", "org")
        .env("QSAFEVAULT_EDITION", "enterprise")
        .env("QSAFEVAULT_ENTERPRISE_ACKNOWLEDGED", "true")
        .start()
        .await
}

/// Tokens that are none, and why.
fn worthless(issuer: &Issuer) -> Vec<(&'static str, String)> {
    let claims = Issuer::claims(ALICE, json!({"scope": ALL, "peers": "*", "rooms": "*"}));
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        issuer.token_of(&claims)
    };
    let wrong =
        Issuer::sign(b"another secret of thirty-two bytes or more", &json!({"alg": "HS256"}), &claims);
    issuer.revoke("jti is-revoked");
    vec![
        ("expired", with("exp", json!(now() - 600))),
        ("wrong signature", wrong),
        ("no algorithm", issuer.token_under(&json!({"alg": "none"}), &claims)),
        ("another algorithm", issuer.token_under(&json!({"alg": "HS512"}), &claims)),
        ("a public key's algorithm", issuer.token_under(&json!({"alg": "RS256"}), &claims)),
        ("revoked", with("jti", json!("is-revoked"))),
    ]
}

fn bearing(call: Call, token: &str) -> Call {
    call.header("authorization", &format!("Bearer {token}"))
}

#[tokio::test]
async fn every_route_takes_what_it_says_and_nothing_less() {
    let issuer = Issuer::new();
    let cluster = cluster(&issuer).await;
    let worthless = worthless(&issuer);
    let revoked = &worthless.last().expect("there are some").1;
    for node in cluster.apis() {
        conclave_tests::wait::eventually(conclave_tests::cluster::READY, "the file is read", async || {
            let status = bearing(node.relay(&Pair::fresh().send(0, 1, "x")), revoked).send().await.status;
            (status == 401).then_some(())
        })
        .await;
    }
    let node = cluster.follower().await;
    for Row { method, path, scope, call } in rows() {
        let what = |kind: &str| format!("{method} {path}, {kind}");
        let status = async |kind: &str, call: Call| {
            let reply = call.send().await;
            assert!(reply.status < 500, "{}: {}", what(kind), reply.text());
            reply.status
        };
        let nobody = status("nobody", call(&node)).await;
        if scope == Open {
            assert!(nobody < 300, "{}", what("nobody"));
            continue;
        }
        assert_eq!(nobody, 401, "{}", what("nobody"));
        for (kind, token) in &worthless {
            assert_eq!(status(kind, bearing(call(&node), token)).await, 401, "{}", what(kind));
        }
        let grants = |scope: &str| json!({"scope": scope, "peers": "*", "rooms": "*"});
        let right = match scope {
            One(scope) => issuer.token(ALICE, grants(scope)),
            Any | Open => issuer.token(ALICE, grants("")),
        };
        let let_in = status("the right one", bearing(call(&node), &right)).await;
        assert!(![401, 403].contains(&let_in), "{}: {let_in}", what("the right one"));
        if let One(scope) = scope {
            let others: Vec<&str> = ALL.split(' ').filter(|other| *other != scope).collect();
            let small = issuer.token(ALICE, grants(&others.join(" ")));
            assert_eq!(status("too small", bearing(call(&node), &small)).await, 403, "{}", what("too small"));
        }
        // Of another organisation: nothing is there, as where nothing ever was.
        let mut foreign = grants(ALL);
        foreign["org"] = json!("other");
        let elsewhere = status("foreign", bearing(call(&node), &issuer.token(ALICE, foreign))).await;
        assert_eq!(elsewhere, let_in, "{}", what("another organisation"));
        if scope == One("devices") {
            let bob = issuer.token("bob", grants(ALL));
            assert_eq!(status("bob", bearing(call(&node), &bob)).await, 403, "{}", what("another's device"));
            let mut desk = grants(ALL);
            desk["device"] = json!("desk");
            let desk = status("desk", bearing(call(&node), &issuer.token(ALICE, desk))).await;
            let expected = if method == Method::POST { 403 } else { let_in };
            assert_eq!(desk, expected, "{}", what("another device's token"));
        }
    }
}

/// An operation of a socket, and the scope that it takes beside `socket`.
fn operations() -> Vec<(&'static str, Option<&'static str>, Value)> {
    let (peer, room) = (peer_id(), word("room"));
    vec![
        ("hello", None, json!({"op": "hello"})),
        ("claim", Some("signal"), json!({"op": "claim", "peerId": peer})),
        ("lookup", Some("signal"), json!({"op": "lookup", "inviteCode": "abcdefgh"})),
        ("signal", Some("signal"), json!({"op": "signal", "to": peer, "type": "offer", "payload": {}})),
        ("ack", Some("signal"), json!({"op": "ack", "seq": 0})),
        ("join", None, json!({"op": "join", "room": room})),
        ("publish", None, json!({"op": "publish", "room": room, "data": 1})),
        ("members", None, json!({"op": "members", "room": room})),
        ("watch", Some("relay"), json!({"op": "watch", "transfer": "A".repeat(43)})),
        ("unwatch", Some("relay"), json!({"op": "unwatch", "transfer": "A".repeat(43)})),
        ("leave", None, json!({"op": "leave"})),
        ("ping", None, json!({"op": "ping"})),
        ("renew", None, json!({"op": "renew", "token": "set below"})),
        ("bye", None, json!({"op": "bye"})),
    ]
}

#[test]
fn every_operation_that_is_documented_has_a_row() {
    let named: BTreeSet<&str> = operations().iter().map(|(name, ..)| *name).collect();
    let spelled = |text: &'static str| text.split('"').next().expect("a first part");
    let documented: BTreeSet<&str> = PROTOCOL.split("\"op\":\"").skip(1).map(spelled).collect();
    assert!(documented.len() > 10 && documented.is_subset(&named), "{documented:?}");
}

#[tokio::test]
async fn every_operation_takes_what_it_says_and_nothing_less() {
    let issuer = Issuer::new();
    let cluster = cluster(&issuer).await;
    let node = cluster.follower().await;
    let open = async |scope: &str, org: Option<&str>| {
        let mut grants = json!({"scope": scope, "peers": "*", "rooms": "*"});
        if let Some(org) = org {
            grants["org"] = org.into();
        }
        let token = issuer.token(ALICE, grants);
        let socket = Socket::try_at(&node, "/ws", &[("authorization", &format!("Bearer {token}"))])
            .await
            .expect("opened");
        (socket, token)
    };
    let (mut small, small_token) = open("socket", None).await;
    let (mut whole, whole_token) = open("socket signal relay", None).await;
    let (mut foreign, foreign_token) = open("socket signal relay", Some("other")).await;
    for (name, scope, operation) in operations() {
        let asked = |token: &str| {
            let mut operation = operation.clone();
            if name == "renew" {
                operation["token"] = token.into();
            }
            operation
        };
        let answer = small.ask(asked(&small_token)).await;
        assert_eq!(answer["error"]["code"] == "forbidden", scope.is_some(), "{name}: {answer}");
        let answer = whole.ask(asked(&whole_token)).await;
        assert_ne!(answer["error"]["code"], "forbidden", "{name}: {answer}");
        let there = foreign.ask(asked(&foreign_token)).await;
        assert_eq!(there["error"]["code"], answer["error"]["code"], "{name}: {there}");
    }
    // A token of another organisation does not renew, and neither does somebody else's.
    let (mut socket, _) = open("socket", None).await;
    socket.ok(json!({"op": "hello"})).await;
    for token in [foreign_token, issuer.token("bob", json!({"scope": "socket"}))] {
        socket.refused(json!({"op": "renew", "token": token}), "forbidden").await;
    }
    for (kind, token) in worthless(&issuer) {
        if kind != "revoked" {
            socket.refused(json!({"op": "renew", "token": token}), "unauthorized").await;
            let bearer = format!("Bearer {token}");
            let refused = Socket::try_at(&node, "/ws", &[("authorization", &bearer)]).await.err();
            assert_eq!(refused, Some(401), "{kind}");
        }
    }
}
