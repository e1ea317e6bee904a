//! The window cut into the plan's steps, each at its own rate.

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::{Duration, Instant};

use super::Latency;

/// One step of a plan whose rate goes up, or down, in steps.
#[derive(Debug, Clone, Serialize)]
pub struct StepReport {
    /// Planned operations per second.
    pub rate: f64,
    /// Completed within the step.
    pub operations: u64,
    /// The same per second.
    pub per_s: f64,
    /// Of those that were to start within the step.
    pub latency: Latency,
}

/// Steps of equal length while they happen; none where the plan has none.
#[derive(Debug, Clone)]
pub(super) struct Steps {
    from: Instant,
    length: Duration,
    steps: Vec<(u64, Histogram<u64>)>,
}

impl Steps {
    pub(super) fn new(from: Instant, to: Instant, count: usize, empty: &Histogram<u64>) -> Self {
        let length = (to - from) / count.max(1) as u32;
        Self { from, length, steps: vec![(0, empty.clone()); count] }
    }

    /// A success within the window, as far as `planned` and `done` lie in it.
    pub(super) fn success(&mut self, planned: Instant, done: Instant) {
        if self.steps.is_empty() {
            return;
        }
        if let Some((completed, _)) = self.at(done) {
            *completed += 1;
        }
        if let Some((_, latency)) = self.at(planned) {
            latency.saturating_record((done - planned).as_micros() as u64);
        }
    }

    fn at(&mut self, instant: Instant) -> Option<&mut (u64, Histogram<u64>)> {
        let since = instant.checked_duration_since(self.from)?;
        self.steps.get_mut((since.as_nanos() / self.length.as_nanos().max(1)) as usize)
    }

    /// What was found up to `end`, which cuts the step it lies in short; later ones are left out.
    pub(super) fn report(&self, rates: &[f64], end: Instant) -> Vec<StepReport> {
        let lasted = end.saturating_duration_since(self.from);
        let step = |(number, (rate, (operations, latency))): (u32, (&f64, &(u64, Histogram<u64>)))| {
            let seconds = lasted.checked_sub(self.length * number)?.min(self.length).as_secs_f64();
            (seconds > 0.0).then(|| StepReport {
                rate: *rate,
                operations: *operations,
                per_s: *operations as f64 / seconds,
                latency: Latency::of(latency),
            })
        };
        (0..).zip(rates.iter().zip(&self.steps)).filter_map(step).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_step_has_the_latency_of_its_starts_and_the_rate_of_its_ends() {
        let from = Instant::now();
        let at = |ms| from + Duration::from_millis(ms);
        let empty = Histogram::new(3).unwrap();
        let mut steps = Steps::new(from, at(2000), 2, &empty);
        steps.success(at(100), at(200));
        steps.success(at(900), at(1100));
        steps.success(at(1900), at(2100));
        let report = steps.report(&[1.0, 2.0], at(1500));
        assert_eq!(report.iter().map(|step| step.operations).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(report.iter().map(|step| step.latency.count).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(report.iter().map(|step| step.per_s).collect::<Vec<_>>(), [1.0, 2.0]);
        assert_eq!(steps.report(&[1.0, 2.0], at(1000)).len(), 1);
    }
}
