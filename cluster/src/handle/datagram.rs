//! Datagrams: bytes from node to node past the log, at most once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::limits;
use crate::raft::message::{self, kind};
use crate::wire::{Frame, Lane, Links, Outgoing};

/// Counts datagrams that were not delivered because a queue was full or a peer was not reached.
const DROPPED: &str = "conclave_casts_dropped_total";

/// Gathers datagrams per peer: what comes while the last frame is on its way becomes the next.
pub(super) struct Datagrams {
    links: Links,
    stop: CancellationToken,
    queues: Mutex<BTreeMap<u64, Arc<Queue>>>,
    inbox: Inbox,
}

/// What waits for one peer. A std mutex: nothing awaits while it is held.
struct Queue(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    datagrams: VecDeque<Bytes>,
    bytes: usize,
    /// Whether a task is sending.
    busy: bool,
}

/// What other nodes send, on its way to the one reader of this node. A std mutex: nothing awaits while it is held.
#[derive(Default)]
struct Inbox(Mutex<Option<mpsc::Sender<(u64, Bytes)>>>);

/// What became of a datagram.
#[derive(Debug, PartialEq, Eq)]
enum Pushed {
    /// It waits, and a task has to be begun that sends it.
    Begin,
    /// It waits for the task that sends already.
    UnderWay,
    /// It is dropped: it is too long, or there is no room.
    Dropped,
}

impl Queue {
    fn push(&self, datagram: Bytes) -> Pushed {
        let mut waiting = self.lock();
        if datagram.len() > limits::DATAGRAM_BYTES_MAX
            || waiting.bytes + datagram.len() > limits::DATAGRAMS_BYTES_MAX
        {
            return Pushed::Dropped;
        }
        waiting.bytes += datagram.len();
        waiting.datagrams.push_back(datagram);
        if std::mem::replace(&mut waiting.busy, true) { Pushed::UnderWay } else { Pushed::Begin }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().expect("nothing panics while this is held")
    }

    /// The next frame; the task that gets none has to end.
    fn next(&self) -> Option<(Bytes, u64)> {
        let mut waiting = self.lock();
        let mut frame = BytesMut::new();
        let mut count = 0;
        while let Some(datagram) = waiting.datagrams.front()
            && (count == 0 || frame.len() + datagram.len() <= limits::DATAGRAM_FRAME_BYTES_MAX)
        {
            frame.put_u32_le(datagram.len() as u32);
            frame.put_slice(datagram);
            waiting.bytes -= datagram.len();
            waiting.datagrams.pop_front();
            count += 1;
        }
        waiting.busy = count > 0;
        (count > 0).then(|| (frame.freeze(), count))
    }
}

impl Datagrams {
    pub(super) fn new(links: Links, stop: CancellationToken) -> Self {
        metrics::describe_counter!(DROPPED, "volatile messages that did not reach another node");
        Self { links, stop, queues: Mutex::default(), inbox: Inbox::default() }
    }

    /// Queues a datagram for a peer, and sends what is queued unless that is under way.
    pub(super) fn send(&self, peer: u64, address: &str, datagram: Bytes) {
        let queue = {
            let mut queues = self.queues.lock().expect("nothing panics while this is held");
            queues.entry(peer).or_insert_with(|| Arc::new(Queue(Mutex::default()))).clone()
        };
        match queue.push(datagram) {
            Pushed::Begin => {}
            Pushed::UnderWay => return,
            Pushed::Dropped => return metrics::counter!(DROPPED).increment(1),
        }
        let (links, stop, address) = (self.links.clone(), self.stop.clone(), address.to_owned());
        tokio::spawn(async move {
            while let Some((frame, count)) = queue.next() {
                let datagram =
                    Outgoing { kind: kind::CAST, cell: 0, header: Vec::new(), payload: vec![frame] };
                let sent = links.call(peer, &address, Lane::Bulk, datagram, limits::DATAGRAM_TIMEOUT);
                match stop.run_until_cancelled(sent).await {
                    None => return,
                    Some(Ok(_)) => {}
                    Some(Err(_)) => metrics::counter!(DROPPED).increment(count),
                }
            }
        });
    }

    /// The datagrams from now on.
    pub(super) fn receive(&self) -> mpsc::Receiver<(u64, Bytes)> {
        self.inbox.open()
    }

    /// Takes a peer's frame.
    pub(super) fn deliver(&self, from: u64, request: Frame) -> Outgoing {
        let dropped = self.inbox.take(from, request.payload);
        if dropped > 0 {
            metrics::counter!(DROPPED).increment(dropped);
        }
        message::bare(kind::CAST)
    }
}

impl Inbox {
    /// The datagrams from now on; whoever read before gets no more.
    fn open(&self) -> mpsc::Receiver<(u64, Bytes)> {
        let (sender, receiver) = mpsc::channel(limits::DATAGRAMS_MAX);
        *self.lock() = Some(sender);
        receiver
    }

    /// Takes a frame apart; says how many of its datagrams were dropped. What is no datagram ends it.
    fn take(&self, from: u64, mut frame: Bytes) -> u64 {
        let reader = self.lock().clone();
        let mut dropped = 0;
        while frame.len() >= 4 {
            let len = frame.get_u32_le() as usize;
            if len > frame.len() {
                break;
            }
            let datagram = frame.split_to(len);
            let taken = datagram.len() <= limits::DATAGRAM_BYTES_MAX
                && reader.as_ref().is_some_and(|reader| reader.try_send((from, datagram)).is_ok());
            dropped += u64::from(!taken);
        }
        dropped
    }

