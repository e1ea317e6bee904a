//! Replicas of a cell that applied the same entries hold the same state.

use std::collections::BTreeMap;
use std::rc::Rc;

use conclave_cluster::state::id::Digest;
use conclave_cluster::state::query;
use conclave_cluster::state::slot::CellId;

use super::Violation;
use crate::simulation::machine::Machine;

/// What the state of a cell was after so many entries, wherever it was seen.
#[derive(Default)]
pub(crate) struct Seen(BTreeMap<CellId, BTreeMap<u64, Sight>>);

struct Sight {
    fingerprint: Digest,
    node: u64,
    /// What a person may compare.
    gist: String,
}

/// Fingerprints remembered of a cell; a replica further behind than that is not compared until it has caught up.
const REMEMBERED_MAX: usize = 4096;

impl Seen {
    /// Looks at every node that is up and sits in a cell.
    pub(crate) fn look(&mut self, machines: &[Rc<Machine>]) -> Result<(), Violation> {
        for machine in machines {
            let cluster = machine.cluster.borrow();
            let Some(cluster) = &*cluster else { continue };
            let Some(cell) = cluster.cell() else { continue };
            let look = (query::Fingerprint, (query::Totals, query::Now));
            let ((fingerprint, (totals, now_ms)), applied) = cluster.read_at_applied_index(look);
            let gist = format!("at {now_ms} {totals:?}");
            let sight = Sight { fingerprint, node: machine.id, gist: gist.clone() };
            let seen = self.0.entry(cell).or_default();
            let known = seen.entry(applied).or_insert(sight);
            if known.fingerprint != fingerprint {
                let Sight { node, gist: known, .. } = known;
                let what = format!(
                    "after {applied} entries of cell {}\n    node {node} held {known},\n    node {} {gist}",
                    cell.number(),
                    machine.id
                );
                return Err(Violation::new("replicas_agree", what));
            }
            if seen.len() > REMEMBERED_MAX {
                seen.pop_first();
            }
        }
        Ok(())
    }

    /// What was seen, for the trace of a run.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().flat_map(|(cell, seen)| {
            let cell = cell.number();
            seen.iter().map(move |(applied, sight)| format!("{cell} {applied} {:?}", sight.fingerprint))
        })
    }
}
