//! Linearizable reads on every node: one shared question to the leader, then a wait for apply.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::clock::Consensus;
use super::quorum::Quorum;
use super::{Error, changed, limits};
use crate::raft::message::{self, kind};
use crate::raft::{Lead, Node};
use crate::wire::{Lane, Links, Outgoing};

/// A reader that waits.
struct Waiting {
    since: Instant,
    /// Told the clock to read by.
    passed: oneshot::Sender<Result<u64, Error>>,
}

/// Readers for whom the same was asked.
struct Round {
    readers: Vec<Waiting>,
    /// How many entries must be applied.
    entries: u64,
    /// The leader's clock.
    now_ms: u64,
}

/// Rounds of readers that wait for apply while the next round's index is fetched.
const ROUNDS_MAX: usize = 8;

/// Lets readers through once this node has applied all that was committed when they came.
pub(super) struct ReadIndex {
    node: Node,
    lead: watch::Receiver<Option<Lead>>,
    links: Links,
    clock: Arc<Consensus>,
    quorum: Quorum,
    deadline: Duration,
    /// `None` once nobody is let through any more.
    waiting: Mutex<Option<Vec<Waiting>>>,
    filled: Notify,
}

impl ReadIndex {
    pub(super) fn new(
        node: Node,
        lead: watch::Receiver<Option<Lead>>,
        links: Links,
        clock: Arc<Consensus>,
        quorum: Quorum,
        deadline: Duration,
    ) -> Self {
        let (waiting, filled) = (Mutex::new(Some(Vec::new())), Notify::new());
        Self { node, lead, links, clock, quorum, deadline, waiting, filled }
    }

    /// Waits to be let through.
    pub(super) async fn wait(&self) -> Result<u64, Error> {
        let (told, passed) = oneshot::channel();
        {
            let mut all = self.waiting.lock().expect("nothing panics while this is held");
            let all = all.as_mut().ok_or(Error::ShuttingDown)?;
            if all.len() >= limits::READERS_MAX {
                return Err(Error::Overloaded);
            }
            all.push(Waiting { since: Instant::now(), passed: told });
        }
        self.filled.notify_one();
        passed.await.unwrap_or(Err(Error::ShuttingDown))
    }

    /// Lets readers through until this node stops; whoever waits then, or comes later, is refused.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        self.clone().let_through(stop).await;
        let refused = self.waiting.lock().expect("nothing panics while this is held").take();
        drop(refused);
    }

    async fn let_through(self: Arc<Self>, stop: CancellationToken) {
        let mut rounds = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(()) = rounds.next() => continue,
                () = self.filled.notified(), if rounds.len() < ROUNDS_MAX => {}
            }
            let round = {
                let mut asking = std::pin::pin!(self.round());
                loop {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return,
                        round = &mut asking => break round,
                        Some(()) = rounds.next() => {}
                    }
                }
            };
            if let Some(round) = round {
                rounds.push(self.clone().release(round));
            }
        }
    }

    async fn release(self: Arc<Self>, Round { readers, entries, now_ms }: Round) {
        let oldest = readers.iter().map(|reader| reader.since).min().unwrap_or_else(Instant::now);
        let passed = self.applied(entries, oldest + self.deadline).await.map(|()| now_ms);
        for reader in readers {
            // Whoever hung up does not read.
            let _ = reader.passed.send(passed);
        }
    }

    /// Waits until so many entries are applied, unless too many of them are not.
    async fn applied(&self, entries: u64, until: Instant) -> Result<(), Error> {
        let mut applied = self.node.replica().applied();
        if entries.saturating_sub(*applied.borrow()) > limits::LAG_MAX {
            return Err(Error::Behind);
        }
        match tokio::time::timeout_at(until, applied.wait_for(|applied| *applied >= entries)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Error::ShuttingDown),
            Err(_) => Err(Error::NoLeader),
        }
    }

    /// The readers that wait, and what the leader says to them; `None` once all of them have been refused.
    async fn round(&self) -> Option<Round> {
        let mut lead = self.lead.clone();
        let mut leaderless = None;
        let mut readers = Vec::new();
        loop {
            // Whoever comes after the leader was asked must not profit from its answer. Until then, each waits as long
            // as any other: in a round of its own it would wait for its predecessors' timeout to end, and then its own.
            readers.append(&mut self.come());
            if readers.is_empty() {
                return None;
            }
            let known = lead.borrow_and_update().clone();
            leaderless = known.is_none().then(|| leaderless.unwrap_or_else(Instant::now));
            if let Some(known) = known {
                tokio::select! {
                    biased;
                    answer = self.ask(&known) => if let Some((entries, now_ms)) = answer {
                        return Some(Round { readers, entries, now_ms });
                    },
                    () = changed(&mut lead) => continue,
                }
            }
            let timeout = limits::leaderless_timeout(leaderless, self.quorum.is_heard(), self.deadline);
            for late in readers.extract_if(.., |reader| reader.since.elapsed() >= timeout) {
                let _ = late.passed.send(Err(Error::NoLeader));
            }
            // Wakes early when there is a leader.
            let _ = tokio::time::timeout(limits::RETRY_EVERY, changed(&mut lead)).await;
        }
    }

    /// Those who came since this was last called.
    fn come(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting.lock().expect("nothing panics while this is held");
        waiting.as_mut().map(std::mem::take).unwrap_or_default()
    }

    async fn ask(&self, lead: &Lead) -> Option<(u64, u64)> {
        if lead.local {
            return serve(&self.node, &self.clock).await;
        }
        let request = message::within(self.node.cell().unwrap_or_default(), message::bare(kind::READ_INDEX));
        let reply =
            self.links.call(lead.id, &lead.address, Lane::Control, request, self.deadline).await.ok()?;
        (reply.kind == kind::READ_INDEX).then(|| message::decode(&reply.header).ok()).flatten()
    }
}

/// The leader's answer.
async fn serve(node: &Node, clock: &Consensus) -> Option<(u64, u64)> {
    let now_ms = clock.now_ms();
    node.read_index().await.ok().map(|entries| (entries, now_ms))
}

/// The leader's answer to another node.
pub(super) async fn serve_read_index(node: Node, clock: Arc<Consensus>) -> Outgoing {
    match serve(&node, &clock).await {
        Some(index) => message::of(kind::READ_INDEX, &index),
        None => message::bare(kind::FAILED),
    }
}
