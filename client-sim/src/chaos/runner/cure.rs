//! Undoes everything that was done, whatever that was.

use super::{CONVERGE, Runner};
use crate::chaos::Error;

impl Runner<'_> {
    /// Heals the net, thaws, gives room and power back, starts who does not run, and waits until all are ready.
    pub(super) async fn cure(&mut self) -> Result<(), Error> {
        if let Ok(net) = self.cluster.net() {
            net.heal();
        }
        for id in self.cluster.frozen() {
            self.cluster.thaw(id)?;
        }
        for id in self.cluster.ids() {
            if self.schedule.disk_mib.is_some() {
                let disk = self.cluster.disk(id)?;
                disk.thaw().await?;
                disk.relieve()?;
            }
            // One that somebody else started is started again by them.
            if self.cluster.is_ours() && self.cluster.has_ended(id)? {
                self.cluster.start_node(id)?;
            }
        }
        self.cluster.healthy(CONVERGE).await
    }
}
