//! Who is connected to this node.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::time::Instant;

use super::arrivals::Arrivals;
use super::close::Code;
use super::metrics::Metrics;
use super::outbox::{self, Outbox};
use super::quality::Report;
use crate::access::admission;
use crate::listener::Hangup;

/// Every connection of this node. Clones are the same.
#[derive(Clone)]
pub(super) struct Seats(Arc<Inner>);

struct Inner {
    queue: outbox::Bounds,
    metrics: Metrics,
    // A std mutex: nothing is awaited while it is held.
    taken: Mutex<HashMap<u64, Arc<Seat>>>,
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
pub(super) struct Seat {
    connection: u64,
    began: Instant,
    outbox: Outbox,
    metrics: Metrics,
    encoding: AtomicU8,
    /// Nothing is read from the client before its allowance is renewed.
    held_back: AtomicBool,
    arrivals: Mutex<Arrivals>,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    session: Option<String>,
    room: bool,
    peer: bool,
    quality: Option<Report>,
    end: Option<Code>,
    parted: bool,
}

/// A connection as operators see it. The start of its session's public name is all that is said of who it is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
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
pub(super) struct Pass {
    seats: Seats,
    seat: Arc<Seat>,
    _admitted: admission::Pass,
}

impl Seats {
    pub(super) fn new(queue: outbox::Bounds, metrics: Metrics) -> Self {
        Self(Arc::new(Inner { queue, metrics, taken: Mutex::default() }))
    }

    /// Takes a seat. `admitted` is kept as long: how many there may be was decided at the door.
    pub(super) fn take(&self, connection: u64, hangup: Option<Hangup>, admitted: admission::Pass) -> Pass {
        let metrics = self.0.metrics.clone();
        let seat = Arc::new(Seat {
            connection,
            began: Instant::now(),
            outbox: Outbox::new(self.0.queue, hangup, metrics.clone()),
            metrics,
            encoding: AtomicU8::new(Encoding::Undecided as u8),
            held_back: AtomicBool::new(false),
            arrivals: Mutex::default(),
            notes: Mutex::default(),
        });
        self.lock().insert(connection, seat.clone());
        self.0.metrics.opened();
        Pass { seats: self.clone(), seat, _admitted: admitted }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// All of them, in no order.
    pub(super) fn all(&self) -> Vec<Arc<Seat>> {
        self.lock().values().cloned().collect()
    }

    /// Up to `max` of them, for operators.
    pub(super) fn list(&self, max: usize) -> Vec<Listed> {
        let seats: Vec<_> = self.lock().values().take(max).cloned().collect();
        seats.iter().map(|seat| seat.listed()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Seat>>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// What waits to be written.
    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
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
        self.notes().session = Some(name.chars().take(8).collect());
    }

    pub(super) fn note_room(&self, room: bool) {
        self.notes().room = room;
    }

    pub(super) fn note_peer(&self, peer: bool) {
        self.notes().peer = peer;
    }

    pub(super) fn note_quality(&self, quality: Report) {
        self.notes().quality = Some(quality);
    }

    /// With which code the connection ends. The first one stays.
    pub(super) fn note_end(&self, code: Code) {
        self.notes().end.get_or_insert(code);
    }

    /// The client closed the connection in good order and does not mean to come back (RFC 6455, section 7.4.1).
    pub(super) fn note_parting(&self) {
        self.notes().parted = true;
    }

    /// Whether it did.
    pub(super) fn has_parted(&self) -> bool {
        self.notes().parted
    }

    /// Whether the connection ended because the client answered no ping.
    pub(super) fn fell_silent(&self) -> bool {
        let notes = self.notes();
        notes.end == Some(Code::AWAY) && !notes.parted
    }

    fn listed(&self) -> Listed {
        let notes = self.notes();
        Listed {
            session: notes.session.clone(),
            encoding: match self.encoding() {
                Encoding::Undecided => "undecided",
                Encoding::Json => "json",
                Encoding::FlatBuffers => "flatbuffers",
            },
            age_sec: self.began.elapsed().as_secs(),
            room: notes.room,
            peer: notes.peer,
            quality: notes.quality,
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    pub(super) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.seats.lock().remove(&self.seat.connection);
        self.seats.0.metrics.closed(self.seat.notes().end);
    }
}
