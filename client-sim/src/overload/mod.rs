//! More than the servers can do: how much they still do, how soon they say no, and how soon all is well again.
//!
//! Four phases: *capacity* in a closed loop, *normal* at a share of it, *overload* at a multiple of it, and *recovery*
//! at the normal rate again, beginning the moment the overload ends. The load is uploads of chunks, each a durable
//! write. A refusal is not followed by a retry: other clients come in its place, as they do when too many come.

mod burst;
mod verdict;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::client::Target;
use crate::driver::{self, LoadConnection, Uploads, connections, open};
use crate::report::{Moment, Timeline};
use crate::sample::{own_cpu_seconds, process, stolen_seconds};
use crate::schedule::{Pacer, Rate};
use crate::stop::Stop;

pub(crate) use burst::Ledger;
pub use burst::{Cpu, Phase};
pub use verdict::Verdict;

/// One run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The nodes; connections are spread over them in turn.
    pub targets: Vec<Target>,
    /// Their processes on this machine.
    pub pids: Vec<u32>,
    /// Requests in flight while capacity is measured, and at the normal rate.
    pub concurrency: usize,
    /// Requests in flight at most during the overload.
    pub connections: usize,
    /// Times the capacity.
    pub factor: f64,
    /// The normal rate as a share of the capacity.
    pub normal: f64,
    /// How long capacity, and then the normal rate, are measured.
    pub measure: Duration,
    /// How long the overload lasts.
    pub duration: Duration,
    /// How long the recovery is watched.
    pub recovery: Duration,
    /// Bytes of each chunk.
    pub size: usize,
    /// Chunks of each transfer.
    pub chunks: u32,
    /// What all content is derived from.
    pub seed: u64,
    /// For one request.
    pub timeout: Duration,
    /// What is demanded.
    pub bounds: Bounds,
}

/// What an overload may do at worst.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Bounds {
    /// Uploads stored during the overload, as a share of capacity, at least.
    pub goodput_min: f64,
    /// From the planned start to the refusal, p99.
    pub refusal_p99_max_ms: f64,
    /// Until p99 is back to twice the normal.
    pub recovery_max_s: f64,
    /// Resident bytes of one process at most, if that is to be judged.
    pub rss_max_bytes: Option<u64>,
}

/// What a run found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether all that was demanded held.
    pub ok: bool,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// Against which nodes.
    pub targets: Vec<String>,
    /// Bytes of each chunk.
    pub size: usize,
    /// Requests in flight at most during the overload.
    pub connections: usize,
    /// Times the capacity.
    pub factor: f64,
    /// What is demanded.
    pub bounds: Bounds,
    /// Uploads a second in a closed loop.
    pub capacity_per_s: f64,
    /// Stored during the overload, as a share of that; `None` if it did not come to it.
    pub goodput: Option<f64>,
    /// Requests sent during the overload, as a multiple of capacity.
    pub offered: Option<f64>,
    /// Seconds from the end of the overload until p99 was back; `None` if it never was.
    pub recovery_s: Option<f64>,
    /// What was demanded, one by one.
    pub verdicts: Vec<Verdict>,
    /// Each phase.
    pub phases: Vec<Phase>,
    /// Each server process.
    pub servers: Vec<Memory>,
    /// The whole run in steps.
    pub timeline: Vec<Moment>,
}

/// Resident bytes of one process at the ends of the phases.
#[derive(Debug, Clone, Serialize)]
pub struct Memory {
    /// Its process id.
    pub pid: u32,
    /// When the overload began.
    pub before_bytes: Option<u64>,
    /// The most during the overload.
    pub overload_bytes: Option<u64>,
    /// When the recovery had been watched.
    pub after_bytes: Option<u64>,
}

/// Between two phases, so that the one does not wait for what the other left.
const SETTLE: Duration = Duration::from_secs(1);
/// Between two looks at a phase.
const LOOK: Duration = Duration::from_millis(250);

struct Run<'a, W> {
    options: Options,
    origin: Instant,
    timeline: Arc<Mutex<Timeline>>,
    phases: Vec<Phase>,
    servers: Vec<Memory>,
    stop: &'a Stop,
    watch: W,
}

