//! What waits to be written to one connection: bounded, and filled from any thread.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;

use super::close::{Code, Reason};
use super::metrics::Metrics;
use crate::admission::buffers::{Account, Held, Pressure};
use crate::listener::Hangup;

/// A slow consumer that does not even read its close frame is cut off after this.
const PARTING: Duration = Duration::from_secs(5);

/// What a message costs beside its bytes.
const FRAME_BYTES: usize = 64;
/// What waits counts in steps of so many bytes, so that most messages pass uncounted.
const STEP: usize = 1 << 10;
/// Messages that others wait for as well count as the client's own from here on: it is slow.
const SLOW_BYTES: usize = 128 << 10;

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Messages.
    pub frames_max: usize,
    /// Their bytes.
    pub bytes_max: usize,
}

/// A message on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// JSON.
    Text(ByteString),
    /// FlatBuffers.
    Binary(Bytes),
    /// FlatBuffers: a room's message at an offset; or at one before it, and what is between is the client's own.
    Numbered(Bytes, u64),
    /// Nothing: up to this offset the client lacks no message of its room, since what there is is its own.
    Passed(u64),
}

impl Frame {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) | Self::Numbered(bytes, _) => bytes.len(),
            Self::Passed(_) => 0,
        }
    }
}

/// The next thing to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Out {
    /// A message.
    Frame(Frame),
    /// The close frame; nothing comes after it.
    End(Reason),
}

/// The queue of one connection. Clones are the same queue.
///
/// Over its bound, which is half as large while this node or this client holds too much, the connection is lost: what waited
/// is dropped, the client is told 4008, and catches up from history on its next connection. So one slow reader costs the
/// bound and nothing more.
#[derive(Clone)]
pub(super) struct OutboundQueue(Arc<Inner>);

struct Inner {
    bounds: Bounds,
    hangup: Option<Hangup>,
    metrics: Metrics,
    held: Held,
    // A std mutex: nothing is awaited while it is held.
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Waiting>,
    bytes: usize,
    /// Those of them that no other queue has.
    own: usize,
    end: Option<Reason>,
    closed: bool,
    /// Nobody will read it any more.
    abandoned: bool,
    reader: Option<Waker>,
    writers: Vec<Waker>,
}

struct Waiting {
    frame: Frame,
    /// Other queues may have it, too; it is counted where it was made.
    shared: bool,
}

impl OutboundQueue {
    /// What waits is on `account`.
    pub(super) fn new(bounds: Bounds, hangup: Option<Hangup>, metrics: Metrics, account: &Account) -> Self {
        Self(Arc::new(Inner { bounds, hangup, metrics, held: account.hold(), queue: Mutex::default() }))
    }

    /// On whose account it is held.
    pub(super) fn account(&self) -> &Account {
        self.0.held.account()
    }

    /// Queues a message. False if the connection is ending, this message being what ended it perhaps.
    pub(super) fn push(&self, frame: Frame) -> bool {
        self.add(Waiting { frame, shared: false })
    }

    /// The same for one whose bytes are counted among all connections' buffers already.
    pub(super) fn push_shared(&self, frame: Frame) -> bool {
        self.add(Waiting { frame, shared: true })
    }

    fn add(&self, waiting: Waiting) -> bool {
        let mut queue = self.lock();
        if queue.closed {
            return false;
        }
        queue.put(waiting);
        let Bounds { frames_max, bytes_max } = self.bounds();
        let fits = queue.frames.len() <= frames_max && queue.bytes <= bytes_max;
        if !fits {
            self.0.metrics.dropped(queue.frames.len());
            queue.clear();
            queue.end(Reason::new(Code::SLOW, "outbound queue full: client too slow"));
            self.cut_off_later();
        }
        self.count(&queue);
        queue.wake_reader();
        fits
    }

