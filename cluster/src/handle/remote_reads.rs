//! Reads of a cell that this node is not in: one of the cell's members, its host, is asked, and tells what changes.
//!
//! What waits while frames are under way goes with the next one. A node that begins with a host subscribes to its changes,
//! then asks it linearizably, then has everybody who waits here look again: so a look is never older than the one before,
//! and no change after it is missed. A host that fails, or that has lost its leader while this node hears of one, is left for
//! the next one. What was asked of it is asked again; reads change nothing.

mod queue;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::host::{AskedBy, Rung, Subscription, Unanswered};
use super::interest::Interests;
use super::limits::{ASKS_MAX, RETRY_EVERY, RING_TIMEOUT};
use super::paths::Common;
use super::quorum::Quorum;
use super::topology::Topology;
use super::{Error, limits};
use crate::raft::message::{self, kind};
use crate::raft::{Hint, Lead, Node};
use crate::state::query::codec::{Asked, Look, decode_replies};
use crate::state::query::{Question, Reply};
use crate::state::slot::CellId;
use crate::wire::{self, Lane, Links};
use queue::{Queue, Waiting};

/// Answers in a row by which a host says that it has no leader, while this node hears of one.
const LEADERLESS_MAX: u32 = 2;

/// Where it is asked.
#[derive(Debug, Clone)]
struct ReadHost {
    id: u64,
    address: String,
    subscription: u64,
}

/// A host is no good any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left;

/// What came of a frame.
type Asking = (u64, Result<Result<Vec<Vec<Reply>>, Error>, Left>);

/// The reads of a node that has no replica to read.
pub(super) struct RemoteReads {
    cell: CellId,
    node: Node,
    links: Links,
    topology: Topology,
    interests: Interests,
    lead: watch::Receiver<Option<Lead>>,
    quorum: Quorum,
    deadline: Duration,
    random: Mutex<SmallRng>,
    /// `None` once nobody is answered any more.
    queue: Mutex<Option<Queue>>,
    filled: Notify,
    /// Whether there is a host.
    hosted: AtomicBool,
    /// Whether a read was refused that may have been for a change: whoever waits here has to look once more.
    missed: AtomicBool,
}

impl RemoteReads {
    /// Of one cell, whose `quorum` this is.
    pub(super) fn new(cell: CellId, seed: u64, quorum: Quorum, common: &Common) -> Self {
        let Common { node, links, topology, interests, deadline, .. } = common.clone();
        let lead = topology.lead(cell);
        let random = Mutex::new(SmallRng::seed_from_u64(seed));
        let (queue, filled) = (Mutex::new(Some(Queue::default())), Notify::new());
        Self {
            cell,
            node,
            links,
            topology,
            interests,
            lead,
            quorum,
            deadline,
            random,
            queue,
            filled,
            hosted: AtomicBool::default(),
            missed: AtomicBool::default(),
        }
    }

    /// Asks questions, all in one look. Whoever asks has waited since then.
    pub(super) async fn ask(
        &self,
        questions: Vec<Question>,
        linearizably: bool,
        since: Instant,
    ) -> Result<Vec<Reply>, Error> {
        let (reply, answer) = oneshot::channel();
        {
            let mut queue = self.queue();
            let queue = queue.as_mut().ok_or(Error::ShuttingDown)?;
            if queue.len() >= ASKS_MAX {
                self.missed.store(true, Ordering::Relaxed);
                return Err(Error::Overloaded);
            }
            let waiting = Waiting { since, look: Look(questions), reply };
            queue.of(linearizably).push(waiting);
        }
        self.filled.notify_one();
        answer.await.unwrap_or(Err(Error::ShuttingDown))
    }

    /// Whether there is a host to ask.
    pub(super) fn is_hosted(&self) -> bool {
        self.hosted.load(Ordering::Relaxed)
    }

