//! What one party publishes and others are to receive: when each message was planned, and who still lacks it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

use crate::content::{Content, mix};
use crate::schedule::Pacer;

/// Letters in front of a payload that say which message it is.
const NUMBER_BYTES: usize = 16;
/// Shortest payload that can be told apart and verified.
pub(crate) const PAYLOAD_BYTES_MIN: usize = NUMBER_BYTES + 4;
/// How long volatile messages are waited for.
const STALL_VOLATILE: Duration = Duration::from_secs(1);
/// Between two looks at the clock while waiting.
const LOOK: Duration = Duration::from_millis(250);

/// From one sender to its receivers, all in this process.
#[derive(Debug)]
pub(super) struct Flow {
    /// What its content is derived from.
    pub(super) id: u64,
    volatile: bool,
    /// After so long without any receipt, what is on the way is given up.
    stall: Duration,
    receivers: u32,
    gate: Semaphore,
    // A std mutex, since nothing awaits inside.
    state: Mutex<State>,
    emptied: Notify,
    closed: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    /// Number of the message in the first slot.
    first: u64,
    slots: VecDeque<Slot>,
    /// The number each receiver expects next.
    expected: Vec<u64>,
    received: u64,
    progress: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    planned: Instant,
    begun: Instant,
    lacking: u32,
}

/// What a receipt says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Receipt {
    /// The next message, or a later one where some may be lost: planned and begun at these instants, unless it had been
    /// given up.
    Good(Option<(Instant, Instant)>),
    /// A message before it never came.
    Gap,
    /// It was there already, or came after a later one.
    OutOfOrder,
}

/// What a sender does next.
#[derive(Debug)]
pub(super) enum Step {
    /// Publish, as planned for this instant.
    Publish(Instant),
    /// No more.
    Over,
    /// All is received, but for so many that were given up.
    Settled(u64),
}

impl Flow {
    /// A flow to so many receivers, with so many messages on the way at most. `patience` is for those that must not be
    /// lost.
    pub(super) fn new(id: u64, receivers: usize, window: usize, volatile: bool, patience: Duration) -> Self {
        Self {
            id,
            volatile,
            stall: if volatile { STALL_VOLATILE } else { patience },
            receivers: receivers as u32,
            gate: Semaphore::new(window),
            state: Mutex::new(State {
                first: 0,
                slots: VecDeque::new(),
                expected: vec![0; receivers],
                received: 0,
                progress: Instant::now(),
            }),
            emptied: Notify::new(),
            closed: watch::Sender::new(false),
        }
    }

    /// Waits for room in the window, then for the planned start.
    pub(super) async fn turn(&self, pacer: &Pacer) -> Step {
        loop {
            if pacer.over() {
                return Step::Over;
            }
            if let Ok(Ok(permit)) = tokio::time::timeout(LOOK, self.gate.acquire()).await {
                let planned = pacer.start().await;
                if pacer.over() {
                    return Step::Over;
                }
                permit.forget();
                return Step::Publish(planned);
            }
            if self.volatile && self.stalled_for() > self.stall {
                self.give_up();
            }
        }
    }

    /// Waits until all is received, as long as there is hope.
    pub(super) async fn settled(&self) -> Step {
        loop {
            // Registered before the look, so that nothing is missed between the two.
            let emptied = self.emptied.notified();
            if self.state().slots.is_empty() {
                return Step::Settled(0);
            }
            let _ = tokio::time::timeout(LOOK, emptied).await;
            if self.stalled_for() > self.stall {
                return Step::Settled(self.give_up());
            }
        }
    }

    /// Takes down a message that is about to be sent, and gives it its number.
    pub(super) fn publish(&self, planned: Instant) -> u64 {
        let mut state = self.state();
        let begun = Instant::now();
        if state.slots.is_empty() {
            state.progress = begun;
        }
        state.slots.push_back(Slot { planned, begun, lacking: self.receivers });
        state.first + state.slots.len() as u64 - 1
    }

    /// A receiver got a message. `forgiven` says that some may be missing before it.
    pub(super) fn receive(&self, receiver: usize, number: u64, forgiven: bool) -> Receipt {
        let mut state = self.state();
        let expected = std::mem::replace(&mut state.expected[receiver], number + 1);
        if number < expected {
            state.expected[receiver] = expected;
            return Receipt::OutOfOrder;
        }
        state.received += 1;
        state.progress = Instant::now();
        let first = state.first;
        let slot = number.checked_sub(first).and_then(|at| state.slots.get(at as usize)).copied();
        for passed in expected.max(first)..=number {
            if let Some(slot) = state.slots.get_mut((passed - first) as usize) {
                slot.lacking -= 1;
            }
        }
        self.shrink(&mut state);
        if number > expected && !forgiven && !self.volatile {
            return Receipt::Gap;
        }
        Receipt::Good(slot.map(|slot| (slot.planned, slot.begun)))
    }

