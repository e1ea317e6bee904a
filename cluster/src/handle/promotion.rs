//! How a front takes a seat: it learns the log of a cell, votes there, and the placement says so.

use std::collections::BTreeSet;

use tokio::time::{Instant, sleep};

use super::admin::{LOOK_EVERY, Request, in_time, keeps_majority, late, peers};
use super::{Change, Inner, limits};
use crate::raft::MembershipError;
use crate::state::placement;
use crate::state::slot::CellId;

/// After so many looks at a learner that catches up, it is asked whether it is still there.
const LOOKS_A_QUESTION: u32 = 40;

impl Inner {
    /// Has a front take a seat in a cell, and writes down that it sits there.
    pub(super) async fn have_seated(
        &self,
        cell: CellId,
        front: u64,
        force: bool,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        if cell == CellId::FIRST {
            return self.promote(front, force, deadline).await;
        }
        let within = deadline.saturating_duration_since(Instant::now());
        let change = Change { force, within };
        self.administer_in(cell, Request::Promote { id: front, change }).await?;
        self.write_seat_down(cell, front, true, deadline).await
    }

    /// Waits until the leader of another cell tells that a node sits there, or no more, and has that written down. What is
    /// decided next is decided by it.
    pub(super) async fn write_seat_down(
        &self,
        cell: CellId,
        id: u64,
        sits: bool,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        let is_written = || self.topology.plan().seat_of(id) == sits.then_some(cell);
        while !is_written() {
            let (voters, mut seats) = self.topology.seats(cell);
            if voters.contains(&id) == sits {
                seats.retain(|node, _| voters.contains(node));
                let seats = seats.into_iter().collect();
                return self.change_placement(placement::Change::Sit { cell, seats }, deadline).await;
            }
            if Instant::now() + LOOK_EVERY >= deadline {
                return Err(late());
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// A front, or a node that waits for its vote since a promotion was cut short, takes a seat in this node's cell.
    pub(super) async fn promote(
        &self,
        id: u64,
        force: bool,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        let front = self.topology.fronts().get(&id).cloned();
        if let Some(peer) = front.clone() {
            let (_, nodes) = self.node.members();
            if !nodes.contains_key(&id) {
                self.check_heir(id, &peer, force).await?;
                in_time(deadline, self.node.add_learner(id, peer.clone())).await?;
            }
            if !force {
                self.catch_up(id, peer, deadline).await?;
            }
        }
        self.give_vote(id, force, deadline).await?;
        if front.is_some() && self.is_first() {
            self.place(placement::Op::Withdraw { node: id }, deadline).await?;
        }
        Ok(())
    }

    /// Whether a front can take a seat: it answers, unless it is forced, and belongs to no other cell.
    async fn check_heir(&self, id: u64, peer: &str, force: bool) -> Result<(), MembershipError> {
        if !force && self.reached(&[(id, peer.to_owned())].into()).await.is_empty() {
            return Err(silent(id));
        }
        // It refuses the log of a second cell for good.
        match self.info_of(id, peer).await {
            Ok(info) if !info.is_blank => {
                Err(MembershipError::Refused(format!("node {id} has a seat in another cell, or had one")))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Waits until a learner has all entries that are there now.
    async fn catch_up(&self, id: u64, peer: String, deadline: Instant) -> Result<(), MembershipError> {
        let target = self.node.position().last_log;
        let peer = [(id, peer)].into();
        for look in 1_u32.. {
            let lacking = self.node.lacking(id).ok_or(MembershipError::NoLeader)?;
            let beyond = self.node.position().last_log.saturating_sub(target);
            if lacking <= beyond {
                break;
            }
            // Whoever is gone holds nothing up until the deadline.
            if look.is_multiple_of(LOOKS_A_QUESTION) && self.reached(&peer).await.is_empty() {
                return Err(silent(id));
            }
            if Instant::now() + LOOK_EVERY >= deadline {
                return Err(MembershipError::Late(format!(
                    "node {id} is a learner and has not caught up yet, it lacks {lacking} entries; the same command \
                     waits on"
                )));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn give_vote(&self, id: u64, force: bool, deadline: Instant) -> Result<(), MembershipError> {
        let (voters, nodes) = self.node.members();
        if !nodes.contains_key(&id) {
            return Err(MembershipError::UnknownNode(id));
        }
        if voters.contains(&id) {
            return Ok(());
        }
        let after: BTreeSet<u64> = voters.iter().copied().chain([id]).collect();
        if !force {
            let reached = self.reached(&peers(nodes)).await;
            if !reached.contains(&id) {
                return Err(silent(id));
            }
            let lacking = self.node.lacking(id).ok_or(MembershipError::NoLeader)?;
            if lacking > limits::LAG_MAX {
                return Err(MembershipError::Refused(format!(
                    "node {id} has not caught up, it lacks {lacking} entries; --force insists"
                )));
            }
            keeps_majority(&after, &reached)?;
        }
        in_time(deadline, self.node.set_voters(after)).await
    }
}

fn silent(id: u64) -> MembershipError {
    MembershipError::Refused(format!(
        "node {id} does not answer, and would count for the majority without being there; --force insists"
    ))
}
