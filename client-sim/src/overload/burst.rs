//! One phase: many connections, a pace, and what came of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::Instant;

use crate::driver::{Outcome, Record};
use crate::report::{Latency, Timeline};

/// Distinct failures that are told apart.
const FAILURES_MAX: usize = 16;

/// What one phase found.
#[derive(Debug, Clone, Serialize)]
pub struct Phase {
    /// What it is called.
    pub name: &'static str,
    /// Where it begins, in seconds after the first.
    pub at_s: f64,
    /// How long it lasted.
    pub seconds: f64,
    /// Requests a second that were to be sent; 0 in a closed loop.
    pub planned_per_s: f64,
    /// Requests a second that were sent.
    pub offered_per_s: f64,
    /// Planned requests that were not sent, since all connections waited for replies.
    pub not_offered: u64,
    /// Uploads stored within it.
    pub done: u64,
    /// The same per second.
    pub done_per_s: f64,
    /// From the planned start to the answer of those stored.
    pub latency: Latency,
    /// The same of refusals, by status.
    pub refused: BTreeMap<u16, Latency>,
    /// The same of all 429 and 503 together.
    pub turned_away: Latency,
    /// Everything else, by name.
    pub failed: BTreeMap<String, u64>,
    /// From the planned start to the sending.
    pub lag: Latency,
    /// Who had the processors.
    #[serde(flatten)]
    pub cpu: Cpu,
}

/// Seconds of CPU.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Cpu {
    /// What the generator took.
    pub generator_cpu_s: f64,
    /// What the servers took, where pids were given.
    pub servers_cpu_s: Option<f64>,
    /// What a virtual machine's host gave to others meanwhile, over all cores, where that is known: two phases are
    /// comparable only as far as it is alike.
    pub stolen_cpu_s: Option<f64>,
}

impl Cpu {
    /// What was taken since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        let gone = |now: Option<f64>, before: Option<f64>| Some(now? - before?);
        Self {
            generator_cpu_s: self.generator_cpu_s - before.generator_cpu_s,
            servers_cpu_s: gone(self.servers_cpu_s, before.servers_cpu_s),
            stolen_cpu_s: gone(self.stolen_cpu_s, before.stolen_cpu_s),
        }
    }
}

/// Takes down what the connections of one phase see.
#[derive(Debug)]
pub(crate) struct Ledger {
    end: Instant,
    // A std mutex, since nothing awaits inside.
    page: Mutex<Page>,
    /// The whole run, shared by its phases.
    pub(crate) timeline: Arc<Mutex<Timeline>>,
}

#[derive(Debug)]
struct Page {
    sent: u64,
    not_offered: u64,
    done: u64,
    latency: Histogram<u64>,
    lag: Histogram<u64>,
    refused: BTreeMap<u16, Histogram<u64>>,
    failed: BTreeMap<String, u64>,
    own: Timeline,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 120_000_000, 3).expect("the bounds are constants that fit")
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

impl Ledger {
    pub(crate) fn new(begin: Instant, end: Instant, timeline: Arc<Mutex<Timeline>>) -> Arc<Self> {
        let page = Page {
            sent: 0,
            not_offered: 0,
            done: 0,
            latency: histogram(),
            lag: histogram(),
            refused: BTreeMap::new(),
            failed: BTreeMap::new(),
            own: Timeline::new(begin),
        };
        Arc::new(Self { end, page: Mutex::new(page), timeline })
    }

    fn page(&self) -> MutexGuard<'_, Page> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many were stored so far.
    pub(crate) fn done(&self) -> u64 {
        self.page().done
    }

    /// The phase in steps of its own.
    pub(crate) fn timeline(&self) -> Timeline {
        self.page().own.clone()
    }

    /// What was found; who had the processors is the caller's to fill in.
    pub(crate) fn phase(&self, name: &'static str, at_s: f64, planned_per_s: f64, seconds: f64) -> Phase {
        let page = self.page();
        let per_s = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let mut turned_away = histogram();
        for (status, latency) in &page.refused {
            if matches!(status, 429 | 503) {
                turned_away.add(latency).expect("all histograms have the same bounds");
            }
        }
        Phase {
            name,
            at_s,
            seconds,
            planned_per_s,
            offered_per_s: per_s(page.sent),
            not_offered: page.not_offered,
            done: page.done,
            done_per_s: per_s(page.done),
            latency: Latency::of(&page.latency),
            refused: page.refused.iter().map(|(status, latency)| (*status, Latency::of(latency))).collect(),
            turned_away: Latency::of(&turned_away),
            failed: page.failed.clone(),
            lag: Latency::of(&page.lag),
            cpu: Cpu::default(),
        }
    }
}

impl Record for Ledger {
    /// A request counts from here on: most of an overload may still be without an answer in its end.
    fn begin(&self, planned: Instant, begun: Instant) {
        let mut page = self.page();
        page.sent += 1;
        page.lag.saturating_record(micros(begun - planned));
    }

    fn missed(&self) {
        self.page().not_offered += 1;
    }

    fn note(&self, planned: Instant, _: Instant, outcome: Outcome) {
        let ended = Instant::now();
        let mut page = self.page();
        let mut timeline = self.timeline.lock().unwrap_or_else(PoisonError::into_inner);
        let code = match outcome {
            Outcome::Done => {
                page.latency.saturating_record(micros(ended - planned));
                page.done += u64::from(ended < self.end);
                page.own.success(planned, ended);
                timeline.success(planned, ended);
                return;
            }
            Outcome::Refused(status) => {
                let refused = page.refused.entry(status).or_insert_with(histogram);
                refused.saturating_record(micros(ended - planned));
                status.to_string()
            }
            Outcome::Failed(what) => {
                let known = page.failed.len() < FAILURES_MAX || page.failed.contains_key(what);
                *page.failed.entry(if known { what } else { "others" }.to_owned()).or_default() += 1;
                what.to_owned()
            }
        };
        page.own.failure(&code, ended);
        timeline.failure(&code, ended);
    }
}
