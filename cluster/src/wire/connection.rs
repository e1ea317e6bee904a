//! A dialed connection: calls out, answers in.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Buf;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Error;
use super::frame::{Frame, Malformed, Outgoing, Parsed, Role, TOO_LARGE, encode};
use super::frame_writer::{self, OutgoingFrame, Pulse};
use super::handshake::Greeted;
use super::heard::LastRead;
use super::limits::SILENT_TICKS_MAX;
use super::link::Link;
use super::peer_disk::PeerDisk;
use super::reader::{ReadError, Reader};

type Answer = Result<Frame, Error>;

/// The callers' side of a connection.
pub(super) struct Connection {
    frames: mpsc::Sender<OutgoingFrame>,
    /// A std mutex: nothing awaits while it is held.
    pending: Mutex<Pending>,
    pulse: Arc<Pulse>,
    born: Instant,
}

/// Who waits for which answer.
struct Pending {
    last_id: u64,
    /// `None` once the connection has ended. Ordered, so that its end wakes callers in one order always.
    waiting: Option<BTreeMap<u64, oneshot::Sender<Answer>>>,
}

impl Connection {
    /// A connection that is not running yet, and its queue for [`run`].
    pub(super) fn new(
        queue_length: usize,
        heard: Arc<LastRead>,
    ) -> (Arc<Self>, mpsc::Receiver<OutgoingFrame>) {
        let (frames, queue) = mpsc::channel(queue_length);
        let pending = Mutex::new(Pending { last_id: 0, waiting: Some(BTreeMap::new()) });
        let born = Instant::now();
        (Arc::new(Self { frames, pending, pulse: Arc::new(Pulse::of(heard)), born }), queue)
    }

    /// Queues a request. `bytes` is held until it is written.
    pub(super) fn send(
        self: &Arc<Self>,
        request: Outgoing,
        bytes: OwnedSemaphorePermit,
    ) -> Result<Waiting, Error> {
        let (sender, receiver) = oneshot::channel();
        let id = self.register(sender).ok_or(Error::Unreachable)?;
        let waiting = Waiting { connection: self.clone(), id, receiver };
        let encoded = encode(Role::Request, id, request);
        match self.frames.try_send(OutgoingFrame { encoded, bytes: Some(bytes), slot: None }) {
            Ok(()) => Ok(waiting),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Error::QueueFull),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Error::Unreachable),
        }
    }

    fn register(&self, sender: oneshot::Sender<Answer>) -> Option<u64> {
        let mut pending = self.pending();
        pending.last_id += 1;
        let id = pending.last_id;
        pending.waiting.as_mut()?.insert(id, sender);
        Some(id)
    }

    /// Hands an answer to its caller, if that still waits.
    fn answer(&self, id: u64, answer: Answer) {
        let sender = self.pending().waiting.as_mut().and_then(|waiting| waiting.remove(&id));
        if let Some(sender) = sender {
            let _ = sender.send(answer);
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().expect("no panic while this is held")
    }

    fn ping(&self) {
        // The id says when, so that the answer alone tells the round trip.
        let encoded = encode(Role::Ping, self.born.elapsed().as_nanos() as u64, Outgoing::default());
        // A full queue moves or is found stalled; it needs no ping.
        let _ = self.frames.try_send(OutgoingFrame::uncounted(encoded));
    }
}

/// A call that was queued; dropping it frees its place.
pub(super) struct Waiting {
    connection: Arc<Connection>,
    id: u64,
    receiver: oneshot::Receiver<Answer>,
}

impl Waiting {
    pub(super) async fn answer(mut self) -> Answer {
        (&mut self.receiver).await.unwrap_or(Err(Error::Closed))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(waiting) = &mut self.connection.pending().waiting {
            waiting.remove(&self.id);
        }
    }
}

/// Wakes all callers when the connection ends, in whatever way.
struct EndOfCalls(Arc<Connection>);

