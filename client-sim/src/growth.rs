//! What an operation costs in clusters of several sizes, and how much they could therefore carry.
//!
//! All nodes share one machine's processors, so that throughput says nothing of nodes that have machines of their own.
//! CPU time does: a cluster is full when its fullest node is. Where an operation costs `cost` over all `n` nodes, and the
//! fullest takes `fullest` times the mean, it carries `n / (cost × fullest)`.
//!
//! That is a bound from below where the nodes together ask for more than the machine has: each then works through less at
//! a time than it would alone, in thinner batches. With [`Options::cores`] each node is held to a part of a processor, all
//! of which together are there. It is full as if it had a machine of its own, and throughput is what the cluster carries.

use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use serde::Serialize;

use crate::cgroup::{self, Hierarchy, Limit};
use crate::chaos::{self, cluster::Cluster, cluster::Plan};
use crate::client;
use crate::compare::Spread;
use crate::report::{Recorder, Report};
use crate::sample;
use crate::socket::Encoding;
use crate::stop::Stop;
use crate::workload::{self, SocketOptions, Verify, Workload};

/// One generator looks like one client, and would measure nothing but its refusals.
const SETTINGS: [(&str, &str); 2] = [("allowance.enabled", "false"), ("shares.enabled", "false")];
const FSYNC_METRIC: &str = "conclave_raft_fsyncs_total";
/// Nodes of a cell, unless it is set.
const REPLICAS: u64 = 3;
/// For the cells to be founded, and the slots to lie evenly among them.
const SETTLED: Duration = Duration::from_secs(120);
/// Chunks per transfer.
const CHUNKS: u32 = 64;

/// What is run at each size.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `conclave` binary.
    pub binary: PathBuf,
    /// Where the nodes have their disks and logs; each run has a folder of its own there, which goes unless a node died.
    pub folder: PathBuf,
    /// Keys of every node's configuration.
    pub settings: Vec<(String, String)>,
    /// For each node, each with one request in flight.
    pub workers: usize,
    /// Bytes of data per chunk.
    pub size: usize,
    /// Before the window opens.
    pub warmup: Duration,
    /// Length of the window.
    pub duration: Duration,
    /// What all content is derived from.
    pub seed: u64,
    /// What each node may use of the processors while it is measured; `None`: what it gets.
    pub cores: Option<f64>,
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no cluster.
    #[error(transparent)]
    Cluster(#[from] chaos::Error),
    /// Nodes cannot be held to their part of the processors.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// A node could not be put into its group.
    #[error("a node cannot be held to its part of the processors: {0}")]
    Held(#[source] std::io::Error),
    /// A node ended, or nothing was done.
    #[error("a node died, or no operation was completed; the logs are in {}", .0.display())]
    Broken(PathBuf),
}

/// One run at one size.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// From 1 on.
    pub round: u32,
    /// How many nodes.
    pub nodes: u64,
    /// Whether nothing failed.
    pub ok: bool,
    /// Operations completed within the window.
    pub operations: u64,
    /// The same per second, of all nodes on one machine.
    pub per_s: f64,
    /// Median latency.
    pub p50_us: u64,
    /// 99 % were no slower.
    pub p99_us: u64,
    /// CPU time of all nodes per operation.
    pub cpu_us_per_op: f64,
    /// CPU time of the node that took most, by the mean of all.
    pub fullest: f64,
    /// Fsyncs of all nodes per operation.
    pub fsyncs_per_op: Option<f64>,
    /// Bytes that all nodes gave to their disks per operation.
    pub written_bytes_per_op: Option<f64>,
}

/// The runs at one size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Size {
    /// How many nodes.
    pub nodes: u64,
    /// CPU time of all nodes per operation, in µs.
    pub cpu_us_per_op: Spread,
    /// The same as a multiple of that at the first size, round by round.
    pub cpu_to_first: Spread,
    /// CPU time of the node that took most, by the mean of all.
    pub fullest: Spread,
    /// How much it carries, as a multiple of the first size, round by round: by the CPU time of its fullest node.
    pub capacity: Spread,
    /// Operations a second, as a multiple of the first size, round by round.
    pub rate_to_first: Spread,
    /// Fsyncs of all nodes per operation.
    pub fsyncs_per_op: Option<Spread>,
    /// Bytes that all nodes gave to their disks per operation.
    pub written_bytes_per_op: Option<Spread>,
}

