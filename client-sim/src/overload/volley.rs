//! One phase: many lanes, a pace, and what came of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::lane::{Lane, Outcome};
use crate::pace::Pacer;
use crate::report::{Latency, Timeline};

/// A start that finds no free lane for so long is not made up for: it could not be offered.
const LATE_MAX: Duration = Duration::from_millis(50);
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
    /// Planned requests that were not sent, since all lanes waited for replies.
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
    pub(super) fn since(self, before: Self) -> Self {
        let gone = |now: Option<f64>, before: Option<f64>| Some(now? - before?);
        Self {
            generator_cpu_s: self.generator_cpu_s - before.generator_cpu_s,
            servers_cpu_s: gone(self.servers_cpu_s, before.servers_cpu_s),
            stolen_cpu_s: gone(self.stolen_cpu_s, before.stolen_cpu_s),
        }
    }
}

/// Takes down what the lanes of one phase see.
#[derive(Debug)]
pub(super) struct Ledger {
    end: Instant,
    // A std mutex, since nothing awaits inside.
    page: Mutex<Page>,
    /// The whole run, shared by its phases.
    pub(super) timeline: Arc<Mutex<Timeline>>,
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
    pub(super) fn new(begin: Instant, end: Instant, timeline: Arc<Mutex<Timeline>>) -> Arc<Self> {
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

    /// A request goes out. It counts from here on: most of an overload may still be without an answer in its end.
    fn begin(&self, planned: Instant, begun: Instant) {
        let mut page = self.page();
        page.sent += 1;
        page.lag.saturating_record(micros(begun - planned));
    }

    fn note(&self, planned: Instant, ended: Instant, outcome: Outcome) {
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

    /// How many were stored so far.
    pub(super) fn done(&self) -> u64 {
        self.page().done
    }

    /// The phase in steps of its own.
    pub(super) fn timeline(&self) -> Timeline {
        self.page().own.clone()
    }

    /// What was found; who had the processors is the caller's to fill in.
    pub(super) fn phase(&self, name: &'static str, at_s: f64, planned_per_s: f64, seconds: f64) -> Phase {
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

/// Sets lanes to work; each comes back once the pacer is over and its last request is answered.
pub(super) fn fly(
    lanes: Vec<Lane>,
    pacer: &Arc<Pacer>,
    ledger: &Arc<Ledger>,
    timeout: Duration,
) -> JoinSet<Lane> {
    let mut flying = JoinSet::new();
    for lane in lanes {
        flying.spawn(work(lane, pacer.clone(), ledger.clone(), timeout));
    }
    flying
}

/// Waits for lanes; those that are not back in time are given up.
pub(super) async fn land(mut flying: JoinSet<Lane>, patience: Duration) -> Vec<Lane> {
    let mut lanes = Vec::new();
    let all = async {
        while let Some(back) = flying.join_next().await {
            lanes.extend(back);
        }
    };
    let _ = tokio::time::timeout(patience, all).await;
    lanes
}

async fn work(mut lane: Lane, pacer: Arc<Pacer>, ledger: Arc<Ledger>, timeout: Duration) -> Lane {
    while !pacer.over() {
        let planned = pacer.start().await;
        if pacer.over() {
            break;
        }
        let begun = Instant::now();
        if begun.saturating_duration_since(planned) > LATE_MAX {
            ledger.page().not_offered += 1;
            continue;
        }
        ledger.begin(planned, begun);
        let outcome = match tokio::time::timeout(timeout, lane.fire()).await {
            Ok(outcome) => outcome,
            Err(_) => {
                lane.hang_up();
                Outcome::Failed("timeout")
            }
        };
        ledger.note(planned, Instant::now(), outcome);
        if let Outcome::Failed("connect") = outcome {
            // Trying again at once would only burn the servers' processor.
            tokio::time::sleep(LATE_MAX).await;
        }
    }
    lane
}
