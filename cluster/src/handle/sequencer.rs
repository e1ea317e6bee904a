//! The leader's side of a proposal: what all nodes sent becomes one entry of the log after another.
//!
//! Batches of one node are written in the order in which it made them, although several are on their way: one that comes
//! before its predecessor is given back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::clock::Consensus;
use super::limits;
use super::pipelining::InFlight;
use super::request_trace::Traces;
use crate::raft::{Lead, Node, WriteError};
use crate::state::allowance::Payment;
use crate::state::command::{Command, Op, Proposal};
use crate::state::id::RequestId;
use crate::state::leader_rules::Rules;
use crate::state::outcome::Answer;
use crate::state::slot::CellId;
use crate::state::{State, codec, handoff};
use crate::wire::Links;

/// Peers that speak this protocol read the newest version of proposals.
const READS_THE_NEWEST: u16 = 5;
/// For so long all members have to read a newer version before it is written. Until then, a cluster that was upgraded can be
/// taken back to the build before.
const SETTLED_AFTER: Duration = Duration::from_secs(600);

/// Commands of one node, to be answered together.
pub(super) struct QueuedBatch {
    pub(super) commands: Vec<Command>,
    /// Which requests they came from.
    pub(super) traces: Traces,
    pub(super) bytes: usize,
    /// The node's run, and the lowest of its sequence numbers that may still be retried.
    pub(super) floor: Option<(u64, u64)>,
    /// When it came in. One that waited too long is not begun: its sender has given up.
    pub(super) since: Instant,
    pub(super) reply: oneshot::Sender<Result<Vec<Answer>, WriteError>>,
}

/// What waits to be written in the present term.
#[derive(Default)]
struct Queue {
    term: u64,
    batches: VecDeque<QueuedBatch>,
    bytes: usize,
    commands: usize,
    /// By node run, the last sequence number that came in this term.
    last_seqs: BTreeMap<u64, u64>,
}

impl Queue {
    /// Begins a term. What came in an earlier one is left to its senders, who try again.
    fn begin(&mut self, term: u64) {
        if term != self.term {
            *self = Self { term, ..Self::default() };
        }
    }

    /// Whether nothing that its node sent before this batch, and still waits for, can come behind it.
    fn is_next(&self, batch: &QueuedBatch) -> bool {
        let (Some((origin, floor)), Some(first)) = (batch.floor, batch.commands.first()) else { return true };
        let last = self.last_seqs.get(&origin).copied().unwrap_or_default();
        first.id.seq <= floor.max(last + 1)
    }

    fn push(&mut self, batch: QueuedBatch) {
        if let (Some((origin, _)), Some(last)) = (batch.floor, batch.commands.last()) {
            if self.last_seqs.len() >= limits::ORIGINS_MAX {
                // Whoever has something under way begins at its floor.
                self.last_seqs.clear();
            }
            let seq = self.last_seqs.entry(origin).or_default();
            *seq = last.id.seq.max(*seq);
        }
        self.bytes += batch.bytes;
        self.commands += batch.commands.len();
        self.batches.push_back(batch);
    }

    /// The batches of the next proposal.
    fn take(&mut self) -> Vec<QueuedBatch> {
        let mut batches: Vec<QueuedBatch> = Vec::new();
        let (mut bytes, mut commands) = (0, 0);
        while let Some(next) = self.batches.front() {
            bytes += next.bytes;
            commands += next.commands.len();
            let over = bytes > limits::PROPOSAL_BYTES_MAX || commands > limits::PROPOSAL_COMMANDS_MAX;
            if over && !batches.is_empty() {
                break;
            }
            batches.extend(self.batches.pop_front());
        }
        self.bytes -= batches.iter().map(|batch| batch.bytes).sum::<usize>();
        self.commands -= batches.iter().map(|batch| batch.commands.len()).sum::<usize>();
        batches
    }
}

/// Merges batches into proposals. Runs on every node; only the leader's succeeds.
pub(super) struct Sequencer {
    node: Node,
    links: Links,
    clock: Arc<Consensus>,
    rules: Rules,
    /// The version of proposals that is written.
    version: AtomicU8,
    /// Since when all members read the newest one.
    settling: Mutex<Option<Instant>>,
    lead: watch::Receiver<Option<Lead>>,
    queue: Mutex<Queue>,
    filled: Notify,
}

