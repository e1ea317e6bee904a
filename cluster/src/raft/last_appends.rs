//! When a leader was heard of.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::time::Instant;

/// When each peer that leads, or led, sent entries or a heartbeat last. A std mutex: nothing awaits while it is held.
#[derive(Default)]
pub(super) struct LastAppends(Mutex<BTreeMap<u64, Instant>>);

impl LastAppends {
    pub(super) fn note(&self, peer: u64) {
        self.0.lock().expect("nothing panics while this is held").insert(peer, Instant::now());
    }

    pub(super) fn last(&self, peer: u64) -> Option<Instant> {
        self.0.lock().expect("nothing panics while this is held").get(&peer).copied()
    }
}
