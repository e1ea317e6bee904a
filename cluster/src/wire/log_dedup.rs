//! Says a thing once: warnings about what was refused, limited per remote and reason.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::time::Instant;

use super::limits::{WARN_EVERY, WARNINGS_MAX};

/// Remembers what was said within the last minute, by remote and reason. A std mutex: nothing awaits while it is held.
pub(crate) struct Warnings<Key>(Mutex<BTreeMap<Key, Instant>>);

impl<Key> Default for Warnings<Key> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Key: Ord> Warnings<Key> {
    /// Whether this was not said within the last minute; if so, counts it as said. A full memory stays silent.
    pub(crate) fn first(&self, key: Key, now: Instant) -> bool {
        let mut said = self.0.lock().expect("no panic while this is held");
        if said.len() >= WARNINGS_MAX {
            said.retain(|_, at| now.duration_since(*at) < WARN_EVERY);
        }
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
    use super::super::Reason;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_warning_is_said_once_in_a_while() {
        let warnings = Warnings::default();
        let now = Instant::now();
        assert!(warnings.first(("10.0.0.1", Reason::Garbage), now));
        assert!(!warnings.first(("10.0.0.1", Reason::Garbage), now));
        assert!(warnings.first(("10.0.0.1", Reason::Cluster), now));
        assert!(warnings.first(("10.0.0.1", Reason::Garbage), now + WARN_EVERY));
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_strangers_are_not_remembered() {
        let warnings = Warnings::default();
        let now = Instant::now();
        let said =
            (0..1000).filter(|n| warnings.first((format!("stranger {n}"), Reason::Garbage), now)).count();
        assert_eq!(said, WARNINGS_MAX);
        assert!(warnings.first(("stranger 999".to_owned(), Reason::Garbage), now + WARN_EVERY));
    }
}
