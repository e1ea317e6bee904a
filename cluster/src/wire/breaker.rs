//! The circuit breaker of a link. No clock: the caller says what time it is.

use std::time::Duration;

use tokio::time::Instant;

/// Whether calls may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    /// They may; so many failed in a row.
    Closed {
        /// Failures since the last success.
        failures: u32,
    },
    /// They may not.
    Open {
        /// From when on one call may probe.
        until: Instant,
    },
    /// One call is out to see whether the peer answers again; the others may not.
    HalfOpen,
}

/// How a call passed the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Normal,
    /// The call decides whether the circuit closes.
    Probe,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self::Closed { failures: 0 }
    }

    /// Lets a call pass, or not.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Verdict> {
        match *self {
            Breaker::Closed { .. } => Some(Verdict::Normal),
            Breaker::Open { until } if now >= until => {
                *self = Breaker::HalfOpen;
                Some(Verdict::Probe)
            }
            Breaker::Open { .. } | Breaker::HalfOpen => None,
        }
    }

    /// The peer answered, or greeted.
    pub(super) fn succeed(&mut self) {
        *self = Self::new();
    }

    /// An attempt to connect failed, or a call timed out, or a probe failed.
    pub(super) fn fail(&mut self, now: Instant, failures_max: u32, cool_down: Duration) {
        match *self {
            Breaker::Closed { failures } if failures + 1 < failures_max => {
                *self = Breaker::Closed { failures: failures + 1 };
            }
            Breaker::Closed { .. } | Breaker::HalfOpen => *self = Breaker::Open { until: now + cool_down },
            Breaker::Open { .. } => {}
        }
    }

    /// The probe ended without telling anything: the next call may probe.
    pub(super) fn abandon(&mut self, now: Instant) {
        if *self == Breaker::HalfOpen {
            *self = Breaker::Open { until: now };
        }
    }

    /// Whether calls are refused, but for a probe.
    pub fn is_open(&self) -> bool {
        !matches!(self, Breaker::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOL: Duration = Duration::from_secs(1);

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new();
        (0..5).for_each(|_| breaker.fail(now, 5, COOL));
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn opens_after_failures_in_a_row_only() {
        let now = Instant::now();
        let mut breaker = Breaker::new();
        (0..4).for_each(|_| breaker.fail(now, 5, COOL));
        breaker.succeed();
        (0..4).for_each(|_| breaker.fail(now, 5, COOL));
        assert_eq!(breaker.admit(now), Some(Verdict::Normal));
        breaker.fail(now, 5, COOL);
        assert_eq!(breaker.admit(now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_at_a_time_after_the_cool_down() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.admit(now + COOL / 2), None);
        assert_eq!(breaker.admit(now + COOL), Some(Verdict::Probe));
        assert_eq!(breaker.admit(now + COOL), None);
        breaker.fail(now + COOL, 5, COOL);
        assert_eq!(breaker, Breaker::Open { until: now + COOL + COOL });
        assert_eq!(breaker.admit(now + COOL + COOL), Some(Verdict::Probe));
        breaker.succeed();
        assert_eq!(breaker.admit(now + COOL + COOL), Some(Verdict::Normal));
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_probe_makes_way_for_the_next() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.admit(now + COOL), Some(Verdict::Probe));
        breaker.abandon(now + COOL);
        assert_eq!(breaker.admit(now + COOL), Some(Verdict::Probe));
    }
}
