//! `memory`: many live transfers at once, the servers' resident memory at the peak and after all have expired.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::Uri;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Generator, Verdict, answering, duration, print_json};
use crate::client::{self, Client, Error, Received, Tally, Target, Tried};
use crate::content::{Content, LENGTH_MAX};
use crate::sample::{Plan, metrics_url, process};
use crate::workload::transfer;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Base URLs of the nodes; transfers are spread over them in turn
    #[arg(long, required = true, value_delimiter = ',')]
    target: Vec<Target>,
    /// Processes of the nodes
    #[arg(long, required = true, value_delimiter = ',')]
    pid: Vec<u32>,
    /// Live transfers to create, each of one chunk
    #[arg(long, default_value_t = 100_000)]
    transfers: u64,
    /// Bytes of data text per chunk
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=LENGTH_MAX as u64))]
    size: u64,
    /// Sends in flight at once
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..=4096))]
    concurrency: u64,
    /// The chunk TTL of the servers
    #[arg(long, default_value = "60s", value_parser = duration)]
    ttl: Duration,
    /// How long after the TTL everything may take to be freed
    #[arg(long, default_value = "60s", value_parser = duration)]
    settle: Duration,
    /// Where the servers' Prometheus metrics are
    #[arg(long, value_delimiter = ',', value_parser = metrics_url)]
    metrics: Vec<(Target, Uri)>,
    /// The gauge of live transfers among them
    #[arg(long, default_value = "conclave_state_transfers")]
    live_metric: String,
    #[command(flatten)]
    pub(super) generator: Generator,
}

#[derive(Debug, Serialize)]
struct Summary {
    ok: bool,
    created: u64,
    create_s: f64,
    create_per_s: f64,
    /// Whether all were alive at once, that is, the last was made before the first could expire.
    all_alive_at_once: bool,
    nodes: Vec<NodeMemory>,
    /// Of the gauge, over all nodes, where metrics were given.
    live_at_peak: Option<f64>,
    live_after: Option<f64>,
    /// From the last send to the end of the watch.
    watched_s: f64,
    /// Of the transfers asked for again at the end, how many were still there.
    still_there: u64,
    retries: Tried,
    errors: Vec<String>,
}

#[derive(Debug, Serialize)]
struct NodeMemory {
    pid: u32,
    rss_before_bytes: Option<u64>,
    rss_peak_bytes: Option<u64>,
    rss_after_bytes: Option<u64>,
}

struct Fill {
    targets: Vec<Target>,
    content: Content,
    run: u64,
    transfers: u64,
    size: usize,
    next: AtomicU64,
    tally: Arc<Tally>,
}

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// How many transfers are asked for at the end.
const ASKED: u64 = 100;

impl Args {
    pub(super) async fn run(self) -> Verdict {
        answering(&self.target).await?;
        let plan = Plan { metrics: self.metrics.clone(), ..Plan::default() };
        let fill = Arc::new(Fill {
            targets: self.target.clone(),
            content: Content::new(self.generator.seed()),
            run: rand::random(),
            transfers: self.transfers,
            size: self.size as usize,
            next: AtomicU64::new(0),
            tally: Arc::new(Tally::default()),
        });
        let mut nodes: Vec<_> = self.pid.iter().map(|pid| NodeMemory::new(*pid)).collect();

        let begun = Instant::now();
        let (created, mut errors) = fill.clone().fill(self.concurrency, &mut nodes).await;
        let create = begun.elapsed();
        nodes.iter_mut().for_each(NodeMemory::look);
        let live_at_peak = plan.total(&self.live_metric).await;

        let full = Instant::now();
        let mut live_after = live_at_peak;
        while full.elapsed() < self.ttl + self.settle {
            tokio::time::sleep(LOOK).await;
            nodes.iter_mut().for_each(NodeMemory::look);
            live_after = plan.total(&self.live_metric).await;
            if live_after == Some(0.0) && full.elapsed() >= self.ttl {
                break;
            }
        }
        let still_there = fill.still_there().await.unwrap_or_else(|error| {
            errors.push(error.to_string());
            ASKED
        });
        let summary = Summary {
            ok: errors.is_empty()
                && created == self.transfers
                && still_there == 0
                && live_after.is_none_or(|live| live == 0.0),
            created,
            create_s: create.as_secs_f64(),
            create_per_s: created as f64 / create.as_secs_f64(),
            all_alive_at_once: create < self.ttl,
            nodes,
            live_at_peak,
            live_after,
            watched_s: full.elapsed().as_secs_f64(),
            still_there,
            retries: fill.tally.tried(),
            errors,
        };
        print_json(&summary);
        Ok(summary.ok)
    }
}

impl Fill {
    /// Creates all transfers while watching the nodes; returns how many were, and why others were not.
    async fn fill(self: Arc<Self>, concurrency: u64, nodes: &mut [NodeMemory]) -> (u64, Vec<String>) {
        let mut workers = JoinSet::new();
        for number in 0..concurrency {
            workers.spawn(self.clone().work(number));
        }
        let mut looks = tokio::time::interval(LOOK);
        let (mut created, mut errors) = (0, Vec::new());
        loop {
            tokio::select! {
                _ = looks.tick() => nodes.iter_mut().for_each(NodeMemory::look),
                outcome = workers.join_next() => match outcome {
                    Some(Ok((count, error))) => {
                        created += count;
                        errors.extend(error.map(|error| error.to_string()));
                    }
                    Some(Err(_)) => errors.push("a worker ended early".to_owned()),
                    None => break,
                },
            }
        }
        errors.sort();
        errors.dedup();
        (created, errors)
    }

    async fn work(self: Arc<Self>, number: u64) -> (u64, Option<Error>) {
        let mut client = self.client(number);
        let mut created = 0;
        loop {
            let flow = self.next.fetch_add(1, Ordering::Relaxed);
            if flow >= self.transfers {
                return (created, None);
            }
            let write = |out: &mut Vec<u8>| self.content.write(flow, 0, self.size, out);
            match client.send(number as usize, &transfer(self.run, flow), 0, 1, write).await {
                Ok(_) => created += 1,
                Err(error) => return (created, Some(error)),
            }
        }
    }

    /// Asks for some transfers, evenly spread over all, and counts those that did not expire.
    async fn still_there(&self) -> Result<u64, Error> {
        let mut client = self.client(u64::MAX);
        let mut still_there = 0;
        for step in 0..ASKED.min(self.transfers) {
            let flow = step * self.transfers / ASKED.min(self.transfers);
            let received = client.receive(step as usize, &transfer(self.run, flow), Duration::ZERO).await?;
            if received != Received::Expired {
                still_there += 1;
            }
        }
        Ok(still_there)
    }

    fn client(&self, number: u64) -> Client {
        let name = format!("{:x}-{number:x}", self.run);
        Client::new(&self.targets, client::Options::default(), self.tally.clone(), name)
    }
}

impl NodeMemory {
    fn new(pid: u32) -> Self {
        let rss = process(pid).map(|process| process.rss_bytes);
        Self { pid, rss_before_bytes: rss, rss_peak_bytes: rss, rss_after_bytes: rss }
    }

    fn look(&mut self) {
        self.rss_after_bytes = process(self.pid).map(|process| process.rss_bytes);
        self.rss_peak_bytes = self.rss_peak_bytes.max(self.rss_after_bytes);
    }
}
