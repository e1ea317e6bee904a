//! Latency, throughput and failures over time: the run cut into steps of equal length.
//!
//! Nobody has to know beforehand how long a run lasts: when there are too many steps, each two become one of twice the
//! length.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::Instant;

/// Steps of one run.
const STEPS_MAX: usize = 600;
/// The shortest step.
const STEP_MIN: Duration = Duration::from_millis(250);
/// Distinct failures that one step tells apart; the rest is summed up.
const CODES_MAX: usize = 8;

/// What happened in one step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moment {
    /// Where the step begins, in seconds after the run's origin, the warm-up included.
    pub at_s: f64,
    /// Operations completed in it, per second.
    pub per_s: f64,
    /// The median latency of those planned to start in it, in microseconds; 0 where there were none.
    pub p50_us: u64,
    /// 99 % of them were no slower.
    pub p99_us: u64,
    /// The slowest of them.
    pub max_us: u64,
    /// Failures that ended in it, by code.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
}

/// The steps of a run while it goes on.
#[derive(Debug, Clone)]
pub struct Timeline {
    origin: Instant,
    step: Duration,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
struct Step {
    completed: u64,
    latency: Histogram<u64>,
    errors: BTreeMap<String, u64>,
}

impl Timeline {
    /// Begins at `origin`.
    pub const fn new(origin: Instant) -> Self {
        Self { origin, step: STEP_MIN, steps: Vec::new() }
    }

    /// A success.
    pub fn success(&mut self, planned: Instant, done: Instant) {
        self.at(done).completed += 1;
        let latency = (done - planned).as_micros() as u64;
        self.at(planned).latency.record(latency).expect("a histogram that resizes takes any value");
    }

    /// A failure.
    pub fn failure(&mut self, code: &str, ended: Instant) {
        self.at(ended).fail(code, 1);
    }

    /// All steps so far, empty ones included.
    pub fn moments(&self) -> Vec<Moment> {
        let step_s = self.step.as_secs_f64();
        let moment = |(number, step): (usize, &Step)| Moment {
            at_s: number as f64 * step_s,
            per_s: step.completed as f64 / step_s,
            p50_us: step.latency.value_at_quantile(0.5),
            p99_us: step.latency.value_at_quantile(0.99),
            max_us: step.latency.max(),
            errors: step.errors.clone(),
        };
        self.steps.iter().enumerate().map(moment).collect()
    }

    fn at(&mut self, instant: Instant) -> &mut Step {
        let elapsed = instant.saturating_duration_since(self.origin).as_micros();
        while elapsed / self.step.as_micros() >= STEPS_MAX as u128 {
            self.coarsen();
        }
        let number = (elapsed / self.step.as_micros()) as usize;
        if self.steps.len() <= number {
            self.steps.resize_with(number + 1, Step::new);
        }
        &mut self.steps[number]
    }

    fn coarsen(&mut self) {
        self.step *= 2;
        let mut steps = std::mem::take(&mut self.steps).into_iter();
        while let Some(mut step) = steps.next() {
            if let Some(next) = steps.next() {
                step.add(next);
            }
            self.steps.push(step);
        }
    }
}

impl Step {
    fn new() -> Self {
        let latency = Histogram::new(2).expect("two digits are a legal precision");
        Self { completed: 0, latency, errors: BTreeMap::new() }
    }

    fn add(&mut self, other: Self) {
        self.completed += other.completed;
        self.latency.add(&other.latency).expect("a histogram that resizes takes any other");
        for (code, count) in other.errors {
            self.fail(&code, count);
        }
    }

    fn fail(&mut self, code: &str, count: u64) {
        let known = self.errors.len() < CODES_MAX || self.errors.contains_key(code);
        *self.errors.entry(if known { code } else { "others" }.to_owned()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_operation_is_slow_where_it_began_and_done_where_it_ended() {
        let origin = Instant::now();
        let mut timeline = Timeline::new(origin);
        timeline.success(origin + Duration::from_millis(100), origin + Duration::from_millis(600));
        let moments = timeline.moments();
        assert_eq!(moments.len(), 3);
        assert_eq!((moments[0].per_s, moments[1].per_s, moments[2].per_s), (0.0, 0.0, 4.0));
        assert!((499_000..=504_000).contains(&moments[0].max_us));
        assert_eq!(moments[2].max_us, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_run_has_longer_steps_and_loses_nothing() {
        let origin = Instant::now();
        let mut timeline = Timeline::new(origin);
        for second in 0..6000 {
            let at = origin + Duration::from_secs(second);
            timeline.success(at, at + Duration::from_millis(10));
        }
        timeline.failure("late", origin + Duration::from_secs(5999));
        let moments = timeline.moments();
        assert_eq!((moments.len(), moments[1].at_s), (375, 16.0));
        assert!(moments.iter().all(|moment| moment.per_s == 1.0 && moment.p50_us >= 10_000));
        assert_eq!(moments[374].errors["late"], 1);
    }

    #[tokio::test(start_paused = true)]
    async fn codes_are_bounded() {
        let origin = Instant::now();
        let mut timeline = Timeline::new(origin);
        for code in 0..100 {
            timeline.failure(&format!("code{code}"), origin);
        }
        let errors = &timeline.moments()[0].errors;
        assert_eq!(errors.len(), CODES_MAX + 1);
        assert_eq!(errors.values().sum::<u64>(), 100);
    }
}