impl Options {
    /// The configuration of every node.
    pub fn settings(&self) -> Vec<(String, String)> {
        let ours = SETTINGS.map(|(key, value)| (key.to_owned(), value.to_owned()));
        ours.into_iter().chain(self.settings.iter().cloned()).collect()
    }

    /// How many cells so many nodes become.
    fn cells(&self, nodes: u64) -> usize {
        let set = self.settings.iter().rev().find(|(key, _)| key == "cluster.replicas");
        let replicas = set.and_then(|(_, value)| value.parse().ok()).unwrap_or(REPLICAS);
        usize::try_from(nodes / replicas).unwrap_or_default().max(1)
    }

    /// Sends only, which are one command each, and expire.
    fn work(&self, cluster: &Cluster) -> workload::Options {
        let targets = cluster.targets();
        workload::Options {
            concurrency: self.workers * targets.len(),
            targets,
            workload: Workload::Relay,
            rate: 0.0.into(),
            warmup: self.warmup,
            duration: self.duration,
            size: self.size,
            chunks: CHUNKS,
            verify: Verify::None,
            wait: Duration::ZERO,
            think: None,
            mix: [1, 0, 0],
            seed: self.seed,
            allow: Vec::new(),
            client: client::Options::default(),
            sockets: SocketOptions {
                path: String::new(),
                encoding: Encoding::Json,
                volatile: false,
                window: None,
                members: 1,
            },
        }
    }
}

/// One run with a fresh cluster of so many nodes; `None` if it was stopped. `watch` is as for [`workload::run_until`].
pub async fn run(
    round: u32,
    nodes: u64,
    options: &Options,
    stop: &Stop,
    watch: impl FnMut(Duration, &Recorder),
) -> Result<Option<Run>, Error> {
    let folder = options.folder.join(format!("{round}-{nodes}"));
    let plan =
        Plan { nodes, settings: options.settings(), ..Plan::new(options.binary.clone(), folder.clone()) };
    let groups = options.cores.map(|cores| Hierarchy::make(nodes, Limit::Cores(cores))).transpose()?;
    let mut cluster = Cluster::start(plan).await?;
    cluster.settled(options.cells(nodes), SETTLED).await?;
    if let Some(groups) = &groups {
        for (id, pid) in (1..).zip(cluster.pids()) {
            groups.take_in(id, pid).map_err(Error::Held)?;
        }
    }
    let metrics = cluster.admins().into_iter().map(|admin| (admin, Uri::from_static("/metrics")));
    let sample = sample::Plan {
        pids: cluster.pids(),
        metrics: metrics.collect(),
        fsync_metric: FSYNC_METRIC.to_owned(),
    };
    let report = workload::run_until(options.work(&cluster), &sample, stop, watch).await;
    // The next run's processors and disk are this one's.
    drop(cluster);
    if report.interrupted {
        return Ok(None);
    }
    let run = Run::of(round, &report).ok_or(Error::Broken(folder.clone()))?;
    let _ = std::fs::remove_dir_all(folder);
    Ok(Some(run))
}

