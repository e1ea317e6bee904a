//! Which nodes a step means.

use rand::seq::IndexedRandom as _;

use super::Runner;
use crate::chaos::Error;
use crate::chaos::schedule::{Part, Seats, Which};

impl Runner<'_> {
    /// The nodes that are meant.
    pub(super) async fn find(&mut self, which: Which) -> Result<Vec<u64>, Error> {
        let none = || Error::NoSuchNode(format!("there is no node for `{which}`"));
        let mut followers = Vec::new();
        if which == Which::Follower {
            let leader = self.cluster.leader().await?;
            followers = self.cluster.running().into_iter().filter(|id| *id != leader).collect();
        }
        let found = match which {
            Which::Leader => vec![self.cluster.leader().await?],
            Which::Follower => vec![*followers.choose(&mut self.dice).ok_or_else(none)?],
            Which::Random => vec![*self.cluster.running().choose(&mut self.dice).ok_or_else(none)?],
            Which::All => return Ok(self.cluster.ids()),
            Which::Same => return Ok(self.same.clone()),
            Which::Id(id) => vec![id],
            Which::Of(seats) => self.seats(seats).await?,
        };
        self.same.clone_from(&found);
        Ok(found)
    }

    /// Those of a cell that are meant, as the nodes that run have it.
    async fn seats(&mut self, seats: Seats) -> Result<Vec<u64>, Error> {
        let none = || Error::NoSuchNode(format!("there is no node for `{seats}`"));
        let status = self.cluster.status().await.ok_or_else(none)?;
        let cell = status.nth_cell(seats.cell).ok_or_else(none)?;
        let (leader, running) = (status.leader_of(cell), self.cluster.running());
        let mut found = status.seats(cell);
        found.retain(|id| match seats.role {
            Some(Part::Leader) => Some(*id) == leader,
            Some(Part::Follower) => Some(*id) != leader,
            None => true,
        });
        if let Some(count) = seats.count {
            found.retain(|id| running.contains(id));
            found = found.sample(&mut self.dice, count).copied().collect();
            if found.len() < count {
                return Err(none());
            }
        }
        if found.is_empty() { Err(none()) } else { Ok(found) }
    }
}
