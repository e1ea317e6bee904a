//! The writing half of a connection: a queue of frames, gathered into few large writes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use super::frame::Encoded;
use super::heard::LastRead;
use super::limits::{COALESCE_BYTES, COPY_BYTES_MAX};

/// A frame in the queue, with what it holds until it is written: room in a bound on bytes, and perhaps a slot.
pub(super) struct OutgoingFrame {
    pub(super) encoded: Encoded,
    pub(super) bytes: Option<OwnedSemaphorePermit>,
    pub(super) slot: Option<OwnedSemaphorePermit>,
}

impl OutgoingFrame {
    /// A frame too small to be counted.
    pub(super) fn uncounted(encoded: Encoded) -> Self {
        Self { encoded, bytes: None, slot: None }
    }
}

/// Bytes moved by a connection since it was made, to see whether it still moves.
#[derive(Default)]
pub(super) struct Pulse {
    pub(super) read: AtomicU64,
    pub(super) written: AtomicU64,
    /// When something was read of this peer last, on this connection or another.
    pub(super) heard: Arc<LastRead>,
}

impl Pulse {
    pub(super) fn of(heard: Arc<LastRead>) -> Self {
        Self { heard, ..Self::default() }
    }
}

/// Writes what comes down the queue until it closes, or until a write makes no progress for `stall`.
pub(super) async fn write<W: AsyncWrite + Unpin>(
    mut frames: mpsc::Receiver<OutgoingFrame>,
    mut stream: W,
    pulse: Arc<Pulse>,
    stall: Duration,
) -> io::Result<()> {
    let mut batch = WriteBatch::default();
    let mut held = Vec::new();
    while let Some(frame) = frames.recv().await {
        held.push(batch.push(frame));
        while batch.remaining() < COALESCE_BYTES
            && let Ok(frame) = frames.try_recv()
        {
            held.push(batch.push(frame));
        }
        batch.seal();
        while batch.has_remaining() {
            let written = timeout(stall, stream.write_buf(&mut batch)).await??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            pulse.written.fetch_add(written as u64, Ordering::Relaxed);
        }
        timeout(stall, stream.flush()).await??;
        held.clear();
    }
    Ok(())
}

/// Frames in a row as segments: small parts copied together, large parts by reference.
#[derive(Default)]
struct WriteBatch {
    segments: VecDeque<Bytes>,
    /// Small parts not yet made a segment.
    tail: BytesMut,
    bytes: usize,
}

impl WriteBatch {
    /// Appends a frame and returns what it holds.
    fn push(&mut self, frame: OutgoingFrame) -> [Option<OwnedSemaphorePermit>; 2] {
        let OutgoingFrame { encoded, bytes, slot } = frame;
        self.bytes += encoded.head.len() + encoded.header.len();
        self.tail.extend_from_slice(&encoded.head);
        self.push_part(encoded.header.into());
        for part in encoded.payload {
            self.bytes += part.len();
            self.push_part(part);
        }
        [bytes, slot]
    }

    fn push_part(&mut self, part: Bytes) {
        if part.len() <= COPY_BYTES_MAX {
            self.tail.extend_from_slice(&part);
        } else {
            self.seal();
            self.segments.push_back(part);
        }
    }

    /// Makes a segment of the small parts.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.segments.push_back(self.tail.split().freeze());
        }
    }
}

/// Read from after [`WriteBatch::seal`].
impl Buf for WriteBatch {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.segments.front().map_or(&[], |segment| segment)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pairs = slices.iter_mut().zip(&self.segments);
        pairs.map(|(slice, segment)| *slice = IoSlice::new(segment)).count()
    }

    fn advance(&mut self, mut count: usize) {
        self.bytes -= count;
        while count > 0 {
            let front = self.segments.front_mut().expect("advanced within what remains");
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.segments.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::wire::frame::{Outgoing, Role, decode, encode};

    #[tokio::test(start_paused = true)]
    async fn frames_of_all_sizes_arrive_through_a_narrow_pipe() {
        let (near, mut far) = tokio::io::duplex(100);
        let (sender, frames) = mpsc::channel(64);
        let sizes = [0, 1, COPY_BYTES_MAX, COPY_BYTES_MAX + 1, 5000, 3, 70_000];
        for (id, size) in sizes.into_iter().enumerate() {
            let payload = vec![Bytes::from(vec![id as u8; size]), Bytes::from_static(b"end")];
            let frame = Outgoing { header: vec![9; size / 2], payload, ..Outgoing::default() };
            let frame = OutgoingFrame::uncounted(encode(Role::Request, id as u64, frame));
            sender.try_send(frame).ok().unwrap();
        }
        drop(sender);
        let pulse = Arc::new(Pulse::default());
        let writer = tokio::spawn(write(frames, near, pulse.clone(), Duration::from_secs(1)));
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).await.unwrap();
        writer.await.unwrap().unwrap();
        assert_eq!(pulse.written.load(Ordering::Relaxed), bytes.len() as u64);
        let mut bytes = BytesMut::from(&bytes[..]);
        for (id, size) in sizes.into_iter().enumerate() {
            let parsed = decode(&mut bytes, 1 << 20).unwrap().unwrap();
            assert_eq!((parsed.id, parsed.frame.header.len()), (id as u64, size / 2));
            assert_eq!(parsed.frame.payload.len(), size + 3);
        }
        assert!(bytes.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_write_ends_the_connection() {
        let (near, _far) = tokio::io::duplex(10);
        let (sender, frames) = mpsc::channel(1);
        sender.try_send(OutgoingFrame::uncounted(encode(Role::Ping, 0, Outgoing::default()))).ok().unwrap();
        let result = write(frames, near, Arc::default(), Duration::from_secs(1)).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
