//! Nobody stores more than its share, and what a network stores is what its clients do.

use std::rc::Rc;

use conclave_cluster::state::State;
use conclave_cluster::state::weight::Kind;

use super::Violation;
use crate::simulation::machine::Machine;
use crate::simulation::plan::Plan;
use crate::simulation::workload::owners;

/// Looks at the accounts on every node that is up.
pub(crate) fn look(plan: &Plan, machines: &[Rc<Machine>]) -> Result<(), Violation> {
    let Some(shares) = owners::shares(plan) else { return Ok(()) };
    for machine in machines {
        let cluster = machine.cluster.borrow();
        let Some(cluster) = &*cluster else { continue };
        cluster.inspect(|state, applied| {
            let broken = |what: String| {
                Violation::new("shares", format!("node {} after {applied} entries: {what}", machine.id))
            };
            let mut network = 0;
            for client in 0..owners::CLIENTS {
                let owner = owners::of(client);
                let stored = state.holding(&owner.client).bytes;
                if stored > shares.client.bytes + beyond(state) {
                    return Err(broken(format!("client {client} stores {stored} bytes")));
                }
                network += owner.network.map_or(0, |_| stored);
            }
            let stored = state.holding(&owners::network()).bytes;
            if stored != network {
                return Err(broken(format!("a network stores {stored} bytes, and its clients {network}")));
            }
            if stored > shares.network.bytes + beyond(state) {
                return Err(broken(format!("a network stores {stored} bytes")));
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Whoever empties a full share is heard: the answers to that, which are remembered with what they hand out, come on top, and
/// acknowledgements, which outlive their transfers.
fn beyond(state: &State) -> u64 {
    state.remembered_bytes() + state.counts().acknowledgements as u64 * Kind::Acknowledgement.bytes()
}
