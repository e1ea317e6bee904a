//! A client that behaves as a well-made one should, and no better.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::http::{Api, Call, Reply};

/// How long one wish is pursued. An outage that no client sees to its end is a failed test.
const PURSUIT: Duration = Duration::from_secs(60);
/// After a refused connection, before the next address is tried; else a dead cluster is asked in a tight loop.
const BREATH: Duration = Duration::from_millis(50);

/// Several nodes as one client sees them: it goes to the next one when a connection fails, waits as `Retry-After`
/// says after 503, and takes every other answer as it comes. Any other 5xx is a defect, and panics.
#[derive(Debug, Clone)]
pub struct Roamer {
    nodes: Vec<Api>,
}

impl Roamer {
    /// A client that knows these nodes.
    pub fn new(nodes: Vec<Api>) -> Self {
        assert!(!nodes.is_empty(), "a client knows at least one node");
        Self { nodes }
    }

    /// Makes a call, at node number `first` (counted around) to begin with.
    ///
    /// `make` is asked again for each attempt: a retry is the very same request, if `make` says so.
    pub async fn pursue(&self, first: usize, make: impl Fn(&Api) -> Call) -> Reply {
        let began = Instant::now();
        let mut at = first;
        let mut seen = String::from("nothing");
        while began.elapsed() < PURSUIT {
            let node = &self.nodes[at % self.nodes.len()];
            match make(node).attempt().await {
                Err(why) => {
                    seen = why.0;
                    at += 1;
                    sleep(BREATH).await;
                }
                Ok(reply) if reply.status == 503 => {
                    let pause = reply.retry_after().expect("every 503 says when to come back");
                    seen = reply.text();
                    sleep(pause).await;
                }
                Ok(reply) => {
                    assert!(reply.status < 500, "a 5xx other than 503: {} {}", reply.status, reply.text());
                    return reply;
                }
            }
        }
        panic!("timed out after {PURSUIT:?}; last seen: {seen}")
    }

    /// Makes a relay call that has to succeed.
    pub async fn relay(&self, first: usize, body: &Value) -> Value {
        self.pursue(first, |node| node.relay(body)).await.ok()
    }

    /// Makes a relay call under an `Idempotency-Key`, so that a lost reply loses nothing.
    pub async fn relay_once(&self, first: usize, key: &str, body: &Value) -> Value {
        self.pursue(first, |node| node.relay(body).header("idempotency-key", key)).await.ok()
    }
}

/// Fails the test if `work` takes longer than `limit`.
pub async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = T>) -> T {
    match timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => panic!("not done within {limit:?}: {what}"),
    }
}
