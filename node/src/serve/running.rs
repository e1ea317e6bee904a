//! How many requests this node is working on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use tokio::sync::Notify;

struct Inside {
    count: AtomicUsize,
    closed: AtomicBool,
    none: Notify,
}

/// The count; clones share it.
#[derive(Clone)]
pub(super) struct Running(Arc<Inside>);

/// One request; it counts until dropped, whether it was answered or its client went away.
struct One(Running);

impl Running {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inside {
            count: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            none: Notify::new(),
        }))
    }

    pub(super) fn count(&self) -> usize {
        self.0.count.load(Ordering::SeqCst)
    }

    /// Counts no request that begins from now on. While the node drains each is refused at once, and a client that asks
    /// again and again must not keep the node from going.
    pub(super) fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
    }

    /// Waits until no request runs.
    pub(super) async fn none(&self) {
        loop {
            // Registered before the look, so that a request that ends between the two is not missed.
            let ended = self.0.none.notified();
            if self.count() == 0 {
                return;
            }
            ended.await;
        }
    }

    fn begin(self) -> One {
        self.0.count.fetch_add(1, Ordering::SeqCst);
        One(self)
    }

    /// The middleware.
    pub(super) async fn count_in<B: MessageBody + 'static>(
        self,
        request: ServiceRequest,
        next: Next<B>,
    ) -> Result<ServiceResponse<B>, Error> {
        let _one = (!self.0.closed.load(Ordering::SeqCst)).then(|| self.begin());
        next.call(request).await
    }
}

impl Drop for One {
    fn drop(&mut self) {
        if self.0.0.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.0.none.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_with_the_last_request() {
        let running = Running::new();
        running.none().await;
        let (first, second) = (running.clone().begin(), running.clone().begin());
        let waiting = tokio::spawn({
            let running = running.clone();
            async move { running.none().await }
        });
        drop(first);
        assert_eq!(running.count(), 1);
        drop(second);
        waiting.await.unwrap();
    }
}
