//! When operations start: at a fixed rate, and without a burst after a pause.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

/// Hands out starts to all clients of a run.
#[derive(Debug)]
pub(super) struct Starts {
    every: Duration,
    // A std mutex, since nothing awaits inside.
    next: Mutex<Instant>,
}

/// What may be caught up on. Starts that nobody could take for longer are left out: an unlike [`crate::pace`], nothing is
/// measured here that would have to be charged with them.
const SLACK: Duration = Duration::from_millis(100);

impl Starts {
    pub(super) fn new(rate: f64) -> Self {
        let every = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::ZERO);
        Self { every, next: Mutex::new(Instant::now()) }
    }

    pub(super) async fn next(&self) {
        let start = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let start = (*next).max(Instant::now().checked_sub(SLACK).unwrap_or(*next));
            *next = start + self.every;
            start
        };
        tokio::time::sleep_until(start).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_not_made_up_for() {
        let starts = Starts::new(100.0);
        tokio::time::advance(Duration::from_secs(10)).await;
        let resumed = Instant::now();
        for _ in 0..10 {
            starts.next().await;
        }
        assert_eq!(Instant::now(), resumed);
        for _ in 0..10 {
            starts.next().await;
        }
        assert_eq!(Instant::now() - resumed, Duration::from_millis(90));
    }
}
