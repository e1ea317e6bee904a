//! By when what is awaited must be here.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// How long whoever reads a body waits for it to arrive.
pub(crate) const BODY_ARRIVAL_MAX: Duration = Duration::from_secs(15);
/// How long the connection does: longer, so that the reader's answer goes first. The server itself would wait without an end
/// for the rest of a chunked body that nobody reads any more.
const BODY_PATIENCE: Duration = BODY_ARRIVAL_MAX.saturating_add(Duration::from_secs(2));

/// By when what is awaited must be here.
pub(super) struct Deadline {
    pub(super) awaited: Awaited,
    pub(super) over: Pin<Box<Sleep>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    Head,
    /// Of which request.
    Body(u64),
}

impl Deadline {
    pub(super) fn new(awaited: Awaited, patience: Duration) -> Self {
        Self { awaited, over: Box::pin(sleep_until(Instant::now() + patience)) }
    }

    pub(super) fn of_body(request: u64) -> Self {
        Self::new(Awaited::Body(request), BODY_PATIENCE)
    }
}
