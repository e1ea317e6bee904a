//! Changes of members and of leadership, carried out by whoever leads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Inner;
use super::status::{Majority, NodeStatus};
use super::table::Peers;
use crate::raft::disk_traits::Member;
use crate::raft::message::{self, kind};
use crate::raft::{MembershipError, Node};
use crate::state::placement;
use crate::state::slot::CellId;
use crate::wire::{Lane, Outgoing};

/// How a change of members is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Whether it is made also where too few voters can be reached for a majority afterwards.
    pub force: bool,
    /// For how long it may be waited for; two minutes are the most.
    pub within: Duration,
}

impl Default for Change {
    fn default() -> Self {
        Self { force: false, within: CHANGE_TIMEOUT_MAX }
    }
}

/// What an operator may ask for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Request {
    Add {
        id: u64,
        peer: String,
        change: Change,
    },
    Promote {
        id: u64,
        change: Change,
    },
    Remove {
        id: u64,
        change: Change,
    },
    TransferLeader {
        to: Option<u64>,
    },
    Drain {
        id: u64,
        change: Change,
    },
    /// The node says that it is reached at another address.
    Move {
        id: u64,
        peer: String,
        change: Change,
    },
}

impl Request {
    fn within(&self) -> Duration {
        match self {
            Self::Add { change, .. }
            | Self::Promote { change, .. }
            | Self::Remove { change, .. }
            | Self::Drain { change, .. }
            | Self::Move { change, .. } => change.within.min(CHANGE_TIMEOUT_MAX),
            Self::TransferLeader { .. } => TRANSFER_TIMEOUT * 2,
        }
    }
}

/// A learner may have gigabytes to catch up with.
pub(super) const CHANGE_TIMEOUT_MAX: Duration = Duration::from_secs(120);
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(5);
/// Beyond its own time, for the leader's answer to come back.
const ROUND_TRIP: Duration = Duration::from_millis(500);
/// How often something that is waited for is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// So often a member is asked before it counts as gone: one that is only busy must not.
const ASKED_TIMES: usize = 3;
/// Between two questions.
pub(super) const ASK_EVERY: Duration = Duration::from_millis(200);

impl Inner {
    /// Carries a request out here if this node leads, else has the leader do it.
    pub(super) async fn administer(&self, request: Request) -> Result<(), MembershipError> {
        let cell = match request {
            // Within the cell of the node that is to lead.
            Request::TransferLeader { to } => {
                to.and_then(|to| self.topology.plan().seat_of(to)).unwrap_or_default()
            }
            _ => CellId::FIRST,
        };
        self.administer_in(cell, request).await
    }

    /// The same by the leader of a cell.
    pub(super) async fn administer_in(&self, cell: CellId, request: Request) -> Result<(), MembershipError> {
        let lead = self.topology.lead(cell).borrow().clone().ok_or(MembershipError::NoLeader)?;
        if lead.local {
            return Box::pin(self.carry_out(request)).await;
        }
        let within = request.within() + ROUND_TRIP;
        let frame = message::of(kind::ADMIN, &request);
        let reply = self.links.call(lead.id, &lead.address, Lane::Control, frame, within).await;
        let reply = reply.map_err(|_| MembershipError::NoLeader)?;
        message::decode::<Result<(), MembershipError>>(&reply.header)
            .unwrap_or(Err(MembershipError::NoLeader))
    }

    async fn carry_out(&self, request: Request) -> Result<(), MembershipError> {
        let deadline = Instant::now() + request.within();
        // One after the other: what one has looked at must be so when it is done. A leader of another cell that is asked by the
        // first one's has a turn of its own.
        let _turn = match request {
            Request::TransferLeader { .. } => None,
            _ => {
                let turn = tokio::time::timeout_at(deadline, self.changing.lock()).await;
                Some(turn.map_err(|_| MembershipError::Busy)?)
            }
        };
        match request {
            Request::Drain { id, change } => self.drain(id, change.force, deadline).await,
            Request::Move { id, ref peer, .. } => match self.seat_elsewhere(id).filter(|_| self.is_first()) {
                Some(cell) => {
                    let request = Request::Move { id, peer: peer.clone(), change: Change::default() };
                    self.administer_in(cell, request).await
                }
                None => self.move_to(id, peer.clone(), deadline).await,
            },
            Request::Add { id, peer, .. } => self.add(id, peer, deadline).await,
            // It votes where it sits.
            Request::Promote { id, .. } if self.is_first() && self.seat_elsewhere(id).is_some() => Ok(()),
            Request::Promote { id, change } => self.promote(id, change.force, deadline).await,
            Request::Remove { id, change } => self.remove(id, change.force, deadline).await,
            Request::TransferLeader { to } if to == Some(self.options.node_id) => {
                if self.node.leads() {
                    Ok(())
                } else {
                    Err(MembershipError::NoLeader)
                }
            }
            Request::TransferLeader { to } => {
                let (voters, _) = self.node.members();
                transfer(&self.node, to, &voters).await
            }
        }
    }

