//! The admission controller: tells overload from a burst.
//!
//! The wait of a new request is predicted from the number of requests in flight and the rate of recent answers (Little's
//! law). A burst may fill the queue as long as its last request would still be answered in time. A queue that stands for
//! longer than a burst takes to drain is kept short, because a long one gets no more done and everybody waits longer (the
//! idea of CoDel, RFC 8289, section 3). Pure: time is passed in.

use std::time::Duration;

use tokio::time::Instant;

/// Requests in flight that are always admitted, however slow they are: a handful of clients with some requests each.
const ALWAYS_ADMITTED: usize = 256;
/// The same while the queue stands: as many as fill the batches in flight.
const ALWAYS_ADMITTED_STANDING: usize = 96;
/// The rate of answers is measured over windows of this length.
const WINDOW: Duration = Duration::from_millis(250);
/// The predicted wait up to which a burst is admitted, as a share of the deadline.
const BURST_SHARE: f64 = 0.6;
/// The predicted wait up to which requests are admitted while the queue stands.
const STANDING_WAIT_MAX_S: f64 = 0.15;
/// A queue that exceeds [`STANDING_WAIT_MAX_S`] for this long is standing, not a burst.
const STANDING_AFTER: Duration = Duration::from_millis(250);
/// How long the queue is kept short after it was found standing.
const SHORT_FOR: Duration = Duration::from_secs(5);

/// Requests in flight, the rate at which they are answered, and whether their queue stands.
#[derive(Debug)]
pub(super) struct Controller {
    in_flight: usize,
    /// The predicted wait up to which a burst is admitted, in seconds.
    burst_wait_max_s: f64,
    /// The start of the current window, and the answers in it.
    window: (Instant, usize),
    /// Answers per second in the last full window. `None` below [`ALWAYS_ADMITTED`]: the rate of an idle node says nothing
    /// of what it can do.
    per_second: Option<f64>,
    /// Since when the queue is too long.
    standing: Option<Instant>,
    /// Until when it is kept short.
    short_until: Option<Instant>,
}

impl Controller {
    /// A controller for requests that fail after `deadline`.
    pub(super) fn new(deadline: Duration, now: Instant) -> Self {
        let burst_wait_max_s = deadline.as_secs_f64() * BURST_SHARE;
        Self {
            in_flight: 0,
            burst_wait_max_s,
            window: (now, 0),
            per_second: None,
            standing: None,
            short_until: None,
        }
    }

    /// Admits one more request, or refuses it.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        let admitted = self.would_admit(now);
        self.in_flight += usize::from(admitted);
        admitted
    }

    /// Whether one more request would be admitted.
    pub(super) fn would_admit(&mut self, now: Instant) -> bool {
        let short = self.short_until.is_some_and(|until| until > now);
        if self.in_flight < ALWAYS_ADMITTED && !short {
            (self.window, self.per_second, self.standing) = ((now, 0), None, None);
        }
        let always = if short { ALWAYS_ADMITTED_STANDING } else { ALWAYS_ADMITTED };
        self.in_flight < always || self.is_wait_acceptable(short, now)
    }

    /// An admitted request was answered.
    pub(super) fn complete(&mut self, now: Instant) {
        self.in_flight -= 1;
        let (since, answered) = self.window;
        let lasted = now - since;
        self.window = (since, answered + 1);
        if lasted >= WINDOW {
            self.per_second = Some((answered + 1) as f64 / lasted.as_secs_f64());
            self.window = (now, 0);
        }
    }

    /// An admitted request waits for its client to send. It delays nobody, and its slowness is not this node's.
    pub(super) fn suspend(&mut self) {
        self.in_flight -= 1;
    }

    /// A suspended request goes on.
    pub(super) fn resume(&mut self) {
        self.in_flight += 1;
    }

    fn is_wait_acceptable(&mut self, short: bool, now: Instant) -> bool {
        let Some(per_second) = self.per_second else { return true };
        let wait_s = self.in_flight as f64 / per_second;
        if wait_s <= STANDING_WAIT_MAX_S {
            self.standing = None;
            return true;
        }
        let since = *self.standing.get_or_insert(now);
        if short || now - since >= STANDING_AFTER {
            self.short_until = Some(now + SHORT_FOR);
            return false;
        }
        wait_s <= self.burst_wait_max_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        controller: Controller,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let now = Instant::now();
            Self { controller: Controller::new(Duration::from_secs(5), now), now }
        }

        /// So many come at once; how many are taken in?
        fn come(&mut self, count: usize) -> usize {
            (0..count).filter(|_| self.controller.admit(self.now)).count()
        }

        /// A thousand a second are answered, for so many tenths of a second.
        fn work(&mut self, tenths: usize) {
            for _ in 0..100 * tenths {
                self.now += Duration::from_millis(1);
                if self.controller.in_flight > 0 {
                    self.controller.complete(self.now);
                }
            }
        }
    }

    #[test]
    fn senders_that_dawdle_hold_up_nobody() {
        let mut bench = Bench::new();
        bench.come(10_000);
        (0..10_000).for_each(|_| bench.controller.suspend());
        bench.come(ALWAYS_ADMITTED);
        bench.work(6);
        assert_eq!(bench.come(ALWAYS_ADMITTED), ALWAYS_ADMITTED);
        bench.controller.resume();
        assert_eq!(bench.controller.in_flight, ALWAYS_ADMITTED + 1);
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
        (0..44).for_each(|_| bench.controller.complete(bench.now));
        assert_eq!(
            (bench.controller.in_flight, bench.come(10)),
            (ALWAYS_ADMITTED, 0),
            "less than one a second"
        );
        bench.controller.complete(bench.now);
        assert_eq!(bench.come(1), 1);
    }

    #[test]
    fn a_burst_may_fill_the_queue_as_far_as_its_last_has_time() {
        let mut bench = Bench::new();
        bench.come(1000);
        bench.work(5);
        assert_eq!(bench.controller.in_flight, 500);
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
        assert_eq!(bench.controller.in_flight, 151, "what takes 150 ms");
    }

    #[test]
    fn a_slow_queue_that_stands_is_kept_as_short_as_is_of_use() {
        let mut bench = Bench::new();
        bench.come(600);
        // Twenty a second, and each time a hundred more.
        for _ in 0..1000 {
            bench.now += Duration::from_millis(50);
            bench.controller.complete(bench.now);
            bench.come(100);
        }
        assert_eq!(bench.controller.in_flight, ALWAYS_ADMITTED_STANDING);
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
        assert!(bench.controller.in_flight < ALWAYS_ADMITTED);
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
