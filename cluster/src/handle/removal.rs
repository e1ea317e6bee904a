//! How a node learns that it was removed.
//!
//! Nobody speaks with a removed node any more: its log ends before its removal, and a front has none. All it notices is
//! silence, as in a partition. So a node that does not hear the leader of its cell, or of the first one, asks the members
//! that it knows where it stands.
//!
//! A member says that a node was removed by what it has applied alone: the node's id is bound to a disk, so the node came to
//! the cluster once, and it has no place in it now. An id that was bound is never given a place again, so this stays true
//! whatever is decided later, and a member that lags can be late with it and not wrong. A node believes it once a
//! majority of the voters says so, as the newest of their words names them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::limits::{STANDING_ASKED_MAX, STANDING_EVERY, STANDING_TIMEOUT};
use super::status::{Majority, NodeStatus, Status};
use super::table::Peers;
use super::{Cluster, Inner, bootstrap};
use crate::raft::message::{self, kind};
use crate::state::State;
use crate::state::placement::Plan;
use crate::state::slot::CellId;
use crate::wire::{Frame, Lane, Outgoing};

/// A node asks where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Question {
    /// The cell that it is a member of by its log.
    cell: Option<CellId>,
}

/// A member of a cell says that the node which asks was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Statement {
    cell: CellId,
    /// The index of the change of members that made `voters` the voters of that cell.
    changed_at: u64,
    voters: Peers,
    /// The URL of the HTTP API of whoever says it, for clients that are to go elsewhere.
    http: String,
}

/// A node that says so.
#[derive(Debug, Clone)]
struct Witness {
    peer: String,
    http: String,
}

/// Whether this node was removed, and who says so.
#[derive(Default)]
pub(super) struct Removal(watch::Sender<Option<Arc<BTreeMap<u64, Witness>>>>);

impl Removal {
    pub(super) fn is_known(&self) -> bool {
        self.0.borrow().is_some()
    }
}

impl Cluster {
    /// Whether it is certain that this node was removed from the cluster. It does not become a member again.
    pub fn is_removed(&self) -> bool {
        self.inner.removal.is_known()
    }

