//! What waits on this node to be carried out, and how much of it there may be.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::trace::Trace;
use super::{Draft, Error, limits};
use crate::state::command::Command;
use crate::state::id::RequestId;
use crate::state::outcome::Answer;

/// Where an answer goes. Nobody waits for a bare charge.
pub(super) type Reply = Option<oneshot::Sender<Result<Answer, Error>>>;

/// A command and who waits for it.
pub(super) struct Pending {
    pub(super) command: Command,
    pub(super) trace: Option<Trace>,
    pub(super) bytes: usize,
    pub(super) since: Instant,
    pub(super) reply: Reply,
}

/// A node's commands from the moment they are named until they are answered.
#[derive(Default)]
pub(super) struct Queue {
    pending: VecDeque<Pending>,
    bytes: usize,
    next_seq: u64,
    /// Sequence numbers given out and not yet answered, or given up, and since when.
    open: BTreeMap<u64, Instant>,
    closed: bool,
}

impl Queue {
    /// Names a wish and puts it behind the others.
    pub(super) fn push(
        &mut self,
        origin: u64,
        draft: Draft,
        trace: Option<Trace>,
        reply: Reply,
    ) -> Result<(), Error> {
        if self.closed {
            return Err(Error::ShuttingDown);
        }
        let (seq, now) = (self.next_seq + 1, Instant::now());
        let Draft { charge, owner, memo, ask } = draft;
        let command = Command { id: RequestId { origin, seq }, charge, owner, memo, ask };
        let bytes = command.size();
        if !self.has_room(bytes, now) {
            return Err(Error::Overloaded);
        }
        self.next_seq = seq;
        self.open.insert(seq, now);
        self.bytes += bytes;
        self.pending.push_back(Pending { command, trace, bytes, since: now, reply });
        Ok(())
    }

    /// Whether there is room for so many bytes more. Where the oldest has waited for long and many wait behind it, more
    /// come than can be carried out: each one taken in would make all wait longer, and the sooner it hears so, the better.
    pub(super) fn has_room(&self, bytes: usize, now: Instant) -> bool {
        let oldest = self.open.values().next().map_or(Duration::ZERO, |since| now - *since);
        let late = self.open.len() >= limits::OPEN_CALM && oldest > limits::OPEN_AGE_MAX;
        !late && self.pending.len() < limits::PENDING_MAX && self.bytes + bytes <= limits::PENDING_BYTES_MAX
    }

    /// Whether the next batch should go, while so many are in flight.
    pub(super) fn is_worth_a_batch(&self, in_flight: usize) -> bool {
        let full = self.bytes >= limits::PIPELINE_BYTES;
        !self.pending.is_empty() && (in_flight == 0 || (full && in_flight < limits::BATCHES_IN_FLIGHT_MAX))
    }

    /// The next batch: what came first, up to the bounds of a batch.
    pub(super) fn batch(&mut self) -> Vec<Pending> {
        let mut batch: Vec<Pending> = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.pending.front() {
            bytes += next.bytes;
            if (bytes > limits::BATCH_BYTES_MAX && !batch.is_empty())
                || batch.len() >= limits::BATCH_COMMANDS_MAX
            {
                break;
            }
            batch.extend(self.pending.pop_front());
        }
        self.bytes -= batch.iter().map(|pending| pending.bytes).sum::<usize>();
        batch
    }

    /// These were answered, or will not be tried again.
    pub(super) fn close(&mut self, batch: &[Pending]) {
        for pending in batch {
            self.open.remove(&pending.command.id.seq);
        }
    }

    /// The lowest sequence number that may still come; behind the last if none does.
    pub(super) fn floor(&self) -> u64 {
        self.open.keys().next().copied().unwrap_or(self.next_seq + 1)
    }

    /// Refuses what comes from now on.
    pub(super) fn shut(&mut self) {
        self.closed = true;
    }

    /// Refuses what comes from now on, and gives back what waits and was never sent.
    pub(super) fn clear(&mut self) -> VecDeque<Pending> {
        self.shut();
        self.bytes = 0;
        let waiting = std::mem::take(&mut self.pending);
        for pending in &waiting {
            self.open.remove(&pending.command.id.seq);
        }
        waiting
    }

    /// Whether everything was answered.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(open: usize, since: Instant) -> Queue {
        let open = (0..open as u64).map(|seq| (seq, since)).collect();
        Queue { open, ..Queue::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_wait_for_long_leave_no_room() {
        let queue = queue(limits::OPEN_CALM, Instant::now());
        assert!(queue.has_room(1, Instant::now() + limits::OPEN_AGE_MAX));
        assert!(!queue.has_room(1, Instant::now() + 2 * limits::OPEN_AGE_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_may_wait_as_long_as_it_takes() {
        let queue = queue(limits::OPEN_CALM - 1, Instant::now());
        assert!(queue.has_room(1, Instant::now() + 100 * limits::OPEN_AGE_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_has_room_up_to_the_bounds() {
        let mut queue = queue(limits::PENDING_MAX, Instant::now());
        assert!(queue.has_room(limits::PENDING_BYTES_MAX, Instant::now()));
        queue.bytes = 1;
        assert!(!queue.has_room(limits::PENDING_BYTES_MAX, Instant::now()));
    }
}
