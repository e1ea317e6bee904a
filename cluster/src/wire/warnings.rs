//! Says a thing once: warnings about refused connections, limited per remote and reason.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::time::Instant;

use super::Reason;
use super::limits::{WARN_EVERY, WARNINGS_MAX};

/// Remembers what was said lately. A std mutex: nothing awaits while it is held.
#[derive(Default)]
pub(super) struct Warnings(Mutex<BTreeMap<(String, Reason), Instant>>);

impl Warnings {
    /// Whether this was not said lately; if so, counts it as said. A full memory stays silent.
    pub(super) fn first(&self, remote: &str, reason: Reason, now: Instant) -> bool {
        let mut said = self.0.lock().expect("no panic while this is held");
        if said.len() >= WARNINGS_MAX {
            said.retain(|_, at| now.duration_since(*at) < WARN_EVERY);
        }
        let key = (remote.to_owned(), reason);
        match said.get(&key) {
            Some(at) if now.duration_since(*at) < WARN_EVERY => false,
            None if said.len() >= WARNINGS_MAX => false,
            Some(_) | None => {
                said.insert(key, now);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_warning_is_said_once_in_a_while() {
        let warnings = Warnings::default();
        let now = Instant::now();
        assert!(warnings.first("10.0.0.1", Reason::Garbage, now));
        assert!(!warnings.first("10.0.0.1", Reason::Garbage, now));
        assert!(warnings.first("10.0.0.1", Reason::Cluster, now));
        assert!(warnings.first("10.0.0.1", Reason::Garbage, now + WARN_EVERY));
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_strangers_are_not_remembered() {
        let warnings = Warnings::default();
        let now = Instant::now();
        let said =
            (0..1000).filter(|n| warnings.first(&format!("stranger {n}"), Reason::Garbage, now)).count();
        assert_eq!(said, WARNINGS_MAX);
        assert!(warnings.first("stranger 999", Reason::Garbage, now + WARN_EVERY));
    }
}
