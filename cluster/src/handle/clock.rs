//! The cluster's clock: this node's, corrected by its peers'.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::Inner;
use crate::state::State;
use crate::state::slot::CellId;
use crate::wire::{Links, PeerNote};

/// A node's own idea of the time.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
}

/// The wall clock as it was when the process began, carried on by the monotonic one: a step of the wall clock
/// while the node runs moves nothing.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: Instant,
    wall_ms: u64,
}

impl SystemClock {
    /// Reads the wall clock, once.
    pub fn new() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), wall_ms: wall.as_millis() as u64 }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        self.wall_ms + self.started.elapsed().as_millis() as u64
    }
}

/// How old a peer's word on the time may be.
const NOTE_AGE_MAX: Duration = Duration::from_secs(5);

/// For how long an opinion counts.
const WEIGHED_FOR: Duration = Duration::from_millis(20);

/// The cluster's opinion of the time: the median of the clocks of this node and the peers it hears, with the clock
/// of the log as the witness where a median is ambiguous. One wrong clock of three changes nothing, even while the
/// third node is away or this one has just come back.
///
/// A leader stamps its proposals with it, so that time in the log neither jumps nor goes back when leadership
/// moves to a node whose clock is off.
///
/// Time in the log cannot go back. Where all clocks were wrong and were corrected, it is ahead of them; it then goes on at
/// half their pace until they meet, so that whatever has a time to live keeps ending, after twice that time at most.
pub(super) struct Consensus {
    own: Arc<dyn Clock>,
    /// Whose peers and whose log are weighed. Weak, because this belongs to it.
    inner: OnceLock<Weak<Inner>>,
    weighed: Mutex<Option<Instant>>,
    correction_ms: AtomicI64,
    latest_ms: AtomicU64,
    /// The clock of the log as it was seen last, and when.
    log: Mutex<Option<(u64, Instant)>>,
    /// Whether the log was said to be ahead.
    ahead: AtomicBool,
}

/// By how much slower than the clocks the log's time goes on while it is ahead of them.
const SLOWED_BY: u64 = 2;

/// A correction that moves by more is a correction of an error, not of drift: time may go back then.
const STEP_MS: i64 = 1000;

impl Consensus {
    pub(super) fn new(own: Arc<dyn Clock>) -> Self {
        let (correction_ms, latest_ms) = (AtomicI64::new(0), AtomicU64::new(0));
        let (inner, weighed) = (OnceLock::new(), Mutex::default());
        let ahead = AtomicBool::new(false);
        Self { own, inner, weighed, correction_ms, latest_ms, log: Mutex::default(), ahead }
    }

    /// From now on peers and log are weighed.
    pub(super) fn open(&self, inner: &Arc<Inner>) {
        // Opened once, when the node starts.
        let _ = self.inner.set(Arc::downgrade(inner));
    }

    /// This node's clock, uncorrected: what it tells its peers.
    pub(super) fn own_ms(&self) -> u64 {
        self.own.now_ms()
    }

    /// The time by which things expire: the clocks', or the log's while that is ahead of them. In milliseconds since the
    /// Unix epoch; never less than before, but for the correction of an error.
    pub(super) fn now_ms(&self) -> u64 {
        let wall_ms = self.wall_ms();
        let seen = *self.log.lock().expect("nothing panics while this is held");
        seen.map_or(wall_ms, |(log_ms, at)| slowed(wall_ms, log_ms, at.elapsed()))
    }

    /// By how much the log is ahead of the clocks, in milliseconds.
    pub(super) fn ahead_ms(&self) -> u64 {
        self.now_ms().saturating_sub(self.wall_ms())
    }

