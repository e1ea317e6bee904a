//! The machine that is no member at first, and what becomes of it.

use std::rc::Rc;
use std::time::Duration;

use conclave_cluster::{Change, Cluster};
use rand::RngExt as _;
use turmoil::Sim;

use super::Faults;
use crate::simulation::machine::{Machine, address, name};

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spare {
    Unused,
    Joining,
    Member,
    Gone,
}

impl Faults {
    /// The next step in the life of the fourth machine: join and vote, or make a place and go.
    pub(super) fn change_members(&mut self, sim: &mut Sim<'_>, at: &Rc<Machine>) -> String {
        match self.spare.get() {
            Spare::Unused => {
                self.spare.set(Spare::Joining);
                sim.bounce(name(4));
                let spare = self.spare.clone();
                at.post(Box::new(move |cluster| {
                    Box::pin(async move {
                        // Whatever fails is tried again by the operator until it is done.
                        for _ in 0..3 {
                            if join(&cluster).await {
                                spare.set(Spare::Member);
                                return;
                            }
                            tokio::time::sleep(Duration::from_millis(200)).await;
                        }
                    })
                }));
                "node 4 joins".to_owned()
            }
            Spare::Joining => {
                let spare = self.spare.clone();
                at.post(Box::new(move |cluster| {
                    Box::pin(async move {
                        if join(&cluster).await {
                            spare.set(Spare::Member);
                        }
                    })
                }));
                "node 4 joins still".to_owned()
            }
            Spare::Member => {
                let goes = [1, 2, 3, 4][self.rng.random_range(0..4_usize)];
                self.spare.set(Spare::Gone);
                let removed = self.removed.clone();
                at.post(Box::new(move |cluster| {
                    Box::pin(async move {
                        if cluster.remove(goes, Change::default()).await.is_ok() {
                            removed.borrow_mut().insert(goes);
                        }
                    })
                }));
                format!("node {goes} goes")
            }
            Spare::Gone => "none".to_owned(),
        }
    }
}

async fn join(cluster: &Cluster) -> bool {
    let change = Change::default();
    cluster.add(4, address(4), change).await.is_ok() && cluster.promote(4, change).await.is_ok()
}
