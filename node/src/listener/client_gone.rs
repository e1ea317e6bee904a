//! Whether a client has closed its end of a connection.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

#[derive(Debug, Default)]
struct Inner {
    closed: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

/// Says when a connection's client has gone. The HTTP server does not: it lets a handler finish, since a client may close
/// its sending half only. A handler that would wait, or give something away that is given once, asks here. Clones are about
/// the same connection; one of them at a time may wait, as only one request is answered at a time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Closed(Rc<Inner>);

impl Closed {
    /// Whether the end was read.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.get()
    }

    /// Waits until it is.
    pub(crate) async fn closed(&self) {
        poll_fn(|cx| {
            if self.is_closed() {
                return Poll::Ready(());
            }
            self.0.waiting.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    pub(super) fn close(&self) {
        self.0.closed.set(true);
        if let Some(waker) = self.0.waiting.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn whoever_waits_is_woken_when_the_client_has_gone() {
        let closed = Closed::default();
        let waiter = closed.clone();
        let mut waiting = pin!(waiter.closed());
        assert!(poll!(&mut waiting).is_pending() && !closed.is_closed());
        closed.close();
        assert!(poll!(&mut waiting).is_ready() && closed.is_closed());
        closed.closed().await;
    }
}
