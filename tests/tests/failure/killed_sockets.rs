//! A room at 500 messages a second, and a member whose node is killed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use conclave_sigma::Frame;
use conclave_tests::cluster::Cluster;
use conclave_tests::relay::{peer_id, signal, word};
use conclave_tests::sigma::{Sigma, data, reconnect};
use conclave_tests::socket::{PATIENCE, Socket};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Publishes this many a second for as long as it is told to.
const RATE: u64 = 500;

/// A cluster that carries this, its leader, and two followers.
async fn cluster() -> (Cluster, [u64; 3]) {
    let cluster = Cluster::builder()
        .unmetered()
        .set("socket.messages_per_second", "10000")
        .set("socket.history_messages_max", "10000")
        .set("socket.history_bytes_max", "8MiB")
        .start()
        .await;
    let leader = cluster.leader().await;
    let followers = cluster.followers().await;
    (cluster, [leader, followers[0], followers[1]])
}

#[tokio::test]
async fn a_member_misses_nothing_when_its_node_is_killed() {
    let (mut cluster, [leader, victim, refuge]) = cluster().await;
    let room = word("room");
    let mut speaker = Socket::open(&cluster.api(leader)).await;
    speaker.ok(json!({"op": "join", "room": room})).await;
    let mut listener = Socket::open(&cluster.api(victim)).await;
    let session = listener.ok(json!({"op": "hello"})).await["session"].clone();
    let peer = peer_id();
    listener.ok(json!({"op": "claim", "peerId": peer})).await;
    listener.ok(json!({"op": "join", "room": room})).await;

    let poster = cluster.api(leader);
    let (to, stop) = (peer.clone(), CancellationToken::new());
    let done = stop.clone();
    let speaking = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / RATE));
        let (mut said, mut posted) = (0_u64, 0_u64);
        while !done.is_cancelled() {
            ticks.tick().await;
            speaker.say(&json!({"op": "publish", "data": said})).await;
            said += 1;
            if said % 25 == 0 {
                poster.relay(&signal("x", &to, "offer", json!(posted))).send().await.ok();
                posted += 1;
            }
        }
        for _ in 0..said {
            speaker.find("an answer", |answer| answer["ok"] == true).await;
        }
        (said, posted)
    });

    let mut heard = Heard::default();
    while heard.messages.len() < 300 {
        heard.take(&listener.read().await.expect("it is open"));
    }
    let kill = Instant::now();
    cluster.kill(victim).await;
    while let Ok(event) = listener.read().await {
        heard.take(&event);
    }
    let mut listener = Socket::open(&cluster.api(refuge)).await;
    let resume = json!({
        "session": session, "epoch": heard.epoch, "offset": heard.messages.len(),
    });
    let welcome = listener.ok(json!({"op": "hello", "resume": resume})).await;
    assert_eq!(welcome["recovered"], true, "{welcome}");
    let back = kill.elapsed();
    listener.early().iter().for_each(|event| heard.take(event));
    let more = heard.messages.len() + 300;
    while heard.messages.len() < more {
        heard.take(&listener.read().await.expect("it is open"));
    }
    stop.cancel();
    let (said, posted) = speaking.await.expect("the speaker ends");
    while (heard.messages.len() as u64) < said || (heard.different_signals().len() as u64) < posted {
        let event = tokio::time::timeout(PATIENCE, listener.read()).await.expect("something comes");
        heard.take(&event.expect("it is open"));
    }
    assert_eq!(heard.messages, (0..said).collect::<Vec<_>>(), "every offset once, in order");
    assert_eq!(heard.different_signals(), (0..posted).collect());
    assert!(back < Duration::from_secs(10), "the session went on only after {back:?}");
}

/// What one member was told.
#[derive(Default)]
struct Heard {
    epoch: Value,
    messages: Vec<u64>,
    signals: Vec<u64>,
}

impl Heard {
    /// What was not acknowledged comes again on the next connection, and counts once.
    fn different_signals(&self) -> BTreeSet<u64> {
        self.signals.iter().copied().collect()
    }

    fn take(&mut self, event: &Value) {
        if event["push"] == "message" {
            self.epoch = event["epoch"].clone();
            let offset = event["offset"].as_u64().expect("an offset");
            assert_eq!(offset, self.messages.len() as u64 + 1, "each offset once, in order");
            self.messages.push(event["data"].as_u64().expect("a number"));
        } else if event["push"] == "signal" {
            self.signals.push(event["payload"].as_u64().expect("a number"));
        }
    }
}

#[tokio::test]
async fn a_reconnect_in_flatbuffers_misses_nothing_when_its_node_is_killed() {
    let (mut cluster, [leader, victim, refuge]) = cluster().await;
    let (room, session) = (word("room"), word("session"));
    let mut listener = Sigma::connected(&cluster.api(victim), &room, &session).await;
    let mut speaker = Sigma::connected(&cluster.api(leader), &room, &word("session")).await;

    let stop = CancellationToken::new();
    let done = stop.clone();
    let speaking = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / RATE));
        let mut said = 0_u64;
        while !done.is_cancelled() {
            ticks.tick().await;
            said += 1;
            speaker.say(&data(said.to_string(), said)).await;
        }
        // Its socket must outlive what is under way.
        (said, speaker)
    });

    let mut heard = 0;
    while heard < 300 {
        heard = next(heard, listener.hear().await);
    }
    cluster.kill(victim).await;
    while let Ok(frame) = listener.next().await {
        heard = next(heard, frame);
    }
    let mut listener = Sigma::open(&cluster.api(refuge), &room).await;
    listener.say(&reconnect(&session, heard)).await;
    let more = heard + 300;
    while heard < more {
        heard = next(heard, listener.hear().await);
    }
    stop.cancel();
    let (said, _speaker) = speaking.await.expect("the speaker ends");
    while heard < said {
        heard = next(heard, listener.hear().await);
    }
    assert_eq!(heard, said);
}

/// Takes the message that has to follow: its offset is one more, and it says so itself.
fn next(heard: u64, frame: Frame) -> u64 {
    match frame {
        Frame::Data { payload, message_id, .. } => {
            assert_eq!(message_id, heard + 1, "each offset once, in order");
            assert_eq!(payload, message_id.to_string().as_bytes());
            message_id
        }
        Frame::Heartbeat { .. } => heard,
        other => panic!("{other:?} instead of data"),
    }
}
