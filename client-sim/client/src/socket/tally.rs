//! What all sessions of a run went through.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::Closed;

/// Shared by all sessions of a run.
#[derive(Debug, Default)]
pub struct SocketTally {
    opened: AtomicU64,
    resumed: AtomicU64,
    unrecovered: AtomicU64,
    redelivered: AtomicU64,
    published: AtomicU64,
    lost: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    // A std mutex, since nothing awaits inside and connections seldom close.
    closes: Mutex<BTreeMap<u16, u64>>,
}

/// The same, to be read.
#[derive(Debug, Clone, Serialize)]
pub struct Sockets {
    /// How frames were written.
    pub encoding: &'static str,
    /// Connections that were opened.
    pub opened: u64,
    /// Connections that were lost, by close code; 1006 stands for those that broke without one.
    pub lost: BTreeMap<u16, u64>,
    /// Sessions taken up again.
    pub resumed: u64,
    /// Sessions that could not be, or whose history was gone.
    pub unrecovered: u64,
    /// Signals that came again after a resume, as what was not acknowledged does.
    pub redelivered: u64,
    /// Messages or signals handed in, over the whole run.
    pub published: u64,
    /// Of those to be received, how many volatile ones never came.
    pub lost_volatile: u64,
    /// Only in `idle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
}

/// What sockets cost that do nothing.
#[derive(Debug, Clone, Serialize)]
pub struct Idle {
    /// How many were to be held.
    pub sockets: u64,
    /// How many were open when the last one was.
    pub held: u64,
    /// How many were open in the end.
    pub left: u64,
    /// From the first try to connect until the last was open, in seconds.
    pub open_s: f64,
    /// Growth of the servers' resident memory, by the sockets, when all were open.
    pub rss_bytes_per_socket: Option<f64>,
    /// The same at the end.
    pub rss_bytes_per_socket_after: Option<f64>,
    /// CPU time of all servers while they were held, in percent of one core.
    pub cpu_percent: Option<f64>,
}

impl SocketTally {
    pub(super) fn opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self, closed: Closed) {
        *self.closes.lock().unwrap_or_else(PoisonError::into_inner).entry(closed.code).or_default() += 1;
    }

    pub(super) fn resumed(&self, recovered: bool) {
        let counter = if recovered { &self.resumed } else { &self.unrecovered };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts something handed in.
    pub fn published(&self) {
        self.published.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts volatile messages that never came.
    pub fn lost(&self, messages: u64) {
        self.lost.fetch_add(messages, Ordering::Relaxed);
    }

    /// Counts a signal that came again.
    pub fn redelivered(&self) {
        self.redelivered.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes of frames sent and received.
    pub fn bytes(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }

    /// For the report.
    pub fn read(&self, encoding: &'static str) -> Sockets {
        Sockets {
            encoding,
            opened: self.opened.load(Ordering::Relaxed),
            lost: self.closes.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            resumed: self.resumed.load(Ordering::Relaxed),
            unrecovered: self.unrecovered.load(Ordering::Relaxed),
            redelivered: self.redelivered.load(Ordering::Relaxed),
            published: self.published.load(Ordering::Relaxed),
            lost_volatile: self.lost.load(Ordering::Relaxed),
            idle: None,
        }
    }
}
