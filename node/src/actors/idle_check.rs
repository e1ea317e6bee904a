//! What the registry knows of an actor without asking it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conclave_cluster::Interest;
use tokio::time::Instant;

/// How much an actor is in use.
///
/// A caller that finds an actor is counted here while the registry's lock is still held. So an actor that sees a count of
/// zero, under that same lock, may stop: no message is on its way to it.
#[derive(Debug, Default)]
pub(super) struct Usage {
    watchers: AtomicUsize,
    used: AtomicBool,
    renewed: Mutex<Option<Instant>>,
}

impl Usage {
    /// Records that the actor was found.
    pub(super) fn touch(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// Whether the actor was found since the last call.
    pub(super) fn was_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// Whether there are watchers. Sequentially consistent: a watcher that is counted after this call sees, when it reads
    /// the state, everything that was published before.
    pub(super) fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::SeqCst) > 0
    }

    /// Whether the key's lease is due for renewal, because the last one is at least `rest` ago. If so, this one counts.
    pub(super) fn renew_after(&self, rest: Duration) -> bool {
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        let due = renewed.is_none_or(|at| at.elapsed() >= rest);
        if due {
            *renewed = Some(Instant::now());
        }
        due
    }

    /// Counts a watcher in, for as long as whom `interest` is of is told of changes.
    pub(super) fn watch(self: &Arc<Self>, interest: Option<Interest>) -> WatchPermit {
        self.watchers.fetch_add(1, Ordering::SeqCst);
        WatchPermit { usage: self.clone(), _interest: interest }
    }
}

/// A watcher.
#[derive(Debug)]
pub(super) struct WatchPermit {
    usage: Arc<Usage>,
    _interest: Option<Interest>,
}

impl Drop for WatchPermit {
    fn drop(&mut self) {
        self.usage.watchers.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_is_seen_until_it_is_dropped() {
        let usage = Arc::new(Usage::default());
        let watcher = usage.watch(None);
        assert!(usage.is_watched());
        drop(watcher);
        assert!(!usage.is_watched());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_renewed_once_within_its_rest() {
        let usage = Arc::new(Usage::default());
        let rest = Duration::from_secs(10);
        assert!(usage.renew_after(rest));
        assert!(!usage.renew_after(rest));
        tokio::time::advance(rest).await;
        assert!(usage.renew_after(rest));
    }
}
