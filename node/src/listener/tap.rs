//! Whether a large body may come in, or waits where it costs this process nothing: in the system's buffers, and at its
//! sender.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::admission::buffers::Part;

/// Bodies of so many bytes or more are large, if they say so beforehand.
pub(crate) const LARGE: usize = 4 << 10;

#[derive(Debug)]
struct Inner {
    /// The request whose body is held back, by its number among those that the server was handed; 0 if none is.
    closed: Cell<u64>,
    /// Requests that the server began to answer, in their order.
    begun: Cell<u64>,
    /// Those of them that it had begun when it last had written all it had.
    settled: Cell<u64>,
    buffers: Part,
    starved: Cell<bool>,
    answered: Cell<u64>,
    owner: RefCell<Option<Waker>>,
}

/// Stands in one connection, before each large body. Whoever answers the request opens it: to read the body, or
/// when the request is over. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Tap(Rc<Inner>);

impl Tap {
    pub(super) fn new(buffers: Part) -> Self {
        Self(Rc::new(Inner {
            closed: Cell::new(0),
            begun: Cell::new(0),
            settled: Cell::new(0),
            buffers,
            starved: Cell::new(false),
            answered: Cell::new(0),
            owner: RefCell::new(None),
        }))
    }

    /// The server begins to answer the next request.
    pub(super) fn begin(&self) {
        self.0.buffers.set_body(0);
        self.0.begun.set(self.0.begun.get() + 1);
    }

    /// The server has written all it had.
    pub(super) fn settle(&self) {
        self.0.settled.set(self.0.begun.get());
    }

    /// How many requests it had begun to answer then.
    pub(super) fn settled(&self) -> u64 {
        self.0.settled.get()
    }

    /// What this connection makes the node hold.
    pub(crate) fn buffers(&self) -> &Part {
        &self.0.buffers
    }

    /// The request that is being answered is over: nothing of its body is kept, and what is left of it may be thrown away.
    pub(crate) fn over(&self) {
        self.0.buffers.set_body(0);
        self.open();
    }

    /// Lets the body of the request come in that is being answered. The body of one that waits for its turn is not.
    pub(crate) fn open(&self) {
        if self.0.begun.get() < self.0.closed.get() {
            return;
        }
        self.0.closed.set(0);
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

    /// Holds back what comes from here on: the body of a request, by its number among those that the server was handed.
    pub(super) fn close(&self, request: u64) {
        self.0.closed.set(request);
        self.0.starved.set(false);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.closed.get() > 0
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
    use crate::admission::buffers::Buffers;

    #[test]
    fn what_is_held_back_is_woken_when_it_may_pass() {
        let tap = Tap::new(Buffers::new(1 << 20).part());
        let waker = futures_util::task::noop_waker();
        let cx = Context::from_waker(&waker);
        assert!(tap.poll_open(&cx).is_ready());
        tap.begin();
        tap.close(2);
        assert!(tap.poll_open(&cx).is_pending());
        tap.open();
        assert!(tap.poll_open(&cx).is_pending(), "the end of the request before it does not let it in");
        tap.begin();
        tap.clone().open();
        assert!(tap.poll_open(&cx).is_ready());
    }
}