    /// Whether this node is a member of the first cell, whose leader changes the others.
    pub(super) fn is_first(&self) -> bool {
        self.node.cell() == Some(CellId::FIRST)
    }

    pub(super) async fn remove(
        &self,
        id: u64,
        force: bool,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        let (voters, nodes) = self.node.members();
        if let Some(cell) = self.seat_elsewhere(id).filter(|_| self.is_first()) {
            return self.remove_elsewhere(cell, id, force, deadline).await;
        }
        if self.topology.fronts().contains_key(&id) {
            self.place(placement::Op::Withdraw { node: id }, deadline).await?;
            // One that was about to take a seat goes as a learner, too.
            if !nodes.contains_key(&id) {
                return Ok(());
            }
        }
        if !nodes.contains_key(&id) {
            return Err(MembershipError::UnknownNode(id));
        }
        if !voters.contains(&id) {
            return in_time(deadline, self.node.remove_learner(id)).await;
        }
        let rest: BTreeSet<u64> = voters.into_iter().filter(|voter| *voter != id).collect();
        if rest.is_empty() {
            return Err(MembershipError::Refused("the last voter cannot be removed".to_owned()));
        }
        if !force {
            keeps_majority(&rest, &self.reached(&peers(nodes)).await)?;
        }
        in_time(deadline, self.node.set_voters(rest)).await
    }

    /// The nodes that answer, this one among them.
    pub(super) async fn reached(&self, nodes: &Peers) -> BTreeSet<u64> {
        let words = nodes.iter().map(|(id, peer)| async move {
            for _ in 0..ASKED_TIMES {
                if let Ok(word) = self.info_of(*id, peer).await {
                    let heard = NodeStatus::heard(*id, peer.clone(), true, word);
                    return heard.is_reachable().then_some(*id);
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
            None
        });
        futures_util::future::join_all(words).await.into_iter().flatten().collect()
    }
}

/// Members by their addresses.
pub(super) fn peers(nodes: BTreeMap<u64, Member>) -> Peers {
    nodes.into_iter().map(|(id, member)| (id, member.peer)).collect()
}

/// Refuses voters of whom too few are there to agree on anything, the way back included.
pub(super) fn keeps_majority(after: &BTreeSet<u64>, reached: &BTreeSet<u64>) -> Result<(), MembershipError> {
    let majority = Majority::of(after.iter().copied(), |id| reached.contains(&id));
    if majority.holds() {
        return Ok(());
    }
    let Majority { voters, reachable, needed } = majority;
    Err(MembershipError::Refused(format!(
        "only {reachable} of the {voters} voters that there would be can be reached, and {needed} are needed for \
         anything to be written; --force insists"
    )))
}

pub(super) async fn in_time(
    deadline: Instant,
    change: impl Future<Output = Result<(), MembershipError>>,
) -> Result<(), MembershipError> {
    match tokio::time::timeout_at(deadline, change).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(late()),
    }
}

pub(super) fn late() -> MembershipError {
    MembershipError::Late("the change was not committed in time; it may be yet".to_owned())
}

pub(super) async fn serve(inner: Arc<Inner>, header: &[u8]) -> Outgoing {
    let done = match message::decode::<Request>(header) {
        Ok(request) => inner.carry_out(request).await,
        Err(error) => Err(MembershipError::Refused(error.to_string())),
    };
    message::of(kind::ADMIN, &done)
}

/// Hands leadership to `to`, or to the voter that is the furthest along, and waits until it is there.
pub(super) async fn transfer(
    node: &Node,
    to: Option<u64>,
    voters: &BTreeSet<u64>,
) -> Result<(), MembershipError> {
    let to = to.or_else(|| node.best_successor());
    let to =
        to.ok_or_else(|| MembershipError::Refused("there is nobody to hand leadership to".to_owned()))?;
    if !voters.contains(&to) {
        return Err(match node.members().1.contains_key(&to) {
            true => MembershipError::Refused(format!(
                "node {to} has no vote yet, and only voters lead: promote it first"
            )),
            false => MembershipError::UnknownNode(to),
        });
    }
    let mut lead = node.lead();
    node.transfer_leader(to).await.map_err(|_| MembershipError::NoLeader)?;
    let arrived = lead.wait_for(|lead| lead.as_ref().is_some_and(|lead| lead.id == to));
    match tokio::time::timeout(TRANSFER_TIMEOUT, arrived).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(MembershipError::Refused(format!("node {to} did not take over in time"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u64]) -> BTreeSet<u64> {
        ids.iter().copied().collect()
    }

    #[test]
    fn a_change_must_leave_a_majority_that_can_be_reached() {
        assert_eq!(keeps_majority(&set(&[1, 2, 3]), &set(&[1, 3])), Ok(()));
        assert_eq!(keeps_majority(&set(&[1]), &set(&[1, 2])), Ok(()));
        let MembershipError::Refused(why) = keeps_majority(&set(&[1, 2, 3, 4]), &set(&[1, 2])).unwrap_err()
        else {
            panic!("it is a refusal")
        };
        assert!(why.contains("only 2 of the 4 voters") && why.contains("3 are needed"), "{why}");
    }
}