    /// Numbers of the messages that somebody lacks, in order.
    pub(super) fn lacking(&self) -> std::ops::Range<u64> {
        let state = self.state();
        state.first..state.first + state.slots.len() as u64
    }

    /// How many receipts there should have been and were not.
    pub(super) fn missing(&self) -> u64 {
        let state = self.state();
        let published = state.first + state.slots.len() as u64;
        (published * u64::from(self.receivers)).saturating_sub(state.received)
    }

    /// Lets the receivers go.
    pub(super) fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Waits until there will be no more to receive.
    pub(super) async fn closed(&self) {
        let mut closed = self.closed.subscribe();
        // The sender of the watch is here, so that the wait ends well.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    /// The payload of one message: its number, then text that only this message has.
    pub(super) fn payload(&self, content: &Content, number: u64, size: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(size);
        payload.extend_from_slice(&hex(number));
        content.write(self.text_of(number), number as u32, size - NUMBER_BYTES, &mut payload);
        payload
    }

    /// Which message a payload is of, if all of its bytes are that message's.
    pub(super) fn number(&self, content: &Content, payload: &[u8], size: usize) -> Option<u64> {
        let (digits, text) = payload.split_at_checked(NUMBER_BYTES)?;
        let number = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        content.verify(self.text_of(number), number as u32, size - NUMBER_BYTES, text).ok()?;
        Some(number)
    }

    /// What a message's text is derived from, beside the lower half of its number.
    fn text_of(&self, number: u64) -> u64 {
        self.id ^ mix(number >> 32)
    }

    fn stalled_for(&self) -> Duration {
        self.state().progress.elapsed()
    }

    /// Forgets what is on the way; returns how much that was.
    fn give_up(&self) -> u64 {
        let mut state = self.state();
        let given_up = state.slots.len() as u64;
        state.slots.iter_mut().for_each(|slot| slot.lacking = 0);
        state.progress = Instant::now();
        self.shrink(&mut state);
        given_up
    }

    fn shrink(&self, state: &mut State) {
        while state.slots.front().is_some_and(|slot| slot.lacking == 0) {
            state.slots.pop_front();
            state.first += 1;
            self.gate.add_permits(1);
        }
        if state.slots.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hex(number: u64) -> [u8; NUMBER_BYTES] {
    std::array::from_fn(|at| b"0123456789abcdef"[(number >> (60 - 4 * at) & 15) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(9);

    fn flow(receivers: usize, volatile: bool) -> Flow {
        let flow = Flow::new(7, receivers, 4, volatile, PATIENCE);
        for _ in 0..3 {
            flow.publish(Instant::now());
        }
        flow
    }

    #[tokio::test]
    async fn each_message_is_received_once_and_in_order() {
        let flow = flow(2, false);
        assert!(matches!(flow.receive(0, 0, false), Receipt::Good(Some(_))));
        assert_eq!(flow.receive(0, 0, false), Receipt::OutOfOrder);
        assert!(matches!(flow.receive(0, 1, false), Receipt::Good(Some(_))));
        assert_eq!(flow.lacking(), 0..3);
        assert!(matches!(flow.receive(1, 0, false), Receipt::Good(Some(_))));
        assert_eq!((flow.lacking(), flow.missing()), (1..3, 3));
        assert_eq!(flow.receive(1, 2, false), Receipt::Gap);
    }

    #[tokio::test]
    async fn volatile_ones_may_be_missing_and_are_counted() {
        let flow = flow(1, true);
        assert!(matches!(flow.receive(0, 2, false), Receipt::Good(Some(_))));
        assert_eq!((flow.lacking(), flow.missing()), (3..3, 2));
        assert_eq!(flow.receive(0, 1, false), Receipt::OutOfOrder);
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_comes_is_given_up() {
        let flow = flow(1, false);
        let begun = Instant::now();
        assert!(matches!(flow.settled().await, Step::Settled(3)));
        assert!(begun.elapsed() >= PATIENCE);
        assert!(matches!(flow.settled().await, Step::Settled(0)));
    }

    #[test]
    fn a_payload_is_recognized_by_all_of_its_bytes() {
        let content = Content::new(3);
        let flow = Flow::new(7, 1, 1, false, PATIENCE);
        let payload = flow.payload(&content, 0xabc, 100);
        assert_eq!(payload.len(), 100);
        assert_eq!(flow.number(&content, &payload, 100), Some(0xabc));
        for at in [0, 15, 16, 99] {
            let mut other = payload.clone();
            other[at] ^= 1;
            assert_eq!(flow.number(&content, &other, 100), None);
        }
        assert_eq!(flow.number(&content, &payload[..99], 100), None);
    }
}
