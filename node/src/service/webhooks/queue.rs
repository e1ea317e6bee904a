//! Events that wait for one endpoint: first in, first out, and bounded.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::event::Spelled;

/// Events that are posted together.
pub(super) const BATCH_MAX: usize = 100;
/// Their bytes, unless a single event has more.
const BATCH_BYTES_MAX: usize = 64 << 10;

/// The queue.
pub(super) struct Queue {
    events_max: usize,
    // A std mutex: nothing is awaited while it is held.
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Spelled>,
    closed: bool,
}

/// Why an event was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

impl Queue {
    pub(super) fn new(events_max: usize) -> Self {
        Self { events_max, waiting: Mutex::default(), changed: Notify::new() }
    }

    /// Queues an event, if there is room. Never waits.
    pub(super) fn push(&self, event: Spelled) -> Result<(), Refused> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Refused::Closed);
        }
        if waiting.events.len() >= self.events_max {
            return Err(Refused::Full);
        }
        waiting.events.push_back(event);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for the next events. `None`: the queue is closed and empty. For a single consumer.
    pub(super) async fn batch(&self) -> Option<Vec<Spelled>> {
        loop {
            {
                let mut waiting = self.lock();
                let batch = waiting.batch();
                if !batch.is_empty() {
                    return Some(batch);
                }
                if waiting.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Accepts no more events; those that wait are still given out.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Discards all that wait, and returns how many there were.
    pub(super) fn clear(&self) -> usize {
        let mut waiting = self.lock();
        waiting.closed = true;
        std::mem::take(&mut waiting.events).len()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn batch(&mut self) -> Vec<Spelled> {
        let (mut count, mut bytes) = (0, 0);
        for event in self.events.iter().take(BATCH_MAX) {
            bytes += event.json.len() + 1;
            if count > 0 && bytes > BATCH_BYTES_MAX {
                break;
            }
            count += 1;
        }
        self.events.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn event(bytes: usize) -> Spelled {
        Spelled { json: vec![b'x'; bytes].into(), at: Instant::now() }
    }

    #[tokio::test]
    async fn a_queue_is_bounded_and_goes_on_when_there_is_room() {
        let queue = Queue::new(3);
        for bytes in 1..=3 {
            assert_eq!(queue.push(event(bytes)), Ok(()));
        }
        assert_eq!(queue.push(event(4)), Err(Refused::Full));
        let taken: Vec<_> = queue.batch().await.unwrap().iter().map(|event| event.json.len()).collect();
        assert_eq!(taken, [1, 2, 3], "in their order, and the oldest are kept");
        assert_eq!(queue.push(event(5)), Ok(()));
    }

    #[tokio::test]
    async fn a_batch_is_bounded_by_count_and_bytes() {
        let queue = Queue::new(1_000);
        for _ in 0..BATCH_MAX + 1 {
            queue.push(event(10)).unwrap();
        }
        assert_eq!(queue.batch().await.unwrap().len(), BATCH_MAX);
        assert_eq!(queue.batch().await.unwrap().len(), 1);
        for bytes in [BATCH_BYTES_MAX / 2, BATCH_BYTES_MAX / 2, 2 * BATCH_BYTES_MAX, 1] {
            queue.push(event(bytes)).unwrap();
        }
        for _ in 0..4 {
            assert_eq!(queue.batch().await.unwrap().len(), 1);
        }
    }

    #[tokio::test]
    async fn a_closed_queue_gives_out_what_it_has_and_takes_no_more() {
        let queue = Queue::new(3);
        queue.push(event(1)).unwrap();
        queue.close();
        assert_eq!(queue.push(event(1)), Err(Refused::Closed));
        assert_eq!(queue.batch().await.unwrap().len(), 1);
        assert!(queue.batch().await.is_none());
        let given_up = Queue::new(3);
        given_up.push(event(1)).unwrap();
        assert_eq!(given_up.clear(), 1);
        assert!(given_up.batch().await.is_none());
    }
}
