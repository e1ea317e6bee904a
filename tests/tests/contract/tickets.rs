//! `POST /api/v1/tickets`: a credential for one use.

use conclave_tests::http::{Api, Reply};
use conclave_tests::relay::word;
use conclave_tests::shared;
use futures_util::future::join_all;
use serde_json::{Value, json};

const TRIES: usize = 10;

async fn issued(node: &Api, token: &str) -> String {
    let call = node.post("/api/v1/tickets", &Value::Null).header("authorization", &format!("Bearer {token}"));
    let body = call.send().await.status(201);
    assert_eq!(body["ttlSec"], 30);
    let ticket = body["ticket"].as_str().expect("a ticket").to_owned();
    assert_eq!(ticket.len(), 43);
    ticket
}

/// Opens a stream with the ticket; `Err` is the refusal.
async fn use_up(node: &Api, ticket: &str, room: &str) -> Result<(), Reply> {
    let mut stream = node.get(&format!("/api/v1/events?room={room}&ticket={ticket}")).open().await?;
    stream.expect("welcome").await;
    Ok(())
}

#[tokio::test]
async fn a_ticket_opens_one_stream_on_any_node() {
    let (cluster, issuer) = shared::guarded().await;
    let (here, there) = cluster.two_followers().await;
    let token = issuer.token("alice", json!({"scope": "socket", "rooms": ["lobby"]}));
    let ticket = issued(&here, &token).await;
    use_up(&there, &ticket, "lobby").await.expect("the first use");
    use_up(&there, &ticket, "lobby").await.expect_err("the second use").refused(401, "unauthorized");
    use_up(&here, &ticket, "lobby").await.expect_err("the third use").refused(401, "unauthorized");
}

#[tokio::test]
async fn a_ticket_used_twice_at_two_nodes_at_once_opens_exactly_one() {
    let (cluster, issuer) = shared::guarded().await;
    let nodes = cluster.apis();
    let token = issuer.token("alice", json!({"scope": "socket", "rooms": ["lobby"]}));
    for _ in 0..TRIES {
        let ticket = issued(&nodes[0], &token).await;
        let uses = nodes.iter().chain(&nodes).map(|node| use_up(node, &ticket, "lobby"));
        let results = join_all(uses).await;
        let opened = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(opened, 1, "{results:?}");
        for refused in results.into_iter().filter_map(Result::err) {
            refused.refused(401, "unauthorized");
        }
    }
}

#[tokio::test]
async fn a_ticket_is_worth_what_its_token_was() {
    let (cluster, issuer) = shared::guarded().await;
    let node = cluster.follower().await;
    let token = issuer.token("alice", json!({"scope": "socket", "rooms": ["lobby"]}));
    let ticket = issued(&node, &token).await;
    use_up(&node, &ticket, "vault").await.expect_err("another room").refused(403, "forbidden");
}

#[tokio::test]
async fn a_ticket_of_a_token_that_was_revoked_meanwhile_is_worth_nothing() {
    let (cluster, issuer) = shared::guarded().await;
    let node = cluster.follower().await;
    let id = word("token");
    let token = issuer.token("alice", json!({"scope": "socket", "rooms": ["lobby"], "jti": id}));
    let ticket = issued(&node, &token).await;
    issuer.revoke(&format!("jti {id}"));
    conclave_tests::wait::eventually(
        std::time::Duration::from_secs(5),
        "the revocation is known",
        async || {
            let call = node.post("/api/v1/tickets", &Value::Null);
            let reply = call.header("authorization", &format!("Bearer {token}")).send().await;
            (reply.status == 401).then_some(())
        },
    )
    .await;
    use_up(&node, &ticket, "lobby").await.expect_err("revoked").refused(401, "unauthorized");
}

#[tokio::test]
async fn what_is_no_ticket_opens_nothing() {
    let (cluster, issuer) = shared::guarded().await;
    let node = cluster.follower().await;
    for ticket in ["", "x", &"x".repeat(43), &"x".repeat(4000)] {
        use_up(&node, ticket, "lobby").await.expect_err("no ticket").refused(401, "unauthorized");
    }
    let token = issuer.token("alice", json!({"scope": "socket", "rooms": ["lobby"]}));
    let ticket = issued(&node, &token).await;
    let both = format!("/api/v1/events?room=lobby&ticket={ticket}&token={token}");
    node.get(&both).open().await.expect_err("two at once").refused(401, "unauthorized");
    use_up(&node, &ticket, "lobby").await.expect("it was not used by that");
}

#[tokio::test]
async fn where_nothing_is_required_anybody_gets_a_ticket() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let body = here.post("/api/v1/tickets", &Value::Null).send().await.status(201);
    let ticket = body["ticket"].as_str().expect("a ticket");
    use_up(&there, ticket, &word("room")).await.expect("the first use");
    use_up(&here, ticket, &word("room")).await.expect_err("the second use").refused(401, "unauthorized");
}
