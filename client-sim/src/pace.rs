//! When operations start.
//!
//! In a closed loop a worker starts as soon as it is free. In an open loop the starts are fixed in advance, one every
//! 1/rate seconds whatever the servers do, and latency counts from the planned instant. A stalled server is thus
//! charged for all the starts it delayed, which is the correction for coordinated omission.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Hands out starts to all workers of one run.
#[derive(Debug)]
pub struct Pacer {
    origin: Instant,
    end: Instant,
    rate: Option<f64>,
    next: AtomicU64,
}

impl Pacer {
    /// Starts one operation every `1 / rate` seconds from `origin` up to `end`; with rate 0 whenever asked.
    pub fn new(origin: Instant, end: Instant, rate: f64) -> Self {
        Self { origin, end, rate: (rate > 0.0).then_some(rate), next: AtomicU64::new(0) }
    }

    /// Waits for the next start and returns its planned instant. After the end nothing is paced any more, so that
    /// what has been begun can be brought to its end.
    pub async fn start(&self) -> Instant {
        let now = Instant::now();
        let Some(rate) = self.rate else { return now };
        if now >= self.end {
            return now;
        }
        let slot = self.next.fetch_add(1, Ordering::Relaxed);
        let planned = self.origin + Duration::from_secs_f64(slot as f64 / rate);
        if planned > now {
            tokio::time::sleep_until(planned.min(self.end)).await;
        }
        planned.min(self.end)
    }

    /// Whether the end has come.
    pub fn over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// How many starts the plan held, and how many of them workers took; `None` in a closed loop.
    pub fn slots(&self) -> Option<(u64, u64)> {
        let planned = (self.rate? * (self.end - self.origin).as_secs_f64()).ceil() as u64;
        Some((planned, self.next.load(Ordering::Relaxed).min(planned)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn starts_are_evenly_spaced() {
        let origin = Instant::now();
        let pacer = Pacer::new(origin, origin + SECOND, 100.0);
        for slot in 0..100u32 {
            assert_eq!(pacer.start().await, origin + slot * Duration::from_millis(10));
            assert_eq!(Instant::now(), origin + slot * Duration::from_millis(10));
        }
        assert_eq!(pacer.slots(), Some((100, 100)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_charged_to_every_start_it_delayed() {
        let origin = Instant::now();
        let pacer = Pacer::new(origin, origin + SECOND, 100.0);
        pacer.start().await;
        tokio::time::advance(Duration::from_millis(500)).await;
        let late: Vec<_> = [pacer.start().await, pacer.start().await].map(|s| Instant::now() - s).to_vec();
        assert_eq!(late, [Duration::from_millis(490), Duration::from_millis(480)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_loop_starts_at_once() {
        let origin = Instant::now();
        let pacer = Pacer::new(origin, origin + SECOND, 0.0);
        assert_eq!(pacer.start().await, origin);
        assert_eq!(pacer.start().await, origin);
        assert_eq!(pacer.slots(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_beyond_the_end_comes_with_the_end() {
        let origin = Instant::now();
        let pacer = Pacer::new(origin, origin + SECOND, 1.0);
        assert_eq!(pacer.start().await, origin);
        assert_eq!(pacer.start().await, origin + SECOND);
        assert!(pacer.over());
    }

    #[tokio::test(start_paused = true)]
    async fn starts_nobody_could_take_show_up_as_missed() {
        let origin = Instant::now();
        let pacer = Pacer::new(origin, origin + SECOND, 10.0);
        pacer.start().await;
        tokio::time::advance(SECOND).await;
        assert!(pacer.over());
        assert_eq!(pacer.start().await, origin + SECOND);
        assert_eq!(pacer.slots(), Some((10, 1)));
    }
}
