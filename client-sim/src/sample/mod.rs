//! Looks at processes and metrics from outside, before and after.

mod machine;
mod process;
mod prometheus;

use hyper::{Method, Uri};

use crate::client::{BadTarget, Connection, Fault, Reply, Request, Target};
use crate::report::{Cost, Fsyncs, ServerReport, Servers};

pub use machine::stolen_seconds;
pub use process::{Process, is_dead, open_files, own_cpu_seconds, process};
pub use prometheus::sum;

/// What to look at.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Server processes on this machine.
    pub pids: Vec<u32>,
    /// Where Prometheus metrics are served.
    pub metrics: Vec<(Target, Uri)>,
    /// The counter of fsyncs.
    pub fsync_metric: String,
}

/// One look.
#[derive(Debug, Clone)]
pub struct Sample {
    own_cpu_s: f64,
    processes: Vec<Option<Process>>,
    fsyncs: Option<f64>,
}

impl Sample {
    /// Resident bytes of all processes together; `None` without any, or if one is gone.
    pub fn rss_bytes(&self) -> Option<u64> {
        let one = |process: &Option<Process>| Some(process.as_ref()?.rss_bytes);
        let all: Option<Vec<u64>> = self.processes.iter().map(one).collect();
        all.filter(|all| !all.is_empty()).map(|all| all.into_iter().sum())
    }
}

/// Reads a metrics URL; without a path it is `/metrics`.
pub fn metrics_url(url: &str) -> Result<(Target, Uri), BadTarget> {
    let (target, path) = Target::with_path(url)?;
    let path = if path.path() == "/" { Uri::from_static("/metrics") } else { path };
    Ok((target, path))
}

/// One GET on a connection of its own.
pub async fn get(target: &Target, path: &Uri) -> Result<Reply, Fault> {
    let request = Request::bare(Method::GET, path.clone());
    let call = async { Connection::open(target).await?.exchange(&request).await };
    tokio::time::timeout(std::time::Duration::from_secs(5), call).await.unwrap_or(Err(Fault::Timeout))
}

impl Plan {
    /// Looks now.
    pub async fn take(&self) -> Sample {
        Sample {
            own_cpu_s: own_cpu_seconds(),
            processes: self.pids.iter().map(|pid| process(*pid)).collect(),
            fsyncs: self.total(&self.fsync_metric).await,
        }
    }

    /// A metric summed over all labels and nodes; `None` where no node that could be asked knows it.
    pub async fn total(&self, metric: &str) -> Option<f64> {
        let mut total = None;
        for (target, path) in &self.metrics {
            let Ok(reply) = get(target, path).await else { continue };
            if let Some(value) = sum(&String::from_utf8_lossy(&reply.body), metric) {
                *total.get_or_insert(0.0) += value;
            }
        }
        total
    }

    /// What the generator took between two looks.
    pub fn generator(&self, before: &Sample, after: &Sample, operations: u64) -> Cost {
        cost(after.own_cpu_s - before.own_cpu_s, operations)
    }

    /// What the servers took between two looks; `None` without pids.
    pub fn servers(&self, before: &Sample, after: &Sample, operations: u64) -> Option<Servers> {
        let pairs = before.processes.iter().zip(&after.processes);
        let node = |(pid, (before, after)): (&u32, (&Option<Process>, &Option<Process>))| {
            let both = before.as_ref().zip(after.as_ref());
            ServerReport {
                pid: *pid,
                cpu_s: both.map(|(b, a)| a.cpu_s - b.cpu_s),
                rss_bytes: after.as_ref().map(|a| a.rss_bytes),
                rss_peak_bytes: after.as_ref().map(|a| a.rss_peak_bytes),
                write_calls: both.and_then(|(b, a)| a.write_calls?.checked_sub(b.write_calls?)),
                written_bytes: both.and_then(|(b, a)| a.written_bytes?.checked_sub(b.written_bytes?)),
            }
        };
        let nodes: Vec<_> = self.pids.iter().zip(pairs).map(node).collect();
        let cpu_s = nodes.iter().filter_map(|node| node.cpu_s).sum();
        (!nodes.is_empty()).then(|| Servers { cost: cost(cpu_s, operations), nodes })
    }

    /// How many fsyncs there were between two looks; `None` without metrics.
    pub fn fsyncs(&self, before: &Sample, after: &Sample, operations: u64) -> Option<Fsyncs> {
        let count = after.fsyncs? - before.fsyncs?;
        Some(Fsyncs { metric: self.fsync_metric.clone(), count, per_op: count / operations.max(1) as f64 })
    }
}

fn cost(cpu_s: f64, operations: u64) -> Cost {
    Cost { cpu_s, cpu_us_per_op: cpu_s * 1e6 / operations.max(1) as f64 }
}
