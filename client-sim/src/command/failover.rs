//! `failover`: how long writes pause when the leader is killed.
//!
//! Small writes start on every node every few milliseconds, whatever became of the ones before. The leader gets
//! SIGKILL; once it is seen dead, the first write that is started and acknowledged at another node ends the pause,
//! which counts from the instant the signal was sent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conclave_supervisor::{Signal, signal};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::output::Json;
use super::{Verdict, duration};
use crate::client::Target;
use crate::cluster_status::{self, ClusterStatus};
use crate::driver::{self, LoadConnection, Outcome, Record, Uploads, connections};
use crate::sample::is_dead;
use crate::schedule::{FOREVER, Pacer};

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
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Serialize)]
struct Summary {
    ok: bool,
    kills: usize,
    resume_p50_ms: f64,
    resume_p99_ms: f64,
    resume_max_ms: f64,
    resume_ms: Vec<f64>,
    statuses: BTreeMap<u16, u64>,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    ClusterStatus(#[from] cluster_status::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the leader could not be killed: {0}")]
    Kill(std::io::Error),
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
const PROBERS: usize = 64;
const EACH: driver::Options = driver::Options { timeout: Duration::from_secs(2), pause: Duration::ZERO };
const ACKS_MAX: usize = 65_536;

impl Args {
    pub(super) async fn run(self) -> Verdict {
        let summary = self.measure().await?;
        self.json.print(&summary, |summary| {
            format!(
                "{} kills; writes resumed after p50 {:.0} ms, p99 {:.0} ms, at most {:.0} ms\n",
                summary.kills, summary.resume_p50_ms, summary.resume_p99_ms, summary.resume_max_ms
            )
        });
        Ok(summary.ok)
    }

    async fn measure(&self) -> Result<Summary, Error> {
        let admins = match &self.dev_json {
            Some(path) if path.as_os_str() == "-" => {
                let mut line = String::new();
                std::io::stdin().read_line(&mut line)?;
                ClusterStatus::parse(line.as_bytes())?.admins()?
            }
            Some(path) => ClusterStatus::parse(&std::fs::read(path)?)?.admins()?,
            None => self.nodes.clone(),
        };
        let mut cluster_status = ClusterStatus::ready(&admins, admins.len(), self.patience).await?;
        let (acks, mut acked) = mpsc::channel(ACKS_MAX);
        // Dropped, and thereby ended, with this function.
        let probers = probers(&cluster_status, self.every, &acks)?;

        let mut pauses = Vec::new();
        for kill in 1..=self.kills {
            // At a random phase of heartbeats and timers.
            let settle = Duration::from_millis(500 + u64::from(rand::random::<u16>()) % 500);
            self.see_writes(&cluster_status, &mut acked, settle).await?;
            cluster_status = self.recovered(&admins, &mut acked).await?;
            let pause = self.kill_leader(&cluster_status, &mut acked).await?;
            if !self.json.wanted {
                tell!("kill {kill}: {:.0} ms", pause.as_secs_f64() * 1e3);
            }
            pauses.push(pause);
            cluster_status = self.recovered(&admins, &mut acked).await?;
        }
        let mut statuses = BTreeMap::new();
        for (_, acks) in &probers {
            for (status, count) in acks.statuses.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                *statuses.entry(*status).or_default() += count;
            }
        }
        Ok(self.summary(pauses, statuses))
    }

    /// Waits for `settle`, then until every node acknowledged a write begun after that.
    async fn see_writes(
        &self,
        cluster_status: &ClusterStatus,
        acked: &mut mpsc::Receiver<Ack>,
        settle: Duration,
    ) -> Result<(), Error> {
        let from = Instant::now() + settle;
        let mut missing: Vec<u64> = cluster_status.nodes.iter().map(|node| node.id).collect();
        let watch = async {
            while !missing.is_empty() {
                let Some(ack) = acked.recv().await else { return };
                missing.retain(|id| ack.begun < from || *id != ack.node);
            }
        };
        let patience = settle + self.patience;
        tokio::time::timeout(patience, watch).await.map_err(|_| Error::NoWrites(patience))
    }

    async fn kill_leader(
        &self,
        cluster_status: &ClusterStatus,
        acked: &mut mpsc::Receiver<Ack>,
    ) -> Result<Duration, Error> {
        let leader = cluster_status.leader().ok_or(cluster_status::Error::Silent)?;
        while acked.try_recv().is_ok() {}
        let killed = Instant::now();
        signal(leader.pid, Signal::KILL).map_err(Error::Kill)?;
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
    async fn recovered(
        &self,
        admins: &[Target],
        acked: &mut mpsc::Receiver<Ack>,
    ) -> Result<ClusterStatus, Error> {
        let ready = ClusterStatus::ready(admins, admins.len(), self.patience);
        tokio::pin!(ready);
        loop {
            tokio::select! {
                cluster_status = &mut ready => return Ok(cluster_status?),
                _ = acked.recv() => {}
            }
        }
    }

    fn summary(&self, mut pauses: Vec<Duration>, statuses: BTreeMap<u16, u64>) -> Summary {
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
            statuses,
        }
    }
}

/// The value of nearest rank; zero of nothing.
fn rank(sorted: &[Duration], quantile: f64) -> Duration {
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or_default()
}

/// Connections to one node, and what they told.
type Prober = (JoinSet<LoadConnection>, Arc<Acks>);

/// Sets connections to work on each node; each start is planned, whatever became of the writes before.
fn probers(
    cluster_status: &ClusterStatus,
    every: Duration,
    acks: &mpsc::Sender<Ack>,
) -> Result<Vec<Prober>, Error> {
    let now = Instant::now();
    let probers = cluster_status.nodes.iter().map(|node| {
        let target: Target = node.http.parse().map_err(cluster_status::Error::Url)?;
        let pacer = Arc::new(Pacer::new(now, now + FOREVER, 1.0 / every.as_secs_f64()));
        let acks = Arc::new(Acks { node: node.id, acks: acks.clone(), statuses: Mutex::default() });
        let connections = connections(&[target], 0..PROBERS, &Uploads::new(0, 8, 2048));
        Ok::<_, Error>((driver::start(connections, &pacer, &acks, EACH), acks))
    });
    probers.collect()
}

/// Tells what was acknowledged by one node, and counts its replies.
struct Acks {
    node: u64,
    acks: mpsc::Sender<Ack>,
    statuses: Mutex<BTreeMap<u16, u64>>,
}

impl Record for Acks {
    fn note(&self, _: Instant, begun: Instant, outcome: Outcome) {
        let status = match outcome {
            Outcome::Done => {
                // If nobody empties the queue, nobody waits for this one.
                let _ = self.acks.try_send(Ack { node: self.node, begun, done: Instant::now() });
                200
            }
            Outcome::Refused(status) => status,
            Outcome::Failed(_) => return,
        };
        *self.statuses.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
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
