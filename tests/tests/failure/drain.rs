//! A node that goes away with its sockets.

use std::collections::BTreeMap;
use std::time::Duration;

use conclave_tests::cluster::Cluster;
use conclave_tests::files;
use conclave_tests::http::Api;
use conclave_tests::relay::word;
use conclave_tests::socket::Socket;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How many sockets there are, unless `CONCLAVE_SOCKETS` says otherwise.
const SOCKETS: usize = 300;
/// Sockets of one room.
const CROWD: usize = 50;
/// Between two messages of one room.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the sockets may take to be sent away, by the pace that is set.
const SPREAD_S: usize = 4;
/// The last message of a room.
const END: &str = "end";
/// For everything together, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_leave_a_node_at_its_pace_and_miss_nothing() {
    let count = std::env::var("CONCLAVE_SOCKETS").map_or(SOCKETS, |n| n.parse().expect("a number"));
    files::raise_limit();
    let pace = count.div_ceil(SPREAD_S);
    let mut cluster = Cluster::builder()
        .unmetered()
        .set("admission.per_client_max", "100000")
        .set("admission.opens", "1000000")
        .set("socket.drain_per_second", &pace.to_string())
        .start()
        .await;
    let leaving = cluster.followers().await[0];
    let home = cluster.api(leaving);
    let others: BTreeMap<String, Api> = (1..=3)
        .filter(|id| *id != leaving)
        .map(|id| (format!("http://{}", cluster.api(id).address()), cluster.api(id)))
        .collect();

    let rooms: Vec<String> = (0..count.div_ceil(CROWD)).map(|_| word("room")).collect();
    let (closed, mut closings) = mpsc::unbounded_channel();
    let silence = CancellationToken::new();
    let mut members = JoinSet::new();
    for number in 0..count {
        let member = Member::enter(&home, rooms[number % rooms.len()].clone()).await;
        members.spawn(member.live(others.clone(), closed.clone()));
    }
    drop(closed);
    let mut speakers = JoinSet::new();
    for (room, api) in rooms.into_iter().zip(others.values().cycle()) {
        let mut socket = Socket::open(api).await;
        socket.ok(json!({"op": "join", "room": room})).await;
        speakers.spawn(speak(socket, room, silence.clone()));
    }

    let began = Instant::now();
    let watch = async {
        for left in 1..=count {
            let at = timeout(PATIENCE, closings.recv()).await.expect("they are sent away");
            let after = (at.expect("there are more") - began).as_secs_f64();
            // One that is seen late cannot make the pace look too quick.
            assert!(left as f64 <= pace as f64 * after + 1.0, "{left} were gone after {after} s");
        }
    };
    let (code, ()) = tokio::join!(cluster.terminate(leaving), watch);
    assert_eq!(code, Some(0));

    // Some are still on their way.
    silence.cancel();
    let said: BTreeMap<String, u64> = speakers.join_all().await.into_iter().collect();
    while let Some(member) = timeout(PATIENCE, members.join_next()).await.expect("all come back") {
        let (room, heard) = member.expect("each misses nothing");
        assert_eq!(heard, said[&room], "the last message of a room");
    }
}

/// One socket that is in a room and goes where it is sent.
struct Member {
    socket: Socket,
    session: Value,
    room: String,
    epoch: Value,
    offset: u64,
    over: bool,
}

impl Member {
    async fn enter(api: &Api, room: String) -> Self {
        let mut socket = Socket::open(api).await;
        let session = socket.ok(json!({"op": "hello"})).await["session"].clone();
        let joined = socket.ok(json!({"op": "join", "room": room})).await;
        Self { socket, session, room, epoch: joined["epoch"].clone(), offset: 0, over: false }
    }

    /// Listens, moves once, and listens until the end of what is said: the room, and its last offset.
    async fn live(
        mut self,
        others: BTreeMap<String, Api>,
        closed: mpsc::UnboundedSender<Instant>,
    ) -> (String, u64) {
        let mut told = Value::Null;
        let code = loop {
            match self.socket.read().await {
                Ok(event) if event["push"] == "drain" => told = event,
                Ok(event) => self.take(&event),
                Err(code) => break code,
            }
        };
        closed.send(Instant::now()).expect("the test listens");
        assert_eq!(code, Some(1012));
        let wait = told["retryAfterMs"].as_u64().filter(|ms| *ms <= 5_000).expect("it says when to come");
        sleep(Duration::from_millis(wait)).await;
        let next = others.get(told["url"].as_str().expect("it says where to go")).expect("another node");
        self.socket = Socket::open(next).await;
        let resume = json!({"session": self.session, "epoch": self.epoch, "offset": self.offset});
        let welcome = self.socket.ok(json!({"op": "hello", "resume": resume})).await;
        assert_eq!(welcome["recovered"], true, "{welcome}");
        for event in self.socket.early() {
            self.take(&event);
        }
        while !self.over {
            let event = self.socket.read().await.expect("it is open");
            self.take(&event);
        }
        (self.room, self.offset)
    }

    fn take(&mut self, event: &Value) {
        if event["push"] == "message" {
            assert_eq!(event["offset"], self.offset + 1, "each offset once, in order: {event}");
            self.offset += 1;
            self.over = event["data"] == END;
        }
    }
}

/// Says something in a room again and again, and a last word; in the end, how often.
async fn speak(mut socket: Socket, room: String, silence: CancellationToken) -> (String, u64) {
    let mut said = 0;
    while !silence.is_cancelled() {
        socket.ok(json!({"op": "publish", "data": said})).await;
        said += 1;
        sleep(PAUSE).await;
    }
    socket.ok(json!({"op": "publish", "data": END})).await;
    (room, said + 1)
}
