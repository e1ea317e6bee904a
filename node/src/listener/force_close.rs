//! A hold on a connection, for ending it from outside: a socket that is stuck in a write, or whoever has to make room.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

#[derive(Debug, Default)]
struct Inner {
    asked: AtomicBool,
    owner: AtomicWaker,
}

/// Ends one connection. Clones hold the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hangup(Arc<Inner>);

impl Hangup {
    /// Ends it, whatever is under way.
    pub(crate) fn cut(&self) {
        self.0.asked.store(true, Ordering::SeqCst);
        self.0.owner.wake();
    }

    /// Whether it is to end; if not, the task is woken when it is.
    pub(super) fn poll(&self, cx: &Context<'_>) -> bool {
        self.0.owner.register(cx.waker());
        self.0.asked.load(Ordering::SeqCst)
    }

    /// Waits until it is to end. One task at a time may.
    pub(super) async fn asked(&self) {
        poll_fn(|cx| if self.poll(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}
