//! What is done: one flow after the other, by many workers at once.

mod exchange;
mod relay;
mod signaling;
mod socket;
mod think;
pub mod transfer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{self, Client, Error, Tally, Target, Transfer};
use crate::content::{Content, mix};
use crate::report::{Bytes, Kind, KindReport, Latency, Meter, OpenLoop, Percentile, Recorder, Report};
use crate::sample::{Plan, Sample};
use crate::schedule::{FOREVER, Pacer, Rate};
use crate::socket::{Idle, SocketTally, Sockets};
use crate::stop::Stop;

pub(crate) use socket::PAYLOAD_BYTES_MIN;
pub use socket::SocketOptions;
pub use think::Think;

/// Which flows are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// Chunks from a sender to a receiver.
    Relay,
    /// Invite codes and signals between two peers.
    Signaling,
    /// An offer and an answer under a pin.
    Exchange,
    /// Relay, signaling and exchange by weight.
    Mixed,
    /// Pairs of sockets that publish to one another, each pair in a room of its own.
    Socket,
    /// Rooms with one who publishes and many who receive.
    Room,
    /// Signals posted over HTTP and pushed to sockets.
    Mailbox,
    /// Sockets that do nothing.
    Idle,
}

impl Workload {
    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Signaling => "signaling",
            Self::Exchange => "exchange",
            Self::Mixed => "mixed",
            Self::Socket => "socket",
            Self::Room => "room",
            Self::Mailbox => "mailbox",
            Self::Idle => "idle",
        }
    }

    /// Whether sockets are opened.
    pub const fn has_sockets(self) -> bool {
        match self {
            Self::Relay | Self::Signaling | Self::Exchange | Self::Mixed => false,
            Self::Socket | Self::Room | Self::Mailbox | Self::Idle => true,
        }
    }
}

/// Which transfers are received and verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Verify {
    /// Every one.
    All,
    /// One in eight; the others expire.
    Sample,
    /// None: sends only, and everything expires.
    None,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The nodes.
    pub targets: Vec<Target>,
    /// Which flows.
    pub workload: Workload,
    /// How many workers, each with one request in flight; pairs, rooms, mailboxes or sockets where there are sockets.
    pub concurrency: usize,
    /// Operations a second over all workers.
    pub rate: Rate,
    /// Before the window opens.
    pub warmup: Duration,
    /// Length of the window.
    pub duration: Duration,
    /// Bytes of data per chunk, payload or ciphertext.
    pub size: usize,
    /// Chunks per transfer.
    pub chunks: u32,
    /// Which transfers are received.
    pub verify: Verify,
    /// For how long polls and reads may wait on the server; zero for servers that can't.
    pub wait: Duration,
    /// Pauses between asking and asking again while the other side works; none if not given.
    pub think: Option<Think>,
    /// Weights of relay, signaling and exchange flows in the mixed workload.
    pub mix: [u32; 3],
    /// What all content is derived from.
    pub seed: u64,
    /// Codes of failures that don't fail the run.
    pub allow: Vec<String>,
    /// How patient clients are.
    pub client: client::Options,
    /// What only workloads over sockets have.
    pub sockets: SocketOptions,
}

/// One of many; runs flow after flow.
struct Worker {
    options: Arc<Options>,
    content: Content,
    meter: Meter,
    /// Two parties, so that both can have a request in flight at once.
    here: Client,
    there: Client,
    home: usize,
    run: u64,
    flows: Arc<AtomicU64>,
}

/// After the end, flows that have begun get this long, beside one request's patience, to be brought to theirs.
const GRACE: Duration = Duration::from_secs(20);
/// Between two looks at a run.
const LOOK: Duration = Duration::from_millis(250);

/// What was looked at around a run.
struct Looks {
    before: Sample,
    after: Sample,
    /// What rates are by.
    seconds: f64,
    interrupted: bool,
    unfinished: usize,
    idle: Option<Idle>,
}

/// Runs to the end. `watch` is told, a few times a second, how long the run has lasted and how much was done.
pub async fn run(options: Options, plan: &Plan, mut watch: impl FnMut(Duration, u64)) -> Report {
    run_until(options, plan, &Stop::default(), |elapsed, recorder| watch(elapsed, recorder.completed())).await
}

