//! The state that the committed entries of each cell come to, apart from all nodes: what every replica must come to, and what
//! no look at a replica tells, each command with its answer.
//!
//! A command that is in the log more than once has one answer, or none: also if that was that its slot is elsewhere.

use std::collections::BTreeMap;
use std::rc::Rc;

use conclave_cluster::raft::disk_traits::{Payload, Record};
use conclave_cluster::state::State;
use conclave_cluster::state::command::{Command, Proposal};
use conclave_cluster::state::id::RequestId;
use conclave_cluster::state::outcome::{Answer, Refusal};
use conclave_cluster::state::query::{self, Query as _};
use conclave_cluster::state::slot::CellId;

use super::invariants::Violation;
use super::machine::Machine;

/// What all nodes together know to be committed.
#[derive(Default)]
pub(crate) struct Oracle(BTreeMap<CellId, Cell>);

#[derive(Default)]
struct Cell {
    state: State,
    /// The term of each entry that was applied; there is no gap.
    terms: Vec<u64>,
    /// Entries that came before those in front of them.
    early: BTreeMap<u64, Record>,
    /// What each command came to.
    answers: BTreeMap<RequestId, Answer>,
}

/// A command that a cell answers for the first time.
pub(crate) struct Answered {
    pub(crate) command: Command,
    pub(crate) answer: Answer,
    /// The clock of the log.
    pub(crate) log_ms: u64,
}

impl Oracle {
    /// Takes what the nodes found to be committed since the last look, and shows each command that is new.
    pub(crate) fn look(
        &mut self,
        machines: &[Rc<Machine>],
        mut show: impl FnMut(Answered),
    ) -> Result<(), Violation> {
        for (id, (number, record)) in machines.iter().flat_map(|machine| {
            machine.platter.take_committed().into_iter().map(|record| (machine.id, record))
        }) {
            let cell = self.0.entry(number).or_default();
            let known = cell.terms.get(record.id.index as usize);
            if let Some(known) = known.filter(|known| **known != record.id.term) {
                let (index, term) = (record.id.index, record.id.term);
                let what = format!(
                    "entry {index} of cell {number} was committed in term {known}, and to node {id} in term {term}"
                );
                return Err(Violation::new("replicas_agree", what));
            }
            if known.is_none() {
                cell.early.insert(record.id.index, record);
            }
            while let Some(record) = cell.early.remove(&(cell.terms.len() as u64)) {
                cell.apply(record, &mut show)?;
            }
        }
        Ok(())
    }

    /// Whether the nodes came to the same as the entries do by themselves, as far as both have come.
    pub(crate) fn agrees(&self, machines: &[Rc<Machine>]) -> Result<(), Violation> {
        for machine in machines {
            let cluster = machine.cluster.borrow();
            let Some((cluster, number)) =
                cluster.as_ref().and_then(|cluster| Some((cluster, cluster.cell()?)))
            else {
                continue;
            };
            let (fingerprint, applied) = cluster.read_at_applied_index(query::Fingerprint);
            let Some(cell) = self.0.get(&number).filter(|cell| cell.terms.len() as u64 == applied) else {
                continue;
            };
            if query::Fingerprint.answer(&cell.state, cell.state.now_ms()) != fingerprint {
                let what = format!(
                    "node {} of cell {number} came to another state than the {applied} entries that were committed",
                    machine.id
                );
                return Err(Violation::new("replicas_agree", what));
            }
        }
        Ok(())
    }
}

impl Cell {
    fn apply(&mut self, record: Record, show: &mut impl FnMut(Answered)) -> Result<(), Violation> {
        self.terms.push(record.id.term);
        let Payload::Proposal { header, bodies } = record.payload else { return Ok(()) };
        let proposal = Proposal::decode(&header, bodies.concat().into())
            .map_err(|error| Violation::new("replicas_agree", format!("a committed entry: {error}")))?;
        let commands = proposal.commands.clone();
        let (answers, _) = self.state.apply(proposal);
        let log_ms = self.state.now_ms();
        for (command, answer) in commands.into_iter().zip(answers) {
            if answer.outcome == Err(Refusal::Stale) {
                continue;
            }
            match self.answers.get(&command.id) {
                Some(known) if *known != answer => {
                    let what = format!("{command:?} came to {known:?}, and in a later entry to {answer:?}");
                    return Err(Violation::new("nothing_applied_twice", what));
                }
                Some(_) => {}
                None => {
                    self.answers.insert(command.id, answer.clone());
                    show(Answered { command, answer, log_ms });
                }
            }
        }
        Ok(())
    }
}
