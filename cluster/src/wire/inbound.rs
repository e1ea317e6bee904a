//! An accepted connection: requests in, answers out.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::AsyncRead;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::frame::{Encoded, Frame, Malformed, Outgoing, PANICKED, Parsed, Role, TOO_LARGE, encode};
use super::frame_writer::{self, OutgoingFrame, Pulse};
use super::handshake::Greeted;
use super::links::Core;
use super::peer_disk::PeerDisk;
use super::reader::{ReadError, Reader};
use super::{PeerId, Reason, Service};

/// Pongs that may wait for a slow writer.
const PONGS_MAX: usize = 8;

/// Serves a connection until it ends, then drops what its requests still do.
pub(super) async fn run(core: Arc<Core>, service: Arc<dyn Service>, greeted: Greeted) {
    let limits = &core.options.limits;
    let Greeted { stream, buffer, hello, disk } = greeted;
    let frame_bytes_max = limits.frame_bytes_max(hello.lane);
    let queue_bytes_max = limits.queue_bytes_max(hello.lane);
    let (read, write) = tokio::io::split(stream);
    let (frames, queue) = mpsc::channel(limits.in_flight_max + PONGS_MAX);
    let pulse = Arc::new(Pulse::of(core.heard.of(hello.from)));
    let mut writer = JoinSet::new();
    writer.spawn(core.tracker.track_future(frame_writer::write(
        queue,
        write,
        pulse.clone(),
        limits.silence_max(),
    )));
    let mut serving = Serving {
        core: core.clone(),
        from: hello.from,
        disk,
        service,
        frames,
        slots: Arc::new(Semaphore::new(limits.in_flight_max)),
        request_bytes: Arc::new(Semaphore::new(queue_bytes_max)),
        answer_bytes: Arc::new(Semaphore::new(queue_bytes_max)),
        frame_bytes_max,
        handlers: JoinSet::new(),
    };
    // The dialer pings, so silence means that it is gone. Only waiting for bytes counts, not waiting for handlers.
    let mut reader = Reader::new(read, buffer, frame_bytes_max, Some(limits.silence_max()), pulse);
    let error = tokio::select! {
        error = read_requests(&mut reader, &mut serving) => Some(error),
        _ = writer.join_next() => None,
    };
    serving.handlers.shutdown().await;
    writer.shutdown().await;
    let (peer, lane) = (hello.from, hello.lane.name());
    match error {
        Some(End::Read(ReadError::Malformed(error))) => {
            tracing::warn!(peer, lane, %error, "peer sent a malformed frame");
        }
        Some(End::Refusal(reason)) => {
            if core.warnings.first((format!("node {peer}"), reason), Instant::now()) {
                tracing::warn!(peer, lane, %reason, "peer refused this node");
            }
        }
        // Told and counted when it comes again.
        Some(End::Disk(reason)) => tracing::debug!(peer, lane, %reason, "peer disconnected"),
        Some(End::Read(ReadError::Io(_))) | None => tracing::debug!(peer, lane, "peer disconnected"),
    }
}

/// Why nothing more is read.
enum End {
    Read(ReadError),
    /// The dialer will not have this node.
    Refusal(Reason),
    /// The dialer turned out to have another disk than its id is bound to.
    Disk(Reason),
}

