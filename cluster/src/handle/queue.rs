//! What waits on this node to be carried out, and how much of it there may be.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::pipelining::InFlight;
use super::request_trace::Trace;
use super::{Draft, Error, limits};
use crate::state::allowance::Payment;
use crate::state::command::{Command, IdempotencyKey, Op};
use crate::state::id::RequestId;
use crate::state::leader_rules::Owner;
use crate::state::outcome::Answer;

/// Where an answer goes. Nobody waits for a bare charge.
pub(super) type Reply = Option<oneshot::Sender<Result<Answer, Error>>>;

/// A command that has no id yet, and how it is paid for.
#[derive(Debug, Clone)]
pub(super) struct Request {
    payment: Payment,
    owner: Option<Owner>,
    idempotency_key: Option<IdempotencyKey>,
    op: Op,
}

impl Request {
    /// One that is paid for otherwise than by a charge where it is carried out.
    pub(super) fn paid(draft: Draft, payment: Payment) -> Self {
        Self { payment, ..draft.into() }
    }
}

impl From<Draft> for Request {
    /// It is charged where it is carried out.
    fn from(draft: Draft) -> Self {
        let Draft { charge, owner, idempotency_key, op } = draft;
        Self { payment: charge.into(), owner, idempotency_key, op }
    }
}

/// A command and who waits for it.
pub(super) struct Pending {
    pub(super) command: Command,
    pub(super) trace: Option<Trace>,
    pub(super) bytes: usize,
    pub(super) since: Instant,
    pub(super) reply: Reply,
}

/// What waits in all queues of a node together, to other cells as well.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    commands: AtomicUsize,
    bytes: AtomicUsize,
    /// Batches in flight.
    batches: AtomicUsize,
}

/// A batch in flight, until this is dropped.
pub(super) struct BatchInFlight(Arc<Backlog>);