/// Runs to the end, or until it is stopped: then the window ends at once, what has begun is brought to its end, and
/// the report is of what there was. `watch` looks at the record a few times a second.
pub async fn run_until(
    options: Options,
    plan: &Plan,
    stop: &Stop,
    mut watch: impl FnMut(Duration, &Recorder),
) -> Report {
    // Made before the clock starts: it is nobody's load.
    let content = Content::new(options.seed);
    let origin = Instant::now();
    let from = origin + options.warmup;
    let to = from + options.duration;
    let meter = match options.workload {
        // All is measured, and as many starts are planned as there are sockets.
        Workload::Idle => {
            let storm = Duration::from_secs_f64(options.concurrency as f64 / options.rate.highest().max(1.0));
            Meter {
                pacer: Arc::new(Pacer::new(origin, origin + storm, options.rate.clone())),
                recorder: Arc::new(Recorder::new(origin, origin, origin + FOREVER)),
            }
        }
        _ => Meter::new(options.rate.clone(), origin, from..to),
    };
    let (tally, sockets) = (Arc::new(Tally::default()), Arc::new(SocketTally::default()));
    let shared = Arc::new(options.clone());
    let ground = socket::Ground::new(&shared, &meter, &sockets, &content);
    let mut workers = JoinSet::new();
    match options.workload {
        Workload::Relay | Workload::Signaling | Workload::Exchange | Workload::Mixed => {
            spawn(shared.clone(), &meter, &tally, &content, &mut workers);
        }
        Workload::Socket => ground.pairs(&mut workers),
        Workload::Room => ground.rooms(&mut workers),
        Workload::Mailbox => ground.mailboxes(&tally, &mut workers),
        Workload::Idle => {}
    }
    let (before, after, seconds, idle) = if options.workload == Workload::Idle {
        let held = socket::hold(&ground, plan, &mut workers, stop, watch).await;
        let open_s = held.idle.open_s;
        (held.full, held.end, open_s, Some(held.idle))
    } else {
        let mut wait = async |until: Instant| {
            while Instant::now() < until && !stop.is_said() {
                watch(origin.elapsed(), &meter.recorder);
                let look = until.min(Instant::now() + LOOK);
                let _ = tokio::time::timeout_at(look, stop.said()).await;
            }
        };
        wait(from).await;
        let before = plan.take().await;
        wait(to).await;
        meter.stop();
        let seconds = meter.pacer.end().saturating_duration_since(from).as_secs_f64();
        (before, plan.take().await, seconds, None)
    };
    meter.stop();
    let finish = async { while workers.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(options.client.patience + GRACE, finish).await;
    let unfinished = workers.len();
    drop(workers);
    report(
        options,
        plan,
        &meter,
        (&tally, &sockets),
        Looks { before, after, seconds, interrupted: stop.is_said(), unfinished, idle },
    )
}

fn spawn(
    options: Arc<Options>,
    meter: &Meter,
    tally: &Arc<Tally>,
    content: &Content,
    workers: &mut JoinSet<()>,
) {
    // Two runs must never share a pin, even with the same seed.
    let run: u64 = rand::random();
    let flows = Arc::new(AtomicU64::new(0));
    for number in 0..options.concurrency {
        let client = |party: &str| {
            let name = format!("{run:x}-{number:x}{party}");
            Client::new(&options.targets, options.client.clone(), tally.clone(), name)
        };
        let worker = Worker {
            content: content.clone(),
            meter: meter.clone(),
            here: client("a"),
            there: client("b"),
            home: number % options.targets.len(),
            run,
            flows: flows.clone(),
            options: options.clone(),
        };
        workers.spawn(worker.work());
    }
}

impl Worker {
    async fn work(mut self) {
        while !self.meter.pacer.over() {
            let flow = self.flows.fetch_add(1, Ordering::Relaxed);
            let outcome = match self.options.workload {
                Workload::Relay => self.relay(flow).await,
                Workload::Signaling => self.signaling(flow).await,
                Workload::Exchange => self.exchange(flow).await,
                Workload::Mixed => self.mixed(flow).await,
                Workload::Socket | Workload::Room | Workload::Mailbox | Workload::Idle => {
                    unreachable!("sockets have workers of their own")
                }
            };
            if let Err(Error::Unreachable(_)) = outcome {
                // Every target is away; trying again at once would only burn the servers' processor.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    async fn mixed(&mut self, flow: u64) -> Result<(), Error> {
        let [relay, signaling, exchange] = self.options.mix.map(u64::from);
        let sum = (relay + signaling + exchange).max(1);
        let dice = mix(self.options.seed ^ mix(flow)) % sum;
        if dice < relay {
            self.relay(flow).await
        } else if dice < relay + signaling {
            self.signaling(flow).await
        } else {
            self.exchange(flow).await
        }
    }

    /// The node where a worker's other half works.
    fn away(&self) -> usize {
        self.home + 1
    }

    fn pair(&self, flow: u64) -> Transfer {
        transfer(self.run, flow)
    }
}

/// A pin and hash no other run or flow has.
pub fn transfer(run: u64, flow: u64) -> Transfer {
    Transfer {
        pin: format!("sim-{run:016x}-{flow:x}"),
        password_hash: format!("{:016x}{:016x}", mix(run), mix(flow)),
    }
}

fn report(
    options: Options,
    plan: &Plan,
    meter: &Meter,
    (tally, sockets): (&Tally, &SocketTally),
    looks: Looks,
) -> Report {
    let Looks { before, after, seconds, interrupted, unfinished, idle } = looks;
    let (before, after) = (&before, &after);
    let recording = meter.recorder.recording();
    // A run that was stopped before its window opened has no rate.
    let per_s = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
    let steps = match &options.rate {
        Rate::Free | Rate::Even(_) | Rate::Ramp { .. } => Vec::new(),
        Rate::Steps(rates) => recording.steps(rates),
    };
    let operations: u64 = recording.completed.iter().sum();
    let kinds: BTreeMap<_, _> = Kind::ALL
        .into_iter()
        .map(|kind| (kind, recording.completed[kind as usize], &recording.latency[kind as usize]))
        .filter(|(_, completed, latency)| *completed > 0 || !latency.is_empty())
        .map(|(kind, operations, latency)| {
            let percentiles = Percentile::of(latency);
            let latency = Latency::of(latency);
            (kind.name(), KindReport { operations, per_s: per_s(operations), latency, percentiles })
        })
        .collect();
    let errors = recording.errors(&options.allow);
    let ((sent, received), (framed, deframed)) = (tally.bytes(), sockets.bytes());
    let idle_run = idle.is_some();
    let held = idle.as_ref().is_none_or(|idle| idle.left == idle.sockets);
    let sockets = options.workload.has_sockets().then(|| {
        let name = options.sockets.encoding.name();
        Sockets { idle, ..sockets.read(name) }
    });
    Report {
        ok: operations > 0 && unfinished == 0 && held && errors.iter().all(|error| error.allowed),
        workload: options.workload.name().to_owned(),
        targets: options.targets.iter().map(ToString::to_string).collect(),
        concurrency: options.concurrency,
        interrupted,
        rate: options.rate.highest(),
        warmup_s: options.warmup.as_secs_f64(),
        duration_s: if idle_run { options.duration.as_secs_f64() } else { seconds },
        size: options.size,
        chunks: options.chunks,
        seed: options.seed,
        operations,
        ops_per_s: per_s(operations),
        all: Latency::of(&recording.all()),
        percentiles: Percentile::of(&recording.all()),
        steps,
        kinds,
        timeline: recording.timeline.moments(),
        errors,
        retries: tally.tried(),
        statuses: tally.statuses(),
        bytes: Bytes {
            sent: sent + framed,
            received: received + deframed,
            verified: meter.recorder.verified_bytes(),
        },
        open_loop: meter.pacer.slots().map(|(planned, started)| OpenLoop {
            planned,
            started,
            lag: Latency::of(&recording.lag),
        }),
        sockets,
        unfinished,
        generator: plan.generator(before, after, operations),
        servers: plan.servers(before, after, operations),
        fsyncs: plan.fsyncs(before, after, operations),
    }
}
