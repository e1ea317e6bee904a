//! The leader as a steward: seats that fell vacant are filled with fronts, and a member that is to go is replaced first.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Inner;
use super::admin::CHANGE_TIMEOUT_MAX;
use crate::raft::MembershipError;

/// How often it is looked whether a seat is vacant.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many voters there should be, of so many that are there and so many fronts that could join them: an odd number, since
/// one voter more than that is one more that may fail, and no more losses that are survived.
fn wanted(voters: usize, fronts: usize, replicas: usize) -> usize {
    let most = replicas.min(voters + fronts);
    let odd = if most.is_multiple_of(2) { most.saturating_sub(1) } else { most };
    odd.max(voters)
}

impl Inner {
    /// Fills vacant seats for as long as this node leads.
    pub(super) async fn fill_seats(self: Arc<Self>) {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = None;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            if !self.node.lead().borrow().as_ref().is_some_and(|lead| lead.local) {
                continue;
            }
            match self.fill_a_seat().await {
                Ok(Some(front)) => {
                    told = None;
                    tracing::info!(node = front, "a front took a vacant seat in the cell");
                }
                Ok(None) => told = None,
                // Whatever passes is not worth a line; the same is not said twice.
                Err(MembershipError::NoLeader | MembershipError::Busy) => {}
                Err(error) => {
                    if told.as_ref() != Some(&error) {
                        tracing::warn!(%error, "a seat in the cell is vacant, and a front could not take it");
                    }
                    told = Some(error);
                }
            }
        }
    }

    async fn fill_a_seat(&self) -> Result<Option<u64>, MembershipError> {
        let (voters, _) = self.node.members();
        let fronts = self.topology.fronts();
        if wanted(voters.len(), fronts.len(), self.options.replicas) <= voters.len() {
            return Ok(None);
        }
        // An operator's change goes first.
        let Ok(_turn) = self.changing.try_lock() else { return Ok(None) };
        let reached = self.reached(&fronts).await;
        if wanted(voters.len(), reached.len(), self.options.replicas) <= voters.len() {
            return Ok(None);
        }
        let Some(front) = reached.first().copied() else { return Ok(None) };
        self.promote(front, false, Instant::now() + CHANGE_TIMEOUT_MAX).await?;
        Ok(Some(front))
    }

    /// Gives the seat of a member to the front with the lowest id that answers, and removes the member.
    pub(super) async fn drain(&self, id: u64, force: bool, deadline: Instant) -> Result<(), MembershipError> {
        let (voters, _) = self.node.members();
        if voters.contains(&id) {
            let Some(heir) = self.reached(&self.topology.fronts()).await.first().copied() else {
                return Err(MembershipError::Refused(format!(
                    "there is no front that answers and could take the seat of node {id}: add one, or remove node {id}"
                )));
            };
            self.promote(heir, force, deadline).await?;
        }
        self.remove(id, force, deadline).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_an_odd_number_of_voters_where_it_can() {
        assert_eq!(wanted(3, 5, 3), 3, "no seat is vacant");
        assert_eq!(wanted(2, 1, 3), 3, "one was lost");
        assert_eq!(wanted(2, 0, 3), 2);
        assert_eq!(wanted(1, 1, 3), 1, "two survive no loss, and stop when either is lost");
        assert_eq!(wanted(1, 2, 3), 3);
        assert_eq!(wanted(3, 1, 5), 3);
        assert_eq!(wanted(4, 1, 5), 5);
        assert_eq!(wanted(5, 2, 3), 5, "what an operator seated stays");
        assert_eq!(wanted(1, 4, 1), 1);
    }
}