impl Run {
    /// What counts of a report; `None` if a node did not live to its end, or nothing was done.
    pub fn of(round: u32, report: &Report) -> Option<Self> {
        let servers = report.servers.as_ref()?;
        let cpu: Vec<f64> = servers.nodes.iter().map(|node| node.cpu_s).collect::<Option<_>>()?;
        let mean = cpu.iter().sum::<f64>() / cpu.len() as f64;
        let most = cpu.iter().copied().fold(0.0, f64::max);
        let written: Option<u64> = servers.nodes.iter().map(|node| node.written_bytes).sum();
        (report.operations > 0 && mean > 0.0).then(|| Self {
            round,
            nodes: cpu.len() as u64,
            ok: report.ok,
            operations: report.operations,
            per_s: report.ops_per_s,
            p50_us: report.all.p50_us,
            p99_us: report.all.p99_us,
            cpu_us_per_op: servers.cost.cpu_us_per_op,
            fullest: most / mean,
            fsyncs_per_op: report.fsyncs.as_ref().map(|fsyncs| fsyncs.per_op),
            written_bytes_per_op: written.map(|bytes| bytes as f64 / report.operations as f64),
        })
    }

    fn capacity(&self) -> f64 {
        self.nodes as f64 / (self.cpu_us_per_op * self.fullest)
    }
}

/// Each size over the rounds in which it and the first one were run.
pub fn sizes(nodes: &[u64], runs: &[Run]) -> Vec<Size> {
    let find = |nodes, round| runs.iter().find(|run| run.nodes == nodes && run.round == round);
    let rounds = 1..=runs.iter().map(|run| run.round).max().unwrap_or(0);
    let Some(first) = nodes.first().copied() else { return Vec::new() };
    let size = |nodes: u64| {
        let pairs: Vec<_> =
            rounds.clone().filter_map(|round| find(nodes, round).zip(find(first, round))).collect();
        let spread = |figure: fn(&Run, &Run) -> Option<f64>| {
            Spread::of(pairs.iter().filter_map(|(run, first)| figure(run, first)).collect())
        };
        Some(Size {
            nodes,
            cpu_us_per_op: spread(|run, _| Some(run.cpu_us_per_op))?,
            cpu_to_first: spread(|run, first| Some(run.cpu_us_per_op / first.cpu_us_per_op))?,
            fullest: spread(|run, _| Some(run.fullest))?,
            capacity: spread(|run, first| Some(run.capacity() / first.capacity()))?,
            rate_to_first: spread(|run, first| Some(run.per_s / first.per_s))?,
            fsyncs_per_op: spread(|run, _| run.fsyncs_per_op),
            written_bytes_per_op: spread(|run, _| run.written_bytes_per_op),
        })
    };
    nodes.iter().filter_map(|nodes| size(*nodes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(round: u32, nodes: u64, cpu_us_per_op: f64, fullest: f64) -> Run {
        Run {
            round,
            nodes,
            ok: true,
            operations: 1,
            per_s: 1.0,
            p50_us: 1,
            p99_us: 1,
            cpu_us_per_op,
            fullest,
            fsyncs_per_op: None,
            written_bytes_per_op: None,
        }
    }

    #[test]
    fn a_cluster_carries_what_its_fullest_node_carries() {
        // Three times the nodes, each of which does the whole work of every operation: nothing is won. In the second
        // round the machine is twice as slow, which concerns no ratio.
        let runs = [
            run(1, 3, 60.0, 1.0),
            run(1, 9, 180.0, 1.0),
            run(2, 3, 120.0, 1.0),
            run(2, 9, 360.0, 1.0),
            run(3, 3, 60.0, 1.0),
        ];
        let [three, nine] = &sizes(&[3, 9], &runs)[..] else { panic!("two sizes") };
        assert_eq!(three.capacity.median, 1.0);
        assert_eq!((nine.cpu_to_first.median, nine.capacity.median), (3.0, 1.0));

        // The same cost, evenly spread or not.
        let capacity =
            |fullest| sizes(&[3, 9], &[run(1, 3, 64.0, 1.0), run(1, 9, 64.0, fullest)])[1].capacity;
        assert_eq!((capacity(1.0).median, capacity(1.5).median), (3.0, 2.0));
    }

    #[test]
    fn a_size_without_a_run_beside_the_first_is_left_out() {
        assert_eq!(sizes(&[3, 9], &[run(1, 9, 60.0, 1.0)]), []);
        assert_eq!(sizes(&[], &[]), []);
    }
}