impl Drop for EndOfCalls {
    fn drop(&mut self) {
        let waiting = self.0.pending().waiting.take();
        drop(waiting);
    }
}

/// Runs a connection until it fails or falls silent.
pub(super) async fn run(
    link: Arc<Link>,
    connection: Arc<Connection>,
    frames: mpsc::Receiver<OutgoingFrame>,
    greeted: Greeted,
) {
    let _end = EndOfCalls(connection.clone());
    let limits = &link.core.options.limits;
    let (read, write) = tokio::io::split(greeted.stream);
    let pulse = connection.pulse.clone();
    let reader = Reader::new(read, greeted.buffer, limits.frame_bytes_max(link.lane), None, pulse.clone());
    let tracker = &link.core.tracker;
    let mut tasks = JoinSet::new();
    let writing = frame_writer::write(frames, write, pulse, limits.silence_max());
    tasks.spawn(tracker.track_future(async move {
        if let Err(error) = writing.await {
            tracing::debug!(%error, "link write ended");
        }
    }));
    tasks.spawn(tracker.track_future(read_answers(link.clone(), connection.clone(), greeted.disk, reader)));
    tokio::select! {
        _ = tasks.join_next() => {}
        () = silence(&link, &connection) => tracing::debug!(peer = link.peer, "peer fell silent"),
    }
    tasks.shutdown().await;
}

async fn read_answers<R>(
    link: Arc<Link>,
    connection: Arc<Connection>,
    mut disk: PeerDisk,
    mut reader: Reader<R>,
) where
    R: tokio::io::AsyncRead + Unpin,
{
    let error = loop {
        let parsed = reader.next().await;
        // What another disk says is no answer. The next attempt to connect finds the same, and says so.
        if let Err(reason) = disk.check(&link.core) {
            return tracing::debug!(peer = link.peer, %reason, "link ended");
        }
        match parsed.and_then(|parsed| take(&link, &connection, parsed)) {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    match error {
        ReadError::Io(error) => tracing::debug!(peer = link.peer, %error, "link read ended"),
        ReadError::Malformed(error) => {
            tracing::warn!(peer = link.peer, %error, "peer sent a malformed frame")
        }
    }
}

fn take(link: &Link, connection: &Connection, parsed: Parsed) -> Result<(), ReadError> {
    let Parsed { role, id, mut frame } = parsed;
    match role {
        Role::Response => connection.answer(id, Ok(frame)),
        Role::Failure => {
            let error = if frame.kind == TOO_LARGE { Error::TooLarge } else { Error::Closed };
            connection.answer(id, Err(error));
        }
        Role::Pong => {
            let value = frame.header.try_get_u64().map_err(|_| Malformed::TooShort)?;
            let nanos = (connection.born.elapsed().as_nanos() as u64).saturating_sub(id);
            link.ponged(Duration::from_nanos(nanos), value);
        }
        Role::Hello | Role::Refusal | Role::Request | Role::Ping | Role::Proof => {
            return Err(Malformed::Role.into());
        }
    }
    Ok(())
}

/// Pings, and returns when nothing moved for three ticks: nothing was read, and no backlog was being written.
async fn silence(link: &Link, connection: &Connection) {
    let mut ticks = interval(link.core.options.limits.keep_alive);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    connection.ping();
    let (mut read, mut written, mut misses) = (0, 0, 0);
    while misses < SILENT_TICKS_MAX {
        ticks.tick().await;
        let read_before = std::mem::replace(&mut read, connection.pulse.read.load(Ordering::Relaxed));
        let written_before =
            std::mem::replace(&mut written, connection.pulse.written.load(Ordering::Relaxed));
        let backlog = link.queued_bytes();
        link.meters.queue.set(backlog as f64);
        let moved = read != read_before || (backlog > 0 && written != written_before);
        misses = if moved { 0 } else { misses + 1 };
        connection.ping();
    }
}
