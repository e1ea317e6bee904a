//! Waiting for conditions.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

const INTERVAL: Duration = Duration::from_millis(20);

/// Looks again and again until there is something to see, and returns it; panics when `within` has passed.
///
/// A look that hangs counts against `within` too.
pub async fn eventually<T>(within: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    let search = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            sleep(INTERVAL).await;
        }
    };
    match timeout_at(deadline, search).await {
        Ok(seen) => seen,
        Err(_) => panic!("timed out after {within:?} waiting for: {what}"),
    }
}
