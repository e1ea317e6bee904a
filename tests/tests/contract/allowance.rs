//! Allowances as one client meets them. That they are exact over the cluster is among the failure tests.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use conclave_tests::http::{Api, Call, Reply};
use conclave_tests::relay::{Pair, invite_code, lookup, peer_id, poll, register, signal, word};
use conclave_tests::shared::{self, METERED_BRIEF_WINDOW_MS, METERED_LIMIT};
use conclave_tests::socket::Socket;
use conclave_tests::wait::eventually;
use serde_json::{Value, json};

/// How long a job may take, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(5);

/// A client address of the loopback network that no other test uses.
fn somebody() -> IpAddr {
    static LAST: AtomicU8 = AtomicU8::new(1);
    Ipv4Addr::new(127, 0, 9, LAST.fetch_add(1, Ordering::Relaxed)).into()
}

async fn client() -> (shared::Lease, Api) {
    let cluster = shared::metered().await;
    let node = cluster.follower().await.seen_from(somebody());
    (cluster, node)
}

/// Asserts that a fresh client may make as many of these calls as the limit says, and not one more.
async fn admits_exactly_the_limit(call: impl Fn(&Api) -> Call) {
    let (_cluster, node) = client().await;
    for turn in 0..METERED_LIMIT {
        let reply = call(&node).send().await;
        assert_ne!(reply.status, 429, "call {turn} of {METERED_LIMIT}: {}", reply.text());
        assert_eq!(reply.header("x-ratelimit-limit"), Some(METERED_LIMIT.to_string().as_str()));
        let left = (METERED_LIMIT - turn - 1).to_string();
        assert_eq!(reply.header("x-ratelimit-remaining"), Some(left.as_str()), "after call {turn}");
    }
    refuses(&call(&node).send().await);
}

