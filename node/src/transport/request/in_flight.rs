//! Requests in flight: counted once, for the metric and for a shutdown that waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use metrics::Gauge;
use tokio::sync::Notify;

struct Inner {
    gauge: Gauge,
    count: AtomicUsize,
    draining: AtomicBool,
    none: Notify,
}

/// The count; clones share it.
#[derive(Clone)]
pub(crate) struct InFlight(Arc<Inner>);

/// One request; it counts until dropped, whether it was answered or its client went away.
pub(crate) struct One {
    of: InFlight,
    awaited: bool,
}

impl InFlight {
    pub(crate) fn new(gauge: Gauge) -> Self {
        let (count, draining) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self(Arc::new(Inner { gauge, count, draining, none: Notify::new() }))
    }

    /// Waits for no request that begins from now on. While the node drains each is refused at once, and a client that asks
    /// again and again must not keep the node from going.
    pub(crate) fn drain(&self) {
        self.0.draining.store(true, Ordering::SeqCst);
    }

    /// How many requests a shutdown waits for.
    pub(crate) fn count(&self) -> usize {
        self.0.count.load(Ordering::SeqCst)
    }

    /// Waits until there are none.
    pub(crate) async fn none(&self) {
        loop {
            // Registered before the look, so that a request that ends between the two is not missed.
            let ended = self.0.none.notified();
            if self.count() == 0 {
                return;
            }
            ended.await;
        }
    }

    pub(crate) fn begin(&self) -> One {
        self.0.gauge.increment(1.0);
        let awaited = !self.0.draining.load(Ordering::SeqCst);
        if awaited {
            self.0.count.fetch_add(1, Ordering::SeqCst);
        }
        One { of: self.clone(), awaited }
    }
}

impl Drop for One {
    fn drop(&mut self) {
        let inner = &self.of.0;
        inner.gauge.decrement(1.0);
        if self.awaited && inner.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            inner.none.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_with_the_last_request_that_began_before_the_drain() {
        let in_flight = InFlight::new(Gauge::noop());
        in_flight.none().await;
        let (first, second) = (in_flight.begin(), in_flight.begin());
        in_flight.drain();
        let _refused = in_flight.begin();
        assert_eq!(in_flight.count(), 2);
        let waiting = tokio::spawn({
            let in_flight = in_flight.clone();
            async move { in_flight.none().await }
        });
        drop(first);
        assert_eq!(in_flight.count(), 1);
        drop(second);
        waiting.await.unwrap();
    }
}