    fn queue(&self) -> MutexGuard<'_, Option<Queue>> {
        self.queue.lock().expect("nothing panics while this is held")
    }

    /// Answers reads until this node has a replica of the cell, or stops. Whoever waits then, or comes later, is refused.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut seated = self.topology.seated();
        let serving = async {
            tokio::select! {
                biased;
                _ = seated.wait_for(|seated| *seated && self.topology.own_cell() == Some(self.cell)) => {}
                () = self.serve() => {}
            }
        };
        stop.run_until_cancelled(serving).await;
        let refused = self.queue().take();
        drop(refused);
    }

    async fn serve(&self) {
        // Nodes spread over the members by their ids.
        let mut turn = self.node.id() as usize;
        let mut hostless = Instant::now();
        loop {
            if let Some(host) = self.next_host(turn) {
                turn += 1;
                let mut listening = pin!(self.listen(&host));
                let left = loop {
                    tokio::select! {
                        biased;
                        left = &mut listening => break left,
                        // One that has no leader takes its time to say so. Nobody waits for it longer than for none.
                        () = sleep(RETRY_EVERY), if !self.is_hosted() => self.give_up(Some(hostless)),
                    }
                };
                if left.is_some() {
                    tracing::info!(cell = %self.cell, host = host.id, "the host of this node's reads is lost");
                    hostless = Instant::now();
                }
            }
            self.give_up(Some(hostless));
            sleep(RETRY_EVERY).await;
        }
    }

    fn next_host(&self, turn: usize) -> Option<ReadHost> {
        let (voters, seats) = self.topology.seats(self.cell);
        let is_host = |id: &u64| voters.contains(id) && *id != self.node.id();
        let hosts: Vec<_> = seats.into_iter().filter(|(id, _)| is_host(id)).collect();
        let (id, address) = hosts.get(turn % hosts.len().max(1))?.clone();
        let subscription = self.random.lock().expect("nothing panics while this is held").random();
        Some(ReadHost { id, address, subscription })
    }

    /// Refuses those whose time is over; it is shorter while there is no host.
    fn give_up(&self, hostless: Option<Instant>) {
        let timeout = limits::leaderless_timeout(hostless, self.quorum.is_heard(), self.deadline);
        let mut queue = self.queue();
        let Some(Queue { linearizable, stale }) = &mut *queue else { return };
        for waiting in [linearizable, stale] {
            for late in waiting.extract_if(.., |waiting| waiting.since.elapsed() >= timeout) {
                // Whoever hung up does not read.
                let _ = late.reply.send(Err(Error::NoLeader));
                self.missed.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Has everybody look once more if a read was refused meanwhile. Not before there is time for it.
    fn make_up(&self) {
        let idle = self.queue().as_ref().is_some_and(|queue| queue.len() == 0);
        if idle && self.missed.swap(false, Ordering::Relaxed) {
            self.node.replica().pass_on(&[Hint::WakeAll]);
        }
    }

    /// Reads from a host for as long as it goes well; `None` if it did not begin to.
    async fn listen(&self, host: &ReadHost) -> Option<Left> {
        self.ring(host, true).await.ok()?;
        // From here on nothing that is asked is older than what any host said before.
        timeout(RING_TIMEOUT, self.call(host, Vec::new(), true)).await.ok()?.ok()?.ok()?;
        self.node.replica().pass_on(&[Hint::WakeAll]);
        metrics::counter!("conclave_front_hosts_total").increment(1);
        tracing::info!(cell = %self.cell, host = host.id, "this node reads from that member of the cell");
        self.hosted.store(true, Ordering::Relaxed);
        let mut under_way = BTreeMap::new();
        let left = self.read_from(host, &mut under_way).await;
        self.hosted.store(false, Ordering::Relaxed);
        // Asked of the next host. Only what is lost with a host that stops for good is refused.
        if let Some(queue) = &mut *self.queue() {
            for (linearizably, unanswered) in under_way.into_values().rev() {
                queue.put_back(linearizably, unanswered);
            }
        }
        Some(left)
    }

    async fn read_from(&self, host: &ReadHost, under_way: &mut BTreeMap<u64, (bool, Vec<Waiting>)>) -> Left {
        let mut ringing = pin!(self.ring(host, false));
        let mut frames = FuturesUnordered::new();
        let (mut number, mut leaderless) = (0, 0);
        loop {
            while let Some((linearizably, batch)) =
                self.queue().as_mut().and_then(|queue| queue.batch(frames.len()))
            {
                number += 1;
                let looks = batch.iter().map(|waiting| waiting.look.clone()).collect();
                frames.push(self.ask_host(host, number, looks, linearizably));
                under_way.insert(number, (linearizably, batch));
            }
            tokio::select! {
                biased;
                // First: however many frames come, what changed is told. It takes a round trip each time.
                rung = &mut ringing => match rung {
                    Ok(led) => {
                        leaderless = if led || self.lead.borrow().is_none() { 0 } else { leaderless + 1 };
                        if leaderless > LEADERLESS_MAX {
                            return Left;
                        }
                        self.give_up(None);
                        self.make_up();
                        ringing.set(self.ring(host, false));
                    }
                    Err(left) => return left,
                },
                Some((number, said)) = frames.next() => {
                    let Ok(said) = said else { return Left };
                    if let Some((linearizably, batch)) = under_way.remove(&number) {
                        self.settle(linearizably, batch, said);
                    }
                }
                () = self.filled.notified() => {}
            }
        }
    }

    /// Hands the replies to those who asked. What a frame had no room for is asked again.
    fn settle(&self, linearizably: bool, batch: Vec<Waiting>, said: Result<Vec<Vec<Reply>>, Error>) {
        let mut batch = batch.into_iter();
        match said {
            Ok(said) => {
                for (replies, waiting) in said.into_iter().zip(batch.by_ref()) {
                    // Whoever hung up does not read.
                    let _ = waiting.reply.send(Ok(replies));
                }
                if let Some(queue) = &mut *self.queue() {
                    queue.put_back(linearizably, batch.collect());
                }
            }
            Err(error) => {
                self.missed.store(true, Ordering::Relaxed);
                for waiting in batch {
                    let _ = waiting.reply.send(Err(error));
                }
            }
        }
    }

    async fn ask_host(&self, host: &ReadHost, number: u64, looks: Vec<Look>, linearizably: bool) -> Asking {
        (number, self.call(host, looks, linearizably).await)
    }

    async fn call(
        &self,
        host: &ReadHost,
        looks: Vec<Look>,
        linearizably: bool,
    ) -> Result<Result<Vec<Vec<Reply>>, Error>, Left> {
        let looks_max = looks.len();
        let (subscription, asked) = (self.subscription(host), Asked { linearizably, looks });
        let asked = message::within(self.cell, message::of(kind::ASK, &AskedBy { subscription, asked }));
        metrics::counter!("conclave_front_asks_total").increment(1);
        let reply = match self.links.call(host.id, &host.address, Lane::Bulk, asked, self.deadline).await {
            Ok(reply) => reply,
            // Another host would do no better.
            Err(wire::Error::QueueFull | wire::Error::TooLarge) => return Ok(Err(Error::Overloaded)),
            Err(_) => return Err(Left),
        };
        match reply.kind {
            kind::ASK => {
                let Ok(said) = decode_replies(&reply.header, reply.payload, looks_max) else {
                    return Ok(Err(Error::Overloaded));
                };
                // One that answers nothing would be asked for ever.
                if said.is_empty() && looks_max > 0 { Err(Left) } else { Ok(Ok(said)) }
            }
            _ => match message::decode(&reply.header) {
                // It is cut off, and this node is not.
                Ok(Unanswered::NoLeader) if self.lead.borrow().is_some() => Err(Left),
                Ok(Unanswered::NoLeader) => Ok(Err(Error::NoLeader)),
                Ok(Unanswered::Overloaded) => Ok(Err(Error::Overloaded)),
                Ok(Unanswered::NoHost) | Err(_) => Err(Left),
            },
        }
    }

    /// To what this node listens at a host, with the slots in which anybody waits here by now.
    fn subscription(&self, host: &ReadHost) -> Subscription {
        Subscription { number: host.subscription, interesting: self.interests.now() }
    }

    /// Waits for what changes at the host, and tells it here. Returns whether the host has a leader.
    async fn ring(&self, host: &ReadHost, begins: bool) -> Result<bool, Left> {
        let ring = message::of(kind::RING, &self.subscription(host));
        let ring = message::within(self.cell, ring);
        let reply = self.links.call(host.id, &host.address, Lane::Control, ring, RING_TIMEOUT).await;
        let reply = reply.map_err(|_| Left)?;
        if reply.kind != kind::RING {
            return Err(Left);
        }
        let Rung { begun, led, all, effects } = message::decode(&reply.header).map_err(|_| Left)?;
        // It has forgotten this node meanwhile, and what changed.
        if begun != begins {
            return Err(Left);
        }
        let mut hints: Vec<_> = effects.into_iter().map(Hint::Effect).collect();
        hints.extend(all.then_some(Hint::WakeAll));
        if !hints.is_empty() {
            self.node.replica().pass_on(&hints);
        }
        Ok(led)
    }
}