impl From<ReadError> for End {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

async fn read_requests<R: AsyncRead + Unpin>(reader: &mut Reader<R>, serving: &mut Serving) -> End {
    loop {
        let taken = match reader.next().await {
            Ok(parsed) => serving.take(parsed).await,
            Err(error) => Err(error.into()),
        };
        if let Err(end) = taken {
            return end;
        }
    }
}

struct Serving {
    core: Arc<Core>,
    from: PeerId,
    disk: PeerDisk,
    service: Arc<dyn Service>,
    frames: mpsc::Sender<OutgoingFrame>,
    /// Requests at work, or answered and not yet written.
    slots: Arc<Semaphore>,
    /// Bytes of requests at work.
    request_bytes: Arc<Semaphore>,
    /// Bytes of answers not yet written.
    answer_bytes: Arc<Semaphore>,
    frame_bytes_max: usize,
    handlers: JoinSet<()>,
}

impl Serving {
    async fn take(&mut self, parsed: Parsed) -> Result<(), End> {
        while self.handlers.try_join_next().is_some() {}
        self.disk.check(&self.core).map_err(End::Disk)?;
        match parsed.role {
            Role::Request => self.dispatch(parsed.id, parsed.frame).await,
            Role::Ping => {
                let header = self.service.note().to_be_bytes().to_vec();
                let pong = encode(Role::Pong, parsed.id, Outgoing { header, ..Outgoing::default() });
                // A full queue of answers says as well that this node is alive.
                let _ = self.frames.try_send(OutgoingFrame::uncounted(pong));
            }
            Role::Refusal if Reason::heard(parsed.frame.kind) == Reason::Reused => {
                self.core.told_reused.store(true, Ordering::Relaxed);
                return Err(End::Refusal(Reason::Reused));
            }
            Role::Hello | Role::Refusal | Role::Response | Role::Failure | Role::Pong | Role::Proof => {
                return Err(ReadError::from(Malformed::Role).into());
            }
        }
        Ok(())
    }

    /// Hands a request to the service, once there is room for it. Until then nothing more is read: the peer's
    /// writes stall, then its callers find their queue full.
    async fn dispatch(&mut self, id: u64, request: Frame) {
        let size = request.header.len() + request.payload.len();
        let slot = acquire(&self.slots, 1).await;
        let request_bytes = acquire(&self.request_bytes, size).await;
        // Behind the handlers that wait to queue their answers, so that these do not pile up.
        drop(acquire(&self.answer_bytes, 1).await);
        let answering = Answering {
            frames: self.frames.clone(),
            answer_bytes: self.answer_bytes.clone(),
            frame_bytes_max: self.frame_bytes_max,
            from: self.from,
            id,
        };
        let handler = self.service.serve(self.from, request);
        let handling = answering.run(handler, request_bytes, slot);
        self.handlers.spawn(self.core.tracker.track_future(handling));
    }
}

/// One request at work.
struct Answering {
    frames: mpsc::Sender<OutgoingFrame>,
    answer_bytes: Arc<Semaphore>,
    frame_bytes_max: usize,
    from: PeerId,
    id: u64,
}

impl Answering {
    async fn run(
        self,
        handler: BoxFuture<'static, Outgoing>,
        request_bytes: OwnedSemaphorePermit,
        slot: OwnedSemaphorePermit,
    ) {
        let answer = AssertUnwindSafe(handler).catch_unwind().await;
        drop(request_bytes);
        let (encoded, size) = match answer {
            Ok(answer) if answer.frame_bytes() <= self.frame_bytes_max => {
                let size = answer.frame_bytes();
                (encode(Role::Response, self.id, answer), size)
            }
            Ok(answer) => {
                tracing::error!(peer = self.from, kind = answer.kind, "answer too large for its lane");
                (self.failure(TOO_LARGE), 0)
            }
            Err(_) => {
                tracing::error!(peer = self.from, "handler of a peer's request panicked");
                (self.failure(PANICKED), 0)
            }
        };
        let bytes = Some(acquire(&self.answer_bytes, size).await);
        // Fails when the connection has ended, and the answer has nowhere to go.
        let _ = self.frames.send(OutgoingFrame { encoded, bytes, slot: Some(slot) }).await;
    }

    fn failure(&self, kind: u8) -> Encoded {
        encode(Role::Failure, self.id, Outgoing { kind, ..Outgoing::default() })
    }
}

async fn acquire(semaphore: &Arc<Semaphore>, count: usize) -> OwnedSemaphorePermit {
    let count = u32::try_from(count).expect("frame limits are far below 4 GiB");
    semaphore.clone().acquire_many_owned(count).await.expect("never closed")
}