impl Sequencer {
    pub(super) fn new(node: Node, links: Links, clock: Arc<Consensus>, rules: Rules) -> Self {
        let lead = node.lead();
        let (queue, filled, settling) = (Mutex::default(), Notify::new(), Mutex::default());
        let version = AtomicU8::new(*codec::READ.start());
        Self { node, links, clock, rules, version, settling, lead, queue, filled }
    }

    /// The newest version if the log has it already, or if all members have read it for long enough.
    fn version_to_write(&self) -> u8 {
        if self.node.replica().read(|state| state.version()) >= codec::WRITTEN {
            return codec::WRITTEN;
        }
        let mut settling = self.settling.lock().expect("nothing panics while this is held");
        if !self.all_read_the_newest() {
            *settling = None;
        } else if settling.get_or_insert_with(Instant::now).elapsed() >= SETTLED_AFTER {
            return codec::WRITTEN;
        }
        *codec::READ.start()
    }

    /// Whether all members read the newest version. One that was never greeted may be of an older build.
    fn all_read_the_newest(&self) -> bool {
        let (_, members) = self.node.members();
        let others = members.keys().filter(|id| **id != self.node.id());
        let mut protocols = others.map(|id| self.links.protocol(*id));
        protocols.all(|protocol| protocol.is_some_and(|protocol| protocol >= READS_THE_NEWEST))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nothing panics while this is held")
    }

    /// Takes a batch, or gives it back if this node does not lead, if the queue holds as much as it may, or if a batch of the
    /// same node should come first.
    pub(super) fn enqueue(&self, batch: QueuedBatch) -> Result<(), QueuedBatch> {
        let Some(term) = self.leads_in() else { return Err(batch) };
        let mut queue = self.queue();
        queue.begin(term);
        if queue.bytes + batch.bytes > limits::SEQUENCER_BYTES_MAX
            || queue.batches.len() >= limits::QUEUED_BATCHES_MAX
            || !queue.is_next(&batch)
        {
            return Err(batch);
        }
        queue.push(batch);
        metrics::gauge!("conclave_sequencer_queue_bytes").set(queue.bytes as f64);
        drop(queue);
        self.filled.notify_one();
        Ok(())
    }

    /// The term in which this node leads, if it does.
    fn leads_in(&self) -> Option<u64> {
        self.lead.borrow().as_ref().filter(|lead| lead.local).map(|lead| lead.term)
    }

