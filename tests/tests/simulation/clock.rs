//! The simulation's time, and clocks that show it wrongly.

use std::cell::Cell;
use std::time::Duration;

use conclave_cluster::Clock;

/// What the clocks show when the simulation begins, in milliseconds since the Unix epoch.
pub(crate) const EPOCH_MS: u64 = 1_800_000_000_000;

thread_local! {
    /// The time of the simulation on this thread between two of its steps.
    static BETWEEN: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Tells the time to whoever asks between two steps.
pub(crate) fn stepped(elapsed: Duration) {
    BETWEEN.set(elapsed);
}

/// How long the simulation on this thread has been running, in virtual time.
pub(crate) fn elapsed() -> Duration {
    if turmoil::in_simulation() {
        turmoil::sim_elapsed().expect("every host has a timer")
    } else {
        BETWEEN.get()
    }
}

/// One machine's idea of the time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Skewed {
    /// How far it is off, in milliseconds.
    pub(crate) skew_ms: i64,
    /// How much it gains in a million.
    pub(crate) drift_ppm: i64,
}

impl Clock for Skewed {
    fn now_ms(&self) -> u64 {
        let elapsed = elapsed().as_micros() as i64;
        let shown = elapsed + elapsed * self.drift_ppm / 1_000_000;
        EPOCH_MS.saturating_add_signed(shown / 1000 + self.skew_ms)
    }
}