    fn lock(&self) -> MutexGuard<'_, Option<mpsc::Sender<(u64, Bytes)>>> {
        self.0.lock().expect("nothing panics while this is held")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATAGRAM_BYTES: usize = 32 << 10;

    #[test]
    fn what_waits_for_a_peer_is_bounded_and_room_comes_back_with_every_frame() {
        let queue = Queue(Mutex::default());
        let datagram = || Bytes::from(vec![7; DATAGRAM_BYTES]);
        assert_eq!(queue.push(datagram()), Pushed::Begin);
        let fitting = limits::DATAGRAMS_BYTES_MAX / DATAGRAM_BYTES;
        for _ in 1..fitting {
            assert_eq!(queue.push(datagram()), Pushed::UnderWay);
        }
        assert_eq!(queue.push(datagram()), Pushed::Dropped);
        let (frame, count) = queue.next().expect("datagrams wait");
        assert!(frame.len() <= limits::DATAGRAM_FRAME_BYTES_MAX + 4 * count as usize, "{}", frame.len());
        for _ in 0..count {
            assert_eq!(queue.push(datagram()), Pushed::UnderWay);
        }
        assert_eq!(queue.push(datagram()), Pushed::Dropped);
        let mut rest = 0;
        while let Some((_, count)) = queue.next() {
            rest += count as usize;
        }
        assert_eq!(rest, fitting, "none is lost, none is sent twice");
        assert_eq!(queue.push(datagram()), Pushed::Begin, "the task that got none has ended");
    }

    #[test]
    fn a_cast_that_is_too_long_waits_for_no_peer() {
        let queue = Queue(Mutex::default());
        let datagram = |len| Bytes::from(vec![7; len]);
        assert_eq!(queue.push(datagram(limits::DATAGRAM_BYTES_MAX + 1)), Pushed::Dropped);
        assert_eq!(queue.push(datagram(limits::DATAGRAM_BYTES_MAX)), Pushed::Begin);
        let (frame, count) = queue.next().expect("a datagram waits");
        assert_eq!((frame.len(), count), (4 + limits::DATAGRAM_BYTES_MAX, 1));
    }

    /// A frame with datagrams, as [`Queue::next`] makes one but without its bounds.
    fn frame<'a>(datagrams: impl IntoIterator<Item = &'a [u8]>) -> Bytes {
        let mut frame = BytesMut::new();
        for datagram in datagrams {
            frame.put_u32_le(datagram.len() as u32);
            frame.put_slice(datagram);
        }
        frame.freeze()
    }

    #[test]
    fn casts_arrive_in_order_from_whom_they_came() {
        let inbox = Inbox::default();
        let mut reader = inbox.open();
        assert_eq!(inbox.take(3, frame([&b"a"[..], b"", b"bc"])), 0);
        for datagram in [&b"a"[..], b"", b"bc"] {
            assert_eq!(reader.try_recv(), Ok((3, Bytes::from_static(datagram))));
        }
        assert_eq!(reader.try_recv(), Err(mpsc::error::TryRecvError::Empty));
    }

    #[test]
    fn what_a_slow_reader_leaves_behind_is_dropped_and_counted() {
        let inbox = Inbox::default();
        let mut reader = inbox.open();
        let over = 5;
        let datagrams = frame(std::iter::repeat_n(&b"x"[..], limits::DATAGRAMS_MAX + over));
        assert_eq!(inbox.take(1, datagrams), over as u64);
        assert_eq!(reader.len(), limits::DATAGRAMS_MAX);
        assert!(reader.try_recv().is_ok());
        assert_eq!(inbox.take(1, frame([&b"y"[..], b"z"])), 1, "room for one came back");
    }

    #[test]
    fn a_peer_that_knows_no_bounds_gets_nothing_past_them() {
        let inbox = Inbox::default();
        let mut reader = inbox.open();
        let long = vec![7; limits::DATAGRAM_BYTES_MAX + 1];
        let whole = &long[..limits::DATAGRAM_BYTES_MAX];
        assert_eq!(inbox.take(1, frame([&long[..], whole, &b"after"[..]])), 1);
        assert_eq!(reader.try_recv(), Ok((1, Bytes::copy_from_slice(whole))));
        assert_eq!(reader.try_recv(), Ok((1, Bytes::from_static(b"after"))));
        // A length that leads out of its frame, and too little for a length.
        for damaged in [&[255, 255, 255, 255, 1][..], &[2, 0, 0, 0, 1], &[1, 0, 0]] {
            assert_eq!(inbox.take(1, Bytes::copy_from_slice(damaged)), 0);
        }
        assert_eq!(reader.try_recv(), Err(mpsc::error::TryRecvError::Empty));
    }

    #[test]
    fn without_a_reader_casts_are_dropped() {
        let inbox = Inbox::default();
        assert_eq!(inbox.take(1, frame([&b"x"[..], b"y"])), 2);
        drop(inbox.open());
        assert_eq!(inbox.take(1, frame([&b"x"[..]])), 1);
    }
}
