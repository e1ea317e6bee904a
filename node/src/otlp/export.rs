//! Exporting spans: a bounded queue, and a task that sends what is in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter as _, SpanProcessor};
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
    waiting: Arc<AtomicUsize>,
}

/// Sends spans.
#[derive(Debug)]
pub(super) struct Exporter {
    pub(super) endpoint: String,
    pub(super) spans: mpsc::Receiver<SpanData>,
    pub(super) exporter: SpanExporter,
    pub(super) failure: Failure,
    pub(super) waiting: Arc<AtomicUsize>,
}

/// A queue, and its end.
pub(super) fn queue() -> (Queue, mpsc::Receiver<SpanData>) {
    let (spans, taken) = mpsc::channel(SPANS_MAX);
    (Queue { spans, waiting: Arc::default() }, taken)
}

impl Queue {
    /// The number of spans that wait or are on their way.
    pub(super) fn waiting(&self) -> Arc<AtomicUsize> {
        self.waiting.clone()
    }

    #[cfg(test)]
    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Gives up the spans that wait, and returns how many there were.
    pub(super) fn give_up(&self) -> usize {
        let left = self.waiting.swap(0, Ordering::Relaxed);
        metrics::counter!(LOST, "reason" => "shutdown").increment(left as u64);
        left
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        // Counted before it can be sent.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.spans.try_send(span).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            metrics::counter!(LOST, "reason" => "queue_full").increment(1);
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
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                count = self.spans.recv_many(&mut batch, BATCH_MAX) => if count == 0 { return },
                _ = closing.wait_for(|closing| *closing) => return,
            }
            if batch.len() < BATCH_MAX {
                tokio::select! {
                    () = sleep(GATHER) => {}
                    _ = closing.wait_for(|closing| *closing) => {}
                }
                while batch.len() < BATCH_MAX
                    && let Ok(span) = self.spans.try_recv()
                {
                    batch.push(span);
                }
            }
            let count = batch.len();
            let sent = self.send(batch).await;
            self.waiting.fetch_sub(count, Ordering::Relaxed);
            self.tell(sent, count, &mut is_failing);
        }
    }

    async fn send(&self, batch: Vec<SpanData>) -> bool {
        let mut pause = PAUSE;
        for attempt in 1..=ATTEMPTS {
            if self.exporter.export(batch.clone()).await.is_ok() {
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
