//! Ends a connection under TLS from outside, so that its last record says so (RFC 8446, section 6.1).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use futures_util::task::AtomicWaker;

#[derive(Debug, Default)]
struct Inner {
    asked: AtomicBool,
    reader: AtomicWaker,
}

/// The wish to end; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending(Arc<Inner>);

impl Ending {
    /// The reader sees the end of what the client sends, and the server closes.
    pub(crate) fn ask(&self) {
        self.0.asked.store(true, Ordering::SeqCst);
        self.0.reader.wake();
    }

    /// Whether it was asked for; if not, the task is woken when it is.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> bool {
        self.0.reader.register(cx.waker());
        self.0.asked.load(Ordering::SeqCst)
    }
}