    /// The clocks' time, whatever the log says: what credentials are judged by. In milliseconds since the Unix epoch; never
    /// less than before, but for the correction of an error.
    pub(super) fn wall_ms(&self) -> u64 {
        self.weigh();
        let now = self.own.now_ms().saturating_add_signed(self.correction_ms.load(Ordering::Relaxed));
        self.latest_ms.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// Weighs the clocks anew if that was not done just now. It is done here and not at intervals, because a node
    /// that has only just won an election must not stamp with what it believed before it heard its voters.
    fn weigh(&self) {
        {
            let mut weighed = self.weighed.lock().expect("nothing panics while this is held");
            if weighed.is_some_and(|at| at.elapsed() < WEIGHED_FOR) {
                return;
            }
            *weighed = Some(Instant::now());
        }
        if let Some(inner) = self.inner.get().and_then(Weak::upgrade) {
            // Never waits for apply; what the log said before will do.
            let first = inner.topology.heard(CellId::FIRST).filter(|_| !inner.topology.is_seated());
            let log_ms = match first {
                Some(heard) => heard.log_ms,
                None => inner.node.replica().try_read(State::now_ms).unwrap_or_default(),
            };
            let alone = inner.topology.is_alone();
            self.correct(&inner.links, log_ms, alone);
            self.tell();
        }
    }

    /// Says once that the log is ahead, and once that it is no more.
    fn tell(&self) {
        let own_ms = self.own.now_ms().saturating_add_signed(self.correction_ms.load(Ordering::Relaxed));
        let seen = *self.log.lock().expect("nothing panics while this is held");
        let ahead_ms = seen.map_or(0, |(log_ms, at)| slowed(own_ms, log_ms, at.elapsed()) - own_ms);
        let is_ahead = ahead_ms > STEP_MS as u64;
        if self.ahead.swap(is_ahead, Ordering::Relaxed) == is_ahead {
            return;
        }
        if is_ahead {
            tracing::warn!(
                ahead_seconds = ahead_ms / 1000,
                "log time is ahead of the node clocks, which were wrong and were corrected: it advances at half speed \
                 until they meet"
            );
        } else {
            tracing::info!("node clocks have caught up with log time");
        }
    }

    /// Weighs what the peers said last, and what the log says. `alone`: there are no other members.
    fn correct(&self, links: &Links, log_ms: u64, alone: bool) {
        let own = self.own.now_ms() as i64;
        // A peer is heard over two lanes; its newest word counts, once.
        let mut notes = BTreeMap::new();
        for (peer, note) in links.peers().iter().filter_map(|link| Some((link.peer, link.note?))) {
            if note.at.elapsed() <= NOTE_AGE_MAX
                && notes.get(&peer).is_none_or(|known: &PeerNote| known.at < note.at)
            {
                notes.insert(peer, note);
            }
        }
        let heard = notes.values().map(|note| note.value as i64 + note.at.elapsed().as_millis() as i64);
        let clocks = heard.chain([own]).collect();
        let correction_ms = choose(clocks, own, self.log_clock(log_ms), alone) - own;
        let before = self.correction_ms.swap(correction_ms, Ordering::Relaxed);
        if (correction_ms - before).abs() > STEP_MS {
            self.latest_ms.store(0, Ordering::Relaxed);
        }
    }

    /// What the clock of the log shows by now, if it went on since it was seen to move. Too little after a
    /// restart, by the time that the whole cluster was away.
    fn log_clock(&self, log_ms: u64) -> Option<i64> {
        let mut seen = self.log.lock().expect("nothing panics while this is held");
        if log_ms > 0 && seen.is_none_or(|(before, _)| before < log_ms) {
            *seen = Some((log_ms, Instant::now()));
        }
        seen.map(|(log_ms, at)| log_ms as i64 + at.elapsed().as_millis() as i64)
    }
}

/// The time by which things expire where the clocks say `wall_ms` and the log said `log_ms` so long ago.
fn slowed(wall_ms: u64, log_ms: u64, since: Duration) -> u64 {
    wall_ms.max(log_ms.saturating_add(since.as_millis() as u64 / SLOWED_BY))
}

/// The median. Where two are in the middle, the one that is nearer to the clock of the log. A member that hears
/// nobody cannot tell whether its own clock is right and keeps to the log's.
fn choose(clocks: Vec<i64>, own: i64, log: Option<i64>, alone: bool) -> i64 {
    match log {
        Some(log) if clocks.len() == 1 && !alone => log,
        Some(log) => median(clocks, log),
        None => median(clocks, own),
    }
}

/// The middle one; of an even number the one of the middle two that is nearer to `witness`.
fn median(mut clocks: Vec<i64>, witness: i64) -> i64 {
    clocks.sort_unstable();
    let (low, high) = (clocks[(clocks.len() - 1) / 2], clocks[clocks.len() / 2]);
    if (witness - low).abs() <= (witness - high).abs() { low } else { high }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A wall clock that goes on with the paused one of the test, and may be set.
    struct Wall(AtomicU64, Instant);

    impl Clock for Wall {
        fn now_ms(&self) -> u64 {
            self.0.load(Ordering::Relaxed) + self.1.elapsed().as_millis() as u64
        }
    }

    const MORNING_MS: u64 = 1_700_000_000_000;
    const HOUR_MS: u64 = 3_600_000;

    fn consensus(wall_ms: u64) -> Consensus {
        Consensus::new(Arc::new(Wall(AtomicU64::new(wall_ms), Instant::now())))
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_ahead_of_the_clocks_goes_on_at_half_their_pace_until_they_meet() {
        let clock = consensus(MORNING_MS);
        // All clocks were an hour ahead, and were corrected.
        let mut log_ms = MORNING_MS + HOUR_MS;
        clock.log_clock(log_ms);
        assert_eq!(clock.ahead_ms(), HOUR_MS);
        let mut minutes = 0;
        while clock.ahead_ms() > 0 {
            let before = log_ms;
            // A leader stamps some thousand proposals a minute, and each one is seen.
            for _ in 0..2000 {
                tokio::time::advance(Duration::from_millis(30)).await;
                let stamp_ms = clock.now_ms();
                assert!(stamp_ms >= log_ms, "time in the log never falls");
                log_ms = log_ms.max(stamp_ms);
                clock.log_clock(log_ms);
            }
            minutes += 1;
            assert!(log_ms - before >= 29_000, "{} ms in a minute", log_ms - before);
            assert!(minutes <= 125, "they never meet");
        }
        assert!(minutes >= 119, "it did not jump");
        assert_eq!(log_ms, clock.wall_ms());
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_ten_years_ahead_still_goes_on_and_credentials_are_judged_by_the_clocks() {
        let clock = consensus(MORNING_MS);
        let log_ms = MORNING_MS + 10 * 365 * 24 * HOUR_MS;
        clock.log_clock(log_ms);
        tokio::time::advance(Duration::from_secs(120)).await;
        assert_eq!(clock.now_ms(), log_ms + 60_000, "a window of a minute ends within two");
        assert_eq!(clock.wall_ms(), MORNING_MS + 120_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_is_behind_holds_nothing_up() {
        let clock = consensus(MORNING_MS);
        clock.log_clock(MORNING_MS - HOUR_MS);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((clock.now_ms(), clock.ahead_ms()), (MORNING_MS + 1000, 0));
    }

    const HOUR: i64 = 3_600_000;
    const NOW: i64 = 1_000 * HOUR;

    #[test]
    fn one_wrong_clock_of_three_changes_nothing() {
        for wrong in [NOW + HOUR, NOW - HOUR] {
            for own in [NOW, wrong] {
                let chosen = choose(vec![NOW, NOW + 10, wrong], own, None, false);
                assert!((NOW..=NOW + 10).contains(&chosen));
            }
        }
    }

    #[test]
    fn of_two_clocks_the_log_knows_the_wrong_one() {
        for wrong in [NOW + HOUR, NOW - HOUR] {
            for own in [NOW, wrong] {
                // A minute ago, when the third node was there still.
                assert_eq!(choose(vec![NOW, wrong], own, Some(NOW - 60_000), false), NOW);
            }
        }
    }

    #[test]
    fn a_member_that_hears_nobody_keeps_to_the_log() {
        assert_eq!(choose(vec![NOW + HOUR], NOW + HOUR, Some(NOW), false), NOW);
    }

    #[test]
    fn a_node_without_peers_or_log_has_only_its_own_clock() {
        assert_eq!(choose(vec![NOW], NOW, Some(NOW - HOUR), true), NOW);
        assert_eq!(choose(vec![NOW], NOW, None, false), NOW);
    }
}
