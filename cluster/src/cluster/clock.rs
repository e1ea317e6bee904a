//! The cluster's clock: this node's, corrected by its peers'.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::Inner;
use crate::state::State;
use crate::wire::{Links, Note};

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
pub(super) struct Consensus {
    own: Arc<dyn Clock>,
    /// Whose peers and whose log are weighed. Weak, because this belongs to it.
    inner: OnceLock<Weak<Inner>>,
    weighed: Mutex<Option<Instant>>,
    correction_ms: AtomicI64,
    latest_ms: AtomicU64,
    /// The clock of the log as it was seen last, and when.
    log: Mutex<Option<(u64, Instant)>>,
}

/// A correction that moves by more is a correction of an error, not of drift: time may go back then.
const STEP_MS: i64 = 1000;

impl Consensus {
    pub(super) fn new(own: Arc<dyn Clock>) -> Self {
        let (correction_ms, latest_ms) = (AtomicI64::new(0), AtomicU64::new(0));
        let (inner, weighed) = (OnceLock::new(), Mutex::default());
        Self { own, inner, weighed, correction_ms, latest_ms, log: Mutex::default() }
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

    /// Milliseconds since the Unix epoch; never less than before, but for the correction of an error.
    pub(super) fn now_ms(&self) -> u64 {
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
            let (_, members) = inner.node.members();
            let alone = members.keys().eq([&inner.options.node_id]);
            // Never waits for apply; what the log said before will do.
            let log_ms = inner.node.replica().try_look(State::now_ms).unwrap_or_default();
            self.correct(&inner.links, log_ms, alone);
        }
    }

    /// Weighs what the peers said last, and what the log says. `alone`: there are no other members.
    fn correct(&self, links: &Links, log_ms: u64, alone: bool) {
        let own = self.own.now_ms() as i64;
        // A peer is heard over two lanes; its newest word counts, once.
        let mut notes = BTreeMap::new();
        for (peer, note) in links.peers().iter().filter_map(|link| Some((link.peer, link.note?))) {
            if note.at.elapsed() <= NOTE_AGE_MAX
                && notes.get(&peer).is_none_or(|known: &Note| known.at < note.at)
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
    use super::choose;

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
