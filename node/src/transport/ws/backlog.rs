//! Messages of one connection that wait to be understood: how many bytes they are, and whether one more may be read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::admission::buffers::{Account, Held};

/// Messages that may wait, and their bytes; the last one may go beyond them. When as much does, the connection is not read
/// until some is taken: TCP then slows the client down.
pub(super) const MESSAGES_MAX: usize = 32;
const BYTES_MAX: usize = 128 << 10;
/// What a message costs beside its bytes.
const MESSAGE_BYTES: usize = 96;

/// What waits. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Backlog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    held: Held,
    // A std mutex: nothing is awaited while it is held.
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: usize,
    reader: Option<Waker>,
}

/// The weight of a message. It waits until this is dropped.
#[derive(Debug)]
pub(super) struct Weight {
    backlog: Backlog,
    bytes: usize,
}

impl Backlog {
    pub(super) fn new(account: &Account) -> Self {
        Self(Arc::new(Inner { held: account.hold(), waiting: Mutex::default() }))
    }

    /// Counts a message of so many bytes in.
    pub(super) fn weigh(&self, bytes: usize) -> Weight {
        let bytes = bytes + MESSAGE_BYTES;
        let mut waiting = self.lock();
        waiting.bytes += bytes;
        self.0.held.set(waiting.bytes);
        Weight { backlog: self.clone(), bytes }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().bytes == 0
    }

    /// Ready when one more may be read.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.lock();
        if waiting.bytes < BYTES_MAX {
            return Poll::Ready(());
        }
        waiting.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Has the task woken when a message is taken.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        self.lock().reader = Some(cx.waker().clone());
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        let mut waiting = self.backlog.lock();
        waiting.bytes -= self.bytes;
        self.backlog.0.held.set(waiting.bytes);
        if waiting.bytes < BYTES_MAX
            && let Some(reader) = waiting.reader.take()
        {
            reader.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::task::noop_waker;

    use super::*;
    use crate::admission::Shares;

    #[test]
    fn bytes_have_a_bound_and_are_on_the_account_while_they_wait() {
        let buffers = Shares::default().buffers;
        let backlog = Backlog::new(&buffers.account(None));
        let ready = |backlog: &Backlog| backlog.poll_room(&mut Context::from_waker(&noop_waker())).is_ready();
        let first = backlog.weigh(80 << 10);
        assert!(ready(&backlog));
        let second = backlog.weigh(80 << 10);
        assert!(!ready(&backlog));
        assert_eq!(buffers.bytes(), 2 * ((80 << 10) + MESSAGE_BYTES));
        drop(first);
        assert!(ready(&backlog) && !backlog.is_empty());
        drop(second);
        assert!(backlog.is_empty());
        assert_eq!(buffers.bytes(), 0);
    }
}
