//! Whether a large body may come in, or waits where it costs this process nothing: in the system's buffers, and at its
//! sender.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::refused_head::Refusal;
use crate::admission::buffers::Part;

/// Bodies of so many bytes or more are large, if they say so beforehand.
pub(crate) const LARGE: usize = 4 << 10;

#[derive(Debug)]
struct Inner {
    /// The request whose body is held back, by its number among those that the server was handed; 0 if none is.
    closed: Cell<u64>,
    /// Requests that the server began to answer, in their order.
    begun: Cell<u64>,
    /// Requests that the application has answered, whether that is written or not.
    answered: Cell<u64>,
    /// Those of them that it had begun when it last had written all it had.
    settled: Cell<u64>,
    buffers: Part,
    starved: Cell<bool>,
    /// Requests that are refused, by their number among those that the server was handed, ascending. No more than may wait.
    refused: RefCell<VecDeque<(u64, Refusal)>>,
    owner: RefCell<Option<Waker>>,
}

/// Stands in one connection, before each large body. Whoever answers the request opens it: to read the body, or
/// when the request is over. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct BodyGate(Rc<Inner>);

impl BodyGate {
    pub(super) fn new(buffers: Part) -> Self {
        Self(Rc::new(Inner {
            closed: Cell::new(0),
            begun: Cell::new(0),
            answered: Cell::new(0),
            settled: Cell::new(0),
            buffers,
            starved: Cell::new(false),
            refused: RefCell::default(),
            owner: RefCell::new(None),
        }))
    }

    /// The server begins to answer the next request.
    pub(super) fn begin(&self) {
        self.0.buffers.clear_body();
        self.0.begun.set(self.0.begun.get() + 1);
    }

    /// The application has answered the request that was begun last. The head of the answer is written in the same turn.
    pub(super) fn answer(&self) {
        self.0.answered.set(self.0.begun.get());
    }

    /// How many requests it has answered.
    pub(super) fn answered(&self) -> u64 {
        self.0.answered.get()
    }

    /// A request is refused, by its number among those that the server is handed.
    pub(super) fn refuse(&self, request: u64, refusal: Refusal) {
        self.0.refused.borrow_mut().push_back((request, refusal));
    }

    /// Whether the request that is being answered is refused.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let mut refused = self.0.refused.borrow_mut();
        while refused.front().is_some_and(|(request, _)| *request < self.0.begun.get()) {
            refused.pop_front();
        }
        refused.front().filter(|(request, _)| *request == self.0.begun.get()).map(|(_, refusal)| *refusal)
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
        self.0.buffers.clear_body();
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
    use crate::admission::Shares;

    #[test]
    fn a_refusal_is_that_of_one_request() {
        let gate = BodyGate::new(Shares::default().buffers.part(None));
        gate.refuse(2, Refusal::Overloaded);
        gate.refuse(4, Refusal::Malformed);
        let told = std::array::from_fn(|_| {
            gate.begin();
            gate.refusal()
        });
        assert_eq!(told, [None, Some(Refusal::Overloaded), None, Some(Refusal::Malformed), None]);
    }

    #[test]
    fn what_is_held_back_is_woken_when_it_may_pass() {
        let gate = BodyGate::new(Shares::default().buffers.part(None));
        let waker = futures_util::task::noop_waker();
        let cx = Context::from_waker(&waker);
        assert!(gate.poll_open(&cx).is_ready());
        gate.begin();
        gate.close(2);
        assert!(gate.poll_open(&cx).is_pending());
        gate.open();
        assert!(gate.poll_open(&cx).is_pending(), "the end of the request before it does not let it in");
        gate.begin();
        gate.clone().open();
        assert!(gate.poll_open(&cx).is_ready());
    }
}
