//! Bytes that connections make this node hold: requests that wait for their turn, bodies that are being read, answers that
//! their clients do not take, messages of sockets on their way in and out. Each connection has bounds of its own; these
//! are the bounds of all of them together, and of those of one client.

mod account;
mod part;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use metrics::Gauge;

use super::client_identity::{Client, Site};
use super::share::Bounds;

pub use account::{Account, Held};
pub use part::Part;

/// Bytes held for connections, read from anywhere.
const BUFFERS_BYTES: &str = "conclave_buffers_bytes";

/// How much of a bound is in use: the node's, or that of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// There is room.
    Low,
    /// The bound is reached: connections are handed one request at a time, bodies are refused, sockets that hold something
    /// are not read, and whoever does not take its answer is given a second.
    High,
    /// It is exceeded by half: a connection that does not take its answer at once is closed.
    Critical,
}

impl Pressure {
    fn of(bytes: usize, bytes_max: usize) -> Self {
        if bytes < bytes_max {
            Self::Low
        } else if bytes < bytes_max.saturating_add(bytes_max / 2) {
            Self::High
        } else {
            Self::Critical
        }
    }
}

struct Inner {
    bounds: Bounds,
    bytes: AtomicUsize,
    // A std mutex: nothing is awaited while it is held. Only accounts that are in use are in it.
    tallies: Mutex<HashMap<Whose, Weak<Tally>>>,
    gauge: Gauge,
}

/// All connections' buffers. Clones count together.
#[derive(Clone)]
pub struct Buffers(Arc<Inner>);

/// Who has a bound of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Whose {
    Client(Client),
    Site(Site),
}

/// What one of them makes the node hold.
struct Tally {
    buffers: Buffers,
    whose: Whose,
    bytes: AtomicUsize,
}

impl Buffers {
    /// No more than about so many bytes in all, for one client, and for one site. Install the metrics recorder before.
    pub fn new(bounds: Bounds) -> Self {
        metrics::describe_gauge!(
            BUFFERS_BYTES,
            "bytes held for connections: requests, bodies, answers, messages"
        );
        let gauge = metrics::gauge!(BUFFERS_BYTES);
        gauge.set(0.0);
        Self::counted(bounds, gauge)
    }

    /// The same, beside those that the metrics tell of.
    pub fn apart(bounds: Bounds) -> Self {
        Self::counted(bounds, Gauge::noop())
    }

    fn counted(bounds: Bounds, gauge: Gauge) -> Self {
        Self(Arc::new(Inner { bounds, bytes: AtomicUsize::new(0), tallies: Mutex::default(), gauge }))
    }

    /// How many bytes are held.
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// How much of the bound of all that is.
    pub fn pressure(&self) -> Pressure {
        Pressure::of(self.bytes(), self.0.bounds.all)
    }

    /// Where what a client makes the node hold is counted. `None` is a client that stands for many.
    pub fn account(&self, client: Option<Client>) -> Account {
        let site = client.and_then(Client::site).map(Whose::Site);
        let tally = |whose| self.tally(whose);
        Account::new(self.clone(), client, [client.map(Whose::Client).map(tally), site.map(tally)])
    }

    /// The part of one connection, empty at first.
    pub fn part(&self, client: Option<Client>) -> Part {
        Part::new(self.account(client))
    }

    /// The same bytes, counted until the last clone of them is gone: once, however many connections they wait for, and as
    /// nobody's own.
    pub fn keep(&self, bytes: Bytes) -> Bytes {
        let held = self.account(None).hold();
        held.set(bytes.len());
        Bytes::from_owner(Kept { bytes, _held: held })
    }

    fn tally(&self, whose: Whose) -> Arc<Tally> {
        let mut tallies = self.tallies();
        if let Some(tally) = tallies.get(&whose).and_then(Weak::upgrade) {
            return tally;
        }
        let tally = Arc::new(Tally { buffers: self.clone(), whose, bytes: AtomicUsize::new(0) });
        tallies.insert(whose, Arc::downgrade(&tally));
        tally
    }

    fn tallies(&self) -> MutexGuard<'_, HashMap<Whose, Weak<Tally>>> {
        self.0.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, before: usize, after: usize) {
        if before != after {
            let bytes = replace(&self.0.bytes, before, after);
            self.0.gauge.set(bytes as f64);
        }
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffers({} of {})", self.bytes(), self.0.bounds.all)
    }
}

impl Tally {
    fn pressure(&self) -> Pressure {
        let Bounds { client, site, .. } = self.buffers.0.bounds;
        let bytes_max = match self.whose {
            Whose::Client(_) => client,
            Whose::Site(_) => site,
        };
        Pressure::of(self.bytes.load(Ordering::Relaxed), bytes_max)
    }

    fn replace(&self, before: usize, after: usize) {
        if before != after {
            replace(&self.bytes, before, after);
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let mut tallies = self.buffers.tallies();
        // Another may have taken its place already.
        if tallies.get(&self.whose).is_some_and(|tally| tally.strong_count() == 0) {
            tallies.remove(&self.whose);
        }
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tally({:?}: {})", self.whose, self.bytes.load(Ordering::Relaxed))
    }
}

/// Takes `before` out of a sum and puts `after` in; returns what it comes to.
fn replace(sum: &AtomicUsize, before: usize, after: usize) -> usize {
    match after.checked_sub(before) {
        Some(more) => sum.fetch_add(more, Ordering::Relaxed) + more,
        None => sum.fetch_sub(before - after, Ordering::Relaxed) - (before - after),
    }
}

/// Bytes that are counted as long as there is a clone of them.
struct Kept {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests;
