//! Whether more comes than can be carried out, told from a burst that only takes its time.
//!
//! How long a new request would take is foreseen: as long as those before it, by the pace of the last answers (Little's
//! law). A burst may fill the queue up to where its last request still has time. Where the queue has stood for longer
//! than a burst takes to pass, it is kept short: a long one gets no more done, and everybody waits longer (the thought
//! behind CoDel, RFC 8289, section 3). No clock but the instants it is given.

use std::time::Duration;

use tokio::time::Instant;

/// So few are never too many, however slow they are: a handful of clients with some requests each.
const FEW: usize = 256;
/// As [`FEW`], where the queue has stood: as many as fill the batches that are under way.
const FEW_STANDING: usize = 96;
/// Over at least so long a pace is measured.
const SLOT: Duration = Duration::from_millis(250);
/// What a request of a burst may be foreseen to wait for, as a share of its deadline.
const BURST_SHARE: f64 = 0.6;
/// What a request may be foreseen to wait for when the queue has stood for [`STANDING`].
const WAIT_MAX_S: f64 = 0.15;
/// A queue that is longer than [`WAIT_MAX_S`] for so long is no burst.
const STANDING: Duration = Duration::from_millis(250);
/// For so long after it the queue is kept short, whatever comes.
const MEMORY: Duration = Duration::from_secs(5);

/// The requests under way, the pace of their answers, and what has become of the queue at it.
#[derive(Debug)]
pub(super) struct Strain {
    open: usize,
    /// What a request of a burst may be foreseen to wait for, in seconds.
    burst_wait_max_s: f64,
    /// Since when the present slot lasts, and the answers within it.
    slot: (Instant, usize),
    /// Answers a second in the last whole slot. Only while there are more than a few: the pace of those who are not
    /// pressed says nothing of what can be done.
    per_second: Option<f64>,
    /// Since when the queue is too long to stay so.
    standing: Option<Instant>,
    /// Until when it is kept short.
    short_until: Option<Instant>,
}

impl Strain {
    /// For requests that are given up after `deadline`.
    pub(super) fn new(deadline: Duration, now: Instant) -> Self {
        let burst_wait_max_s = deadline.as_secs_f64() * BURST_SHARE;
        Self {
            open: 0,
            burst_wait_max_s,
            slot: (now, 0),
            per_second: None,
            standing: None,
            short_until: None,
        }
    }

    /// Takes one more in, unless it would wait for too long.
    pub(super) fn enter(&mut self, now: Instant) -> bool {
        let borne = self.would_bear(now);
        self.open += usize::from(borne);
        borne
    }

    /// Whether one more would not wait for too long.
    pub(super) fn would_bear(&mut self, now: Instant) -> bool {
        let short = self.short_until.is_some_and(|until| until > now);
        if self.open < FEW && !short {
            (self.slot, self.per_second, self.standing) = ((now, 0), None, None);
        }
        let few = if short { FEW_STANDING } else { FEW };
        self.open < few || self.bears(short, now)
    }

    /// One that was taken in is over.
    pub(super) fn leave(&mut self, now: Instant) {
        self.open -= 1;
        let (since, answered) = self.slot;
        let lasted = now - since;
        self.slot = (since, answered + 1);
        if lasted >= SLOT {
            self.per_second = Some((answered + 1) as f64 / lasted.as_secs_f64());
            self.slot = (now, 0);
        }
    }

    /// One that was taken in waits for its sender: it holds up nobody, and its slowness is not ours.
    pub(super) fn suspend(&mut self) {
        self.open -= 1;
    }

    /// It waits no longer.
    pub(super) fn resume(&mut self) {
        self.open += 1;
    }

    fn bears(&mut self, short: bool, now: Instant) -> bool {
        let Some(per_second) = self.per_second else { return true };
        let wait_s = self.open as f64 / per_second;
        if wait_s <= WAIT_MAX_S {
            self.standing = None;
            return true;
        }
        let since = *self.standing.get_or_insert(now);
        if short || now - since >= STANDING {
            self.short_until = Some(now + MEMORY);
            return false;
        }
        wait_s <= self.burst_wait_max_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        strain: Strain,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let now = Instant::now();
            Self { strain: Strain::new(Duration::from_secs(5), now), now }
        }

        /// So many come at once; how many are taken in?
        fn come(&mut self, count: usize) -> usize {
            (0..count).filter(|_| self.strain.enter(self.now)).count()
        }

        /// A thousand a second are answered, for so many tenths of a second.
        fn work(&mut self, tenths: usize) {
            for _ in 0..100 * tenths {
                self.now += Duration::from_millis(1);
                if self.strain.open > 0 {
                    self.strain.leave(self.now);
                }
            }
        }
    }

    #[test]
    fn senders_that_dawdle_hold_up_nobody() {
        let mut bench = Bench::new();
        bench.come(10_000);
        (0..10_000).for_each(|_| bench.strain.suspend());
        bench.come(FEW);
        bench.work(6);
        assert_eq!(bench.come(FEW), FEW);
        bench.strain.resume();
        assert_eq!(bench.strain.open, FEW + 1);
    }

    #[test]
    fn while_no_pace_is_known_everything_is_taken_in() {
        assert_eq!(Bench::new().come(10_000), 10_000);
    }

    #[test]
    fn a_few_are_taken_in_at_any_pace() {
        let mut bench = Bench::new();
        bench.come(300);
        bench.now += Duration::from_secs(60);
        (0..44).for_each(|_| bench.strain.leave(bench.now));
        assert_eq!((bench.strain.open, bench.come(10)), (FEW, 0), "less than one a second");
        bench.strain.leave(bench.now);
        assert_eq!(bench.come(1), 1);
    }

    #[test]
    fn a_burst_may_fill_the_queue_as_far_as_its_last_has_time() {
        let mut bench = Bench::new();
        bench.come(1000);
        bench.work(5);
        assert_eq!(bench.strain.open, 500);
        assert_eq!(bench.come(10_000), 2501, "three seconds of work");
    }

    #[test]
    fn a_queue_that_stands_is_kept_short() {
        let mut bench = Bench::new();
        bench.come(3000);
        for _ in 0..100 {
            bench.work(1);
            bench.come(1000);
        }
        assert_eq!(bench.strain.open, 151, "what takes 150 ms");
    }

    #[test]
    fn a_slow_queue_that_stands_is_kept_as_short_as_is_of_use() {
        let mut bench = Bench::new();
        bench.come(600);
        // Twenty a second, and each time a hundred more.
        for _ in 0..1000 {
            bench.now += Duration::from_millis(50);
            bench.strain.leave(bench.now);
            bench.come(100);
        }
        assert_eq!(bench.strain.open, FEW_STANDING);
    }

    #[test]
    fn after_a_while_of_calm_another_burst_is_taken_in() {
        let mut bench = Bench::new();
        bench.come(3000);
        for _ in 0..100 {
            bench.work(1);
            bench.come(1000);
        }
        for _ in 0..70 {
            bench.work(1);
            bench.come(50);
        }
        assert!(bench.strain.open < FEW);
        assert_eq!(bench.come(2000), 2000);
    }

    #[test]
    fn the_pace_of_those_who_are_not_pressed_says_nothing() {
        let mut bench = Bench::new();
        // Ten a second, each answered at once.
        for _ in 0..100 {
            bench.come(1);
            bench.work(1);
        }
        assert_eq!(bench.come(2000), 2000);
    }
}
