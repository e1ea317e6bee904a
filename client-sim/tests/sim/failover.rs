//! `failover`, with processes that stand in for leaders.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::process::{Child, Command};

use super::sim;
use super::stand_in::{Manner, StandIn};

const OUTAGE: Duration = Duration::from_millis(300);

fn process() -> Child {
    Command::new("sleep").arg("600").kill_on_drop(true).spawn().unwrap()
}

fn describe(stand_in: &StandIn, leader: usize, pid: u32) {
    let node = |at: usize| {
        let role = if at == leader { "leader" } else { "follower" };
        let url = &stand_in.nodes.urls[at];
        json!({"id": at, "http": url, "admin": url, "pid": pid, "role": role, "applied": 1, "last_log": 1})
    };
    let nodes: Vec<_> = (0..stand_in.nodes.urls.len()).map(node).collect();
    *stand_in.state.leader.lock().unwrap() = Some(pid);
    *stand_in.state.status.lock().unwrap() = json!({"leader": leader, "term": 1, "nodes": nodes});
}

/// No write is taken from the death of the leader's process until, after a while, another node leads.
async fn elect(stand_in: Arc<StandIn>, mut child: Child) {
    for term in 1.. {
        child.wait().await.unwrap();
        tokio::time::sleep(OUTAGE).await;
        child = process();
        describe(&stand_in, term % 3, child.id().unwrap());
    }
}

#[tokio::test]
async fn the_pause_of_writes_is_measured() {
    let stand_in = Arc::new(StandIn::start(3, Manner::Faultless).await);
    let child = process();
    describe(&stand_in, 0, child.id().unwrap());
    let election = tokio::spawn(elect(stand_in.clone(), child));
    let ran = sim(&["failover", "--nodes", &stand_in.targets(), "--kills", "2", "--json"]).await;
    election.abort();
    assert_eq!(ran.code, Some(0), "{}", ran.report);
    assert_eq!(ran.number("/kills"), 2.0);
    let (p50, max) = (ran.number("/resume_p50_ms"), ran.number("/resume_max_ms"));
    assert!(p50 >= OUTAGE.as_secs_f64() * 1e3 && max < 10_000.0, "{}", ran.report);
}
