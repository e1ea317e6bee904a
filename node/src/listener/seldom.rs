//! Lines that anybody can cause: one a minute of a kind, which says how many there were.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often such a line is written.
const EVERY: Duration = Duration::from_secs(60);

/// Counts what is not said. A flood of connections must not become one of lines.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    said: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    /// Another one. How many there were since one was said, this one included, if it is time to say so.
    pub(super) fn another(&self, now: Instant) -> Option<u64> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.unsaid += 1;
        if inner.said.is_some_and(|said| now.saturating_duration_since(said) < EVERY) {
            return None;
        }
        inner.said = Some(now);
        Some(std::mem::take(&mut inner.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_minute_is_said_and_how_many_it_stands_for() {
        let (seldom, now) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.another(now), Some(1));
        assert_eq!(seldom.another(now), None);
        assert_eq!(seldom.another(now + Duration::from_secs(59)), None);
        assert_eq!(seldom.another(now + EVERY), Some(3));
    }
}