/// Runs all phases, or as many as there are before it is stopped. `watch` is told the phase, how long the run has
/// lasted, and how much was stored in the phase.
pub async fn run(options: Options, stop: &Stop, watch: impl FnMut(&'static str, Duration, u64)) -> Report {
    let origin = Instant::now();
    let memory =
        |pid: &u32| Memory { pid: *pid, before_bytes: None, overload_bytes: None, after_bytes: None };
    let servers = options.pids.iter().map(memory).collect();
    let timeline = Arc::new(Mutex::new(Timeline::new(origin)));
    let mut run = Run { options, origin, timeline, phases: Vec::new(), servers, stop, watch };
    let recovered = run.phases().await;
    run.report(recovered)
}

impl<W: FnMut(&'static str, Duration, u64)> Run<'_, W> {
    /// Returns the recovery's steps and the rate they were planned at, if it came to it.
    async fn phases(&mut self) -> Option<(Timeline, f64)> {
        let options = self.options.clone();
        let uploads = Uploads::new(options.seed, options.size, options.chunks);
        let (calm, all) = (options.concurrency, options.concurrency + options.connections);
        let many = connections(&options.targets, calm..all, &uploads);
        let calm = open(connections(&options.targets, 0..calm, &uploads)).await;

        let (calm, ledger) = self.alone("capacity", calm, Rate::Free, options.measure).await;
        let capacity = self.phases.last().map_or(0.0, |phase| phase.done_per_s);
        drop(ledger);
        let normal_per_s = capacity * options.normal;
        if capacity == 0.0 || self.stop.is_said() {
            return None;
        }
        tokio::time::sleep(SETTLE).await;
        let (calm, _) = self.alone("normal", calm, Rate::Even(normal_per_s), options.measure).await;
        if self.stop.is_said() {
            return None;
        }
        self.look_at_memory(|memory, rss| memory.before_bytes = rss);
        // Before the overload, which is one of requests: a storm of connections is another matter.
        let many = open(many).await;

        let rate = Rate::Even(capacity * options.factor);
        let (started, overload, number) = self.phase("overload", many, rate, options.duration).await;
        if self.stop.is_said() {
            return None;
        }
        // What the overload left in flight is still answered, and not waited for: that is what recovery is from.
        let begun = Instant::now();
        let joining = tokio::spawn(driver::join(started, options.timeout));
        let (_, ledger) = self.alone("recovery", calm, Rate::Even(normal_per_s), options.recovery).await;
        // Late answers are the overload's, and the worst of them: without them its figures would flatter.
        let _ = joining.await;
        self.refresh(number, &overload);
        self.look_at_memory(|memory, rss| memory.after_bytes = rss);
        (begun.elapsed() >= options.recovery).then(|| (ledger.timeline(), normal_per_s))
    }

    /// One phase that waits for its last replies.
    async fn alone(
        &mut self,
        name: &'static str,
        connections: Vec<LoadConnection>,
        rate: Rate,
        length: Duration,
    ) -> (Vec<LoadConnection>, Arc<Ledger>) {
        let (started, ledger, number) = self.phase(name, connections, rate, length).await;
        let connections = driver::join(started, self.options.timeout).await;
        self.refresh(number, &ledger);
        (connections, ledger)
    }

    /// Reads a phase again once its last replies are there: latencies of what outlasted it belong to it.
    fn refresh(&mut self, number: usize, ledger: &Ledger) {
        let found = &mut self.phases[number];
        let whole = ledger.phase(found.name, found.at_s, found.planned_per_s, found.seconds);
        *found = Phase { cpu: found.cpu, ..whole };
    }

    async fn phase(
        &mut self,
        name: &'static str,
        connections: Vec<LoadConnection>,
        rate: Rate,
        length: Duration,
    ) -> (tokio::task::JoinSet<LoadConnection>, Arc<Ledger>, usize) {
        let begin = Instant::now();
        let end = begin + length;
        let (pacer, ledger) =
            (Arc::new(Pacer::new(begin, end, rate.clone())), Ledger::new(begin, end, self.timeline.clone()));
        let before = self.cpu();
        let each = driver::Options { timeout: self.options.timeout, pause: Duration::ZERO };
        let started = driver::start(connections, &pacer, &ledger, each);
        while !pacer.over() {
            (self.watch)(name, self.origin.elapsed(), ledger.done());
            if name == "overload" {
                self.look_at_memory(|memory, rss| memory.overload_bytes = memory.overload_bytes.max(rss));
            }
            let look = end.min(Instant::now() + LOOK);
            if tokio::time::timeout_at(look, self.stop.said()).await.is_ok() {
                pacer.stop();
            }
        }
        let seconds = (pacer.end() - begin).as_secs_f64();
        let mut phase = ledger.phase(name, (begin - self.origin).as_secs_f64(), rate.highest(), seconds);
        phase.cpu = self.cpu().since(before);
        self.phases.push(phase);
        (started, ledger, self.phases.len() - 1)
    }

    /// Who had the processors so far.
    fn cpu(&self) -> Cpu {
        Cpu {
            generator_cpu_s: own_cpu_seconds(),
            servers_cpu_s: self.servers_cpu_s(),
            stolen_cpu_s: stolen_seconds(),
        }
    }

    /// `None` without pids, or if a process is gone.
    fn servers_cpu_s(&self) -> Option<f64> {
        let all: Option<Vec<f64>> = self.options.pids.iter().map(|pid| Some(process(*pid)?.cpu_s)).collect();
        all.filter(|all| !all.is_empty()).map(|all| all.into_iter().sum())
    }

    fn look_at_memory(&mut self, note: impl Fn(&mut Memory, Option<u64>)) {
        for memory in &mut self.servers {
            let rss = process(memory.pid).map(|process| process.rss_bytes);
            note(memory, rss);
        }
    }

    fn report(self, recovered: Option<(Timeline, f64)>) -> Report {
        let of = |name| self.phases.iter().find(|phase| phase.name == name);
        let capacity_per_s = of("capacity").map_or(0.0, |phase| phase.done_per_s);
        let share = |per_s: f64| per_s / capacity_per_s;
        let overload = of("overload");
        let normal_p99_us = of("normal").map_or(0, |phase| phase.latency.p99_us);
        let recovery_s = recovered
            .and_then(|(timeline, per_s)| verdict::recovery_s(&timeline.moments(), normal_p99_us, per_s));
        let bounds = self.options.bounds;
        let offered = overload.map(|phase| share(phase.offered_per_s));
        let goodput = overload.map(|phase| share(phase.done_per_s));
        let verdicts = verdict::verdicts(
            &bounds,
            overload,
            (self.options.factor, offered),
            goodput,
            of("recovery").map(|_| recovery_s),
            &self.servers,
        );
        Report {
            ok: verdicts.iter().all(|verdict| verdict.ok) && of("recovery").is_some() && !self.stop.is_said(),
            interrupted: self.stop.is_said(),
            targets: self.options.targets.iter().map(ToString::to_string).collect(),
            size: self.options.size,
            connections: self.options.connections,
            factor: self.options.factor,
            bounds,
            capacity_per_s,
            goodput,
            offered,
            recovery_s,
            verdicts,
            servers: self.servers,
            timeline: self.timeline.lock().unwrap_or_else(PoisonError::into_inner).moments(),
            phases: self.phases,
        }
    }
}
