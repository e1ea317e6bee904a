//! A session that is resumed on two connections at the same moment: one has it, and nothing stays of the other.

use conclave_tests::http::Api;
use conclave_tests::relay::{peer_id, signal, word};
use conclave_tests::shared;
use conclave_tests::socket::Socket;
use futures_util::future::join;
use serde_json::{Value, json};

const TURNS: usize = 50;

/// Resumes a session on two sockets at once, and returns the one that has it.
async fn contend(session: &Value, one: &Api, other: &Api) -> Socket {
    let (mut one, mut other) = join(Socket::open(one), Socket::open(other)).await;
    let hello = json!({"op": "hello", "resume": {"session": session}});
    join(one.say(&hello), other.say(&hello)).await;
    let (winner, code) = tokio::select! {
        code = one.end() => (other, code),
        code = other.end() => (one, code),
    };
    assert_eq!(code, Some(4009));
    winner
}

async fn members(socket: &mut Socket) -> usize {
    socket.ok(json!({"op": "members"})).await["members"].as_array().map_or(0, Vec::len)
}

/// Fifty turns, on two nodes or on one.
async fn contend_again_and_again(here: &Api, there: &Api) {
    for turn in 0..TURNS {
        let (room, peer) = (word("room"), peer_id());
        let mut witness = Socket::open(there).await;
        witness.ok(json!({"op": "join", "room": room})).await;
        let mut first = Socket::open(here).await;
        let session = first.ok(json!({"op": "hello"})).await["session"].clone();
        first.ok(json!({"op": "claim", "peerId": peer})).await;
        first.ok(json!({"op": "join", "room": room})).await;

        let mut winner = contend(&session, here, there).await;
        assert_eq!(members(&mut winner).await, 2, "turn {turn}");
        witness.ok(json!({"op": "publish", "data": turn})).await;
        assert_eq!(winner.push("message").await["data"], turn);
        winner.ok(json!({"op": "publish", "data": "here"})).await;
        here.relay(&signal("x", &peer, "ready", json!(turn))).send().await.ok();
        assert_eq!(winner.push("signal").await["payload"], turn);
        winner.ok(json!({"op": "bye"})).await;
        assert_eq!(members(&mut witness).await, 1, "turn {turn}: somebody stays in the room");
        witness.ok(json!({"op": "claim", "peerId": peer})).await;
    }
}

#[tokio::test]
async fn a_session_resumed_on_two_nodes_at_once_leaves_nothing_behind() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    contend_again_and_again(&here, &there).await;
}

#[tokio::test]
async fn a_session_resumed_twice_on_one_node_leaves_nothing_behind() {
    let (_cluster, here) = shared::standard().await.and_node().await;
    contend_again_and_again(&here, &here).await;
}
