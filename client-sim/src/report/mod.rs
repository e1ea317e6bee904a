//! What a run found, for people and for machines.

mod axis;
pub mod html;
mod kind;
pub mod plot;
mod recorder;
mod steps;
pub mod table;
pub(crate) mod template;
mod timeline;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::client::Tried;
use crate::socket::Sockets;

pub use axis::Axis;
pub use kind::Kind;
pub use plot::Mark;
pub use recorder::{ErrorCount, Meter, Recorder, Recording};
pub use steps::StepReport;
pub use table::summary;
pub use timeline::{Moment, Timeline};

/// Everything measured in one run of `load`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether every received byte was verified and nothing unexpected happened.
    pub ok: bool,
    /// Which workload ran.
    pub workload: String,
    /// Against which nodes.
    pub targets: Vec<String>,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// How many workers.
    pub concurrency: usize,
    /// Planned operations per second, the most there were; 0 is a closed loop.
    pub rate: f64,
    /// Load before the measured window, in seconds.
    pub warmup_s: f64,
    /// Length of the measured window in seconds, without the warm-up.
    pub duration_s: f64,
    /// Bytes of data per chunk or payload.
    pub size: usize,
    /// Chunks per transfer.
    pub chunks: u32,
    /// What all content is derived from.
    pub seed: u64,
    /// Operations completed within the window.
    pub operations: u64,
    /// The same per second.
    pub ops_per_s: f64,
    /// Latency of all operations that were to start within the window.
    pub all: Latency,
    /// The same in more points, for a curve.
    pub percentiles: Vec<Percentile>,
    /// Each step, where the rate went in steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepReport>,
    /// Rate and latency by kind of operation.
    pub kinds: BTreeMap<&'static str, KindReport>,
    /// The whole run in steps, warm-up included.
    pub timeline: Vec<Moment>,
    /// Failures over the whole run, warm-up included.
    pub errors: Vec<ErrorCount>,
    /// What it took beyond one try per request, over the whole run.
    pub retries: Tried,
    /// Replies by status over the whole run, retried ones included.
    pub statuses: BTreeMap<u16, u64>,
    /// Bytes over the whole run.
    pub bytes: Bytes,
    /// Only in an open loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_loop: Option<OpenLoop>,
    /// What sockets went through, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sockets: Option<Sockets>,
    /// Flows begun in time and not brought to their end within the grace time.
    pub unfinished: usize,
    /// What generating the load cost.
    pub generator: Cost,
    /// What serving it cost, where pids were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servers: Option<Servers>,
    /// What the counter of fsyncs says, where metrics were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fsyncs: Option<Fsyncs>,
}

/// One kind of operation.
#[derive(Debug, Clone, Serialize)]
pub struct KindReport {
    /// Completed within the window.
    pub operations: u64,
    /// The same per second.
    pub per_s: f64,
    /// Of those that were to start within the window.
    pub latency: Latency,
    /// The same in more points, for a curve.
    pub percentiles: Vec<Percentile>,
}

/// One point of a latency's distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentile {
    /// This share, from 0 to 1, is no slower.
    pub share: f64,
    /// Microseconds.
    pub us: u64,
}

/// Where distributions are read off; further out only as far as there are values to tell the points apart.
const SHARES: [f64; 14] =
    [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999, 0.999999];

impl Percentile {
    /// Reads a curve's points off a histogram of microseconds; none off an empty one.
    pub fn of(histogram: &Histogram<u64>) -> Vec<Self> {
        let told = |share: &f64| histogram.len() as f64 * (1.0 - share) >= 1.0;
        let point = |share: f64| Self { share, us: histogram.value_at_quantile(share) };
        SHARES.into_iter().filter(told).map(point).collect()
    }
}

/// Microseconds, three significant digits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// How many values it is of.
    pub count: u64,
    /// The arithmetic mean.
    pub mean_us: f64,
    /// The median.
    pub p50_us: u64,
    /// 90 % are no slower.
    pub p90_us: u64,
    /// 99 % are no slower.
    pub p99_us: u64,
    /// 99.9 % are no slower.
    pub p999_us: u64,
    /// The slowest.
    pub max_us: u64,
}

impl Latency {
    /// Reads the usual points off a histogram of microseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            count: histogram.len(),
            mean_us: (histogram.mean() * 10.0).round() / 10.0,
            p50_us: histogram.value_at_quantile(0.5),
            p90_us: histogram.value_at_quantile(0.9),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        }
    }
}

/// Bytes over the whole run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Bytes {
    /// Bodies of answered requests, and frames.
    pub sent: u64,
    /// Bodies of replies, and frames.
    pub received: u64,
    /// Data and payload bytes compared with what was sent.
    pub verified: u64,
}

/// How well the plan of an open loop was kept.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct OpenLoop {
    /// Starts in the plan, warm-up included.
    pub planned: u64,
    /// Starts a worker took.
    pub started: u64,
    /// How late the workers began, which is part of the latencies.
    pub lag: Latency,
}

/// CPU time of one process or several.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cost {
    /// Seconds of user and system time within the window.
    pub cpu_s: f64,
    /// Microseconds per completed operation.
    pub cpu_us_per_op: f64,
}

/// What the servers took.
#[derive(Debug, Clone, Serialize)]
pub struct Servers {
    /// All nodes together.
    #[serde(flatten)]
    pub cost: Cost,
    /// Each node.
    pub nodes: Vec<ServerReport>,
}

/// One server process.
#[derive(Debug, Clone, Serialize)]
pub struct ServerReport {
    /// Its process id.
    pub pid: u32,
    /// Seconds of CPU time within the window; `None` if it was not there all the time.
    pub cpu_s: Option<f64>,
    /// Resident bytes when the window closed.
    pub rss_bytes: Option<u64>,
    /// The most there ever were.
    pub rss_peak_bytes: Option<u64>,
    /// Write system calls within the window.
    pub write_calls: Option<u64>,
    /// Bytes given to the block layer within the window.
    pub written_bytes: Option<u64>,
}

/// What the counter of fsyncs says.
#[derive(Debug, Clone, Serialize)]
pub struct Fsyncs {
    /// The counter's name.
    pub metric: String,
    /// Its growth over all nodes within the window.
    pub count: f64,
    /// The same per completed operation.
    pub per_op: f64,
}
