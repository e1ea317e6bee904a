//! How several commands spell what they print.

use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use crate::config::unit::print_span;

/// What a node answered, as one line of JSON.
pub(super) fn json(answered: &impl Serialize) -> String {
    serde_json::to_string(answered).expect("what was read from JSON can be written as JSON")
}

/// How long it is, by this machine's clock, to an instant in milliseconds since the Unix epoch.
pub(super) fn time_to(instant_ms: u64) -> String {
    let now_ms = UNIX_EPOCH.elapsed().map_or(0, |now| now.as_millis() as u64);
    print_span(Duration::from_secs(instant_ms.saturating_sub(now_ms) / 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_takes_no_time() {
        assert_eq!(time_to(0), print_span(Duration::ZERO));
        assert_ne!(time_to(u64::MAX), print_span(Duration::ZERO));
    }
}
