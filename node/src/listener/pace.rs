//! Whether a client takes what it is sent: a deadline for any progress, and a floor for its rate.
//!
//! Only the time counts in which something waits to be written. A connection that is idle, or an event stream with nothing
//! to say, is never slow. The system keeps little unsent (`super::prepare`), so that what it accepts tells what the client
//! took. [`Pace`] is pure; [`Watch`] adds the timer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::admission::buffers::Pressure;

/// A client that takes nothing for so long is given up.
const STALLED_MAX: Duration = Duration::from_secs(30);
/// The same while this node holds more for its connections than it should.
const STALLED_MAX_PRESSED: Duration = Duration::from_secs(1);
/// Over so long a rate is measured.
const WINDOW: Duration = Duration::from_secs(60);
/// A client that takes less within [`WINDOW`], while there was always more for it, is given up: 512 bytes a second. The
/// slowest honest link, at 8 kB a second, takes sixteen times as much.
const WINDOW_BYTES_MIN: u64 = 512 * 60;

/// How one client takes what waits for it.
#[derive(Debug, Default)]
struct Pace(Option<Blocked>);

/// Something waits to be written.
#[derive(Debug, Clone, Copy)]
struct Blocked {
    /// When the present window began, and what was taken in it.
    since: Instant,
    bytes: u64,
    /// When the client last took something.
    progress: Instant,
}

impl Pace {
    /// Something waits to be written.
    fn blocked(&mut self, now: Instant) {
        self.0.get_or_insert(Blocked { since: now, bytes: 0, progress: now });
    }

    fn wrote(&mut self, bytes: usize, now: Instant) {
        if let Some(blocked) = &mut self.0 {
            blocked.bytes += bytes as u64;
            blocked.progress = now;
        }
    }

    /// Nothing waits any more.
    fn done(&mut self) {
        self.0 = None;
    }

    /// By when it is to be looked at again; `None` if the client is given up.
    fn shedder(&mut self, pressure: Pressure, now: Instant) -> Option<Instant> {
        let stalled_max = match pressure {
            Pressure::Low => STALLED_MAX,
            Pressure::High => STALLED_MAX_PRESSED,
            Pressure::Critical => return self.0.is_none().then_some(now + STALLED_MAX_PRESSED),
        };
        let Some(blocked) = &mut self.0 else { return Some(now + STALLED_MAX) };
        if now - blocked.since >= WINDOW {
            if blocked.bytes < WINDOW_BYTES_MIN {
                return None;
            }
            (blocked.since, blocked.bytes) = (now, 0);
        }
        let stalled = blocked.progress + stalled_max;
        // Pressure may come at any time, so it is looked for each second.
        (stalled > now).then(|| stalled.min(blocked.since + WINDOW).min(now + STALLED_MAX_PRESSED))
    }
}

/// A [`Pace`] with a timer that wakes whoever writes.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pace: Pace,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    pub(super) fn wrote(&mut self, bytes: usize) {
        if self.pace.0.is_some() {
            self.pace.wrote(bytes, Instant::now());
        }
    }

    /// Whether something waits to be written.
    pub(super) fn is_blocked(&self) -> bool {
        self.pace.0.is_some()
    }

    /// All was written.
    pub(super) fn done(&mut self) {
        self.pace.done();
        self.timer = None;
    }

    /// Something could not be written now. Ready if its client is given up; if not, the task is woken in time.
    pub(super) fn poll_blocked(&mut self, cx: &mut Context<'_>, pressure: Pressure) -> Poll<()> {
        let now = Instant::now();
        self.pace.blocked(now);
        let Some(next) = self.pace.shedder(pressure, now) else { return Poll::Ready(()) };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
        while timer.as_mut().poll(cx).is_ready() {
            timer.as_mut().reset(next);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a client lives that takes `bytes` every `every`, at the most two hours.
    fn life(bytes: usize, every: Duration, pressure: Pressure) -> Duration {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        let (mut now, mut next_read) = (begin, begin + every);
        pace.blocked(now);
        while now - begin < Duration::from_secs(7200) {
            let Some(look) = pace.shedder(pressure, now) else { break };
            assert!(look > now, "time goes on");
            now = look.min(next_read);
            if now == next_read {
                pace.wrote(bytes, now);
                next_read += every;
            }
        }
        now - begin
    }

    const DAY: Duration = Duration::from_secs(86_400);
    const LONG: Duration = Duration::from_secs(7200);

    #[test]
    fn a_client_that_takes_nothing_is_given_up() {
        assert_eq!(life(0, DAY, Pressure::Low), STALLED_MAX);
        assert_eq!(life(0, DAY, Pressure::High), STALLED_MAX_PRESSED);
        assert_eq!(life(0, DAY, Pressure::Critical), Duration::ZERO);
    }

    #[test]
    fn a_trickle_is_given_up_after_a_window() {
        assert_eq!(life(64, Duration::from_secs(1), Pressure::Low), WINDOW);
        assert_eq!(life(4096, Duration::from_secs(20), Pressure::Low), WINDOW);
    }

    #[test]
    fn a_slow_link_lives() {
        // 8 kB a second, seen in steps of half of what the system keeps unsent.
        assert!(life(64 << 10, Duration::from_secs(8), Pressure::Low) >= LONG);
        assert!(life(8_000, Duration::from_secs(1), Pressure::High) >= LONG);
    }

    #[test]
    fn time_without_anything_to_write_does_not_count() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        pace.blocked(begin);
        pace.done();
        assert!(pace.shedder(Pressure::Low, begin + DAY).is_some());
        pace.blocked(begin + DAY);
        assert!(pace.shedder(Pressure::Low, begin + DAY + STALLED_MAX / 2).is_some());
        assert!(pace.shedder(Pressure::Low, begin + DAY + STALLED_MAX).is_none());
    }
}
