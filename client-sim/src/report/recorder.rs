//! Latencies and failures while they happen.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::Instant;

use super::steps::Steps;
use super::{Kind, Latency, StepReport, Timeline};
use crate::client::Error;
use crate::schedule::{Pacer, Rate};

/// Latencies above count as this, in microseconds.
const LATENCY_MAX_US: u64 = 120_000_000;
/// Distinct failures that are told apart; the rest is summed up.
const ERRORS_MAX: usize = 64;

/// How often one failure happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorCount {
    /// In which operation.
    pub operation: &'static str,
    /// With which HTTP status; 0 where there was none.
    pub status: u16,
    /// The contract's code, or a word for what else went wrong.
    pub code: String,
    /// How often.
    pub count: u64,
    /// Whether the caller said beforehand that this may happen.
    pub allowed: bool,
}

/// Shared by all workers of a run.
#[derive(Debug)]
pub struct Recorder {
    from: Instant,
    completed: AtomicU64,
    verified: AtomicU64,
    // A std mutex, since nothing awaits inside and a record takes some tens of nanoseconds.
    recording: Mutex<Recording>,
}

/// What was recorded.
#[derive(Debug, Clone)]
pub struct Recording {
    /// Completed within the window, by kind.
    pub completed: [u64; Kind::ALL.len()],
    /// Microseconds from the planned start, of what was planned to start within the window, by kind.
    pub latency: Vec<Histogram<u64>>,
    /// Microseconds from the planned to the real start.
    pub lag: Histogram<u64>,
    /// The whole run in steps, warm-up included.
    pub timeline: Timeline,
    steps: Steps,
    /// Where the window ends; earlier than planned if the run was stopped.
    to: Instant,
    /// Microseconds of all that was done since the last look at it.
    lap: Histogram<u64>,
    errors: BTreeMap<(Kind, u16, String), u64>,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("the bounds are constants that fit")
}

impl Recorder {
    /// Records what belongs to the window `from..to` of a run that began at `origin`; failures are recorded whenever
    /// they happen.
    pub fn new(origin: Instant, from: Instant, to: Instant) -> Self {
        let recording = Recording {
            completed: [0; Kind::ALL.len()],
            latency: Kind::ALL.iter().map(|_| histogram()).collect(),
            lag: histogram(),
            timeline: Timeline::new(origin),
            steps: Steps::new(from, to, 0, &histogram()),
            to,
            lap: histogram(),
            errors: BTreeMap::new(),
        };
        Self {
            from,
            completed: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            recording: Mutex::new(recording),
        }
    }

    /// The same, with the window cut into so many steps of equal length.
    pub fn in_steps(self, count: usize) -> Self {
        let mut recording = self.lock();
        recording.steps = Steps::new(self.from, recording.to, count, &histogram());
        drop(recording);
        self
    }

    /// A success, planned, begun and done at these instants. Latency belongs to the window its planned start lies
    /// in, so that an operation that outlasts the window is not lost; throughput to the one it was done in.
    pub fn success(&self, kind: Kind, planned: Instant, begun: Instant, done: Instant) {
        self.completed.fetch_add(1, Ordering::Relaxed);
        let mut recording = self.lock();
        let (from, to) = (self.from, recording.to);
        let within = |at| from <= at && at < to;
        recording.lap.saturating_record(micros(done - planned));
        recording.timeline.success(planned, done);
        if done < to || planned < to {
            recording.steps.success(planned, done);
        }
        if within(done) {
            recording.completed[kind as usize] += 1;
        }
        if within(planned) {
            recording.latency[kind as usize].saturating_record(micros(done - planned));
            recording.lag.saturating_record(micros(begun - planned));
        }
    }

    /// A failure.
    pub fn failure(&self, kind: Kind, error: &Error) {
        let mut recording = self.lock();
        let mut key = (kind, error.status(), error.code());
        if recording.errors.len() >= ERRORS_MAX && !recording.errors.contains_key(&key) {
            key.2 = "others".to_owned();
        }
        recording.timeline.failure(&key.2, Instant::now());
        *recording.errors.entry(key).or_default() += 1;
    }

    /// Ends the window now, if it has not ended yet.
    pub fn close(&self) {
        let mut recording = self.lock();
        recording.to = recording.to.min(Instant::now());
    }

    /// The latency of all that was done since this was last asked for.
    pub fn lap(&self) -> Latency {
        let mut recording = self.lock();
        let lap = Latency::of(&recording.lap);
        recording.lap.reset();
        lap
    }

