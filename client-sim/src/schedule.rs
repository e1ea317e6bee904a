//! When operations start.
//!
//! In a closed loop a worker starts as soon as it is free. In an open loop the starts are fixed in advance, one every
//! 1/rate seconds whatever the servers do, and latency counts from the planned instant. A stalled server is thus
//! charged for all the starts it delayed, which is the correction for coordinated omission.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::stop::Stop;

/// Longer than any run.
pub const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Operations a second, over a run's length.
#[derive(Debug, Clone, PartialEq)]
pub enum Rate {
    /// A closed loop: whenever a worker is free.
    Free,
    /// The same all the time.
    Even(f64),
    /// Growing or falling in a line.
    Ramp {
        /// At the window's beginning, and before.
        from: f64,
        /// At its end.
        to: f64,
    },
    /// One after the other, for equal shares of the window.
    Steps(Vec<f64>),
}

impl From<f64> for Rate {
    /// Zero is a closed loop.
    fn from(rate: f64) -> Self {
        if rate > 0.0 { Self::Even(rate) } else { Self::Free }
    }
}

impl Rate {
    /// Whether starts are planned.
    pub const fn is_open(&self) -> bool {
        match self {
            Self::Free => false,
            Self::Even(_) | Self::Ramp { .. } | Self::Steps(_) => true,
        }
    }

    /// The highest there will be; 0 in a closed loop.
    pub fn highest(&self) -> f64 {
        match self {
            Self::Free => 0.0,
            Self::Even(rate) => *rate,
            Self::Ramp { from, to } => from.max(*to),
            Self::Steps(steps) => steps.iter().copied().fold(0.0, f64::max),
        }
    }

    /// The plan as straight pieces, the warm-up before them at the window's first rate.
    fn pieces(&self, warmup: f64, window: f64) -> Vec<(f64, f64, f64)> {
        match self {
            Self::Free => Vec::new(),
            Self::Even(rate) => vec![(warmup + window, *rate, *rate)],
            Self::Ramp { from, to } => vec![(warmup, *from, *from), (window, *from, *to)],
            Self::Steps(steps) => {
                let length = window / steps.len().max(1) as f64;
                let first = steps.first().map(|first| (warmup, *first, *first));
                first.into_iter().chain(steps.iter().map(|rate| (length, *rate, *rate))).collect()
            }
        }
    }
}

/// A stretch of the plan over which the rate runs in a line.
#[derive(Debug, Clone, Copy)]
struct Piece {
    begin_s: f64,
    length_s: f64,
    from: f64,
    to: f64,
    /// Starts planned before it.
    before: f64,
}

impl Piece {
    fn starts(&self) -> f64 {
        self.starts_until(self.begin_s + self.length_s)
    }

    /// How many starts are due in it before this time.
    fn starts_until(&self, time_s: f64) -> f64 {
        let gone_s = (time_s - self.begin_s).min(self.length_s);
        (self.from + (self.to - self.from) / 2.0 * (gone_s / self.length_s)) * gone_s
    }

    /// When the start numbered `slot` is due: the time at which the area under the line reaches it.
    fn due_s(&self, slot: f64) -> f64 {
        let area = slot - self.before;
        if area <= 0.0 {
            return self.begin_s;
        }
        let growth = (self.to - self.from) / (2.0 * self.length_s);
        // This form of the quadratic's solution divides by no difference, and holds for growth 0 too.
        let root = (self.from * self.from + 4.0 * growth * area).max(0.0).sqrt();
        self.begin_s + 2.0 * area / (self.from + root)
    }
}

/// Hands out starts to all workers of one run.
#[derive(Debug)]
pub struct Pacer {
    origin: Instant,
    end: Instant,
    /// Empty in a closed loop.
    plan: Vec<Piece>,
    next: AtomicU64,
    /// When the end was brought forward, and the word that wakes who waits for a later start.
    stopped: OnceLock<Instant>,
    stop: Stop,
}

impl Pacer {
    /// Plans starts from `origin` up to `end`.
    pub fn new(origin: Instant, end: Instant, rate: impl Into<Rate>) -> Self {
        Self::with_warmup(origin, origin, end, &rate.into())
    }

    /// Plans starts from `origin` up to `end`; what changes over time does so from `from` on.
    pub fn with_warmup(origin: Instant, from: Instant, end: Instant, rate: &Rate) -> Self {
        let (mut begin_s, mut before) = (0.0, 0.0);
        let pieces = rate.pieces((from - origin).as_secs_f64(), (end - from).as_secs_f64());
        let place = |(length_s, from, to): (f64, f64, f64)| {
            let piece = Piece { begin_s, length_s, from, to, before };
            begin_s += length_s;
            before += piece.starts();
            piece
        };
        let plan = pieces.into_iter().filter(|(length, ..)| *length > 0.0).map(place).collect();
        Self { origin, end, plan, next: AtomicU64::new(0), stopped: OnceLock::new(), stop: Stop::default() }
    }

