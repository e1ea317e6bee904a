//! Whether more comes than can be carried out, told from a burst that only takes its time.
//!
//! What a new command would wait for is foreseen: those before it, by the pace of the last answers (Little's law).
//! A burst may fill the queue up to where its last command would just make its deadline. Where the queue has stood for
//! longer than a burst takes to pass, it is kept short: a long one carries out no more, and everybody waits longer
//! (the thought behind CoDel, RFC 8289, section 3). No clock but the instants it is given.

use std::time::Duration;

use tokio::time::Instant;

/// Over at least so long a pace is measured.
const SLOT: Duration = Duration::from_millis(500);
/// What a command of a burst may be foreseen to wait for, as a share of its deadline.
const BURST_SHARE: f64 = 0.6;
/// What a command may be foreseen to wait for when the queue has stood for [`STANDING`].
const WAIT_MAX: Duration = Duration::from_secs(1);
/// So few are never too many, however slow they are: a handful of clients with some requests each.
const FEW: usize = 256;
/// A queue that is longer than [`WAIT_MAX`] for so long is no burst.
const STANDING: Duration = Duration::from_secs(2);
/// For so long after it the queue is kept short, whatever comes.
const MEMORY: Duration = Duration::from_secs(5);

/// The pace of answers, and what has become of the queue at it.
#[derive(Debug)]
pub struct Strain {
    /// What a command of a burst may be foreseen to wait for, in seconds.
    burst_wait_max: f64,
    /// Since when the present slot lasts, and the answers within it.
    slot: Option<(Instant, usize)>,
    /// Answers a second in the last whole slot in which there was always something to answer.
    per_second: Option<f64>,
    /// Since when the queue is too long to stay so.
    standing: Option<Instant>,
    /// Until when it is kept short.
    short_until: Option<Instant>,
}

impl Strain {
    /// For what is given up after `deadline`.
    pub fn new(deadline: Duration) -> Self {
        let burst_wait_max = deadline.as_secs_f64() * BURST_SHARE;
        Self { burst_wait_max, slot: None, per_second: None, standing: None, short_until: None }
    }

    /// The first command after a pause: a pace with pauses in it would say nothing.
    pub fn begin(&mut self, now: Instant) {
        self.slot = Some((now, 0));
        self.per_second = None;
        self.standing = None;
    }

    /// So many were answered.
    pub fn answered(&mut self, count: usize, now: Instant) {
        let Some((since, answered)) = &mut self.slot else { return };
        *answered += count;
        let lasted = now - *since;
        if lasted >= SLOT {
            self.per_second = Some(*answered as f64 / lasted.as_secs_f64());
            self.slot = Some((now, 0));
        }
    }

    /// Nobody has waited for long.
    pub fn ease(&mut self, now: Instant) {
        self.standing = None;
        self.short_until = self.short_until.filter(|until| *until > now);
    }

    /// Whether one more may join so many that are open.
    pub fn bears(&mut self, open: usize, now: Instant) -> bool {
        let Some(per_second) = self.per_second.filter(|_| open >= FEW) else { return true };
        let wait = open as f64 / per_second.max(1.0);
        if wait <= WAIT_MAX.as_secs_f64() {
            self.ease(now);
            return true;
        }
        let since = *self.standing.get_or_insert(now);
        if now - since >= STANDING || self.short_until.is_some_and(|until| until > now) {
            self.short_until = Some(now + MEMORY);
            return false;
        }
        wait <= self.burst_wait_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    /// Answers a thousand a second from `now` on, for so many ticks.
    fn work(strain: &mut Strain, now: &mut Instant, ticks: u32) {
        for _ in 0..ticks {
            *now += TICK;
            strain.answered(100, *now);
        }
    }

    fn working() -> (Strain, Instant) {
        let (mut strain, mut now) = (Strain::new(Duration::from_secs(5)), Instant::now());
        strain.begin(now);
        work(&mut strain, &mut now, 10);
        (strain, now)
    }

    #[test]
    fn without_a_pace_everything_is_borne() {
        let mut strain = Strain::new(Duration::from_secs(5));
        strain.begin(Instant::now());
        assert!(strain.bears(1_000_000, Instant::now()));
    }

    #[test]
    fn a_burst_may_take_as_long_as_its_deadline_lets_it() {
        let (mut strain, now) = working();
        assert!(strain.bears(2990, now));
        assert!(!strain.bears(3010, now));
        assert!(strain.bears(2990, now), "it was the length, not the one before it");
    }

    #[test]
    fn a_queue_that_stands_is_kept_short() {
        let (mut strain, mut now) = working();
        for _ in 0..20 {
            assert!(strain.bears(2900, now));
            work(&mut strain, &mut now, 1);
        }
        assert!(!strain.bears(2900, now));
        assert!(strain.bears(990, now));
        assert!(!strain.bears(2900, now), "and stays so");
    }

    #[test]
    fn after_a_while_of_calm_another_burst_is_borne() {
        let (mut strain, mut now) = working();
        strain.bears(2900, now);
        work(&mut strain, &mut now, 21);
        assert!(!strain.bears(2900, now));
        for _ in 0..51 {
            assert!(strain.bears(500, now));
            work(&mut strain, &mut now, 1);
        }
        assert!(strain.bears(2900, now));
    }

    #[test]
    fn a_few_are_borne_at_any_pace() {
        let (mut strain, mut now) = (Strain::new(Duration::from_secs(5)), Instant::now());
        strain.begin(now);
        now += Duration::from_secs(10);
        strain.answered(1, now);
        assert!(strain.bears(FEW - 1, now));
        assert!(!strain.bears(FEW, now));
    }

    #[test]
    fn a_pause_is_no_slow_pace() {
        let (mut strain, now) = working();
        let later = now + Duration::from_secs(3600);
        strain.begin(later);
        strain.answered(1, later + TICK);
        assert!(strain.bears(100_000, later + TICK));
    }
}
