//! Whether a large body may come in, or waits where it costs this process nothing: in the system's buffers, and at its
//! sender.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Bodies of so many bytes or more are large, if they say so beforehand.
pub(crate) const LARGE: usize = 4 << 10;

#[derive(Debug, Default)]
struct Inner {
    closed: Cell<bool>,
    starved: Cell<bool>,
    answered: Cell<u64>,
    owner: RefCell<Option<Waker>>,
}

/// Stands in one connection, before each large body. Whoever answers the request opens it: to read the body, or
/// when the request is over. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tap(Rc<Inner>);

impl Tap {
    /// Lets the body come in.
    pub(crate) fn open(&self) {
        self.0.closed.set(false);
        if let Some(owner) = self.0.owner.take() {
            owner.wake();
        }
    }

    /// Whether the sender is waited for: it is open, and nothing came when it was last looked.
    pub(crate) fn is_starved(&self) -> bool {
        self.0.starved.get()
    }

    /// A request was answered, so shortly that the answer is written in one go.
    pub(crate) fn count_short_answer(&self) {
        self.0.answered.set(self.0.answered.get() + 1);
    }

    pub(super) fn answered(&self) -> u64 {
        self.0.answered.get()
    }

    /// Whether something came.
    pub(super) fn looked(&self, came: bool) {
        self.0.starved.set(!came);
    }

    /// Holds back what comes from here on.
    pub(super) fn close(&self) {
        self.0.closed.set(true);
        self.0.starved.set(false);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.closed.get()
    }

    /// Whether what comes now may pass; if not, the task is woken when it may.
    pub(super) fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.is_closed() {
            return Poll::Ready(());
        }
        self.0.owner.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_back_is_woken_when_it_may_pass() {
        let (tap, waker) = (Tap::default(), futures_util::task::noop_waker());
        let cx = Context::from_waker(&waker);
        assert!(tap.poll_open(&cx).is_ready());
        tap.close();
        assert!(tap.poll_open(&cx).is_pending());
        tap.clone().open();
        assert!(tap.poll_open(&cx).is_ready());
    }
}