    /// How much may wait now.
    fn bounds(&self) -> Bounds {
        let Bounds { frames_max, bytes_max } = self.0.bounds;
        match self.account().pressure() {
            Pressure::Low => Bounds { frames_max, bytes_max },
            Pressure::High | Pressure::Critical => Bounds { frames_max, bytes_max: bytes_max / 2 },
        }
    }

    fn count(&self, queue: &Queue) {
        let frames = queue.frames.len() * FRAME_BYTES;
        let own = queue.own.max(queue.bytes.saturating_sub(SLOW_BYTES));
        self.0.held.set_each((queue.own + frames) / STEP * STEP, (own + frames) / STEP * STEP);
    }

    /// A message of the client's own is at this offset of its room; it is not told, and takes no room of its own where
    /// something of the room waits.
    pub(super) fn pass(&self, offset: u64) {
        if let Some(Frame::Numbered(_, last) | Frame::Passed(last)) =
            self.lock().frames.back_mut().map(|waiting| &mut waiting.frame)
        {
            *last = offset;
            return;
        }
        self.push(Frame::Passed(offset));
    }

    /// Ends the connection once what waits is written. The first reason stays.
    pub(super) fn end(&self, reason: impl Into<Reason>) {
        let mut queue = self.lock();
        if !queue.closed {
            queue.end(reason.into());
            queue.wake_reader();
        }
    }

    /// Waits until the queue is at most half full; false if the connection ends before.
    pub(super) async fn room(&self) -> bool {
        poll_fn(|cx| {
            let mut queue = self.lock();
            if queue.closed {
                return Poll::Ready(false);
            }
            if queue.has_room(&self.bounds()) {
                return Poll::Ready(true);
            }
            queue.wait(cx);
            Poll::Pending
        })
        .await
    }

    /// Waits until the connection is gone.
    pub(super) async fn abandoned(&self) {
        poll_fn(|cx| {
            let mut queue = self.lock();
            if queue.abandoned {
                return Poll::Ready(());
            }
            queue.wait(cx);
            Poll::Pending
        })
        .await;
    }

    /// Whether nothing is taken in any more.
    pub(super) fn is_ending(&self) -> bool {
        self.lock().closed
    }

