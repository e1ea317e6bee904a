//! The cluster's clock: this node's, corrected by its peers'.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

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

/// The median of the clocks of this node and the peers it hears: one wrong clock of three changes nothing.
///
/// A leader stamps its proposals with it, so that time in the log neither jumps nor goes back when leadership
/// moves to a node whose clock is off.
pub(super) struct Consensus {
    own: Arc<dyn Clock>,
    correction_ms: AtomicI64,
    latest_ms: AtomicU64,
}

impl Consensus {
    pub(super) fn new(own: Arc<dyn Clock>) -> Self {
        Self { own, correction_ms: AtomicI64::new(0), latest_ms: AtomicU64::new(0) }
    }

    /// This node's clock, uncorrected: what it tells its peers.
    pub(super) fn own_ms(&self) -> u64 {
        self.own.now_ms()
    }

    /// Milliseconds since the Unix epoch; never less than before.
    pub(super) fn now_ms(&self) -> u64 {
        let now = self.own.now_ms().saturating_add_signed(self.correction_ms.load(Ordering::Relaxed));
        self.latest_ms.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// Weighs what the peers said last.
    pub(super) fn correct(&self, links: &Links) {
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
        self.correction_ms.store(median(clocks, own) - own, Ordering::Relaxed);
    }
}

/// The middle one; of an even number the one of the middle two that is nearer to `own`, so that two nodes alone
/// keep to their own clocks.
fn median(mut clocks: Vec<i64>, own: i64) -> i64 {
    clocks.sort_unstable();
    let (low, high) = (clocks[(clocks.len() - 1) / 2], clocks[clocks.len() / 2]);
    if (own - low).abs() <= (own - high).abs() { low } else { high }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn one_wrong_clock_of_three_changes_nothing() {
        let hour = 3_600_000;
        assert_eq!(median(vec![1_000, 1_010, 1_000 + hour], 1_000), 1_010);
        assert_eq!(median(vec![1_000, 1_010, 1_000 + hour], 1_000 + hour), 1_010);
        assert_eq!(median(vec![1_000 - hour, 1_010, 1_005], 1_000 - hour), 1_005);
    }

    #[test]
    fn a_node_alone_and_two_nodes_keep_their_own_clock() {
        assert_eq!(median(vec![7], 7), 7);
        assert_eq!(median(vec![7, 900], 7), 7);
        assert_eq!(median(vec![7, 900], 900), 900);
    }
}
