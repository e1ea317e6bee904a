//! The honest client beside a flood: what it asks, and what it feels.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hdrhistogram::Histogram;
use hyper::Uri;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::client::{self, Client, Request, Tally, Target};

/// Tasks that ask one thing after the other.
const WORKERS: u64 = 4;
/// Between two rounds of one of them.
const ROUND: Duration = Duration::from_millis(100);
/// Rounds for which a connection is kept; a new one is part of what is felt.
const KEPT: u64 = 5;
/// Every so many rounds there is an invite code, too: they are limited more.
const CODES: u64 = 4;
/// The longest time that is told apart.
const LONGEST_US: u64 = 60_000_000;
/// For connecting and an answer. What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who it is.
#[derive(Debug, Clone)]
pub struct Honest {
    /// The nodes it asks in turn.
    pub nodes: Vec<Target>,
}

/// What it felt.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Felt {
    /// Requests that were made.
    pub requests: u64,
    /// Those that were not answered as they should, by what came instead.
    pub failures: BTreeMap<String, u64>,
    /// Half of the requests took at most so long.
    pub p50_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// All.
    pub max_ms: f64,
}

/// Whether an answer is the one that should come.
type Fits = Box<dyn Fn(&Value) -> bool>;

struct Notes {
    times: Histogram<u64>,
    failures: BTreeMap<String, u64>,
}

impl Honest {
    /// Asks for so long.
    pub async fn feel(&self, time: Duration) -> Felt {
        let until = Instant::now() + time;
        // Its names were never used before: what is over is remembered for a while.
        let run = rand::random();
        let all = join_all((0..WORKERS).map(|worker| self.work(run, worker, until))).await;
        let mut times = histogram();
        let mut failures = BTreeMap::new();
        for notes in all {
            times.add(&notes.times).expect("both have the same bounds");
            for (what, count) in notes.failures {
                *failures.entry(what).or_default() += count;
            }
        }
        let ms = |micros: u64| micros as f64 / 1e3;
        Felt {
            requests: times.len(),
            failures,
            p50_ms: ms(times.value_at_quantile(0.5)),
            p99_ms: ms(times.value_at_quantile(0.99)),
            max_ms: ms(times.max()),
        }
    }

    async fn work(&self, run: u64, worker: u64, until: Instant) -> Notes {
        let mut notes = Notes { times: histogram(), failures: BTreeMap::new() };
        let options = client::Options { timeout: PATIENCE, patience: PATIENCE, idempotent: false };
        let tally = Arc::new(Tally::default());
        let open = || Client::new(&self.nodes, options.clone(), tally.clone(), String::new());
        let (mut client, secure) = (open(), self.nodes.iter().any(Target::is_secure));
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for round in worker.. {
            rounds.tick().await;
            if Instant::now() >= until {
                break;
            }
            if round % KEPT == 0 || secure {
                client = open();
            }
            let count = self.nodes.len() as u64;
            let (here, there) = ((round % count) as usize, ((round + 1) % count) as usize);
            let name = format!("{run:x}-{worker}-{round}");
            let pair = |action: &str| json!({"action": action, "pin": name, "passwordHash": "hash"});
            let mut send = pair("send");
            send["chunkIndex"] = json!(0);
            send["totalChunks"] = json!(1);
            send["data"] = json!("AAEC".repeat(256));
            let has = |status: &'static str| move |answer: &Value| answer["status"] == status;
            let mut asks = vec![
                (here, send, Box::new(has("waiting")) as Fits),
                (there, pair("receive"), Box::new(has("chunkAvailable")) as Fits),
                (here, pair("ack"), Box::new(|answer: &Value| answer["ok"] == true) as Fits),
            ];
            if round % CODES == 0 {
                let code = format!("{:016x}", run ^ (worker << 56) ^ round);
                let wish = json!({"action": "register", "inviteCode": code, "peerId": name});
                asks.push((here, wish, Box::new(has("registered")) as Fits));
                let wish = json!({"action": "lookup", "inviteCode": code});
                asks.push((there, wish, Box::new(move |answer: &Value| answer["peerId"] == name) as Fits));
            }
            for (node, wish, fits) in asks {
                ask(&mut client, node, &wish, fits, &mut notes).await;
            }
        }
        notes
    }
}

async fn ask(
    client: &mut Client,
    node: usize,
    wish: &Value,
    fits: impl Fn(&Value) -> bool,
    notes: &mut Notes,
) {
    let began = Instant::now();
    let request = Request::post(Uri::from_static("/api/relay"), wish.to_string());
    let outcome = client.attempt(node, &request).await;
    notes.times.saturating_record(began.elapsed().as_micros() as u64);
    let failure = match outcome {
        Ok(reply) => {
            let answer = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
            match reply.status {
                200 if fits(&answer) => return,
                200 => format!("{}: 200 {}", wish["action"], answer["status"]),
                status => format!("{}: {status} {}", wish["action"], answer["error"]),
            }
        }
        Err(fault) => format!("{}: {fault}", wish["action"]),
    };
    *notes.failures.entry(failure).or_default() += 1;
}

impl Felt {
    /// How many requests failed.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are in order and the digits are few")
}
