//! Nothing grows beyond its bound.

use std::rc::Rc;

use conclave_cluster::Cluster;
use conclave_cluster::state::id::Domain;
use conclave_cluster::state::limits::MAILBOX_SIGNALS_MAX;
use conclave_cluster::state::weight::Kind;
use conclave_cluster::state::{Totals, query};
use conclave_cluster::wire::{Lane, Limits};

use super::Violation;
use crate::simulation::machine::Machine;
use crate::simulation::plan::Plan;
use crate::simulation::workload::{FLOODED, MAILBOXES, lasting};

/// Looks at what every node that is up stores, if it sits in a cell, and has queued.
pub(crate) fn look(plan: &Plan, machines: &[Rc<Machine>]) -> Result<(), Violation> {
    for machine in machines {
        let cluster = machine.cluster.borrow();
        let Some(cluster) = &*cluster else { continue };
        if cluster.cell().is_some() {
            look_at_storage(plan, machine.id, cluster)?;
        }
        look_at_links(machine.id, cluster)?;
    }
    Ok(())
}

fn look_at_storage(plan: &Plan, node: u64, cluster: &Cluster) -> Result<(), Violation> {
    let (Totals { counts, stored_bytes: stored, .. }, applied) = cluster.read_at_applied_index(query::Totals);
    // Whoever empties a full storage is heard. The idempotency key of that, and the acknowledgement of a live transfer,
    // are all that comes on top, with windows and accounts, which are bounded by themselves.
    let above = [
        (counts.idempotency_keys, Kind::IdempotencyKey),
        (counts.transfers, Kind::Acknowledgement),
        (counts.windows, Kind::Window),
        (counts.owners, Kind::Account),
    ];
    let above = above.iter().map(|(count, kind)| *count as u64 * kind.bytes()).sum::<u64>();
    // A slot that comes to a cell brings what it holds, whether there is room or not; what the cells took in before, each
    // within its own bound, is the most that can come.
    let most = plan.storage_bytes_max * plan.shape.cells_max() + above;
    if stored > most {
        let what = format!("node {node} stores {stored} of {most} bytes after {applied} entries");
        return Err(Violation::new("bounds", what));
    }
    for mailbox in (0..MAILBOXES).chain([FLOODED]) {
        let waiting = query::Waiting(lasting(Domain::Mailbox, mailbox));
        let (waiting, applied) = cluster.read_at_applied_index(waiting);
        if waiting > MAILBOX_SIGNALS_MAX {
            let what = format!("{waiting} signals wait in mailbox {mailbox} after {applied} entries");
            return Err(Violation::new("bounds", what));
        }
    }
    Ok(())
}

fn look_at_links(node: u64, cluster: &Cluster) -> Result<(), Violation> {
    let limits = Limits::default();
    for link in cluster.peers() {
        let most = match link.lane {
            Lane::Control => limits.control_queue_bytes_max,
            Lane::Bulk => limits.bulk_queue_bytes_max,
            Lane::Snapshot => limits.snapshot_queue_bytes_max,
        };
        if link.queued_bytes > most || link.in_flight > limits.in_flight_max {
            let (bytes, calls) = (link.queued_bytes, link.in_flight);
            let what = format!("node {node} → {}: {bytes} bytes queued, {calls} calls", link.peer);
            return Err(Violation::new("bounds", what));
        }
    }
    Ok(())
}
