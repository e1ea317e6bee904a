//! Exporting spans: a bounded queue, and a task that sends what is in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter as _, SpanProcessor};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::collector::Failure;

/// Spans that may wait; more are lost.
pub(super) const SPANS_MAX: usize = 4_096;
/// Spans that are sent together.
const BATCH_MAX: usize = 512;
/// How long to wait for more spans before a batch is sent.
const GATHER: Duration = Duration::from_secs(1);
/// How often a batch is tried, and the pause before the second attempt, which doubles.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

const EXPORTED: &str = "conclave_trace_spans_exported_total";
const LOST: &str = "conclave_trace_spans_lost_total";

/// Takes spans when they end.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    given_up: GivenUp,
}

/// Sends spans. Dropping it gives up those that wait.
#[derive(Debug)]
pub(super) struct Exporter {
    pub(super) endpoint: String,
    pub(super) spans: mpsc::Receiver<SpanData>,
    pub(super) exporter: SpanExporter,
    pub(super) failure: Failure,
    pub(super) given_up: GivenUp,
}

/// Counts spans that are lost because the node goes away. Each is counted by what holds it then.
#[derive(Debug, Clone, Default)]
pub(super) struct GivenUp(Arc<AtomicUsize>);

/// Spans on their way; those that it still holds when it is dropped are given up.
struct Batch {
    spans: Vec<SpanData>,
    given_up: GivenUp,
}

/// A queue, and its end.
pub(super) fn queue() -> (Queue, mpsc::Receiver<SpanData>) {
    let (spans, taken) = mpsc::channel(SPANS_MAX);
    (Queue { spans, given_up: GivenUp::default() }, taken)
}

impl GivenUp {
    fn add(&self, count: usize) {
        self.0.fetch_add(count, Ordering::Relaxed);
        metrics::counter!(LOST, "reason" => "shutdown").increment(count as u64);
    }

    /// How many there are so far.
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if !self.spans.is_empty() {
            self.given_up.add(self.spans.len());
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.spans.close();
        while self.spans.try_recv().is_ok() {
            self.given_up.add(1);
        }
    }
}

impl Queue {
    /// Counts the spans that were given up.
    pub(super) fn given_up(&self) -> GivenUp {
        self.given_up.clone()
    }

    /// The number of spans that wait.
    #[cfg(test)]
    pub(super) fn waiting_count(&self) -> usize {
        self.spans.max_capacity() - self.spans.capacity()
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        match self.spans.try_send(span) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => metrics::counter!(LOST, "reason" => "queue_full").increment(1),
            // The exporter is gone: it was flushed.
            Err(TrySendError::Closed(_)) => self.given_up.add(1),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Exporter {
    /// Runs until `closing` is true and nothing waits.
    pub(super) async fn run(mut self: Box<Self>, mut closing: watch::Receiver<bool>) {
        let mut is_failing = false;
        loop {
            let mut batch = Batch { spans: Vec::new(), given_up: self.given_up.clone() };
            tokio::select! {
                biased;
                count = self.spans.recv_many(&mut batch.spans, BATCH_MAX) => if count == 0 { return },
                _ = closing.wait_for(|closing| *closing) => return,
            }
            if batch.spans.len() < BATCH_MAX {
                tokio::select! {
                    () = sleep(GATHER) => {}
                    _ = closing.wait_for(|closing| *closing) => {}
                }
                while batch.spans.len() < BATCH_MAX
                    && let Ok(span) = self.spans.try_recv()
                {
                    batch.spans.push(span);
                }
            }
            let sent = self.send(&batch.spans).await;
            let count = std::mem::take(&mut batch.spans).len();
            self.tell(sent, count, &mut is_failing);
        }
    }

    async fn send(&self, batch: &[SpanData]) -> bool {
        let mut pause = PAUSE;
        for attempt in 1..=ATTEMPTS {
            if self.exporter.export(batch.to_vec()).await.is_ok() {
                return true;
            }
            if attempt < ATTEMPTS {
                sleep(pause).await;
                pause *= 2;
            }
        }
        false
    }

    fn tell(&self, sent: bool, count: usize, is_failing: &mut bool) {
        let endpoint = &self.endpoint;
        if sent {
            metrics::counter!(EXPORTED).increment(count as u64);
            if std::mem::take(is_failing) {
                tracing::info!(endpoint, "the collector takes spans again");
            }
        } else {
            metrics::counter!(LOST, "reason" => "failed").increment(count as u64);
            if !std::mem::replace(is_failing, true) {
                let why = self.failure.said();
                tracing::warn!(endpoint, count, why, "spans were lost: the collector does not take them");
            }
        }
    }
}
