//! A node's side of a proposal: what arrives while batches are in flight becomes the next batch.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::paths::Common;
use super::queue::{Pending, Queue, Request};
use super::quorum::Quorum;
use super::read_charges::ReadCharges;
use super::request_trace::{Trace, Traces};
use super::sequencer::{QueuedBatch, Sequencer};
use super::{Draft, Error, changed, limits};
use crate::raft::message::{self, kind};
use crate::raft::{Lead, WriteError};
use crate::state::codec;
use crate::state::command::{Command, Op, Proposal};
use crate::state::id::RequestId;
use crate::state::outcome::Answer;
use crate::state::slot::CellId;
use crate::wire::{self, Frame, Lane, Links, Outgoing};

/// Gathers commands, names them, and has them sequenced by whoever leads, as often as it takes.
pub(super) struct Proposer {
    cell: CellId,
    origin: u64,
    deadline: Duration,
    links: Links,
    lead: watch::Receiver<Option<Lead>>,
    quorum: Quorum,
    sequencer: Arc<Sequencer>,
    read_charges: Arc<ReadCharges>,
    queue: Mutex<Queue>,
    filled: Notify,
}

impl Proposer {
    /// Of the commands for one cell. `origin` names them; `lead` and `quorum` are that cell's.
    pub(super) fn new(
        cell: CellId,
        origin: u64,
        lead: watch::Receiver<Option<Lead>>,
        quorum: Quorum,
        common: &Common,
    ) -> Self {
        let Common { links, sequencer, read_charges, backlog, deadline, .. } = common.clone();
        let queue = Mutex::new(Queue::new(backlog));
        let filled = Notify::new();
        Self { cell, origin, deadline, links, lead, quorum, sequencer, read_charges, queue, filled }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nothing panics while this is held")
    }

    /// Has a command carried out once, for a caller that has waited since then.
    pub(super) async fn propose(
        &self,
        request: Request,
        since: Instant,
        trace: Option<Trace>,
    ) -> Result<Answer, Error> {
        let (reply, answer) = oneshot::channel();
        self.queue().push(self.origin, request, since, trace, Some(reply))?;
        self.filled.notify_one();
        // Dropped in flight: a leader may have it already.
        answer.await.unwrap_or(Err(Error::NoLeader))
    }

    /// Whether a command would be taken in now.
    pub(super) fn has_room(&self) -> bool {
        self.queue().has_room(0, Instant::now())
    }

    /// Sends charges of reads on their way although no command is.
    pub(super) fn nudge(&self) {
        if self.read_charges.is_urgent(self.cell) {
            self.add_spends();
            self.filled.notify_one();
        }
    }

    fn add_spends(&self) {
        self.read_charges.send(self.cell, limits::SPENDS_PER_BATCH_MAX, |charge| {
            let spend = Draft { charge: Some(charge), ..Draft::of(Op::Spend) };
            let seq = self.queue().push(self.origin, spend.into(), Instant::now(), None, None).ok()?;
            Some(RequestId { origin: self.origin, seq })
        });
    }

    /// Refuses what comes from now on.
    pub(super) fn close(&self) {
        self.queue().shut();
        self.filled.notify_one();
    }

    /// Refuses what comes from now on, and what waits and was never sent.
    fn refuse_waiting(&self) {
        let waiting = self.queue().clear();
        for reply in waiting.into_iter().filter_map(|pending| pending.reply) {
            // Whoever hung up has no use for the answer.
            let _ = reply.send(Err(Error::ShuttingDown));
        }
    }