    /// Waits until it is certain that this node was removed. Cancel safe.
    pub async fn removed(&self) {
        let mut removal = self.inner.removal.0.subscribe();
        if removal.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Inner {
    /// Asks for as long as a leader is not heard of, until this node knows that it was removed.
    pub(super) async fn watch_removal(self: Arc<Self>) {
        let mut tick = interval(STANDING_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watching = async {
            loop {
                tick.tick().await;
                if self.hears_leaders() {
                    continue;
                }
                let words = self.ask_standing().await;
                let judges = [self.node.cell().unwrap_or_default(), CellId::FIRST];
                if judges.iter().any(|cell| is_told_by_majority(*cell, &words)) && !self.hears_leaders() {
                    return self.note_removal(words);
                }
            }
        };
        self.stop.run_until_cancelled(watching).await;
    }

    /// Whether the leaders are heard of that would know of this node.
    fn hears_leaders(&self) -> bool {
        let cells = [self.node.cell().unwrap_or_default(), CellId::FIRST];
        cells.into_iter().all(|cell| self.topology.lead(cell).borrow().is_some())
    }

    fn note_removal(&self, words: BTreeMap<u64, (String, Statement)>) {
        tracing::error!(
            node = self.options.node_id,
            told_by = ?words.keys().collect::<Vec<_>>(),
            "this node was removed from the cluster: it serves nobody any more; stop it, and let the machine come back with \
             an empty data directory and a fresh id"
        );
        // All that this node would ask is refused, and each refusal is counted as a stranger's.
        self.links.fall_silent();
        let witnesses = words.into_iter().map(|(id, (peer, word))| (id, Witness { peer, http: word.http }));
        self.removal.0.send_replace(Some(Arc::new(witnesses.collect())));
    }

    /// What members say of this node, by their ids, with their addresses; those who know nothing against it are left out.
    async fn ask_standing(&self) -> BTreeMap<u64, (String, Statement)> {
        let own = self.options.node_id;
        let mut known = self.topology.seats(self.node.cell().unwrap_or_default()).1;
        known.extend(self.topology.seats(CellId::FIRST).1);
        if known.keys().all(|id| *id == own) {
            // One that was started just now knows those that it is configured with.
            known = self.topology.everybody();
        }
        let (mut asked, mut words) = (BTreeSet::from([own]), BTreeMap::<u64, (String, Statement)>::new());
        loop {
            // Those who sit there now may have come after this node went.
            let told = words.values().flat_map(|(_, word)| word.voters.clone());
            let all = known.iter().map(|(id, peer)| (*id, peer.clone())).chain(told);
            let mut next: Peers = all.filter(|(id, _)| !asked.contains(id)).collect();
            while asked.len() + next.len() > STANDING_ASKED_MAX && next.pop_last().is_some() {}
            if next.is_empty() {
                return words;
            }
            asked.extend(next.keys());
            let answers = next.into_iter().map(|(id, peer)| async move {
                let word = self.ask_one(id, &peer).await?;
                Some((id, (peer, word)))
            });
            words.extend(join_all(answers).await.into_iter().flatten());
        }
    }

    async fn ask_one(&self, id: u64, peer: &str) -> Option<Statement> {
        let question = message::of(kind::STANDING, &Question { cell: self.node.cell() });
        let reply = self.links.call(id, peer, Lane::Control, question, STANDING_TIMEOUT).await.ok()?;
        if reply.kind != kind::STANDING {
            return None;
        }
        message::decode::<Option<Statement>>(&reply.header).ok()?
    }

    /// Answers a node that asks where it stands. It need not be a member, and is told who the voters are only if it was one:
    /// its link has proved to be that of the disk which its id is bound to.
    pub(super) fn serve_standing(&self, from: u64, request: &Frame) -> Outgoing {
        let Ok(Question { cell }) = message::decode(&request.header) else {
            return message::bare(kind::FAILED);
        };
        let word = self.topology.own_cell().filter(|own| self.has_removed(*own, from, cell)).map(|own| {
            let (changed_at, voters) = self.node.applied_voters();
            Statement { cell: own, changed_at, voters, http: self.options.http_url.clone() }
        });
        message::of(kind::STANDING, &word)
    }

    /// Whether a node was removed, by what this one has applied as a member of `own`, and nothing that it heard says otherwise.
    fn has_removed(&self, own: CellId, id: u64, cell: Option<CellId>) -> bool {
        // The placement before the members: a front is there until it is among them.
        let (came, placed, founded) = self
            .node
            .replica()
            .read(|state| (state.member(id).is_some(), state.is_placed(id), state.is_founded()));
        let is_awaited = || !founded && bootstrap::first_places(&self.options).1.contains_key(&id);
        // A leader of another cell may say what is not written down yet.
        let heard = || self.topology.cells().into_iter().filter_map(|cell| self.topology.heard(cell));
        let is_said_to_sit = || heard().any(|heard| heard.table.seats.contains_key(&id));
        if !came || placed || is_awaited() || self.node.knows(id) || is_said_to_sit() {
            return false;
        }
        // Of its own cell's members that decides; of a front, and of a cell that is gone, the first cell.
        let cell = cell.unwrap_or_default();
        cell == own || own == CellId::FIRST && is_closed(cell, &self.node.replica().read(State::placement))
    }

    /// The cluster, as a node sees it that was removed: nothing of it. `None` if it was not.
    pub(super) fn status_once_removed(&self) -> Option<Status> {
        let witnesses = self.removal.0.borrow().clone()?;
        let own = self.options.node_id;
        let itself = NodeStatus::heard(own, self.options.advertise.clone(), false, self.info());
        let others = witnesses.iter().map(|(id, Witness { peer, http })| NodeStatus {
            http: http.clone(),
            ..NodeStatus::silent(*id, peer.clone(), true, "it says that this node was removed".to_owned())
        });
        Some(Status {
            removed: true,
            leader: None,
            term: 0,
            majority: Majority::of([].into_iter(), |_| false),
            cells: Vec::new(),
            next_step: None,
            nodes: others.chain([itself]).collect(),
        })
    }
}

/// Whether a majority of the voters of a cell says so, as the newest of its members' words names them.
fn is_told_by_majority(cell: CellId, words: &BTreeMap<u64, (String, Statement)>) -> bool {
    let words: BTreeMap<u64, &Statement> =
        words.iter().filter(|(_, (_, word))| word.cell == cell).map(|(id, (_, word))| (*id, word)).collect();
    let newest = words.values().max_by_key(|word| word.changed_at);
    newest.is_some_and(|newest| {
        let told_by = newest.voters.keys().filter(|id| words.contains_key(id)).count();
        told_by > newest.voters.len() / 2
    })
}

/// Whether a cell was there and is gone, by the first cell's placement. No other has its number.
fn is_closed(cell: CellId, plan: &Plan) -> bool {
    cell != CellId::FIRST && cell <= plan.last_cell && !plan.cells.contains_key(&cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(said: &[(u64, u16, u64, &[u64])]) -> BTreeMap<u64, (String, Statement)> {
        let word = |cell, changed_at, voters: &[u64]| Statement {
            cell: CellId::of(cell),
            changed_at,
            voters: voters.iter().map(|id| (*id, format!("n{id}:1"))).collect(),
            http: String::new(),
        };
        said.iter()
            .map(|(id, cell, at, voters)| (*id, (format!("n{id}:1"), word(*cell, *at, voters))))
            .collect()
    }

    #[test]
    fn a_majority_of_the_newest_voters_decides() {
        let told = |said: &[(u64, u16, u64, &[u64])]| is_told_by_majority(CellId::FIRST, &words(said));
        assert!(!told(&[]));
        assert!(!told(&[(1, 1, 9, &[1, 3, 4])]), "one member alone");
        assert!(told(&[(1, 1, 9, &[1, 3, 4]), (3, 1, 9, &[1, 3, 4])]));
        assert!(!told(&[(1, 1, 9, &[1, 3]), (7, 1, 9, &[1, 3])]), "one who does not vote");
        assert!(!told(&[(1, 1, 9, &[1, 3]), (3, 1, 12, &[3, 4, 5])]), "the others came since");
        assert!(told(&[(3, 1, 12, &[3, 4, 5]), (4, 1, 12, &[3, 4, 5]), (1, 1, 9, &[1, 3])]));
        assert!(!told(&[(1, 2, 9, &[1])]), "of another cell");
        assert!(told(&[(1, 1, 9, &[1])]), "of two nodes one is left");
    }

    #[test]
    fn a_cell_is_gone_that_was_there_and_is_not() {
        let plan = Plan { last_cell: CellId::of(3), ..Plan::default() };
        assert!(is_closed(CellId::of(2), &plan) && is_closed(CellId::of(3), &plan));
        assert!(!is_closed(CellId::of(4), &plan), "a member that lags does not know it yet");
        assert!(!is_closed(CellId::FIRST, &plan));
    }
}
