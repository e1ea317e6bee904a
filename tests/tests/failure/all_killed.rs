//! Power fails everywhere at once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use conclave_tests::cluster::Cluster;
use conclave_tests::http::Api;
use conclave_tests::relay::{Pair, invite_code, lookup, peer_id, poll, register, signal, word};
use conclave_tests::roam::Roamer;
use conclave_tests::wait::eventually;
use serde_json::{Value, json};

/// Something that a node said it has.
#[derive(Debug, Clone)]
enum Acknowledged {
    Chunk { pair: Pair, data: String },
    Signal { to: String, payload: Value },
    Registration { code: String, peer: String },
    Offer { session: String, envelope: Value },
}

type Ledger = Arc<Mutex<Vec<Acknowledged>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_all_nodes_were_killed() {
    let mut cluster = ["chunk", "signal", "register", "session"]
        .iter()
        .fold(Cluster::builder().unmetered(), |builder, kind| builder.set(&format!("ttl.{kind}"), "10m"))
        .start()
        .await;
    let ledger = Ledger::default();
    let nodes = cluster.apis();
    let load: Vec<_> =
        (0..24).map(|turn| tokio::spawn(write(nodes[turn % 3].clone(), ledger.clone()))).collect();
    let count = || ledger.lock().expect("nobody panics while holding it").len();

    eventually(Duration::from_secs(60), "the load is under way", async || (count() >= 600).then_some(()))
        .await;
    cluster.kill_all().await;
    for writer in load {
        writer.await.expect("a writer ends with the first call that gets no answer");
    }
    for id in 1..=3 {
        cluster.restart(id);
    }
    cluster.wait_ready().await;

    let acknowledged = std::mem::take(&mut *ledger.lock().expect("nobody panics while holding it"));
    let client = cluster.roamer();
    for (turn, thing) in acknowledged.iter().enumerate() {
        audit(&client, turn, thing).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_stream_goes_on_after_all_nodes_were_restarted() {
    let mut cluster = Cluster::builder().unmetered().set("ttl.signal", "10m").start().await;
    let peer = peer_id();
    let path = format!("/api/v1/events?peerId={peer}");
    let send = async |node: &Api, payload: u64| {
        node.relay(&signal("sender", &peer, "offer", json!(payload))).send().await.ok();
    };
    let (here, there) = (cluster.api(1), cluster.api(2));
    let mut stream = here.get(&path).open().await.expect("a stream");
    stream.expect("welcome").await;
    for payload in 0..3 {
        send(&there, payload).await;
    }
    // The first two arrived; of the third the client has heard nothing.
    stream.expect("signal").await;
    let arrived = stream.expect("signal").await.id.expect("every signal has an id");
    cluster.kill_all().await;
    for id in 1..=3 {
        cluster.restart(id);
    }
    cluster.wait_ready().await;
    send(&here, 3).await;
    let mut stream = there.get(&path).header("last-event-id", &arrived).open().await.expect("a stream");
    stream.expect("welcome").await;
    for payload in [2, 3] {
        assert_eq!(stream.expect("signal").await.data["payload"], payload);
    }
}

/// Writes one thing after another, and enters what was acknowledged, until the node does not answer.
async fn write(node: Api, ledger: Ledger) {
    for turn in 0.. {
        let thing = match turn % 4 {
            0 => Acknowledged::Chunk { pair: Pair::fresh(), data: word("data") },
            1 => Acknowledged::Signal { to: peer_id(), payload: json!({"turn": turn, "word": word("p")}) },
            2 => Acknowledged::Registration { code: invite_code(), peer: peer_id() },
            _ => {
                let Ok(reply) = node.post("/api/v1/sessions", &json!({})).attempt().await else { return };
                if reply.status == 503 {
                    continue;
                }
                let session = reply.ok()["sessionId"].as_str().expect("an id").to_owned();
                let envelope = json!({"version": 1, "sessionId": session, "nonce": "0123456789ab", "ct": word("ciphertext")});
                Acknowledged::Offer { session, envelope }
            }
        };
        let call = match &thing {
            Acknowledged::Chunk { pair, data } => node.relay(&pair.send(0, 2, data)),
            Acknowledged::Signal { to, payload } => {
                node.relay(&signal("sender", to, "offer", payload.clone()))
            }
            Acknowledged::Registration { code, peer } => node.relay(&register(code, peer)),
            Acknowledged::Offer { session, envelope } => {
                node.post(&format!("/api/v1/sessions/{session}/offer"), envelope)
            }
        };
        match call.attempt().await {
            Ok(reply) if reply.status == 200 => {
                ledger.lock().expect("nobody panics while holding it").push(thing);
            }
            // A node that has lost its peers may still say so before it is killed itself.
            Ok(reply) => assert_eq!(reply.status, 503, "{}", reply.text()),
            Err(_) => return,
        }
    }
}

/// Asks some node for a thing, and compares.
async fn audit(client: &Roamer, turn: usize, thing: &Acknowledged) {
    match thing {
        Acknowledged::Chunk { pair, data } => {
            let got = client.relay_once(turn, &word("wish"), &pair.receive()).await;
            assert_eq!(got["chunk"]["data"], json!(data), "lost: {thing:?}");
        }
        Acknowledged::Signal { to, payload } => {
            let got = client.relay_once(turn, &word("wish"), &poll(to)).await;
            assert_eq!(
                got["messages"].as_array().map(Vec::len),
                Some(1),
                "lost or doubled: {thing:?}, {got}"
            );
            assert_eq!(got["messages"][0]["payload"], *payload);
        }
        Acknowledged::Registration { code, peer } => {
            let got = client.pursue(turn, |node| node.relay(&lookup(code))).await;
            assert_eq!(got.ok(), json!({"peerId": peer}), "lost: {thing:?}");
        }
        Acknowledged::Offer { session, envelope } => {
            let path = format!("/api/v1/sessions/{session}/offer");
            let got = client.pursue(turn, |node| node.get(&path)).await;
            assert_eq!(got.ok(), json!({"envelope": envelope}), "lost: {thing:?}");
        }
    }
}
