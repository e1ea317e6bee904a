//! Sending everybody elsewhere when the node goes away.

use std::time::Duration;

use bytestring::ByteString;
use tokio::time::{Instant, interval, sleep_until, timeout_at};

use super::Sockets;
use super::close::{Code, Reason};
use super::connections::{ConnectionEntry, Encoding};
use super::json::Writer;
use super::outbound_queue::Frame;

/// How often it is looked whether all are gone.
const STEP: Duration = Duration::from_millis(50);
/// At the end, for how long clients may answer their close frames.
const PARTING: Duration = Duration::from_millis(1200);

impl Sockets {
    /// Tells every client where to go, closes their connections at the configured pace, or faster if they would not be
    /// closed by `end`, and ends the lease of this node's sockets. `urls` are those of other nodes.
    pub async fn drain(&self, urls: &[String], end: Instant) {
        let connections = self.connections.all();
        let count = connections.len();
        if count > 0 {
            tracing::info!(sockets = count, "draining: asking sockets to reconnect elsewhere");
            let rate = f64::from(self.options.drain_per_second);
            let spread = Duration::from_secs_f64(count as f64 / rate);
            let left = end.saturating_duration_since(Instant::now()).saturating_sub(PARTING);
            let spread = spread.min(left);
            for (turn, entry) in connections.iter().enumerate() {
                tell(entry, urls.get(turn % urls.len().max(1)), spread);
            }
            self.close_all(&connections, spread).await;
            let _ = timeout_at(end, self.gone()).await;
        }
        self.services.lease.leave().await;
    }

    async fn close_all(&self, connections: &[std::sync::Arc<ConnectionEntry>], spread: Duration) {
        let began = Instant::now();
        for (turn, entry) in connections.iter().enumerate() {
            sleep_until(began + spread.mul_f64(turn as f64 / connections.len() as f64)).await;
            entry.outbound().end(Reason::new(Code::RESTART, "this node is going away"));
        }
    }

    /// Waits until nobody is connected.
    async fn gone(&self) {
        let mut ticks = interval(STEP);
        while self.count() > 0 {
            ticks.tick().await;
        }
    }
}

/// FlatBuffers has no word for it; those clients learn it from the close code.
fn tell(entry: &ConnectionEntry, url: Option<&String>, spread: Duration) {
    if entry.encoding() == Encoding::FlatBuffers {
        return;
    }
    // Those who are sent away together shall not arrive together.
    let latest = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX).clamp(250, 5_000);
    entry.outbound().push(Frame::Text(drain(rand::random_range(0..latest), url.map(String::as_str))));
}

fn drain(retry_after_ms: u64, url: Option<&str>) -> ByteString {
    let writer = Writer::push("drain").value("retryAfterMs", retry_after_ms);
    match url {
        Some(url) => writer.text("url", url).done(),
        None => writer.done(),
    }
}
