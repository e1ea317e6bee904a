//! Linearizable reads on every node: one shared question to the leader, then a wait for apply.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::clock::Consensus;
use super::{Error, changed, limits};
use crate::raft::message::{self, kind};
use crate::raft::{Lead, Node};
use crate::wire::{Lane, Links, Outgoing};

/// A reader that waits; it is told the clock to read by.
type Waiting = oneshot::Sender<Result<u64, Error>>;

/// Rounds of readers that wait for apply while the next round's index is fetched.
const ROUNDS_MAX: usize = 8;

/// Lets readers through once this node has applied all that was committed when they came.
pub(super) struct Gate {
    node: Node,
    links: Links,
    clock: Arc<Consensus>,
    deadline: Duration,
    /// `None` once nobody is let through any more.
    waiting: Mutex<Option<Vec<Waiting>>>,
    filled: Notify,
}

impl Gate {
    pub(super) fn new(node: Node, links: Links, clock: Arc<Consensus>, deadline: Duration) -> Self {
        Self { node, links, clock, deadline, waiting: Mutex::new(Some(Vec::new())), filled: Notify::new() }
    }

    /// Waits to be let through.
    pub(super) async fn pass(&self) -> Result<u64, Error> {
        let (waiting, passed) = oneshot::channel();
        {
            let mut all = self.waiting.lock().expect("nothing panics while this is held");
            let all = all.as_mut().ok_or(Error::ShuttingDown)?;
            if all.len() >= limits::READERS_MAX {
                return Err(Error::Overloaded);
            }
            all.push(waiting);
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
            let round =
                self.waiting.lock().expect("nothing panics while this is held").as_mut().map(std::mem::take);
            let round = round.unwrap_or_default();
            if round.is_empty() {
                continue;
            }
            // Whoever comes from here on must not profit from an index that was asked for before.
            let asked = Instant::now();
            let index = {
                let mut asking = std::pin::pin!(self.index(asked));
                loop {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return,
                        index = &mut asking => break index,
                        Some(()) = rounds.next() => {}
                    }
                }
            };
            rounds.push(self.clone().release(round, index, asked));
        }
    }

    async fn release(self: Arc<Self>, round: Vec<Waiting>, index: Result<(u64, u64), Error>, asked: Instant) {
        let passed = match index {
            Err(error) => Err(error),
            Ok((entries, now_ms)) => {
                let mut applied = self.node.replica().applied();
                let applied = applied.wait_for(|applied| *applied >= entries);
                match tokio::time::timeout_at(asked + self.deadline, applied).await {
                    Ok(Ok(_)) => Ok(now_ms),
                    Ok(Err(_)) => Err(Error::ShuttingDown),
                    Err(_) => Err(Error::NoLeader),
                }
            }
        };
        for waiting in round {
            // Whoever hung up does not read.
            let _ = waiting.send(passed);
        }
    }

    /// How many entries must be applied, and the leader's clock.
    async fn index(&self, asked: Instant) -> Result<(u64, u64), Error> {
        let mut lead = self.node.lead();
        let mut leaderless = None;
        loop {
            let known = lead.borrow_and_update().clone();
            leaderless = known.is_none().then(|| leaderless.unwrap_or_else(Instant::now));
            if let Some(known) = known {
                tokio::select! {
                    biased;
                    index = self.ask(&known) => if let Some(index) = index { return Ok(index) },
                    () = changed(&mut lead) => continue,
                }
            }
            if asked.elapsed() >= limits::patience(leaderless, self.deadline) {
                return Err(Error::NoLeader);
            }
            // Wakes early when there is a leader.
            let _ = tokio::time::timeout(limits::RETRY_EVERY, changed(&mut lead)).await;
        }
    }

    async fn ask(&self, lead: &Lead) -> Option<(u64, u64)> {
        if lead.local {
            return serve(&self.node, &self.clock).await;
        }
        let request = Outgoing { kind: kind::READ_INDEX, group: 0, header: Vec::new(), payload: Vec::new() };
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
        Some(index) => Outgoing {
            kind: kind::READ_INDEX,
            group: 0,
            header: message::encode(&index),
            payload: Vec::new(),
        },
        None => Outgoing { kind: kind::FAILED, group: 0, header: Vec::new(), payload: Vec::new() },
    }
}