    /// Waits for the next start and returns its planned instant. After the end nothing is paced any more, so that
    /// what has been begun can be brought to its end.
    pub async fn start(&self) -> Instant {
        let now = Instant::now();
        if self.plan.is_empty() || now >= self.end() {
            return now;
        }
        let planned = self.due(self.next.fetch_add(1, Ordering::Relaxed)).min(self.end);
        if planned > now {
            tokio::select! {
                () = tokio::time::sleep_until(planned) => {}
                () = self.stop.said() => return Instant::now(),
            }
        }
        planned
    }

    /// The same without the starts that nobody took in time: they are not made up for, and `missed` is told of each.
    pub async fn start_within(&self, late: Duration, mut missed: impl FnMut()) -> Instant {
        loop {
            let planned = self.start().await;
            if self.over() || planned.elapsed() <= late {
                return planned;
            }
            missed();
        }
    }

    /// Whether the end has come.
    pub fn over(&self) -> bool {
        Instant::now() >= self.end()
    }

    /// When the plan ends, or ended.
    pub fn end(&self) -> Instant {
        self.stopped.get().copied().unwrap_or(self.end)
    }

    /// Brings the end about now, if it has not come yet; the first time counts.
    pub fn stop(&self) {
        self.stopped.get_or_init(|| Instant::now().min(self.end));
        self.stop.say();
    }

    /// How many starts the plan held up to its end, and how many of them workers took; `None` in a closed loop.
    pub fn slots(&self) -> Option<(u64, u64)> {
        let end_s = (self.end() - self.origin).as_secs_f64();
        let last = self.plan.iter().take_while(|piece| piece.begin_s < end_s).last();
        let planned = last.map_or(0.0, |piece| piece.before + piece.starts_until(end_s)).ceil() as u64;
        (!self.plan.is_empty()).then(|| (planned, self.next.load(Ordering::Relaxed).min(planned)))
    }

    fn due(&self, slot: u64) -> Instant {
        let slot = slot as f64;
        let at = self.plan.partition_point(|piece| piece.before <= slot).saturating_sub(1);
        let due_s = self.plan[at].due_s(slot);
        // A falling ramp that has reached its end has no more starts to place.
        let reachable = slot < self.plan[at].before + self.plan[at].starts();
        if reachable { self.origin + Duration::from_secs_f64(due_s) } else { self.end }
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
    async fn a_ramp_places_its_starts_where_the_area_under_it_says() {
        let origin = Instant::now();
        let (from, end) = (origin + 2 * SECOND, origin + 12 * SECOND);
        let pacer = Pacer::with_warmup(origin, from, end, &Rate::Ramp { from: 10.0, to: 110.0 });
        let mut starts = Vec::new();
        while !pacer.over() {
            starts.push((pacer.start().await - origin).as_secs_f64());
        }
        starts.pop();
        // Ten a second before the window, and sixty on the average of its ten seconds.
        assert_eq!((starts.len(), pacer.slots()), (620, Some((620, 620))));
        let between = |begin: f64, end: f64| starts.iter().filter(|at| (begin..end).contains(*at)).count();
        assert_eq!(between(0.0, 2.0), 20);
        assert_eq!((between(2.0, 7.0), between(7.0, 12.0)), (175, 425));
        assert!(starts.is_sorted());
    }

    #[tokio::test(start_paused = true)]
    async fn a_ramp_may_fall_to_nothing_and_rise_from_it() {
        for (from, to) in [(100.0, 0.0), (0.0, 100.0)] {
            let origin = Instant::now();
            let pacer = Pacer::new(origin, origin + 2 * SECOND, Rate::Ramp { from, to });
            let mut starts = 0;
            while !pacer.over() {
                pacer.start().await;
                starts += 1;
            }
            assert_eq!((starts, pacer.slots()), (101, Some((100, 100))), "{from} to {to}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn steps_have_equal_shares() {
        let origin = Instant::now();
        let pacer = Pacer::new(origin, origin + 4 * SECOND, Rate::Steps(vec![5.0, 20.0]));
        let mut starts = Vec::new();
        while !pacer.over() {
            starts.push(pacer.start().await);
        }
        let early = starts.iter().filter(|start| **start < origin + 2 * SECOND).count();
        assert_eq!((early, starts.len() - 1), (10, 50));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_wakes_who_waits_for_a_later_start() {
        let origin = Instant::now();
        let pacer = Pacer::new(origin, origin + 100 * SECOND, 0.1);
        pacer.start().await;
        let stop = async {
            tokio::time::advance(SECOND).await;
            pacer.stop();
        };
        let (start, ()) = tokio::join!(pacer.start(), stop);
        assert_eq!((start, pacer.over()), (origin + SECOND, true));
        assert_eq!(pacer.slots(), Some((1, 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn starts_that_are_too_late_are_left_out() {
        let origin = Instant::now();
        let pacer = Pacer::new(origin, origin + 100 * SECOND, 100.0);
        tokio::time::advance(10 * SECOND).await;
        let mut missed = 0;
        for _ in 0..=10 {
            pacer.start_within(Duration::from_millis(100), || missed += 1).await;
        }
        assert_eq!((Instant::now(), missed), (origin + 10 * SECOND, 990));
        for _ in 0..10 {
            pacer.start_within(Duration::from_millis(100), || missed += 1).await;
        }
        assert_eq!((Instant::now(), missed), (origin + 10 * SECOND + Duration::from_millis(100), 990));
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