/// Asserts that this is the answer to one request too many.
fn refuses(reply: &Reply) {
    let body = reply.refused(429, "rate_limit_exceeded");
    let seconds = body["retryAfter"].as_u64().expect("a number of seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(reply.retry_after(), Some(Duration::from_secs(seconds)));
    assert_eq!(reply.header("x-ratelimit-remaining"), Some("0"));
}

#[tokio::test]
async fn sessions_are_create() {
    admits_exactly_the_limit(|node| node.post("/api/v1/sessions", &json!({}))).await;
}

#[tokio::test]
async fn registrations_are_create() {
    admits_exactly_the_limit(|node| node.relay(&register(&invite_code(), &peer_id()))).await;
}

#[tokio::test]
async fn opened_transfers_are_create() {
    admits_exactly_the_limit(|node| node.post("/api/v1/transfers", &Pair::fresh().open(1))).await;
}

#[tokio::test]
async fn sends_are_chunk() {
    admits_exactly_the_limit(|node| node.relay(&Pair::fresh().send(0, 1, "AAEC"))).await;
}

#[tokio::test]
async fn lookups_are_lookup() {
    let (_cluster, somebody_else) = client().await;
    let code = invite_code();
    somebody_else.relay(&register(&code, &peer_id())).send().await.ok();
    admits_exactly_the_limit(|node| node.relay(&lookup(&code))).await;
}

#[tokio::test]
async fn resolving_is_lookup() {
    let (_cluster, somebody_else) = client().await;
    let pin = word("pin");
    somebody_else.post("/api/v1/sessions", &json!({"pin": pin})).send().await.ok();
    admits_exactly_the_limit(|node| node.get(&format!("/api/v1/sessions/resolve?pin={pin}"))).await;
}

#[tokio::test]
async fn a_lookup_that_misses_costs_more_than_one_that_hits() {
    let (_cluster, node) = client().await;
    let code = invite_code();
    node.relay(&register(&code, &peer_id())).send().await.ok();
    let left =
        |reply: &Reply| reply.header("x-ratelimit-remaining").and_then(|left| left.parse::<u32>().ok());
    let hit = node.relay(&lookup(&code)).send().await;
    assert_eq!(left(&hit), Some(METERED_LIMIT - 1));
    let miss = node.relay(&lookup(&invite_code())).send().await;
    miss.refused(404, "peer_not_found");
    assert!(left(&miss) < Some(METERED_LIMIT - 2), "{:?} left", left(&miss));
}

#[tokio::test]
async fn conflicts_cost_what_misses_cost() {
    let (cluster, _) = client().await;
    let node = cluster.follower().await;
    let fresh = || node.seen_from(somebody());
    let (code, pin, pair) = (invite_code(), word("pin"), Pair::fresh());
    fresh().relay(&register(&code, &peer_id())).send().await.ok();
    fresh().post("/api/v1/sessions", &json!({"pin": pin})).send().await.ok();
    fresh().relay(&pair.send(0, 2, "AAEC")).send().await.ok();
    let left = |reply: &Reply| reply.header("x-ratelimit-remaining").map(str::to_owned);
    for conflict in [
        fresh().relay(&register(&code, &peer_id())),
        fresh().post("/api/v1/sessions", &json!({"pin": pin})),
        fresh().post("/api/v1/transfers", &pair.open(3)),
        fresh().relay(&pair.send(0, 3, "AAEC")),
        fresh().relay(&pair.send(0, 2, "AAED")),
    ] {
        let reply = conflict.send().await;
        assert!(reply.text().contains("error"), "{}", reply.text());
        assert_eq!(left(&reply).as_deref(), Some("0"), "{}", reply.text());
    }
}

#[tokio::test]
async fn a_conflict_that_is_answered_later_costs_as_much() {
    let (cluster, _) = client().await;
    let node = cluster.follower().await.seen_from(somebody());
    let (code, other) = (invite_code(), cluster.follower().await.seen_from(somebody()));
    other.relay(&register(&code, &peer_id())).send().await.ok();
    let begun = node.relay(&register(&code, &peer_id())).header("prefer", "respond-async").send().await;
    assert_eq!(begun.status, 202, "{}", begun.text());
    let job = begun.header("location").expect("a job has a place").to_owned();
    let outcome = eventually(PATIENCE, "the job is done", async || {
        let reply = other.get(&job).send().await;
        (reply.status != 202).then_some(reply)
    });
    outcome.await.refused(400, "invite_code_in_use");
    let mut admitted = 0;
    while node.relay(&register(&invite_code(), &peer_id())).send().await.status == 200 {
        admitted += 1;
    }
    // One may come between the conflict and its charge.
    assert!(admitted <= 1, "{admitted} more were admitted");
}

#[tokio::test]
async fn a_miss_over_a_socket_costs_as_much() {
    let (cluster, _) = client().await;
    let node = cluster.follower().await.seen_from(somebody());
    let mut socket = Socket::open(&node).await;
    let code = invite_code();
    cluster.follower().await.seen_from(somebody()).relay(&register(&code, &peer_id())).send().await.ok();
    socket.refused(json!({"op": "lookup", "inviteCode": invite_code()}), "peer_not_found").await;
    socket.refused(json!({"op": "lookup", "inviteCode": code}), "rate_limited").await;
    let claim = json!({"op": "claim", "peerId": peer_id(), "inviteCode": code});
    socket.refused(claim, "invite_code_in_use").await;
    let claim = json!({"op": "claim", "peerId": peer_id(), "inviteCode": invite_code()});
    socket.refused(claim, "rate_limited").await;
}

#[tokio::test]
async fn polls_are_poll() {
    admits_exactly_the_limit(|node| node.relay(&poll(&peer_id()))).await;
}

#[tokio::test]
async fn receives_are_poll() {
    admits_exactly_the_limit(|node| node.relay(&Pair::fresh().receive())).await;
}

#[tokio::test]
async fn a_spent_tier_leaves_the_others_alone() {
    let (_cluster, node) = client().await;
    for _ in 0..METERED_LIMIT {
        node.relay(&Pair::fresh().send(0, 1, "AAEC")).send().await.ok();
    }
    node.relay(&Pair::fresh().send(0, 1, "AAEC")).send().await.refused(429, "rate_limit_exceeded");
    node.relay(&register(&invite_code(), &peer_id())).send().await.ok();
    node.relay(&poll(&peer_id())).send().await.ok();
    node.relay(&signal(&peer_id(), &peer_id(), "offer", json!({}))).send().await.ok();
    node.relay(&lookup(&invite_code())).send().await.refused(404, "peer_not_found");
}

#[tokio::test]
async fn a_client_that_spent_its_allowance_spent_nobody_elses() {
    let (_cluster, node) = client().await;
    for _ in 0..METERED_LIMIT {
        node.post("/api/v1/sessions", &json!({})).send().await.ok();
    }
    node.post("/api/v1/sessions", &json!({})).send().await.refused(429, "rate_limit_exceeded");
    node.seen_from(somebody()).post("/api/v1/sessions", &json!({})).send().await.ok();
}

#[tokio::test]
async fn a_refused_request_is_not_carried_out() {
    let (_cluster, node) = client().await;
    let pair = Pair::fresh();
    for index in 0..METERED_LIMIT {
        node.relay(&pair.send(index, 9, "AAEC")).send().await.ok();
    }
    node.relay(&pair.send(METERED_LIMIT, 9, "AAEC")).send().await.refused(429, "rate_limit_exceeded");
    let view = node.seen_from(somebody()).post("/api/v1/transfers", &pair.open(9)).send().await.ok();
    let at = format!("/api/v1/transfers/{}", view["transferId"].as_str().expect("an id"));
    let view = node.seen_from(somebody()).get(&at).send().await.ok();
    assert_eq!(view["received"], json!([[0, METERED_LIMIT - 1]]));
}

#[tokio::test]
async fn a_window_opens_again() {
    let wish = signal(&peer_id(), &peer_id(), "offer", json!({}));
    let window = Duration::from_millis(METERED_BRIEF_WINDOW_MS);
    // A client that the busy machine keeps for longer than its window is told nothing about it.
    let (_cluster, node, began) = eventually(window * 20, "a window is spent while it lasts", async || {
        let (cluster, node) = client().await;
        let began = spends(&node, &wish, METERED_LIMIT, window).await?;
        Some((cluster, node, began))
    })
    .await;
    // Refused requests are not charged: knocking does not keep the window shut.
    eventually(window * 4, "the window opens", async || {
        (node.relay(&wish).send().await.status == 200).then_some(())
    })
    .await;
    assert!(began.elapsed() >= window, "open after {:?}", began.elapsed());
    spends(&node, &wish, METERED_LIMIT - 1, window).await;
}

/// Asserts that a client is admitted `times` and no more, unless that takes longer than the window lasts; returns
/// when it began.
async fn spends(node: &Api, wish: &Value, times: u32, window: Duration) -> Option<Instant> {
    let began = Instant::now();
    for _ in 0..times {
        let reply = node.relay(wish).send().await;
        if began.elapsed() >= window {
            return None;
        }
        reply.ok();
    }
    let reply = node.relay(wish).send().await;
    if began.elapsed() >= window {
        return None;
    }
    reply.refused(429, "rate_limit_exceeded");
    Some(began)
}

#[tokio::test]
async fn a_forwarded_address_from_a_stranger_is_not_believed() {
    let (_cluster, node) = client().await;
    for turn in 0..METERED_LIMIT {
        let forged = format!("203.0.113.{turn}");
        node.post("/api/v1/sessions", &json!({})).header("x-forwarded-for", &forged).send().await.ok();
    }
    let call = node.post("/api/v1/sessions", &json!({})).header("x-forwarded-for", "203.0.113.99");
    call.send().await.refused(429, "rate_limit_exceeded");
}

#[tokio::test]
async fn health_costs_nothing() {
    let (_cluster, node) = client().await;
    for _ in 0..METERED_LIMIT * 3 {
        for path in ["/health", "/livez", "/readyz"] {
            node.get(path).send().await.ok();
        }
    }
}

#[tokio::test]
async fn an_operator_sees_what_a_client_has_left() {
    let cluster = shared::metered().await;
    let (from, admin) = (somebody(), cluster.admin(1));
    let node = cluster.follower().await.seen_from(from);
    let path = format!("/admin/v1/allowances?address={from}");
    let left = async |tier: &str| {
        let told = admin.get(&path).send().await.ok();
        assert_eq!(told["enabled"], true);
        let tiers = told["tiers"].as_array().expect("a list").clone();
        assert_eq!(tiers.len(), shared::TIERS.len());
        tiers.into_iter().find(|it| it["tier"] == tier).expect("every tier is told")
    };
    let untouched = left("create").await;
    assert_eq!(
        (&untouched["limit"], &untouched["remaining"]),
        (&json!(METERED_LIMIT), &json!(METERED_LIMIT))
    );
    assert!(untouched["resetMs"].is_null());
    for _ in 0..2 {
        node.post("/api/v1/sessions", &json!({})).send().await.ok();
    }
    let spent = left("create").await;
    assert_eq!(spent["remaining"], METERED_LIMIT - 2);
    assert!(spent["resetMs"].is_u64(), "{spent}");
    assert_eq!(left("chunk").await["remaining"], METERED_LIMIT);
    let url = cluster.node(2).admin.to_string();
    let (code, said) = cluster.command(&["allowances", &from.to_string(), "--url", &url]).await;
    assert!(code == Some(0) && said.contains("3 of 5"), "{code:?} {said}");
    for unfit in ["", "address=example.org", "address=127.0.0.1:80", "subject=alice", "address=::1&tenant=A"]
    {
        admin.get(&format!("/admin/v1/allowances?{unfit}")).send().await.refused(400, "invalid_input");
    }
    let wrong = admin.get("/admin/v1/allowances?whose=me").send().await;
    assert!(wrong.text().contains("takes `address` and `tenant`"), "{}", wrong.text());
    wrong.refused(400, "invalid_query");
    admin.post("/admin/v1/allowances", &json!({})).send().await.refused(405, "method_not_allowed");
}

#[tokio::test]
async fn an_operator_gives_a_client_back_what_it_spent() {
    let cluster = shared::metered().await;
    let (from, admin) = (somebody(), cluster.admin(1));
    let nodes = cluster.apis();
    // As many as the limit has requests for, of as many cells as there are.
    let some = nodes.iter().step_by(nodes.len().div_ceil(METERED_LIMIT as usize));
    let nodes: Vec<_> = some.map(|node| node.seen_from(from)).collect();
    let becomes = async |status: u16, what: &str| {
        for node in &nodes {
            let begun = async || node.post("/api/v1/sessions", &json!({})).once().await.status;
            eventually(PATIENCE, what, async || (begun().await == status).then_some(())).await;
        }
    };
    let path = "/admin/v1/allowances/reset";
    becomes(429, "all is spent").await;
    let reset = admin.post(path, &json!({"address": from.to_string()})).send().await.ok();
    assert_eq!(reset["windows"], 1);
    // A node that does not hold the client's window asks for it once a second.
    becomes(200, "it goes on").await;
    becomes(429, "all is spent again").await;
    let url = cluster.node(2).admin.to_string();
    let (code, said) = cluster.command(&["allowances", &from.to_string(), "--reset", "--url", &url]).await;
    assert!(code == Some(0) && said.contains("of 1 class"), "{code:?} {said}");
    becomes(200, "it goes on again").await;
    for unfit in ["example.org", "127.0.0.1:80"] {
        admin.post(path, &json!({"address": unfit})).send().await.refused(400, "invalid_input");
    }
    admin.post(path, &json!({})).send().await.refused(400, "invalid_json");
}
