//! `failover`: how long writes pause when the leader is killed.
//!
//! Small writes start on every node every few milliseconds, whatever became of the ones before. The leader gets
//! SIGKILL; once it is seen dead, the first write that is started and acknowledged at another node ends the pause,
//! which counts from the instant the signal was sent.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::{BAD, BROKEN, GOOD, duration, print_json, say};
use crate::client::{self, Client, Tally, Target};
use crate::content::Content;
use crate::fleet::{self, Fleet};
use crate::sample::is_dead;
use crate::workload::transfer;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The line that `conclave dev --json` printed, in a file; `-` is the standard input
    #[arg(long, required_unless_present = "nodes")]
    dev_json: Option<PathBuf>,
    /// Or the admin URLs of the nodes
    #[arg(long, value_delimiter = ',', conflicts_with = "dev_json")]
    nodes: Vec<Target>,
    /// How often the leader is killed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    kills: u32,
    /// Between two writes on one node
    #[arg(long, default_value = "5ms", value_parser = duration)]
    every: Duration,
    /// How long a pause, or the way back to all nodes being ready, may last before the run is given up
    #[arg(long, default_value = "60s", value_parser = duration)]
    patience: Duration,
    /// Fail if p99 is above this
    #[arg(long, value_parser = duration)]
    limit: Option<Duration>,
    /// Print the report as one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Summary {
    ok: bool,
    kills: usize,
    resume_p50_ms: f64,
    resume_p99_ms: f64,
    resume_max_ms: f64,
    resume_ms: Vec<f64>,
    statuses: std::collections::BTreeMap<u16, u64>,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Fleet(#[from] fleet::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the leader could not be killed")]
    Kill,
    #[error("no write was acknowledged within {0:?}")]
    NoWrites(Duration),
}

/// A write that was acknowledged.
#[derive(Debug, Clone, Copy)]
struct Ack {
    node: u64,
    begun: Instant,
    done: Instant,
}

/// Writes that may be in flight on one node: enough to start one on time while all others hang.
const PROBERS: u32 = 64;
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const ACKS_MAX: usize = 65_536;

impl Args {
    pub(super) async fn run(self) -> u8 {
        match self.measure().await {
            Ok(summary) => {
                if self.json {
                    print_json(&summary);
                } else {
                    say(&format!(
                        "{} kills; writes resumed after p50 {:.0} ms, p99 {:.0} ms, at most {:.0} ms\n",
                        summary.kills, summary.resume_p50_ms, summary.resume_p99_ms, summary.resume_max_ms
                    ));
                }
                if summary.ok { GOOD } else { BAD }
            }
            Err(error) => {
                tell!("{error}");
                BROKEN
            }
        }
    }

    async fn measure(&self) -> Result<Summary, Error> {
        let admins = match &self.dev_json {
            Some(path) if path.as_os_str() == "-" => {
                let mut line = String::new();
                std::io::stdin().read_line(&mut line)?;
                Fleet::parse(line.as_bytes())?.admins()?
            }
            Some(path) => Fleet::parse(&std::fs::read(path)?)?.admins()?,
            None => self.nodes.clone(),
        };
        let mut fleet = Fleet::ready(&admins, admins.len(), self.patience).await?;
        let tally = Arc::new(Tally::default());
        let (acks, mut acked) = mpsc::channel(ACKS_MAX);
        // Dropped, and thereby ended, with this function.
        let _probers = probers(&fleet, self.every, &tally, &acks)?;

        let mut pauses = Vec::new();
        for kill in 1..=self.kills {
            // At a random phase of heartbeats and timers.
            let settle = Duration::from_millis(500 + u64::from(rand::random::<u16>()) % 500);
            self.see_writes(&fleet, &mut acked, settle).await?;
            fleet = self.recovered(&admins, &mut acked).await?;
            let pause = self.kill_leader(&fleet, &mut acked).await?;
            if !self.json {
                tell!("kill {kill}: {:.0} ms", pause.as_secs_f64() * 1e3);
            }
            pauses.push(pause);
            fleet = self.recovered(&admins, &mut acked).await?;
        }
        Ok(self.summary(pauses, &tally))
    }

    /// Waits for `settle`, then until every node acknowledged a write begun after that.
    async fn see_writes(
        &self,
        fleet: &Fleet,
        acked: &mut mpsc::Receiver<Ack>,
        settle: Duration,
    ) -> Result<(), Error> {
        let from = Instant::now() + settle;
        let mut missing: Vec<u64> = fleet.nodes.iter().map(|node| node.id).collect();
        let watch = async {
            while !missing.is_empty() {
                let Some(ack) = acked.recv().await else { return };
                missing.retain(|id| ack.begun < from || *id != ack.node);
            }
        };
        let patience = settle + self.patience;
        tokio::time::timeout(patience, watch).await.map_err(|_| Error::NoWrites(patience))
    }

