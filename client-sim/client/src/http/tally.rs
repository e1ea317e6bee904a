//! What all clients of a run have seen, counted without locks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Fault;

const STATUS_MAX: usize = 600;

/// Shared by all clients of a run.
#[derive(Debug)]
pub struct Tally {
    statuses: Box<[AtomicU64]>,
    connect: AtomicU64,
    io: AtomicU64,
    timeout: AtomicU64,
    failovers: AtomicU64,
    retry_afters: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// What it took beyond one try per request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Tried {
    /// Requests tried again at another target after a connection error or time-out.
    pub failovers: u64,
    /// Requests tried again after a 503 with `Retry-After`.
    pub retry_afters: u64,
    /// Tries that found no connection.
    pub connect_errors: u64,
    /// Tries whose connection broke.
    pub io_errors: u64,
    /// Tries without a reply in time.
    pub timeouts: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            statuses: (0..STATUS_MAX).map(|_| AtomicU64::new(0)).collect(),
            connect: AtomicU64::new(0),
            io: AtomicU64::new(0),
            timeout: AtomicU64::new(0),
            failovers: AtomicU64::new(0),
            retry_afters: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        }
    }
}

impl Tally {
    pub(super) fn answered(&self, status: u16, sent: usize, received: usize) {
        self.statuses[usize::from(status).min(STATUS_MAX - 1)].fetch_add(1, Ordering::Relaxed);
        self.sent.fetch_add(sent as u64, Ordering::Relaxed);
        self.received.fetch_add(received as u64, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, fault: Fault) {
        let counter = match fault {
            Fault::Connect => &self.connect,
            Fault::Closed | Fault::Io => &self.io,
            Fault::Timeout => &self.timeout,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed_over(&self) {
        self.failovers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn followed_retry_after(&self) {
        self.retry_afters.fetch_add(1, Ordering::Relaxed);
    }

    /// Replies by status, those that were retried included; 599 stands for all beyond it.
    pub fn statuses(&self) -> BTreeMap<u16, u64> {
        let count = |(status, n): (usize, &AtomicU64)| (status as u16, n.load(Ordering::Relaxed));
        self.statuses.iter().enumerate().map(count).filter(|(_, n)| *n > 0).collect()
    }

    /// What it took beyond one try per request.
    pub fn tried(&self) -> Tried {
        Tried {
            failovers: self.failovers.load(Ordering::Relaxed),
            retry_afters: self.retry_afters.load(Ordering::Relaxed),
            connect_errors: self.connect.load(Ordering::Relaxed),
            io_errors: self.io.load(Ordering::Relaxed),
            timeouts: self.timeout.load(Ordering::Relaxed),
        }
    }

    /// Bytes of bodies sent and received so far, in answered requests.
    pub fn bytes(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }
}
