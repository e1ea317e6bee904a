//! How long to wait between attempts to connect.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Pauses between attempts: doubling, with jitter from a seed.
pub(super) struct Backoff {
    chance: SmallRng,
    next: Duration,
    min: Duration,
    max: Duration,
}

impl Backoff {
    pub(super) fn new(seed: u64, min: Duration, max: Duration) -> Self {
        Self { chance: SmallRng::seed_from_u64(seed), next: min, min, max }
    }

    /// Between half of the pause and all of it.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next.mul_f64(self.chance.random_range(0.5..=1.0));
        self.next = (self.next * 2).min(self.max);
        pause
    }

    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_repeat_with_the_seed() {
        let pauses = |seed| {
            let mut backoff = Backoff::new(seed, Duration::from_millis(20), Duration::from_secs(1));
            (0..10).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        let mut longest = Duration::from_millis(20);
        for pause in pauses(1) {
            assert!(pause >= longest / 2 && pause <= longest, "{pause:?} of {longest:?}");
            longest = (longest * 2).min(Duration::from_secs(1));
        }
        assert_eq!(pauses(1), pauses(1));
        assert_ne!(pauses(1), pauses(2));
    }
}
