//! What the registry knows of an actor without asking it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How busy an actor is.
///
/// Whoever finds an actor counts itself in here while it still holds the registry's lock. So an actor that sees
/// nobody counted, under that same lock, may leave: no message to it is under way.
#[derive(Debug, Default)]
pub(super) struct Line {
    calls: AtomicUsize,
    watchers: AtomicUsize,
    used: AtomicBool,
}

impl Line {
    /// Notes that the actor was found.
    pub(super) fn touch(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// Whether the actor was found since this was last asked.
    pub(super) fn was_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// Whether nobody calls or waits.
    pub(super) fn is_idle(&self) -> bool {
        self.calls.load(Ordering::SeqCst) == 0 && self.watchers.load(Ordering::SeqCst) == 0
    }

    /// Whether somebody waits. Sequentially consistent, since a watcher that counts itself in after this was asked
    /// must see, when it looks, all that was published before.
    pub(super) fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::SeqCst) > 0
    }

    /// Counts a call in, if fewer than `max` are under way.
    pub(super) fn call(self: &Arc<Self>, max: usize) -> Option<Call> {
        let before = self.calls.fetch_add(1, Ordering::SeqCst);
        let call = Call(self.clone());
        (before < max).then_some(call)
    }

    /// Counts a watcher in.
    pub(super) fn seat(self: &Arc<Self>) -> Seat {
        self.watchers.fetch_add(1, Ordering::SeqCst);
        Seat(self.clone())
    }
}

/// One call under way.
#[derive(Debug)]
pub(super) struct Call(Arc<Line>);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One watcher.
#[derive(Debug)]
pub(super) struct Seat(Arc<Line>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_bounded_and_counted_out() {
        let line = Arc::new(Line::default());
        let first = line.call(1).unwrap();
        assert!(line.call(1).is_none());
        assert!(!line.is_idle());
        drop(first);
        assert!(line.is_idle());
        assert!(line.call(1).is_some());
    }

    #[test]
    fn a_seat_is_seen_while_it_is_held() {
        let line = Arc::new(Line::default());
        let seat = line.seat();
        assert!(line.is_watched() && !line.is_idle());
        drop(seat);
        assert!(!line.is_watched());
    }
}
