//! Nobody stores more than its share in a cell, and what a network stores is what its clients do.

use std::rc::Rc;

use conclave_cluster::state::weight::Kind;
use conclave_cluster::state::{Totals, account, query};

use super::Violation;
use crate::simulation::machine::Machine;
use crate::simulation::plan::Plan;
use crate::simulation::workload::owners;

/// Looks at the accounts on every node that is up and sits in a cell.
pub(crate) fn look(plan: &Plan, machines: &[Rc<Machine>]) -> Result<(), Violation> {
    let Some(shares) = owners::shares(plan) else { return Ok(()) };
    // A slot that comes to a cell brings what its clients store in it, whether they have room or not; what they had in all
    // cells before, a share in each, is the most that can come.
    let cells = plan.shape.cells_max();
    for machine in machines {
        let cluster = machine.cluster.borrow();
        let Some(cluster) = cluster.as_ref().filter(|it| it.cell().is_some()) else { continue };
        // Nothing is applied while this looks.
        let (totals, applied) = cluster.read_at_applied_index(query::Totals);
        let stored = |owner| cluster.read_at_applied_index(query::Holding(account::Owned(owner))).0.bytes;
        let broken = |what: String| {
            Violation::new("shares", format!("node {} after {applied} entries: {what}", machine.id))
        };
        let mut clients = 0;
        for client in 0..owners::CLIENTS {
            let owner = owners::of(client);
            let stored = stored(owner.client);
            if stored > shares.client.bytes * cells + beyond(&totals) {
                return Err(broken(format!("client {client} stores {stored} bytes")));
            }
            clients += owner.group.map_or(0, |_| stored);
        }
        let network = stored(owners::network());
        if network != clients {
            return Err(broken(format!("a network stores {network} bytes, and its clients {clients}")));
        }
        if network > shares.network.bytes * cells + beyond(&totals) {
            return Err(broken(format!("a network stores {network} bytes")));
        }
    }
    Ok(())
}

/// Whoever empties a full share is heard: the answers to that, which are remembered with what they hand out, come on top, and
/// acknowledgements, which outlive their transfers.
fn beyond(totals: &Totals) -> u64 {
    totals.remembered_bytes + totals.counts.acknowledgements as u64 * Kind::Acknowledgement.bytes()
}
