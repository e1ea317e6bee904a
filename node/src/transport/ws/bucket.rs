//! How fast one connection may send.

use std::time::Duration;

use tokio::time::Instant;

/// How many refusals a client is forgiven, in seconds of its message rate.
const PATIENCE_SECONDS: f64 = 2.0;
/// Frames a message may come in on average, control frames included, before it is a flood.
const FRAMES_PER_MESSAGE: f64 = 10.0;

/// A token bucket: `rate` a second, and a second's worth at once.
#[derive(Debug, Clone)]
struct Bucket {
    rate: f64,
    full: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: f64, full: f64, now: Instant) -> Self {
        Self { rate, full, level: full, at: now }
    }

    /// Takes `cost` out, if there is so much.
    fn take(&mut self, cost: f64, now: Instant) -> bool {
        let gone = now.saturating_duration_since(self.at);
        self.level = (self.level + gone.as_secs_f64() * self.rate).min(self.full);
        self.at = now;
        // What costs nothing fits though something is owed.
        let fits = cost == 0.0 || self.level >= cost;
        if fits {
            self.level -= cost;
        }
        fits
    }

    /// Takes `cost` out though there may be less; says after what time nothing is owed any more.
    fn owe(&mut self, cost: f64, now: Instant) -> Duration {
        self.take(0.0, now);
        self.level -= cost;
        Duration::from_secs_f64((-self.level / self.rate).max(0.0))
    }
}

/// How fast a connection may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Messages a second.
    pub messages_per_second: u32,
    /// Bytes of messages a second.
    pub bytes_per_second: u32,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is heard.
    ConnectionPermit,
    /// It is answered with `rate_limited`.
    Refuse,
    /// The client was told often enough.
    End,
}

/// Counts one connection's messages.
#[derive(Debug)]
pub(super) struct Throttle {
    messages: Bucket,
    bytes: Bucket,
    frames: Bucket,
    patience: Bucket,
}

impl Throttle {
    /// `message_bytes_max` must pass in one piece, however low the rate is.
    pub(super) fn new(rates: Rates, message_bytes_max: usize, now: Instant) -> Self {
        let messages = f64::from(rates.messages_per_second);
        let bytes = f64::from(rates.bytes_per_second);
        let frames = messages * FRAMES_PER_MESSAGE;
        Self {
            messages: Bucket::new(messages, messages, now),
            bytes: Bucket::new(bytes, bytes.max(message_bytes_max as f64), now),
            frames: Bucket::new(frames, frames, now),
            patience: Bucket::new(messages / 10.0, messages * PATIENCE_SECONDS, now),
        }
    }

    /// Judges a message.
    pub(super) fn message(&mut self, len: usize, now: Instant) -> Verdict {
        if self.messages.take(1.0, now) && self.bytes.take(len as f64, now) {
            Verdict::ConnectionPermit
        } else if self.patience.take(1.0, now) {
            Verdict::Refuse
        } else {
            Verdict::End
        }
    }

    /// Counts a message that is heard in any case. The connection is to be read again after the time returned, so that TCP
    /// slows the client down.
    pub(super) fn delay(&mut self, len: usize, now: Instant) -> Duration {
        self.messages.owe(1.0, now).max(self.bytes.owe(len as f64, now))
    }

    /// Counts bytes that were discarded; the connection is to be read again after the time returned.
    pub(super) fn discard(&mut self, len: u64, now: Instant) -> Duration {
        if len == 0 { Duration::ZERO } else { self.bytes.owe(len as f64, now) }
    }

    /// Whether the connection may go on after so many frames of whatever kind.
    pub(super) fn frames(&mut self, count: u64, now: Instant) -> bool {
        count == 0 || self.frames.take(count as f64, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A_SECOND: Duration = Duration::from_secs(1);

    fn throttle(now: Instant) -> Throttle {
        Throttle::new(Rates { messages_per_second: 10, bytes_per_second: 1000 }, 2000, now)
    }

    #[test]
    fn a_second_s_worth_passes_and_comes_back() {
        let now = Instant::now();
        let mut throttle = throttle(now);
        let passed = (0..30).filter(|_| throttle.message(1, now) == Verdict::ConnectionPermit).count();
        assert_eq!(passed, 10);
        let later = now + Duration::from_millis(500);
        let passed = (0..30).filter(|_| throttle.message(1, later) == Verdict::ConnectionPermit).count();
        assert_eq!(passed, 5);
    }

    #[test]
    fn bytes_are_counted_and_the_largest_message_passes() {
        let now = Instant::now();
        let mut throttle = throttle(now);
        assert_eq!(throttle.message(2000, now), Verdict::ConnectionPermit);
        assert_eq!(throttle.message(1, now), Verdict::Refuse);
        assert_eq!(throttle.message(900, now + A_SECOND), Verdict::ConnectionPermit);
    }

    #[test]
    fn who_does_not_listen_is_ended() {
        let now = Instant::now();
        let mut throttle = throttle(now);
        let verdicts: Vec<_> = (0..31).map(|_| throttle.message(1, now)).collect();
        assert_eq!(verdicts[10..30], [Verdict::Refuse; 20]);
        assert_eq!(verdicts[30], Verdict::End);
    }

    #[test]
    fn who_is_delayed_comes_to_the_rate() {
        let mut now = Instant::now();
        let began = now;
        let mut throttle = throttle(now);
        for _ in 0..50 {
            now += throttle.delay(1, now);
        }
        assert_eq!((now - began).as_secs_f64().round(), 4.0, "ten at once, then ten a second");
        assert_eq!(throttle.delay(2000, now + 4 * A_SECOND), Duration::ZERO);
        assert_eq!(throttle.discard(500, now + 4 * A_SECOND).as_secs_f64().round(), 1.0);
        assert_eq!(throttle.discard(0, now + 4 * A_SECOND), Duration::ZERO);
    }

    #[test]
    fn frames_are_bounded_too() {
        let now = Instant::now();
        let mut throttle = throttle(now);
        assert!(throttle.frames(100, now));
        assert!(!throttle.frames(1, now));
        assert!(throttle.frames(0, now));
    }
}
