//! Who may ask this node for what.
//!
//! Nodes of the cluster may ask for everything. One that does not belong to it yet lets itself be told who leads, whoever
//! says so; the leader decided that it may come. All others are refused.
//!
//! A member that was away may not know of members that came meanwhile, the leader among them. It asks those that it knows: if
//! one of them says that the stranger is a member, the stranger may feed it the log and ask for its vote. If all
//! that it knows are gone, it stays behind, and has to be removed and added again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::Inner;
use crate::raft::message::{self, kind};
use crate::state::slot::CellId;
use crate::wire::{Frame, Lane, Outgoing};

/// How long a member may take to say whether it knows another.
const ASK_TIMEOUT: Duration = Duration::from_millis(500);
/// The members are asked about the same stranger once in so long.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// For how long a member's word counts.
const WORD_LASTS: Duration = Duration::from_secs(30);
/// Strangers that are asked about at a time. Beyond, they are refused unasked.
const STRANGERS_MAX: usize = 64;

/// What the members said of nodes that this one does not know. A std mutex: nothing awaits while it is held.
#[derive(Default)]
pub(super) struct Strangers(Mutex<BTreeMap<u64, NodeInfo>>);

struct NodeInfo {
    asked: Instant,
    vouched: Option<Instant>,
}

impl Strangers {
    /// Whether a member vouched for this node lately, and whether the members should be asked now.
    fn look_up(&self, id: u64, now: Instant) -> (bool, bool) {
        let mut words = self.0.lock().expect("nothing panics while this is held");
        if !words.contains_key(&id) && words.len() >= STRANGERS_MAX {
            words.retain(|_, word| now.duration_since(word.asked) < WORD_LASTS);
            if words.len() >= STRANGERS_MAX {
                return (false, false);
            }
        }
        let Some(word) = words.get_mut(&id) else {
            words.insert(id, NodeInfo { asked: now, vouched: None });
            return (false, true);
        };
        let op = now.duration_since(word.asked) >= ASK_EVERY;
        if op {
            word.asked = now;
        }
        (word.vouched.is_some_and(|at| now.duration_since(at) < WORD_LASTS), op)
    }

    fn vouch(&self, id: u64) {
        let mut words = self.0.lock().expect("nothing panics while this is held");
        if let Some(word) = words.get_mut(&id) {
            word.vouched = Some(Instant::now());
        }
    }
}

impl Inner {
    /// Whether this node does what `from` asks for.
    pub(super) fn serves(self: &Arc<Self>, from: u64, kind: u8) -> bool {
        if self.knows(from) {
            return true;
        }
        match kind {
            kind::APPEND | kind::SNAPSHOT => self.is_joining() || self.is_vouched_for(from),
            kind::VOTE | kind::PRE_VOTE => self.is_vouched_for(from),
            // The leader looks whether a node is there before it adds it, and then says that it leads. A front that was started
            // again knows its first members at most, and who leads may have come later.
            kind::STATUS | kind::BEACON => self.awaits_word() || self.is_vouched_for(from),
            _ => false,
        }
    }

    /// Whether a request within a cell is this node's to serve: of its own, or of whichever it is added to first. What it
    /// once had in another cell must never be mixed with that.
    pub(super) fn is_of(&self, cell: u16) -> bool {
        match self.node.cell().or_else(|| self.founds_cell.get().copied()) {
            Some(own) => own.number() == cell,
            None => self.node.is_blank(),
        }
    }

    /// Whether `id` is a node of this cluster.
    pub(super) fn knows(&self, id: u64) -> bool {
        self.topology.knows(id)
    }

    /// Whether this node waits to be told of the cluster that it was added to.
    pub(super) fn is_joining(&self) -> bool {
        self.options.members.is_empty() && !self.node.belongs() && !self.topology.has_heard()
    }

    /// Whether this node knows nobody beyond its own cell, and has to be told: it has no seat, or founded a cell with others
    /// and was restarted before that had its copy of the placement.
    fn awaits_word(&self) -> bool {
        let knows_nobody = match self.node.cell() {
            Some(cell) if cell != CellId::FIRST => {
                self.node.replica().read(|state| state.placement_epoch()) == 0
            }
            Some(_) | None => !self.topology.is_seated() && !self.node.belongs(),
        };
        knows_nobody && !self.topology.has_heard()
    }

    fn is_vouched_for(self: &Arc<Self>, id: u64) -> bool {
        let (vouched, op) = self.strangers.look_up(id, Instant::now());
        if op {
            let inner = self.clone();
            tokio::spawn(async move {
                if inner.members_know(id).await {
                    inner.strangers.vouch(id);
                }
            });
        }
        vouched
    }

    async fn members_know(&self, id: u64) -> bool {
        let members = self.topology.everybody();
        let asked = members.into_iter().filter(|(member, _)| ![id, self.options.node_id].contains(member));
        let answers = asked.map(|(member, at)| async move {
            let op = message::of(kind::MEMBER, &id);
            let reply = self.links.call(member, &at, Lane::Control, op, ASK_TIMEOUT).await;
            reply.is_ok_and(|reply| reply.kind == kind::MEMBER && message::decode(&reply.header) == Ok(true))
        });
        join_all(answers).await.contains(&true)
    }
}

/// Answers a member that asks whether another node is one.
pub(super) fn serve_member(inner: &Inner, request: &Frame) -> Outgoing {
    let known = message::decode::<u64>(&request.header).is_ok_and(|id| inner.knows(id));
    message::of(kind::MEMBER, &known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_word_lasts_for_a_while_and_is_asked_for_again() {
        let strangers = Strangers::default();
        let begun = Instant::now();
        assert_eq!(strangers.look_up(7, begun), (false, true));
        assert_eq!(strangers.look_up(7, begun), (false, false), "one question at a time");
        assert_eq!(strangers.look_up(7, begun + ASK_EVERY), (false, true));
        strangers.vouch(7);
        assert_eq!(strangers.look_up(7, begun + ASK_EVERY), (true, false));
        assert!(strangers.look_up(7, begun + WORD_LASTS / 2).0);
        assert!(!strangers.look_up(7, begun + WORD_LASTS).0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_strangers_are_not_asked_about() {
        let strangers = Strangers::default();
        let now = Instant::now();
        let asked = (0..1000).filter(|id| strangers.look_up(*id, now).1).count();
        assert_eq!(asked, STRANGERS_MAX);
        assert_eq!(strangers.look_up(999, now + WORD_LASTS), (false, true));
    }
}