    /// Bytes compared and found equal.
    pub fn verified(&self, bytes: usize) {
        self.verified.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// All bytes found equal so far.
    pub fn verified_bytes(&self) -> u64 {
        self.verified.load(Ordering::Relaxed)
    }

    /// Successes so far, outside the window too; for showing progress.
    pub fn completed(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// A copy of what was recorded so far.
    pub fn recording(&self) -> Recording {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Recording> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recording {
    /// The failures, most telling first: unexpected before allowed.
    pub fn errors(&self, allowed: &[String]) -> Vec<ErrorCount> {
        let count = |((kind, status, code), count): (&(Kind, u16, String), &u64)| ErrorCount {
            operation: kind.name(),
            status: *status,
            code: code.clone(),
            count: *count,
            allowed: allowed.contains(code),
        };
        let mut errors: Vec<_> = self.errors.iter().map(count).collect();
        errors.sort_by_key(|error| (error.allowed, std::cmp::Reverse(error.count)));
        errors
    }

    /// The steps with the rates they were planned at.
    pub fn steps(&self, rates: &[f64]) -> Vec<StepReport> {
        self.steps.report(rates, self.to)
    }

    /// All kinds in one histogram.
    pub fn all(&self) -> Histogram<u64> {
        let mut all = histogram();
        for one in &self.latency {
            all.add(one).expect("all histograms have the same bounds");
        }
        all
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

/// Paces and records; every worker has one.
#[derive(Debug, Clone)]
pub struct Meter {
    /// Says when to start.
    pub pacer: Arc<Pacer>,
    /// Takes down what happened.
    pub recorder: Arc<Recorder>,
}

impl Meter {
    /// Starts at a rate from `origin` until the end of the window, and records what is of the window.
    pub fn new(rate: impl Into<Rate>, origin: Instant, window: Range<Instant>) -> Self {
        let rate = rate.into();
        let recorder = Recorder::new(origin, window.start, window.end);
        let recorder = match &rate {
            Rate::Free | Rate::Even(_) | Rate::Ramp { .. } => recorder,
            Rate::Steps(steps) => recorder.in_steps(steps.len()),
        };
        Self {
            pacer: Arc::new(Pacer::with_warmup(origin, window.start, window.end, &rate)),
            recorder: Arc::new(recorder),
        }
    }

    /// Ends the run now, if it has not ended yet.
    pub fn stop(&self) {
        self.pacer.stop();
        self.recorder.close();
    }

    /// Waits for its start, carries out one operation and records it.
    pub async fn measure<T>(
        &self,
        kind: Kind,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let planned = self.pacer.start().await;
        self.record(kind, planned, call).await
    }

    /// Carries out and records an operation whose start is already given.
    pub async fn record<T>(
        &self,
        kind: Kind,
        planned: Instant,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        let result = call.await;
        match &result {
            Ok(_) => self.recorder.success(kind, planned, begun, Instant::now()),
            Err(error) => self.recorder.failure(kind, error),
        }
        result
    }

    /// Records that an answered operation brought the wrong thing.
    pub fn wrong(&self, kind: Kind, error: Error) -> Error {
        self.recorder.failure(kind, &error);
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Latency;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn latency_counts_from_the_planned_start() {
        let origin = Instant::now();
        let end = origin + 1000 * MS;
        let meter = Meter::new(100.0, origin, origin..end);
        // One worker, one stall of 200 ms, then instant answers: the delayed starts are charged 190, 180, … ms.
        for at in 0..40 {
            let stall = if at == 0 { 200 * MS } else { Duration::ZERO };
            let call = async {
                tokio::time::sleep(stall).await;
                Ok(())
            };
            meter.measure(Kind::Send, call).await.unwrap();
        }
        let recording = meter.recorder.recording();
        let latency = Latency::of(&recording.latency[Kind::Send as usize]);
        assert_eq!(latency.count, 40);
        assert!((200_000..=201_000).contains(&latency.max_us), "{latency:?}");
        assert!((160_000..=161_000).contains(&latency.p90_us), "{latency:?}");
        let delayed = recording.latency[Kind::Send as usize].count_between(5_000, 201_000);
        assert_eq!(delayed, 20);
    }

    #[tokio::test(start_paused = true)]
    async fn what_outlasts_the_window_keeps_its_latency() {
        let origin = Instant::now();
        let recorder = Recorder::new(origin, origin, origin + 10 * MS);
        recorder.success(Kind::Send, origin + 9 * MS, origin + 9 * MS, origin + 500 * MS);
        recorder.success(Kind::Send, origin + 20 * MS, origin + 20 * MS, origin + 21 * MS);
        let recording = recorder.recording();
        assert_eq!(recording.completed[Kind::Send as usize], 0);
        assert_eq!(recording.latency[Kind::Send as usize].len(), 1);
        assert!(recording.all().max() >= 491_000);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_counted_by_code_and_bounded() {
        let origin = Instant::now();
        let recorder = Recorder::new(origin, origin, origin);
        for n in 0..500 {
            recorder.failure(Kind::Send, &Error::Refused { status: 400, code: format!("code{n}") });
        }
        recorder.failure(Kind::Send, &Error::Refused { status: 400, code: "code1".to_owned() });
        let errors = recorder.recording().errors(&["code0".to_owned()]);
        assert_eq!(errors.len(), ERRORS_MAX + 1);
        assert_eq!(errors.iter().map(|e| e.count).sum::<u64>(), 501);
        let allowed: Vec<_> = errors.iter().filter(|e| e.allowed).map(|e| e.code.as_str()).collect();
        assert_eq!(allowed, ["code0"]);
        assert_eq!(
            (errors[0].code.as_str(), errors[1].code.as_str(), errors[1].count),
            ("others", "code1", 2)
        );
    }
}
