//! Whether this node hears a majority of the voters while nobody leads.
//!
//! A node that does waits with its clients for the election: it is a matter of a second or two. One that does not is cut
//! off, nobody knows for how long, and says so soon.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::limits::{PROBE_EVERY, PROBE_TIMEOUT, SILENCE_SUSPECT};
use super::table::Peers;
use crate::raft::message::{self, kind};
use crate::wire::{Lane, Links};

/// What is known of it. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Quorum(Arc<AtomicBool>);

impl Quorum {
    /// Heard, until the contrary is known.
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// Whether a majority of the voters, this node included if it is one, answered when they were last asked.
    pub(super) fn is_heard(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, heard: bool) {
        if self.0.swap(heard, Ordering::Relaxed) != heard {
            tracing::info!(heard, "quorum reachability changed");
        }
    }

    /// Asks the voters (`seats`: who they are, and everybody's address) for as long as the leader is silent (`is_led`: whether
    /// it was heard of within a time). It begins before the leader counts as lost, so that by then the answer is known. Runs
    /// until `stop`.
    pub(super) async fn run(
        self,
        node: u64,
        links: Links,
        seats: impl Fn() -> (BTreeSet<u64>, Peers),
        is_led: impl Fn(Duration) -> bool,
        stop: CancellationToken,
    ) {
        let mut ticks = interval(PROBE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let heard = is_led(SILENCE_SUSPECT) || probe(node, seats(), &links).await;
            self.set(heard);
        }
    }
}

async fn probe(node: u64, (voters, members): (BTreeSet<u64>, Peers), links: &Links) -> bool {
    let majority = voters.len() / 2 + 1;
    let mut heard = usize::from(voters.contains(&node));
    let mut asked: FuturesUnordered<_> = members
        .iter()
        .filter(|(id, _)| **id != node && voters.contains(id))
        .map(|(id, peer)| {
            let op = message::bare(kind::STATUS);
            links.call(*id, peer, Lane::Control, op, PROBE_TIMEOUT)
        })
        .collect();
    while heard < majority {
        match asked.next().await {
            Some(answer) => heard += usize::from(answer.is_ok()),
            None => return false,
        }
    }
    true
}