    async fn kill_leader(&self, fleet: &Fleet, acked: &mut mpsc::Receiver<Ack>) -> Result<Duration, Error> {
        let leader = fleet.leader().ok_or(fleet::Error::Silent)?;
        while acked.try_recv().is_ok() {}
        let killed = Instant::now();
        let status =
            tokio::process::Command::new("kill").args(["-KILL", &leader.pid.to_string()]).status().await?;
        if !status.success() {
            return Err(Error::Kill);
        }
        while !is_dead(leader.pid) {
            tokio::task::yield_now().await;
        }
        let dead = Instant::now();
        let resumed = async {
            loop {
                match acked.recv().await {
                    Some(ack) if ack.begun >= dead && ack.node != leader.id => {
                        return Some(ack.done - killed);
                    }
                    Some(_) => {}
                    None => return None,
                }
            }
        };
        let resumed = tokio::time::timeout(self.patience, resumed).await.ok().flatten();
        resumed.ok_or(Error::NoWrites(self.patience))
    }

    /// Waits until all nodes are ready again, and meanwhile empties the queue of acknowledgements.
    async fn recovered(&self, admins: &[Target], acked: &mut mpsc::Receiver<Ack>) -> Result<Fleet, Error> {
        let ready = Fleet::ready(admins, admins.len(), self.patience);
        tokio::pin!(ready);
        loop {
            tokio::select! {
                fleet = &mut ready => return Ok(fleet?),
                _ = acked.recv() => {}
            }
        }
    }

    fn summary(&self, mut pauses: Vec<Duration>, tally: &Tally) -> Summary {
        let ms = |pause: &Duration| pause.as_secs_f64() * 1e3;
        let resume_ms = pauses.iter().map(ms).collect();
        pauses.sort();
        let (p50, p99) = (rank(&pauses, 0.5), rank(&pauses, 0.99));
        Summary {
            ok: self.limit.is_none_or(|limit| p99 <= limit),
            kills: pauses.len(),
            resume_p50_ms: ms(&p50),
            resume_p99_ms: ms(&p99),
            resume_max_ms: ms(&rank(&pauses, 1.0)),
            resume_ms,
            statuses: tally.statuses(),
        }
    }
}

/// The value of nearest rank; zero of nothing.
fn rank(sorted: &[Duration], quantile: f64) -> Duration {
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or_default()
}

fn probers(
    fleet: &Fleet,
    every: Duration,
    tally: &Arc<Tally>,
    acks: &mpsc::Sender<Ack>,
) -> Result<JoinSet<()>, Error> {
    let content = Content::new(0);
    let mut probers = JoinSet::new();
    for node in &fleet.nodes {
        let target: Target = node.http.parse().map_err(fleet::Error::Url)?;
        for number in 0..PROBERS {
            let options =
                client::Options { timeout: PROBE_TIMEOUT, patience: PROBE_TIMEOUT, idempotent: false };
            let client = Client::new(std::slice::from_ref(&target), options, tally.clone(), String::new());
            let (offset, period) = (every * number, every * PROBERS);
            probers.spawn(probe(client, node.id, offset, period, content.clone(), acks.clone()));
        }
    }
    Ok(probers)
}

/// Uploads eight bytes every period, each as a new chunk, and tells what was acknowledged.
async fn probe(
    mut client: Client,
    node: u64,
    offset: Duration,
    period: Duration,
    content: Content,
    acks: mpsc::Sender<Ack>,
) {
    let mut ticks = tokio::time::interval_at(Instant::now() + offset, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // A transfer of its own, and a new one before the old one is full.
    const CHUNKS: u32 = 2048;
    let mut index = CHUNKS;
    let mut pair = transfer(rand::random(), 0);
    loop {
        ticks.tick().await;
        if index == CHUNKS {
            pair = transfer(rand::random(), 0);
            index = 0;
        }
        let write = |out: &mut Vec<u8>| content.write(0, index, 8, out);
        let request = Client::send_request(&pair, index, CHUNKS, write);
        index += 1;
        let begun = Instant::now();
        if let Ok(reply) = client.attempt(0, &request).await
            && Client::sent(&reply).is_ok()
        {
            // If nobody empties the queue, nobody waits for this one.
            let _ = acks.try_send(Ack { node, begun, done: Instant::now() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_values_that_occurred() {
        let ms: Vec<_> = (1..=20).map(Duration::from_millis).collect();
        assert_eq!(rank(&ms, 0.5), Duration::from_millis(10));
        assert_eq!(rank(&ms, 0.99), Duration::from_millis(20));
        assert_eq!(rank(&ms[..1], 0.5), Duration::from_millis(1));
        assert_eq!(rank(&[], 0.5), Duration::ZERO);
    }
}
