//! How long to wait before a failed delivery is tried again.

use std::time::Duration;

/// After the first failure; doubled after each further one.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The longest `Retry-After` that is honoured.
pub(super) const ASKED_MAX: Duration = Duration::from_secs(300);

/// How long to wait after this many failures in a row: between half of the step and all of it, as `chance` (0 to 1) has it,
/// and at least as long as the receiver asked for.
pub(super) fn pause(failures: u32, asked: Option<Duration>, chance: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let step = PAUSE_MIN.saturating_mul(1 << doublings).min(PAUSE_MAX);
    let own = step.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
    asked.map_or(own, |asked| own.max(asked.min(ASKED_MAX)))
}

/// The pause where so much of the time for all attempts is left: a longer one ends with it, for one last attempt. `None`: the
/// time is over.
pub(super) fn within(left: Duration, pause: Duration) -> Option<Duration> {
    if left.is_zero() { None } else { Some(pause.min(left)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_attempt_is_at_the_end_of_the_time() {
        let seconds = Duration::from_secs;
        assert_eq!(within(seconds(60), seconds(7)), Some(seconds(7)));
        assert_eq!(within(seconds(60), ASKED_MAX), Some(seconds(60)));
        assert_eq!(within(Duration::ZERO, seconds(7)), None);
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let longest: Vec<_> = (1..=10).map(|failures| pause(failures, None, 1.0).as_millis()).collect();
        assert_eq!(longest, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        assert_eq!(pause(u32::MAX, None, 1.0), PAUSE_MAX);
    }

    #[test]
    fn nodes_that_failed_together_do_not_come_again_together() {
        assert_eq!(pause(1, None, 0.0), Duration::from_millis(250));
        assert_eq!(pause(1, None, 0.5), Duration::from_millis(375));
        assert_eq!(pause(8, None, 0.0), Duration::from_secs(30));
    }

    #[test]
    fn a_receiver_may_ask_for_a_longer_pause_within_bounds() {
        let asked = |seconds| pause(1, Some(Duration::from_secs(seconds)), 1.0);
        assert_eq!(asked(0), PAUSE_MIN);
        assert_eq!(asked(7), Duration::from_secs(7));
        assert_eq!(asked(86_400), ASKED_MAX);
    }
}
