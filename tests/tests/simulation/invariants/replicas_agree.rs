//! Replicas that applied the same entries hold the same state.

use std::collections::BTreeMap;
use std::rc::Rc;

use conclave_cluster::state::id::Digest;

use super::Violation;
use crate::simulation::machine::Machine;

/// What the state was after so many entries, wherever it was seen.
#[derive(Default)]
pub(crate) struct Seen(BTreeMap<u64, (Digest, u64)>);

/// Fingerprints remembered; a replica further behind than that is not compared until it has caught up.
const REMEMBERED_MAX: usize = 4096;

impl Seen {
    /// Looks at every node that is up.
    pub(crate) fn look(&mut self, machines: &[Rc<Machine>]) -> Result<(), Violation> {
        for machine in machines {
            let cluster = machine.cluster.borrow();
            let Some(cluster) = &*cluster else { continue };
            let (applied, fingerprint) = cluster.inspect(|state, applied| (applied, state.fingerprint()));
            let &mut (known, whose) = self.0.entry(applied).or_insert((fingerprint, machine.id));
            if known != fingerprint {
                return Err(Violation::new(
                    "replicas_agree",
                    format!("after {applied} entries node {whose} held {known:?} and node {} {fingerprint:?}", machine.id),
                ));
            }
            if self.0.len() > REMEMBERED_MAX {
                self.0.pop_first();
            }
        }
        Ok(())
    }

    /// What was seen, for the trace of a run.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(applied, (fingerprint, _))| format!("{applied} {fingerprint:?}"))
    }
}
