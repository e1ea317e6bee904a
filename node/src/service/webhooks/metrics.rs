//! The metrics of webhooks. Labels come from fixed sets; the address of an endpoint is never one.

use metrics::{counter, gauge, histogram};
use tokio::time::Instant;

use super::event::Spelled;

/// Events that an endpoint accepted.
const DELIVERED: &str = "conclave_webhook_events_delivered_total";
/// Events that an endpoint will not get, by reason.
const LOST: &str = "conclave_webhook_events_lost_total";
/// Requests, by result.
const ATTEMPTS: &str = "conclave_webhook_attempts_total";
/// Events that wait or are on their way.
const QUEUE: &str = "conclave_webhook_queue_events";
/// From an event to its delivery.
const DELIVERY: &str = "conclave_webhook_delivery_seconds";

/// Why an endpoint will not get an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// The queue is full.
    QueueFull,
    /// The endpoint refused it for good.
    Refused,
    /// It was not accepted within `webhooks.retry_for`.
    Expired,
    /// The node shut down.
    Shutdown,
}

impl Loss {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Shutdown => "shutdown",
        }
    }
}

/// One more event waits.
pub(super) fn waits() {
    gauge!(QUEUE).increment(1.0);
}

pub(super) fn lost(loss: Loss, count: usize) {
    counter!(LOST, "reason" => loss.label()).increment(count as u64);
}

/// This many events wait no longer.
pub(super) fn gone(count: usize) {
    gauge!(QUEUE).decrement(count as f64);
}

pub(super) fn attempted(result: &'static str) {
    counter!(ATTEMPTS, "result" => result).increment(1);
}

pub(super) fn delivered(events: &[Spelled]) {
    counter!(DELIVERED).increment(events.len() as u64);
    let now = Instant::now();
    for event in events {
        histogram!(DELIVERY).record(now.saturating_duration_since(event.at));
    }
}