    /// Sees that time passes in the log although nobody asks for anything, where something is due to expire.
    pub(super) fn tick(&self) {
        self.version.store(self.version_to_write(), Ordering::Relaxed);
        let due = self.node.replica().read(|state| state.next_expiry_ms());
        let is_due = due.is_some_and(|due| due <= self.clock.now_ms()) || self.begins().is_some();
        if self.leads_in().is_some() && is_due && self.queue().batches.is_empty() {
            let (reply, _) = oneshot::channel();
            // A full queue brings time along by itself.
            let _ = self.enqueue(QueuedBatch {
                commands: Vec::new(),
                traces: Traces::default(),
                bytes: 0,
                floor: None,
                since: Instant::now(),
                reply,
            });
        }
    }

    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut in_flight = FuturesUnordered::new();
        let mut commands = 0;
        loop {
            while let Some((term, batches)) = self.next(InFlight { count: in_flight.len(), commands }) {
                let count = batches.iter().map(|batch| batch.commands.len()).sum::<usize>();
                commands += count;
                let writing = self.clone().write(term, batches);
                in_flight.push(async move {
                    writing.await;
                    count
                });
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(count) = in_flight.next() => commands -= count,
                () = self.filled.notified() => {}
            }
        }
    }

    /// What the log of a cell but the first begins with: it holds no slots. Until that is applied here, every proposal
    /// begins so; the first of them counts.
    fn begins(&self) -> Option<Command> {
        let is_new = self.node.cell().is_some_and(|cell| cell != CellId::FIRST)
            && !self.node.replica().read(State::has_moved_slots);
        let command = |term| Command {
            // A term has one leader, and no node's run is named so.
            id: RequestId { origin: 0, seq: term },
            payment: Payment::Free,
            owner: None,
            idempotency_key: None,
            op: Op::Handoff(handoff::Op::Begin),
        };
        is_new.then(|| self.leads_in().map(command)).flatten()
    }

    /// The batches of the next proposal and their term, if it is time for one.
    fn next(&self, in_flight: InFlight) -> Option<(u64, Vec<QueuedBatch>)> {
        let mut queue = self.queue();
        let is_time = !queue.batches.is_empty() && in_flight.admits(queue.commands, queue.bytes);
        is_time.then(|| (queue.term, queue.take()))
    }

    async fn write(self: Arc<Self>, term: u64, mut batches: Vec<QueuedBatch>) {
        batches.retain(|batch| batch.since.elapsed() <= limits::DEADLINE_MAX);
        let mut proposal = Proposal {
            version: self.version.load(Ordering::Relaxed),
            stamp_ms: self.clock.now_ms(),
            rules: self.rules,
            floors: batches.iter().filter_map(|batch| batch.floor).collect(),
            commands: Vec::with_capacity(batches.iter().map(|batch| batch.commands.len()).sum()),
        };
        let mut replies = Vec::with_capacity(batches.len());
        let begins = self.begins();
        let begun = usize::from(begins.is_some());
        proposal.commands.extend(begins);
        for batch in batches {
            batch.traces.tell(&batch.commands);
            replies.push((batch.commands.len(), batch.reply));
            proposal.commands.extend(batch.commands);
        }
        metrics::histogram!("conclave_proposal_commands").record(proposal.commands.len() as f64);
        let written = self.write_while_leading(term, proposal).await;
        let mut answers = written.map(|answers| answers.into_iter().skip(begun));
        for (count, reply) in replies {
            // A caller that gave up does not mind.
            let _ = reply.send(match &mut answers {
                Ok(answers) => Ok(answers.by_ref().take(count).collect()),
                Err(error) => Err(*error),
            });
        }
    }

    /// A leader without a quorum would wait for ever; its callers should hear within their timeout.
    async fn write_while_leading(&self, term: u64, proposal: Proposal) -> Result<Vec<Answer>, WriteError> {
        let mut lead = self.lead.clone();
        let leads = |lead: &Option<Lead>| lead.as_ref().is_some_and(|lead| lead.local && lead.term == term);
        if !leads(&lead.borrow_and_update()) {
            return Err(WriteError::NotLeader);
        }
        tokio::select! {
            biased;
            written = self.node.write(term, proposal) => written,
            _ = lead.wait_for(|lead| !leads(lead)) => Err(WriteError::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn batch(origin: u64, floor: u64, seqs: std::ops::RangeInclusive<u64>) -> QueuedBatch {
        let command = |seq| {
            let id = RequestId { origin, seq };
            Command { id, payment: Payment::Free, owner: None, idempotency_key: None, op: Op::Pay }
        };
        QueuedBatch {
            commands: seqs.map(command).collect(),
            traces: Traces::default(),
            bytes: 0,
            floor: Some((origin, floor)),
            since: Instant::now(),
            reply: oneshot::channel().0,
        }
    }

    #[tokio::test]
    async fn a_batch_waits_for_what_its_node_sent_before() {
        let mut queue = Queue::default();
        queue.begin(1);
        assert!(!queue.is_next(&batch(7, 1, 4..=6)), "1 to 3 may still come");
        assert!(queue.is_next(&batch(8, 4, 4..=6)), "nothing of that node is open below 4");
        queue.push(batch(7, 1, 1..=3));
        assert!(queue.is_next(&batch(7, 1, 4..=6)));
        assert!(queue.is_next(&batch(7, 1, 2..=3)), "a retry");
        assert!(!queue.is_next(&batch(7, 1, 5..=6)));
    }

    #[tokio::test]
    async fn what_came_in_one_term_is_not_written_in_the_next() {
        let mut queue = Queue::default();
        queue.begin(1);
        queue.push(batch(7, 1, 1..=3));
        queue.begin(3);
        assert!(queue.take().is_empty());
        assert!(!queue.is_next(&batch(7, 1, 4..=6)), "1 to 3 were given back");
    }

    #[tokio::test]
    async fn no_more_runs_are_known_than_the_bound_and_order_outlives_it() {
        let mut queue = Queue::default();
        for origin in 0..2 * limits::ORIGINS_MAX as u64 {
            queue.push(batch(origin, 1, 1..=1));
        }
        assert!(queue.last_seqs.len() <= limits::ORIGINS_MAX);
        assert!(!queue.is_next(&batch(0, 1, 2..=2)), "it waits until 1 was answered");
        assert!(queue.is_next(&batch(0, 2, 2..=2)));
    }
}
