//! Changes who belongs to the cluster.

use super::Runner;
use crate::chaos::Error;

impl Runner<'_> {
    /// Adds nodes, with votes in the first cell or as fronts.
    pub(super) async fn grow(&mut self, to: usize, fronts: bool) -> Result<(), Error> {
        while self.cluster.ids().len() < to {
            let fresh = if fronts { self.cluster.add().await? } else { self.cluster.grow().await? };
            self.observer.nodes(&self.cluster);
            self.note(format!("node {fresh} is a {}", if fronts { "front" } else { "member" }));
        }
        Ok(())
    }

    /// Drains the newest node again and again.
    pub(super) async fn drain(&mut self, to: usize) -> Result<(), Error> {
        while self.cluster.ids().len() > to {
            let Some(last) = self.cluster.ids().last().copied() else { return Ok(()) };
            self.cluster.drain(last).await?;
            self.observer.nodes(&self.cluster);
            self.note(format!("node {last} is drained and gone"));
        }
        Ok(())
    }

    /// Removes the leader first, then whoever was there longest.
    pub(super) async fn shrink(&mut self, to: usize) -> Result<(), Error> {
        let mut next = self.cluster.leader().await?;
        while self.cluster.ids().len() > to {
            self.cluster.remove(next).await?;
            self.observer.nodes(&self.cluster);
            self.note(format!("node {next} is removed"));
            next = self.cluster.ids().first().copied().unwrap_or_default();
        }
        Ok(())
    }
}