    /// The next thing to write; `None` after the end.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Out>> {
        let mut queue = self.lock();
        if let Some(frame) = queue.take() {
            self.count(&queue);
            if queue.has_room(&self.bounds()) {
                queue.wake_writers();
            }
            return Poll::Ready(Some(Out::Frame(frame)));
        }
        match queue.end.take() {
            Some(reason) => Poll::Ready(Some(Out::End(reason))),
            None if queue.closed => Poll::Ready(None),
            None => {
                queue.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The connection is gone: nobody will read this.
    pub(super) fn abandon(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.abandoned = true;
        queue.clear();
        self.count(&queue);
        queue.wake_writers();
    }

    /// A connection that is stuck in a write is not looked at until it can write; this ends it all the same.
    fn cut_off_later(&self) {
        let Some(hangup) = self.0.hangup.clone() else { return };
        tokio::spawn(async move {
            tokio::time::sleep(PARTING).await;
            hangup.cut();
        });
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Has the task woken when there is room, or none any more.
    fn wait(&mut self, cx: &Context<'_>) {
        if !self.writers.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.writers.push(cx.waker().clone());
        }
    }

    fn put(&mut self, waiting: Waiting) {
        let len = waiting.frame.len();
        self.bytes += len;
        self.own += if waiting.shared { 0 } else { len };
        self.frames.push_back(waiting);
    }

    fn take(&mut self) -> Option<Frame> {
        let Waiting { frame, shared } = self.frames.pop_front()?;
        self.bytes -= frame.len();
        self.own -= if shared { 0 } else { frame.len() };
        Some(frame)
    }

    fn clear(&mut self) {
        self.frames = VecDeque::new();
        (self.bytes, self.own) = (0, 0);
    }

    fn has_room(&self, bounds: &Bounds) -> bool {
        self.frames.len() <= bounds.frames_max / 2 && self.bytes <= bounds.bytes_max / 2
    }

    fn end(&mut self, reason: Reason) {
        self.closed = true;
        self.end = Some(reason);
        self.wake_writers();
    }

    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    fn wake_writers(&mut self) {
        self.writers.drain(..).for_each(Waker::wake);
    }
}

impl fmt::Debug for OutboundQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbox")
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use futures_util::task::noop_waker;

    use super::*;
    use crate::admission::buffers::Buffers;
    use crate::admission::client_identity::Client;
    use crate::admission::{Shares, share};

    fn outbound() -> OutboundQueue {
        let account = Shares::default().buffers.account(None);
        OutboundQueue::new(Bounds { frames_max: 4, bytes_max: 100 }, None, Metrics::new(), &account)
    }

    fn text(len: usize) -> Frame {
        Frame::Text("x".repeat(len).into())
    }

    fn taken(outbound: &OutboundQueue) -> Poll<Option<Out>> {
        outbound.poll_next(&mut Context::from_waker(&noop_waker()))
    }

    #[test]
    fn what_is_pushed_comes_out_before_the_end() {
        let outbound = outbound();
        assert!(outbound.push(text(1)) && outbound.push(text(2)));
        outbound.end(Code::NORMAL);
        outbound.end(Code::POLICY);
        assert!(!outbound.push(text(3)));
        assert_eq!(taken(&outbound), Poll::Ready(Some(Out::Frame(text(1)))));
        assert_eq!(taken(&outbound), Poll::Ready(Some(Out::Frame(text(2)))));
        assert_eq!(taken(&outbound), Poll::Ready(Some(Out::End(Code::NORMAL.into()))));
        assert_eq!(taken(&outbound), Poll::Ready(None));
    }

    #[test]
    fn over_the_bound_everything_goes_and_the_client_is_told() {
        for (count, len) in [(5, 1), (2, 51)] {
            let outbound = outbound();
            let pushed: Vec<bool> = (0..count).map(|_| outbound.push(text(len))).collect();
            assert_eq!(pushed.iter().filter(|fits| !**fits).count(), 1, "only the last was too much");
            assert!(outbound.is_ending());
            assert!(matches!(taken(&outbound), Poll::Ready(Some(Out::End(Reason { code: Code::SLOW, .. })))));
        }
    }

    #[test]
    fn a_writer_waits_until_half_of_it_is_read() {
        let outbound = outbound();
        (0..4).for_each(|_| assert!(outbound.push(text(1))));
        let mut room = pin!(outbound.room());
        assert_eq!(room.as_mut().now_or_never(), None);
        assert!(taken(&outbound).is_ready());
        assert_eq!(outbound.room().now_or_never(), None);
        assert!(taken(&outbound).is_ready());
        assert_eq!(outbound.room().now_or_never(), Some(true));
        outbound.abandon();
        assert_eq!(outbound.room().now_or_never(), Some(false));
    }

    #[test]
    fn what_waits_is_on_the_account_and_under_pressure_half_as_much_may() {
        let buffers = Buffers::new(share::Bounds { all: 1 << 30, client: 1 << 20, site: usize::MAX });
        let account = buffers.account(Some(Client::V4(1)));
        let bounds = Bounds { frames_max: 100, bytes_max: 400 << 10 };
        let outbound = OutboundQueue::new(bounds, None, Metrics::new(), &account);
        assert!(outbound.push(text(100 << 10)));
        assert_eq!(buffers.bytes(), 100 << 10);
        assert!(outbound.push_shared(text(150 << 10)));
        assert_eq!(buffers.bytes(), 100 << 10, "that is counted where it was made");
        let rest = account.hold();
        rest.set_each(0, (1 << 20) - (122 << 10));
        assert_eq!(
            account.pressure(),
            Pressure::High,
            "122 KiB of 250 are beyond what a fast one leaves waiting"
        );
        assert!(!outbound.push(text(10)), "half of 400 KiB are exceeded");
        assert_eq!(buffers.bytes(), 0);
    }
}
