//! `load`: one workload, measured.

use std::io::IsTerminal as _;
use std::time::Duration;

use hyper::Uri;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{BAD, BROKEN, GOOD, duration, print_json};
use crate::client::{self, Target};
use crate::content::LENGTH_MAX;
use crate::report::summary;
use crate::sample::{Plan, metrics_url};
use crate::socket::Encoding;
use crate::workload::{self, PAYLOAD_BYTES_MIN, Verify, Workload};

/// Files beside sockets: standard streams, the runtime's, metrics.
const FILES_BESIDE: u64 = 64;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Base URLs of the nodes; workers are spread over them in turn
    #[arg(long, required = true, value_delimiter = ',')]
    target: Vec<Target>,
    /// What to do
    #[arg(long, value_enum, default_value = "relay")]
    workload: Workload,
    /// Workers, each with one request in flight; pairs, rooms, mailboxes or sockets where there are sockets
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    concurrency: u64,
    /// Operations a second over all workers, latency counted from the planned start; 0 is a closed loop
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Length of the measured window
    #[arg(long, default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Load before the window opens
    #[arg(long, default_value = "2s", value_parser = duration)]
    warmup: Duration,
    /// Bytes of data per chunk, payload, ciphertext or message; 256, or 1024 over sockets
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=LENGTH_MAX as u64))]
    size: Option<u64>,
    /// How frames of sockets are written; mailbox knows json only
    #[arg(long, value_enum, default_value = "json")]
    encoding: Encoding,
    /// Publish what is kept nowhere and may be lost
    #[arg(long)]
    volatile: bool,
    /// Messages of one sender that may be on the way; 8 in a closed loop, 4096 in an open one
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    window: Option<u64>,
    /// Receivers in each room
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    members: u64,
    /// Where the realtime endpoint is
    #[arg(long, default_value = "/api/v1/socket")]
    socket_path: String,
    /// Chunks per transfer
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=2048))]
    chunks: u32,
    /// Which transfers are received and verified
    #[arg(long, value_enum, default_value = "all")]
    verify: Verify,
    /// Measure nothing but sends; the same as `--verify none`
    #[arg(long, conflicts_with = "verify")]
    sends_only: bool,
    /// Let polls and reads wait this long on the server; only for servers that know waitMs
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=25_000))]
    wait_ms: u64,
    /// Weights of relay, signaling and exchange flows in the mixed workload
    #[arg(long, value_delimiter = ',', num_args = 3, default_values_t = [2, 6, 4])]
    mix: Vec<u32>,
    /// What all content is derived from; random if not given
    #[arg(long)]
    seed: Option<u64>,
    /// Error codes that may occur without failing the run
    #[arg(long, value_delimiter = ',')]
    allow: Vec<String>,
    /// Processes of the servers, for their CPU time and memory
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// Where the servers' Prometheus metrics are
    #[arg(long, value_delimiter = ',', value_parser = metrics_url)]
    metrics: Vec<(Target, Uri)>,
    /// The counter of fsyncs among them
    #[arg(long, default_value = "conclave_raft_fsyncs_total")]
    fsync_metric: String,
    /// How long one request may take with all its retries
    #[arg(long, default_value = "20s", value_parser = duration)]
    patience: Duration,
    /// Let receive and poll carry Idempotency-Keys, so that replies lost with a node lose nothing; for runs in which
    /// nodes are killed, at less than 1,500 receives a second
    #[arg(long)]
    idempotent: bool,
    /// Threads of the generator
    #[arg(long, default_value_t = 1)]
    pub(super) threads: usize,
    /// Print the report as one line of JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) async fn run(self) -> u8 {
        if let Err(why) = self.prepare() {
            eprintln!("{why}");
            return BROKEN;
        }
        let plan = Plan {
            pids: self.pid.clone(),
            metrics: self.metrics.clone(),
            fsync_metric: self.fsync_metric.clone(),
        };
        let json = self.json;
        let total = self.warmup + self.duration;
        let bar = progress(total);
        let report = workload::run(self.options(), &plan, |elapsed, done| {
            bar.set_position(elapsed.min(total).as_millis() as u64);
            bar.set_message(format!("{done} operations"));
        })
        .await;
        bar.finish_and_clear();
        if json {
            print_json(&report);
        } else {
            print!("{}", summary(&report));
        }
        if report.ok { GOOD } else { BAD }
    }

    /// Looks at what depends on more than one argument, and makes room for sockets.
    fn prepare(&self) -> Result<(), String> {
        match self.workload {
            Workload::Mailbox if self.encoding != Encoding::Json => {
                return Err("signals are pushed in JSON only".to_owned());
            }
            Workload::Socket | Workload::Room | Workload::Mailbox if self.size() < PAYLOAD_BYTES_MIN => {
                return Err(format!("messages have {PAYLOAD_BYTES_MIN} bytes at least"));
            }
            _ => {}
        }
        let sockets = match self.workload {
            Workload::Socket => 2 * self.concurrency,
            Workload::Room => (1 + self.members) * self.concurrency,
            Workload::Mailbox => (1 + self.target.len() as u64) * self.concurrency,
            Workload::Idle => self.concurrency,
            _ => return Ok(()),
        };
        raise_open_files(sockets + FILES_BESIDE)
    }

    fn size(&self) -> usize {
        let default = if self.workload.has_sockets() { 1024 } else { 256 };
        self.size.map_or(default, |size| size as usize)
    }

    fn options(self) -> workload::Options {
        let size = self.size();
        workload::Options {
            targets: self.target,
            workload: self.workload,
            concurrency: self.concurrency as usize,
            rate: self.rate,
            warmup: self.warmup,
            duration: self.duration,
            size,
            chunks: self.chunks,
            verify: if self.sends_only { Verify::None } else { self.verify },
            wait: Duration::from_millis(self.wait_ms),
            mix: [self.mix[0], self.mix[1], self.mix[2]],
            seed: self.seed.unwrap_or_else(rand::random),
            allow: self.allow,
            client: client::Options {
                patience: self.patience,
                idempotent: self.idempotent,
                ..client::Options::default()
            },
            sockets: workload::SocketOptions {
                path: self.socket_path,
                encoding: self.encoding,
                volatile: self.volatile,
                window: self.window.map(|window| window as usize),
                members: self.members as usize,
            },
        }
    }
}

/// Lets this process have so many files open, up to what it may allow itself.
pub(crate) fn raise_open_files(wanted: u64) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if let Some(maximum) = limit.maximum.filter(|maximum| *maximum < wanted) {
        return Err(format!(
            "{wanted} files have to be open, and no more than {maximum} may be: see ulimit -Hn"
        ));
    }
    let raised = Rlimit { current: Some(wanted), ..limit };
    setrlimit(Resource::Nofile, raised).map_err(|error| format!("the limit of open files stays: {error}"))
}

/// A bar on a terminal, nothing elsewhere.
pub(super) fn progress(total: Duration) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{wide_bar} {percent}% {msg}").expect("the template is a constant");
    ProgressBar::new(total.as_millis() as u64).with_style(style)
}
