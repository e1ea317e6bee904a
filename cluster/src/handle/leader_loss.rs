//! A lost leader is replaced by agreement, before each follower would stand for election by itself.
//!
//! When a process dies, its kernel closes its connections within a millisecond. A closed connection alone says nothing: a
//! proxy, a firewall or a restart of links closes connections, too. A fresh attempt to connect says more: if it is refused, or
//! another run of the node answers, the process is gone. A power cut, a frozen process and a partition give no such sign. There
//! it is evidence that the leader was not heard of for as long as one is trusted, or its own word that it hears no majority. A
//! node that has evidence asks the other voters. Once a majority has some, the one of them with the longest log (of equals,
//! the lowest id) stands for election, past pre-vote and lease.
//!
//! Safety does not rest on any of this. Votes are granted by Raft's rules, reads are confirmed by a quorum and use no
//! lease, so that a network which refuses, resets and lies can depose a living leader and do no more. Everything that goes
//! wrong here is left to the ordinary election.

use std::cmp::Reverse;
use std::time::Duration;

use futures_util::future::{join_all, pending};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::changed;
use super::limits::{CONFIRM_TIMEOUT, CONFIRM_WITHIN, STAND_AGAIN, UNHEARD_COUNTS};
use super::silence::silence;
use crate::raft::disk_traits::LogId;
use crate::raft::message::{self, kind};
use crate::raft::{Lead, Node};
use crate::wire::{Frame, Lane, Links, Outgoing};

/// A term's leader. A term has one at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Leadership {
    term: u64,
    leader: u64,
}

/// A voter's word that a leader is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Confirmation {
    /// The last entry of its log.
    last: Option<LogId>,
}

/// Why a leader is taken for lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// Its process is gone.
    Ended,
    /// It was not heard of for as long as a leader is trusted.
    Silent,
    /// It said at this time that it hears no majority.
    Unheard(Instant),
}

impl Evidence {
    fn name(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Silent => "silent",
            Self::Unheard(_) => "unheard",
        }
    }
}

/// What this node found of lost leaders. Clones are the same.
#[derive(Clone)]
pub(super) struct LeaderLoss {
    node: Node,
    links: Links,
    /// For how long a leader is trusted that is not heard of, or hears nobody.
    trust: Duration,
    found: watch::Sender<Option<(Leadership, Evidence)>>,
    /// Which leader said last that it hears no majority, and when.
    unheard: watch::Sender<Option<(Leadership, Instant)>>,
}

impl LeaderLoss {
    pub(super) fn new(node: Node, links: Links, trust: Duration) -> Self {
        Self { node, links, trust, found: watch::Sender::new(None), unheard: watch::Sender::new(None) }
    }

