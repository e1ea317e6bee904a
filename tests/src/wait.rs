//! Waiting for conditions.

use std::time::Duration;

/// Looks again and again until there is something to see, and returns it; panics when `within` has passed.
///
/// A look that hangs counts against `within` too.
pub async fn eventually<T>(within: Duration, what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    let seen = conclave_supervisor::until(within, look).await;
    seen.unwrap_or_else(|| panic!("timed out after {within:?} waiting for: {what}"))
}
