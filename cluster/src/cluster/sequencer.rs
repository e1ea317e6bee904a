//! The leader's side of a proposal: what all nodes sent while the last entry was in flight becomes the next one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::clock::Consensus;
use super::limits;
use super::trace::Traces;
use crate::raft::{Node, WriteError};
use crate::state::command::{Command, Proposal};
use crate::state::outcome::Answer;
use crate::state::rules::Rules;

/// Commands of one node, to be answered together.
pub(super) struct Parcel {
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

#[derive(Default)]
struct Queue {
    parcels: VecDeque<Parcel>,
    bytes: usize,
    commands: usize,
}

/// What to do about the queue now.
enum Next {
    /// Write these.
    Write(Vec<Parcel>),
    /// There is less than experience promises: wait a moment for the other nodes' parcels.
    Linger,
    /// Wait for a parcel, or for an entry in flight.
    Wait,
}

/// Merges parcels into proposals. Runs on every node; only the leader's succeeds.
pub(super) struct Sequencer {
    node: Node,
    clock: Arc<Consensus>,
    rules: Rules,
    queue: Mutex<Queue>,
    filled: Notify,
}

impl Sequencer {
    pub(super) fn new(node: Node, clock: Arc<Consensus>, rules: Rules) -> Self {
        Self { node, clock, rules, queue: Mutex::default(), filled: Notify::new() }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nothing panics while this is held")
    }

    /// Takes a parcel, or gives it back if the queue holds as much as it may.
    pub(super) fn enqueue(&self, parcel: Parcel) -> Result<(), Parcel> {
        let mut queue = self.queue();
        if queue.bytes + parcel.bytes > limits::SEQUENCER_BYTES_MAX
            || queue.parcels.len() >= limits::PARCELS_MAX
        {
            return Err(parcel);
        }
        queue.bytes += parcel.bytes;
        queue.commands += parcel.commands.len();
        queue.parcels.push_back(parcel);
        metrics::gauge!("conclave_sequencer_queue_bytes").set(queue.bytes as f64);
        drop(queue);
        self.filled.notify_one();
        Ok(())
    }

    /// Sees that time passes in the log although nobody asks for anything, where something is due to expire.
    pub(super) fn tick(&self) {
        let due = self.node.replica().look(|state| state.next_expiry_ms());
        let leads = self.node.lead().borrow().as_ref().is_some_and(|lead| lead.local);
        if leads && due.is_some_and(|due| due <= self.clock.now_ms()) && self.queue().parcels.is_empty() {
            let (reply, _) = oneshot::channel();
            // A full queue brings time along by itself.
            let _ = self.enqueue(Parcel {
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
        // An entry's answers make every node send its next parcel, this one at once and the others a network's
        // way later. Without a moment's patience they would take turns, each in an entry, and a flush, of its own.
        let mut expected = 0;
        let mut patience = Instant::now();
        loop {
            let lingering = match self.next(in_flight.len(), expected) {
                Next::Write(parcels) => {
                    expected = parcels.iter().map(|parcel| parcel.commands.len()).sum::<usize>() * 3 / 4;
                    in_flight.push(self.clone().write(parcels));
                    continue;
                }
                Next::Linger => true,
                Next::Wait => false,
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(()) = in_flight.next() => patience = Instant::now() + limits::LINGER,
                () = self.filled.notified() => {}
                () = tokio::time::sleep_until(patience), if lingering => expected = 0,
            }
        }
    }

    /// The parcels of the next proposal, if it is time for one: nothing is in flight, or a whole proposal waits
    /// and the disk can be kept busy with it meanwhile.
    fn next(&self, in_flight: usize, expected: usize) -> Next {
        let mut queue = self.queue();
        let full = queue.bytes >= limits::PIPELINE_BYTES;
        if queue.parcels.is_empty()
            || (in_flight > 0 && !(full && in_flight < limits::PROPOSALS_IN_FLIGHT_MAX))
        {
            return Next::Wait;
        }
        if !full && queue.commands < expected {
            return Next::Linger;
        }
        let mut parcels: Vec<Parcel> = Vec::new();
        let (mut bytes, mut commands) = (0, 0);
        while let Some(next) = queue.parcels.front() {
            bytes += next.bytes;
            commands += next.commands.len();
            let over = bytes > limits::PROPOSAL_BYTES_MAX || commands > limits::PROPOSAL_COMMANDS_MAX;
            if over && !parcels.is_empty() {
                break;
            }
            parcels.extend(queue.parcels.pop_front());
        }
        queue.bytes -= parcels.iter().map(|parcel| parcel.bytes).sum::<usize>();
        queue.commands -= parcels.iter().map(|parcel| parcel.commands.len()).sum::<usize>();
        Next::Write(parcels)
    }

    async fn write(self: Arc<Self>, mut parcels: Vec<Parcel>) {
        parcels.retain(|parcel| parcel.since.elapsed() <= limits::DEADLINE_MAX);
        let mut proposal = Proposal {
            stamp_ms: self.clock.now_ms(),
            rules: self.rules,
            floors: parcels.iter().filter_map(|parcel| parcel.floor).collect(),
            commands: Vec::with_capacity(parcels.iter().map(|parcel| parcel.commands.len()).sum()),
            ..Proposal::default()
        };
        let mut replies = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            parcel.traces.tell(&parcel.commands);
            replies.push((parcel.commands.len(), parcel.reply));
            proposal.commands.extend(parcel.commands);
        }
        metrics::histogram!("conclave_proposal_commands").record(proposal.commands.len() as f64);
        let written = self.write_while_leading(proposal).await;
        let mut answers = written.map(Vec::into_iter);
        for (count, reply) in replies {
            // A caller that gave up does not mind.
            let _ = reply.send(match &mut answers {
                Ok(answers) => Ok(answers.by_ref().take(count).collect()),
                Err(error) => Err(*error),
            });
        }
    }

    /// A leader without a quorum would wait for ever; its callers should hear within their patience.
    async fn write_while_leading(&self, proposal: Proposal) -> Result<Vec<Answer>, WriteError> {
        let mut lead = self.node.lead();
        if !lead.borrow_and_update().as_ref().is_some_and(|lead| lead.local) {
            return Err(WriteError::NotLeader);
        }
        tokio::select! {
            biased;
            written = self.node.write(proposal) => written,
            _ = lead.wait_for(|lead| !lead.as_ref().is_some_and(|lead| lead.local)) => Err(WriteError::Unknown),
        }
    }
}