    /// Watches every leader for its loss, until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut lead = self.node.lead();
        loop {
            let known = lead.borrow_and_update().clone();
            let (lost, evidence) = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = changed(&mut lead) => continue,
                lost = self.loss_of(known) => lost,
            };
            let Leadership { leader, term } = lost;
            tracing::info!(leader, term, evidence = evidence.name(), "the leader is lost");
            metrics::counter!("conclave_raft_leaders_lost_total", "evidence" => evidence.name()).increment(1);
            self.found.send_replace(Some((lost, evidence)));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = lead.wait_for(|lead| lead.as_ref().is_some_and(|lead| lead.term > term)) => {}
                () = self.replace(lost) => {}
            }
        }
    }

    /// Waits until a leader elsewhere is lost. If this node leads, tells the others for as long as it hears no majority.
    async fn loss_of(&self, lead: Option<Lead>) -> (Leadership, Evidence) {
        let Some(Lead { id, address, term, local }) = lead else { return pending().await };
        let leadership = Leadership { term, leader: id };
        if local {
            loop {
                let since = Instant::now();
                silence(|| self.majority_heard().max(since), self.trust).await;
                // The next word is due when the last one may count no more.
                tokio::join!(self.tell_unheard(leadership), sleep(UNHEARD_COUNTS / 2));
            }
        }
        let evidence = tokio::select! {
            biased;
            () = self.end_of(id, &address) => Evidence::Ended,
            at = self.word_of(leadership) => Evidence::Unheard(at),
            () = self.until_silent(id) => Evidence::Silent,
        };
        (leadership, evidence)
    }

    /// Waits until the process of a leader has ended.
    async fn end_of(&self, id: u64, address: &str) {
        loop {
            let Some(run) = self.links.lost(id, address).await else { return pending().await };
            if self.links.has_ended(id, address, run).await {
                return;
            }
        }
    }

    /// Waits until a leader says that it hears no majority.
    async fn word_of(&self, leadership: Leadership) -> Instant {
        let mut unheard = self.unheard.subscribe();
        let is_of = |said: &Option<(Leadership, Instant)>| {
            said.is_some_and(|(said, at)| said == leadership && at.elapsed() < UNHEARD_COUNTS)
        };
        match unheard.wait_for(is_of).await.map(|said| *said) {
            Ok(Some((_, at))) => at,
            Ok(None) | Err(_) => pending().await,
        }
    }

    /// Waits until a leader was not heard of, in whatever way, for as long as one is trusted.
    async fn until_silent(&self, id: u64) {
        let since = Instant::now();
        silence(|| self.links.last_heard(id).unwrap_or(since), self.trust).await;
    }

    /// When a majority of the voters, with this node, was heard last.
    fn majority_heard(&self) -> Instant {
        let (voters, _) = self.node.members();
        let others = voters.iter().filter(|id| **id != self.node.id());
        let mut heard: Vec<_> = others.filter_map(|id| self.links.last_heard(*id)).collect();
        heard.sort_unstable_by_key(|at| Reverse(*at));
        // Of three voters one other makes a majority, of five two.
        match voters.len() / 2 {
            0 => Instant::now(),
            others => heard.get(others - 1).copied().unwrap_or_else(Instant::now),
        }
    }

    /// Says that this node hears no majority. Nobody's answer is expected to be heard.
    async fn tell_unheard(&self, leadership: Leadership) {
        tracing::info!(term = leadership.term, "this node leads and hears no majority of the voters");
        let (voters, members) = self.node.members();
        let others = voters.iter().filter(|id| **id != self.node.id());
        let told = others.filter_map(|id| members.get(id).map(|member| (*id, &member.peer)));
        let word =
            || message::within(self.node.cell().unwrap_or_default(), message::of(kind::UNHEARD, &leadership));
        let calls =
            told.map(|(id, address)| self.links.call(id, address, Lane::Control, word(), CONFIRM_TIMEOUT));
        join_all(calls).await;
    }

    /// A leader says that it hears no majority. Nobody else can say so of it.
    pub(super) fn note_unheard(&self, from: u64, request: &Frame) -> Outgoing {
        let Some(leadership) = own_leadership(from, &request.header) else {
            return message::bare(kind::FAILED);
        };
        self.unheard.send_replace(Some((leadership, Instant::now())));
        message::bare(kind::UNHEARD)
    }

    /// Whether what was found is still so.
    fn is_lost(&self, lost: Leadership, found: Option<(Leadership, Evidence)>) -> bool {
        found.is_some_and(|(found, evidence)| {
            found == lost
                && match evidence {
                    Evidence::Ended => true,
                    Evidence::Silent => {
                        self.links.last_heard(lost.leader).is_none_or(|at| at.elapsed() >= self.trust)
                    }
                    Evidence::Unheard(at) => at.elapsed() < UNHEARD_COUNTS,
                }
        })
    }

    /// Stands for election if it is this node's turn; a few times, since votes may be lost.
    async fn replace(&self, lost: Leadership) {
        for pause in STAND_AGAIN {
            if self.is_next_after(lost).await {
                // A Raft that stopped elects nobody.
                let _ = self.node.stand().await;
            }
            sleep(pause).await;
            let found = *self.found.borrow();
            if !self.is_lost(lost, found) {
                return;
            }
        }
    }

    /// Whether a majority of the voters found the leader lost, and this node should follow it.
    async fn is_next_after(&self, lost: Leadership) -> bool {
        let own_id = self.node.id();
        let (voters, members) = self.node.members();
        let others = voters.iter().filter(|id| ![own_id, lost.leader].contains(id));
        let asked = others.filter_map(|id| members.get(id).map(|member| (*id, &member.peer)));
        let answers = join_all(asked.map(|(id, address)| self.ask(id, address, lost))).await;
        let mut able: Vec<_> = answers.into_iter().flatten().collect();
        if voters.contains(&own_id) {
            able.push((self.node.last_log_id(), Reverse(own_id)));
        }
        able.len() > voters.len() / 2 && able.into_iter().max().is_some_and(|(_, Reverse(id))| id == own_id)
    }

    async fn ask(&self, id: u64, address: &str, lost: Leadership) -> Option<(Option<LogId>, Reverse<u64>)> {
        let request =
            message::within(self.node.cell().unwrap_or_default(), message::of(kind::LEADER_LOST, &lost));
        let reply = self.links.call(id, address, Lane::Control, request, CONFIRM_TIMEOUT).await.ok()?;
        if reply.kind != kind::LEADER_LOST {
            return None;
        }
        let Confirmation { last } = message::decode::<Option<Confirmation>>(&reply.header).ok()??;
        Some((last, Reverse(id)))
    }

    /// Answers a voter that found a leader lost, as soon as this node did, too.
    pub(super) async fn confirm(self, request: Frame) -> Outgoing {
        let Ok(lost) = message::decode::<Leadership>(&request.header) else {
            return message::bare(kind::FAILED);
        };
        let mut found = self.found.subscribe();
        let confirmed = timeout(CONFIRM_WITHIN, found.wait_for(|found| self.is_lost(lost, *found))).await;
        let confirmation = match confirmed {
            Ok(Ok(_)) if !self.is_led_after(lost) => Some(Confirmation { last: self.node.last_log_id() }),
            Ok(_) | Err(_) => None,
        };
        message::of(kind::LEADER_LOST, &confirmation)
    }

    fn is_led_after(&self, lost: Leadership) -> bool {
        self.node.lead().borrow().as_ref().is_some_and(|lead| lead.term > lost.term)
    }
}

/// What a leader says of itself; nothing if somebody else says it.
fn own_leadership(from: u64, header: &[u8]) -> Option<Leadership> {
    message::decode::<Leadership>(header).ok().filter(|leadership| leadership.leader == from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_leader_itself_can_say_that_it_hears_nobody() {
        let leadership = Leadership { term: 7, leader: 2 };
        let word = message::of(kind::UNHEARD, &leadership).header;
        assert_eq!(own_leadership(2, &word), Some(leadership));
        assert_eq!(own_leadership(1, &word), None);
        assert_eq!(own_leadership(2, &word[1..]), None);
        assert_eq!(own_leadership(2, &[]), None);
    }
}
