//! Who is connected to this node.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use conclave_cluster::state::id::Key;
use conclave_cluster::state::socket::Mark;
use serde::Serialize;
use tokio::time::Instant;

use super::close::Code;
use super::metrics::Metrics;
use super::outbound_queue::{self, OutboundQueue};
use super::quality::Report;
use super::room_progress::Arrivals;
use crate::access::admission;
use crate::admission::buffers::Account;
use crate::listener::Hangup;
use crate::service::node_lease::Sockets;

/// Every connection of this node. Clones are the same.
#[derive(Clone)]
pub(super) struct Connections(Arc<Inner>);

struct Inner {
    queue: outbound_queue::Bounds,
    metrics: Metrics,
    // A std mutex: nothing is awaited while it is held.
    taken: Mutex<HashMap<u64, Arc<ConnectionEntry>>>,
}

/// How a connection's messages are spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Encoding {
    /// The first message decides.
    Undecided,
    /// JSON, in text messages.
    Json,
    /// FlatBuffers, in binary messages.
    FlatBuffers,
}

/// One connection, as the rest of the node sees it.
pub(super) struct ConnectionEntry {
    connection: u64,
    began: Instant,
    outbound: OutboundQueue,
    metrics: Metrics,
    encoding: AtomicU8,
    /// Nothing is read from the client before its allowance is renewed.
    held_back: AtomicBool,
    arrivals: Mutex<Arrivals>,
    details: Mutex<Details>,
}

#[derive(Debug, Default)]
struct Details {
    session: Option<String>,
    room: bool,
    peer: bool,
    quality: Option<Report>,
    end: Option<Code>,
    parted: bool,
}

/// A connection as operators see it. The start of its session's public name is all that is said of who it is.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Socket)]
pub struct Listed {
    /// The first half of the name that others in a room see.
    pub session: Option<String>,
    /// "json", "flatbuffers" or "undecided".
    pub encoding: &'static str,
    /// Seconds since it was opened.
    pub age_sec: u64,
    /// Whether it is in a room.
    pub room: bool,
    /// Whether it holds a mailbox.
    pub peer: bool,
    /// How good the connection is; absent before the first ping is answered.
    pub quality: Option<Report>,
}

/// A connection that counts until this is dropped.
pub(super) struct ConnectionPermit {
    connections: Connections,
    entry: Arc<ConnectionEntry>,
    _admitted: admission::ConnectionPermit,
}

impl Connections {
    pub(super) fn new(queue: outbound_queue::Bounds, metrics: Metrics) -> Self {
        Self(Arc::new(Inner { queue, metrics, taken: Mutex::default() }))
    }

    /// Takes a seat. `admitted` is kept as long: how many there may be was decided at the door.
    pub(super) fn take(
        &self,
        connection: u64,
        hangup: Option<Hangup>,
        admitted: admission::ConnectionPermit,
        account: &Account,
    ) -> ConnectionPermit {
        let metrics = self.0.metrics.clone();
        let entry = Arc::new(ConnectionEntry {
            connection,
            began: Instant::now(),
            outbound: OutboundQueue::new(self.0.queue, hangup, metrics.clone(), account),
            metrics,
            encoding: AtomicU8::new(Encoding::Undecided as u8),
            held_back: AtomicBool::new(false),
            arrivals: Mutex::default(),
            details: Mutex::default(),
        });
        self.lock().insert(connection, entry.clone());
        self.0.metrics.opened();
        ConnectionPermit { connections: self.clone(), entry, _admitted: admitted }
    }

    /// All of them, in no order.
    pub(super) fn all(&self) -> Vec<Arc<ConnectionEntry>> {
        self.lock().values().cloned().collect()
    }

    /// Up to `max` of them, for operators.
    pub(super) fn list(&self, max: usize) -> Vec<Listed> {
        let connections: Vec<_> = self.lock().values().take(max).cloned().collect();
        connections.iter().map(|entry| entry.listed()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<ConnectionEntry>>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sockets for Connections {
    fn count(&self) -> usize {
        self.lock().len()
    }

    fn marks(&self) -> Vec<(Key, u64, Mark)> {
        let due = |entry: Arc<ConnectionEntry>| {
            let (key, mark) = entry.arrivals().due()?;
            Some((key, entry.connection, mark))
        };
        self.all().into_iter().filter_map(due).collect()
    }
}

impl ConnectionEntry {
    /// What waits to be written.
    pub(super) fn outbound(&self) -> &OutboundQueue {
        &self.outbound
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The connection's own random number.
    pub(super) fn connection(&self) -> u64 {
        self.connection
    }

    pub(super) fn encoding(&self) -> Encoding {
        match self.encoding.load(Ordering::Relaxed) {
            1 => Encoding::Json,
            2 => Encoding::FlatBuffers,
            _ => Encoding::Undecided,
        }
    }

    pub(super) fn decide(&self, encoding: Encoding) {
        self.encoding.store(encoding as u8, Ordering::Relaxed);
    }

    /// How far the client got in its room.
    pub(super) fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the client is not read for as long as its allowance is spent: then it cannot answer pings.
    pub(super) fn is_held_back(&self) -> bool {
        self.held_back.load(Ordering::Relaxed)
    }

    pub(super) fn hold_back(&self, held_back: bool) {
        self.held_back.store(held_back, Ordering::Relaxed);
    }

    pub(super) fn note_session(&self, name: &str) {
        self.details().session = Some(name.chars().take(8).collect());
    }

    pub(super) fn note_room(&self, room: bool) {
        self.details().room = room;
    }

    pub(super) fn note_peer(&self, peer: bool) {
        self.details().peer = peer;
    }

    pub(super) fn note_quality(&self, quality: Report) {
        self.details().quality = Some(quality);
    }

    /// With which code the connection ends. The first one stays.
    pub(super) fn note_end(&self, code: Code) {
        self.details().end.get_or_insert(code);
    }

    /// The client closed the connection in good order and does not mean to come back (RFC 6455, section 7.4.1).
    pub(super) fn note_parting(&self) {
        self.details().parted = true;
    }

    /// Whether it did.
    pub(super) fn has_parted(&self) -> bool {
        self.details().parted
    }

    /// Whether the connection ended because the client answered no ping.
    pub(super) fn fell_silent(&self) -> bool {
        let details = self.details();
        details.end == Some(Code::AWAY) && !details.parted
    }

    fn listed(&self) -> Listed {
        let details = self.details();
        Listed {
            session: details.session.clone(),
            encoding: match self.encoding() {
                Encoding::Undecided => "undecided",
                Encoding::Json => "json",
                Encoding::FlatBuffers => "flatbuffers",
            },
            age_sec: self.began.elapsed().as_secs(),
            room: details.room,
            peer: details.peer,
            quality: details.quality,
        }
    }

    fn details(&self) -> MutexGuard<'_, Details> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionPermit {
    pub(super) fn entry(&self) -> &Arc<ConnectionEntry> {
        &self.entry
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.entry.connection);
        self.connections.0.metrics.closed(self.entry.details().end);
    }
}
