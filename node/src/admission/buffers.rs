//! Bytes that connections make this node hold: requests that wait for their turn, bodies that are being read, answers that
//! their clients do not take. Each connection has bounds of its own; this is the bound of all of them together.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::Gauge;

/// Bytes held for connections, read from anywhere.
const BUFFERS_BYTES: &str = "conclave_buffers_bytes";

/// How much of the node's bound is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// There is room.
    Low,
    /// The bound is reached: connections are handed one request at a time, bodies are refused, and whoever does not take
    /// its answer is given a second.
    High,
    /// It is exceeded by half: a connection that does not take its answer at once is closed.
    Critical,
}

struct Inner {
    bytes: AtomicUsize,
    bytes_max: usize,
    gauge: Gauge,
}

/// All connections' buffers. Clones count together.
#[derive(Clone)]
pub struct Buffers(Arc<Inner>);

impl Buffers {
    /// No more than about `bytes_max` in all. Install the metrics recorder before.
    pub fn new(bytes_max: usize) -> Self {
        metrics::describe_gauge!(BUFFERS_BYTES, "bytes held for connections: requests, bodies, answers");
        let gauge = metrics::gauge!(BUFFERS_BYTES);
        gauge.set(0.0);
        Self(Arc::new(Inner { bytes: AtomicUsize::new(0), bytes_max, gauge }))
    }

    /// How many bytes are held.
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// How much of the bound that is.
    pub fn pressure(&self) -> Pressure {
        let (bytes, max) = (self.bytes(), self.0.bytes_max);
        if bytes < max {
            Pressure::Low
        } else if bytes < max + max / 2 {
            Pressure::High
        } else {
            Pressure::Critical
        }
    }

    /// The part of one connection, empty at first.
    pub fn part(&self) -> Part {
        Part { buffers: self.clone(), waiting: Cell::new(0), body: Cell::new(0) }
    }

    fn replace(&self, before: usize, after: usize) {
        if before == after {
            return;
        }
        let inner = &self.0;
        let was = match after.checked_sub(before) {
            Some(more) => inner.bytes.fetch_add(more, Ordering::Relaxed) + more,
            None => inner.bytes.fetch_sub(before - after, Ordering::Relaxed) - (before - after),
        };
        inner.gauge.set(was as f64);
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffers({} of {})", self.bytes(), self.0.bytes_max)
    }
}

/// What one connection holds. It is given back when this is dropped.
#[derive(Debug)]
pub struct Part {
    buffers: Buffers,
    waiting: Cell<usize>,
    body: Cell<usize>,
}

impl Part {
    /// All connections' buffers.
    pub fn all(&self) -> &Buffers {
        &self.buffers
    }

    /// What waits on the connection now: requests for their turn, answers for the client.
    pub fn set_waiting(&self, bytes: usize) {
        self.buffers.replace(self.waiting.replace(bytes), bytes);
    }

    /// How much of the present request's body is held. False if there is no room for more of it.
    pub fn set_body(&self, bytes: usize) -> bool {
        let grows = bytes > self.body.get();
        if grows && self.buffers.pressure() != Pressure::Low {
            return false;
        }
        self.buffers.replace(self.body.replace(bytes), bytes);
        true
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.buffers.replace(self.waiting.get() + self.body.get(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_connections_hold_is_summed_and_given_back() {
        let buffers = Buffers::new(100);
        let (one, other) = (buffers.part(), buffers.part());
        one.set_waiting(40);
        assert!(other.set_body(50));
        assert_eq!((buffers.bytes(), buffers.pressure()), (90, Pressure::Low));
        one.set_waiting(10);
        assert_eq!(buffers.bytes(), 60);
        drop(other);
        assert_eq!(buffers.bytes(), 10);
    }

    #[test]
    fn at_the_bound_no_body_grows_and_each_may_shrink() {
        let buffers = Buffers::new(100);
        let (one, other) = (buffers.part(), buffers.part());
        assert!(one.set_body(60));
        other.set_waiting(40);
        assert_eq!(buffers.pressure(), Pressure::High);
        assert!(!one.set_body(61) && !other.set_body(1));
        assert_eq!(buffers.bytes(), 100, "a refusal takes nothing");
        other.set_waiting(90);
        assert_eq!(buffers.pressure(), Pressure::Critical);
        assert!(one.set_body(0));
        assert_eq!(buffers.pressure(), Pressure::Low);
    }
}