    /// Whether everything was answered.
    pub(super) fn is_idle(&self) -> bool {
        self.queue().is_idle()
    }

    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut in_flight = FuturesUnordered::new();
        loop {
            let due = self.queue().due(in_flight.len());
            if due.is_some_and(|due| due <= Instant::now()) {
                self.add_spends();
                let (batch, counted) = {
                    let mut queue = self.queue();
                    (queue.batch(), queue.begin_batch())
                };
                let sending = self.clone().send(batch);
                in_flight.push(async move {
                    sending.await;
                    drop(counted);
                });
                continue;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.refuse_waiting(),
                Some(()) = in_flight.next() => {}
                () = self.filled.notified() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    /// Tries a batch until it is answered or its commands' time is over.
    async fn send(self: Arc<Self>, mut batch: Vec<Pending>) {
        let mut lead = self.lead.clone();
        let mut leaderless = None;
        loop {
            let known = lead.borrow_and_update().clone();
            let tried = match known {
                None => None,
                Some(known) => tokio::select! {
                    biased;
                    tried = self.attempt(&batch, &known) => tried,
                    // A new leader, or none: whatever became of the attempt, the retry will find out.
                    () = changed(&mut lead) => continue,
                    () = sleep_until(batch_deadline(&batch, self.deadline)) => None,
                },
            };
            if let Some(answers) = tried {
                self.queue().close(&batch);
                for (pending, answer) in batch.into_iter().zip(answers) {
                    self.read_charges.answered(self.cell, &pending.command, &answer);
                    if let Some(reply) = pending.reply {
                        // Whoever hung up has no use for the answer.
                        let _ = reply.send(Ok(answer));
                    }
                }
                return;
            }
            leaderless = lead.borrow().is_none().then(|| leaderless.unwrap_or_else(Instant::now));
            self.give_up(&mut batch, leaderless);
            if batch.is_empty() {
                return;
            }
            // Wakes early when there is a leader.
            let _ = tokio::time::timeout(limits::RETRY_EVERY, changed(&mut lead)).await;
        }
    }

    /// Refuses the commands whose time is over.
    fn give_up(&self, batch: &mut Vec<Pending>, leaderless: Option<Instant>) {
        let timeout = limits::leaderless_timeout(leaderless, self.quorum.is_heard(), self.deadline);
        let (over, rest): (Vec<_>, Vec<_>) =
            std::mem::take(batch).into_iter().partition(|pending| pending.since.elapsed() >= timeout);
        *batch = rest;
        self.queue().close(&over);
        for reply in over.into_iter().filter_map(|pending| pending.reply) {
            let _ = reply.send(Err(Error::NoLeader));
        }
    }

    /// One try: the answers, or nothing if there are none to be had from this leader now.
    async fn attempt(&self, batch: &[Pending], lead: &Lead) -> Option<Vec<Answer>> {
        let commands: Vec<Command> = batch.iter().map(|pending| pending.command.clone()).collect();
        let traces = Traces::of(batch.iter().map(|pending| pending.trace.as_ref()));
        let floor = (self.origin, self.queue().floor());
        let answers = if lead.local {
            let (reply, answers) = oneshot::channel();
            let bytes = batch.iter().map(|pending| pending.bytes).sum();
            let batch =
                QueuedBatch { commands, traces, bytes, floor: Some(floor), since: Instant::now(), reply };
            self.sequencer.enqueue(batch).ok()?;
            answers.await.ok()?.ok()?
        } else {
            let proposal =
                Proposal { version: codec::EXCHANGED, floors: vec![floor], commands, ..Proposal::default() };
            let encoded = proposal.encode();
            let (kind, header) = if traces.is_empty() {
                (kind::FORWARD, encoded.header)
            } else {
                (kind::FORWARD_TRACED, traces.before(&encoded.header))
            };
            let cell = self.cell.number();
            let request = Outgoing { kind, cell, header, payload: encoded.bodies };
            let reply = self.links.call(lead.id, &lead.address, Lane::Bulk, request, self.deadline).await;
            answers_of(reply)?
        };
        // Anything else is a peer that answers something else than it was asked.
        (answers.len() == batch.len()).then_some(answers)
    }
}

fn batch_deadline(batch: &[Pending], deadline: Duration) -> Instant {
    batch.iter().map(|pending| pending.since).min().unwrap_or_else(Instant::now) + deadline
}

fn answers_of(reply: Result<Frame, wire::Error>) -> Option<Vec<Answer>> {
    let frame = reply.ok()?;
    if frame.kind != kind::FORWARD {
        return None;
    }
    codec::decode_answers(&frame.header, frame.payload).ok()
}

/// The leader's reply to a forwarded batch. Nothing is said of a failure: the sender looks for the leader anew.
///
/// The batch is queued before this returns, so that batches of one node are carried out in the order in which they
/// came; only the answer is waited for in the future.
pub(super) fn serve_forward(sequencer: &Sequencer, frame: Frame) -> BoxFuture<'static, Outgoing> {
    let queued = queue_forwarded(sequencer, frame);
    Box::pin(async move {
        let answers = match queued {
            Some(answers) => answers.await.unwrap_or(Err(WriteError::Stopped)),
            None => Err(WriteError::Stopped),
        };
        match answers {
            Ok(answers) => {
                let encoded = codec::encode_answers(&answers);
                Outgoing { kind: kind::FORWARD, cell: 0, header: encoded.header, payload: encoded.bodies }
            }
            Err(_) => message::bare(kind::FAILED),
        }
    })
}

fn queue_forwarded(
    sequencer: &Sequencer,
    frame: Frame,
) -> Option<oneshot::Receiver<Result<Vec<Answer>, WriteError>>> {
    let (traces, header) = match frame.kind {
        kind::FORWARD_TRACED => Traces::split(&frame.header).ok()?,
        _ => (Traces::default(), &frame.header[..]),
    };
    let proposal = Proposal::decode(header, frame.kept_payload()).ok()?;
    let (reply, answers) = oneshot::channel();
    let batch = QueuedBatch {
        bytes: proposal.size(),
        commands: proposal.commands,
        traces,
        floor: proposal.floors.first().copied(),
        since: Instant::now(),
        reply,
    };
    sequencer.enqueue(batch).ok().map(|()| answers)
}
