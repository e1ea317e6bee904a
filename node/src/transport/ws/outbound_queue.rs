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
use crate::listener::Hangup;

/// A slow consumer that does not even read its close frame is cut off after this.
const PARTING: Duration = Duration::from_secs(5);

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
/// Over its bound the connection is lost: what waited is dropped, the client is told 4008, and catches up from history
/// on its next connection. So one slow reader costs the bound and nothing more.
#[derive(Clone)]
pub(super) struct OutboundQueue(Arc<Inner>);

struct Inner {
    bounds: Bounds,
    hangup: Option<Hangup>,
    metrics: Metrics,
    // A std mutex: nothing is awaited while it is held.
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame>,
    bytes: usize,
    end: Option<Reason>,
    closed: bool,
    reader: Option<Waker>,
    writers: Vec<Waker>,
}

impl OutboundQueue {
    pub(super) fn new(bounds: Bounds, hangup: Option<Hangup>, metrics: Metrics) -> Self {
        Self(Arc::new(Inner { bounds, hangup, metrics, queue: Mutex::default() }))
    }

    /// Queues a message. False if the connection is ending, this message being what ended it perhaps.
    pub(super) fn push(&self, frame: Frame) -> bool {
        let mut queue = self.lock();
        if queue.closed {
            return false;
        }
        queue.bytes += frame.len();
        queue.frames.push_back(frame);
        let Bounds { frames_max, bytes_max } = self.0.bounds;
        let fits = queue.frames.len() <= frames_max && queue.bytes <= bytes_max;
        if !fits {
            self.0.metrics.dropped(queue.frames.len());
            queue.frames = VecDeque::new();
            queue.bytes = 0;
            queue.end(Reason::new(Code::SLOW, "outbound queue full: client too slow"));
            self.cut_off_later();
        }
        queue.wake_reader();
        fits
    }

    /// A message of the client's own is at this offset of its room; it is not told, and takes no room of its own where
    /// something of the room waits.
    pub(super) fn pass(&self, offset: u64) {
        if let Some(Frame::Numbered(_, last) | Frame::Passed(last)) = self.lock().frames.back_mut() {
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
            if queue.has_room(&self.0.bounds) {
                return Poll::Ready(true);
            }
            if !queue.writers.iter().any(|waker| waker.will_wake(cx.waker())) {
                queue.writers.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// Whether nothing is taken in any more.
    pub(super) fn is_ending(&self) -> bool {
        self.lock().closed
    }

    /// The next thing to write; `None` after the end.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Out>> {
        let mut queue = self.lock();
        if let Some(frame) = queue.frames.pop_front() {
            queue.bytes -= frame.len();
            if queue.has_room(&self.0.bounds) {
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
        queue.frames = VecDeque::new();
        queue.bytes = 0;
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

    fn outbound() -> OutboundQueue {
        OutboundQueue::new(Bounds { frames_max: 4, bytes_max: 100 }, None, Metrics::new())
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
}