impl Drop for BatchInFlight {
    fn drop(&mut self) {
        self.0.batches.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Backlog {
    fn has_room(&self, bytes: usize) -> bool {
        self.commands.load(Ordering::Relaxed) < limits::PENDING_MAX
            && self.bytes.load(Ordering::Relaxed) + bytes <= limits::PENDING_BYTES_MAX
    }

    fn add(&self, bytes: usize) {
        self.commands.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn remove(&self, commands: usize, bytes: usize) {
        self.commands.fetch_sub(commands, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A node's commands for one cell from the moment they are named until they are answered.
#[derive(Default)]
pub(super) struct Queue {
    pending: VecDeque<Pending>,
    /// How many of them may linger, see [`Op::may_linger`].
    lingering: usize,
    bytes: usize,
    backlog: Arc<Backlog>,
    next_seq: u64,
    /// Sequence numbers given out and not yet answered, or given up, and since when.
    open: BTreeMap<u64, Instant>,
    closed: bool,
}

impl Queue {
    /// One of the queues that share a bound.
    pub(super) fn new(backlog: Arc<Backlog>) -> Self {
        Self { backlog, ..Self::default() }
    }

    /// Names a command that its caller asked for at `since`, and puts it behind the others; returns its number.
    pub(super) fn push(
        &mut self,
        origin: u64,
        request: Request,
        since: Instant,
        trace: Option<Trace>,
        reply: Reply,
    ) -> Result<u64, Error> {
        if self.closed {
            return Err(Error::ShuttingDown);
        }
        let (seq, now) = (self.next_seq + 1, Instant::now());
        let Request { payment, owner, idempotency_key, op } = request;
        let command = Command { id: RequestId { origin, seq }, payment, owner, idempotency_key, op };
        let bytes = command.size();
        if !self.has_room(bytes, now) {
            return Err(Error::Overloaded);
        }
        self.next_seq = seq;
        self.open.insert(seq, now);
        self.bytes += bytes;
        self.backlog.add(bytes);
        self.lingering += usize::from(command.op.may_linger());
        self.pending.push_back(Pending { command, trace, bytes, since, reply });
        Ok(seq)
    }

    /// Whether there is room for so many bytes more. Where the oldest has waited for long and many wait behind it, more
    /// come than can be carried out: each one taken in would make all wait longer, and the sooner it hears so, the better.
    pub(super) fn has_room(&self, bytes: usize, now: Instant) -> bool {
        let oldest = self.open.values().next().map_or(Duration::ZERO, |since| now - *since);
        let late = self.open.len() >= limits::OPEN_UNCONDITIONAL && oldest > limits::OPEN_AGE_MAX;
        !late && self.backlog.has_room(bytes)
    }

    /// When the next batch is due, if it is worth one while so many are in flight: at once, or, where all that wait may
    /// linger, when the first of them has waited long enough.
    pub(super) fn due(&self, count: usize) -> Option<Instant> {
        let first = self.pending.front()?;
        // One batch to each cell, and further ones while the node has few in flight: the more cells, the fewer commands wait for
        // each, and a batch costs the same however few are in it.
        if count > 0 && self.backlog.batches.load(Ordering::Relaxed) >= limits::IN_FLIGHT_MAX {
            return None;
        }
        let in_flight = InFlight { count, commands: self.open.len() - self.pending.len() };
        let wait = if self.lingering == self.pending.len() { limits::LINGER_MAX } else { Duration::ZERO };
        in_flight.admits(self.pending.len(), self.bytes).then(|| first.since + wait)
    }

    /// Counts a batch that is about to be sent.
    pub(super) fn begin_batch(&self) -> BatchInFlight {
        self.backlog.batches.fetch_add(1, Ordering::Relaxed);
        BatchInFlight(self.backlog.clone())
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
        let bytes = batch.iter().map(|pending| pending.bytes).sum();
        self.bytes -= bytes;
        self.backlog.remove(batch.len(), bytes);
        self.lingering -= batch.iter().filter(|pending| pending.command.op.may_linger()).count();
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
        self.backlog.remove(self.pending.len(), self.bytes);
        (self.bytes, self.lingering) = (0, 0);
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
    use crate::state::id::{Domain, Key};
    use crate::state::mailbox;

    fn queue(open: usize, since: Instant) -> Queue {
        let open = (0..open as u64).map(|seq| (seq, since)).collect();
        Queue { open, ..Queue::default() }
    }

    fn push(queue: &mut Queue, op: Op) {
        queue.push(1, Draft::of(op).into(), Instant::now(), None, None).expect("there is room");
    }

    fn acknowledgement() -> Op {
        let key = Key::derive(Domain::Mailbox, &[]);
        Op::Mailbox(mailbox::Op { key, action: mailbox::Action::Acknowledge { session: key, seq: 1 } })
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_may_linger_goes_with_the_next_one_or_when_it_is_due() {
        let mut queue = Queue::default();
        assert_eq!(queue.due(0), None);
        push(&mut queue, acknowledgement());
        let since = Instant::now();
        tokio::time::advance(limits::LINGER_MAX / 2).await;
        push(&mut queue, acknowledgement());
        assert_eq!(queue.due(0), Some(since + limits::LINGER_MAX), "the first of them counts");
        push(&mut queue, Op::Spend);
        assert!(queue.due(0).is_some_and(|due| due <= Instant::now()));
        assert_eq!(queue.batch().len(), 3);
        push(&mut queue, acknowledgement());
        assert_eq!(queue.due(0), Some(Instant::now() + limits::LINGER_MAX), "what went is forgotten");
        assert_eq!(queue.due(1), None, "one is not worth a batch beside three under way");
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_wait_for_long_leave_no_room() {
        let queue = queue(limits::OPEN_UNCONDITIONAL, Instant::now());
        assert!(queue.has_room(1, Instant::now() + limits::OPEN_AGE_MAX));
        assert!(!queue.has_room(1, Instant::now() + 2 * limits::OPEN_AGE_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_may_wait_as_long_as_it_takes() {
        let queue = queue(limits::OPEN_UNCONDITIONAL - 1, Instant::now());
        assert!(queue.has_room(1, Instant::now() + 100 * limits::OPEN_AGE_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_goes_to_each_cell_and_further_ones_while_the_node_has_few_in_flight() {
        let backlog = Arc::new(Backlog::default());
        let mut queues = [(); 2].map(|()| Queue::new(backlog.clone()));
        let in_flight: Vec<_> = (0..limits::IN_FLIGHT_MAX).map(|_| queues[0].begin_batch()).collect();
        push(&mut queues[1], Op::Spend);
        assert!(queues[1].due(0).is_some(), "nothing is under way to this cell");
        assert_eq!(queues[1].due(1), None, "much is under way to others");
        drop(in_flight);
        assert!(queues[1].due(1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_has_room_up_to_the_bounds() {
        let queue = queue(limits::PENDING_MAX, Instant::now());
        assert!(queue.has_room(limits::PENDING_BYTES_MAX, Instant::now()));
        queue.backlog.add(1);
        assert!(
            !queue.has_room(limits::PENDING_BYTES_MAX, Instant::now()),
            "another queue of the node counts, too"
        );
    }
}
