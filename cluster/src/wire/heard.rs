//! When anything was read last of each peer, on whichever connection.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::PeerId;

/// Peers whose connections are followed. Members are few; whoever holds the secret might use many ids.
const PEERS_MAX: usize = 1024;

/// All peers. A std mutex: nothing awaits while it is held.
#[derive(Default)]
pub(super) struct Heard(Mutex<BTreeMap<PeerId, Arc<LastRead>>>);

impl Heard {
    /// What connections with this peer note their reads in.
    pub(super) fn of(&self, peer: PeerId) -> Arc<LastRead> {
        let mut all = self.0.lock().expect("nothing panics while this is held");
        if all.len() >= PEERS_MAX && !all.contains_key(&peer) {
            return Arc::default();
        }
        all.entry(peer).or_default().clone()
    }

    /// When something was read of it last; `None` if it was never connected.
    pub(super) fn last(&self, peer: PeerId) -> Option<Instant> {
        let all = self.0.lock().expect("nothing panics while this is held");
        all.get(&peer).map(|last| last.at())
    }
}

/// When something was read last.
#[derive(Debug)]
pub(super) struct LastRead {
    born: Instant,
    after_ms: AtomicU64,
}

impl Default for LastRead {
    fn default() -> Self {
        Self { born: Instant::now(), after_ms: AtomicU64::new(0) }
    }
}

impl LastRead {
    pub(super) fn note(&self) {
        self.after_ms.fetch_max(self.born.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn at(&self) -> Instant {
        self.born + Duration::from_millis(self.after_ms.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_read_of_any_connection_counts() {
        let heard = Heard::default();
        assert_eq!(heard.last(1), None);
        let (one, other) = (heard.of(1), heard.of(1));
        tokio::time::advance(Duration::from_millis(500)).await;
        one.note();
        let then = Instant::now();
        assert_eq!(heard.last(1), Some(then));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(heard.last(1), Some(then));
        other.note();
        assert_eq!(heard.last(1), Some(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_bound_nobody_is_followed() {
        let heard = Heard::default();
        for peer in 0..PEERS_MAX as u64 {
            heard.of(peer);
        }
        heard.of(PEERS_MAX as u64).note();
        assert_eq!(heard.last(PEERS_MAX as u64), None);
        assert!(heard.last(0).is_some());
    }
}
