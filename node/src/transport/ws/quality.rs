//! How good a connection is, from its pings.

use std::time::Duration;

use serde::Serialize;

/// Pings that have to go unanswered in a row before a connection is given up.
pub(super) const MISSES_MAX: u32 = 3;

/// The bounds of the ping interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// For a bad connection.
    pub min: Duration,
    /// For a good one.
    pub max: Duration,
}

impl Interval {
    /// For how long one side may be silent, however often it was pinged meanwhile: as long as after the longest interval. A
    /// process that was stopped for half a minute, as a laptop is when its lid is closed for a moment, still has its socket.
    pub(super) fn patience(self) -> Duration {
        self.max + self.min * MISSES_MAX
    }
}

/// What is known of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Quality)]
pub struct Report {
    /// Mean round trip in milliseconds.
    pub rtt_ms: f64,
    /// Mean difference between two round trips that follow each other, in milliseconds (RFC 3550, section 6.4.1).
    pub jitter_ms: f64,
    /// The share of lost pings, 0 to 1.
    pub loss: f64,
    /// 0 to 1; 1 is best.
    pub score: f64,
}

/// Follows one connection.
#[derive(Debug)]
pub(super) struct Quality {
    bounds: Interval,
    interval: Duration,
    rtt_ms: Option<f64>,
    last_ms: f64,
    jitter_ms: f64,
    loss: f64,
    misses: u32,
}

impl Quality {
    pub(super) fn new(bounds: Interval) -> Self {
        // Three of the shortest: a connection proves itself before it is left alone for long.
        let interval = (bounds.min * 3).min(bounds.max);
        Self { bounds, interval, rtt_ms: None, last_ms: 0.0, jitter_ms: 0.0, loss: 0.0, misses: 0 }
    }

    /// After what time the next ping is due.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// The shortest time between two pings.
    pub(super) fn shortest(&self) -> Duration {
        self.bounds.min
    }

    /// A ping was answered.
    pub(super) fn answered(&mut self, took: Duration) {
        let ms = took.as_secs_f64() * 1000.0;
        match &mut self.rtt_ms {
            None => self.rtt_ms = Some(ms),
            Some(mean) => {
                *mean += (ms - *mean) / 8.0;
                self.jitter_ms += ((ms - self.last_ms).abs() - self.jitter_ms) / 16.0;
            }
        }
        self.last_ms = ms;
        self.loss -= self.loss / 8.0;
        self.misses = 0;
        self.adapt();
    }

    /// A ping was not answered before the next was due, and nothing was heard for `silent`; true if that was one too many.
    pub(super) fn missed(&mut self, silent: Duration) -> bool {
        self.loss += (1.0 - self.loss) / 8.0;
        self.misses += 1;
        self.interval = self.bounds.min;
        self.misses >= MISSES_MAX && silent >= self.bounds.patience()
    }

    /// After what time an unanswered ping is repeated, or given up.
    pub(super) fn again(&self, silent: Duration) -> Duration {
        match self.bounds.patience().saturating_sub(silent) {
            Duration::ZERO => self.bounds.min,
            left => left.min(self.bounds.min),
        }
    }

    /// Something else was heard: the client lives, though a ping may be lost.
    pub(super) fn heard(&mut self) {
        self.misses = 0;
    }

    pub(super) fn report(&self) -> Report {
        let rtt_ms = self.rtt_ms.unwrap_or(0.0);
        // Each falls from 1 towards 0: half at 300 ms of round trip, at 100 ms of jitter; loss counts twice.
        let score =
            1.0 / (1.0 + rtt_ms / 300.0) / (1.0 + self.jitter_ms / 100.0) * (1.0 - 2.0 * self.loss).max(0.0);
        Report { rtt_ms, jitter_ms: self.jitter_ms, loss: self.loss, score }
    }

    /// Good connections are asked ever more rarely, bad ones ever more often.
    fn adapt(&mut self) {
        let score = self.report().score;
        let Interval { min, max } = self.bounds;
        let next = match score {
            score if score >= 0.7 => self.interval.mul_f64(1.5),
            score if score < 0.4 => self.interval / 2,
            _ => self.interval,
        };
        self.interval = next.clamp(min, max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Interval = Interval { min: Duration::from_secs(5), max: Duration::from_secs(60) };

    #[test]
    fn a_good_connection_is_left_alone() {
        let mut quality = Quality::new(BOUNDS);
        assert_eq!(quality.interval(), Duration::from_secs(15));
        for _ in 0..10 {
            quality.answered(Duration::from_millis(20));
        }
        assert_eq!(quality.interval(), BOUNDS.max);
        let report = quality.report();
        assert!(report.score > 0.9 && report.loss == 0.0 && (report.rtt_ms - 20.0).abs() < 0.001);
    }

    #[test]
    fn a_bad_one_is_watched() {
        let mut quality = Quality::new(BOUNDS);
        for turn in 0..20 {
            quality.answered(Duration::from_millis(if turn % 2 == 0 { 50 } else { 1500 }));
        }
        assert_eq!(quality.interval(), BOUNDS.min);
        assert!(quality.report().score < 0.2, "{:?}", quality.report());
    }

    const LONG: Duration = Duration::from_secs(75);

    #[test]
    fn three_misses_in_a_row_are_the_end() {
        let mut quality = Quality::new(BOUNDS);
        assert!(!quality.missed(LONG));
        assert_eq!(quality.interval(), BOUNDS.min);
        assert!(!quality.missed(LONG));
        quality.heard();
        assert!(!quality.missed(LONG));
        quality.answered(Duration::from_millis(1));
        assert!(quality.report().loss > 0.2);
        assert_eq!((quality.missed(LONG), quality.missed(LONG), quality.missed(LONG)), (false, false, true));
    }

    #[test]
    fn who_slept_for_a_while_is_waited_for_and_no_longer_than_that() {
        let bounds = Interval { min: Duration::from_secs(5), max: Duration::from_secs(25) };
        let mut quality = Quality::new(bounds);
        // It fell silent right after the connection began: pings after 15 s, 20 s, and so on.
        let mut silent = quality.interval();
        loop {
            silent += quality.again(silent);
            if quality.missed(silent) {
                break;
            }
        }
        assert_eq!(silent, Duration::from_secs(40));
    }
}
