//! There is one order in which everything that was answered makes sense, on whatever node it was asked.
//!
//! Searched and made small by what judges the histories of real clusters.

use std::collections::BTreeMap;

use conclave_client_sim::proof::check::{Register, Specification, Transfer, linearizable};
use conclave_client_sim::proof::history::{Answer, Operation, Outcome, Side, Wish};
use conclave_client_sim::proof::{Family, Terms};
use conclave_cluster::state::outcome::{self, Refusal};
use conclave_cluster::state::transfer;

use super::Violation;
use crate::simulation::history::{Command, Event, Fate, Sight};
use crate::simulation::workload::CHUNKS;

pub(crate) fn check(events: &[Event]) -> Result<(), Violation> {
    let mut keys: BTreeMap<(Family, u8), Vec<Operation>> = BTreeMap::new();
    for (number, event) in events.iter().enumerate() {
        let Some((family, key, wish)) = asked(&event.command) else { continue };
        keys.entry((family, key)).or_default().push(Operation {
            id: number as u64,
            family,
            key: key.to_string().into(),
            client: event.node as u32,
            target: 0,
            wish,
            start: event.asked,
            end: event.answered,
            outcome: answered(event),
        });
    }
    keys.into_values().try_for_each(|mut operations| {
        if operations[0].family == Family::Transfer {
            return judge::<Transfer<CHUNKS, false>>(events, &operations);
        }
        // All registers are there before anything is asked.
        let done = Outcome::Answered(Answer::Done);
        let first = operations[0].clone();
        operations.push(Operation {
            id: u64::MAX,
            wish: Wish::Create,
            start: 0,
            end: 0,
            outcome: done,
            ..first
        });
        judge::<Register>(events, &operations)
    })
}

fn judge<S: Specification>(events: &[Event], operations: &[Operation]) -> Result<(), Violation> {
    let Some(found) = linearizable::<S>(operations, &Terms::default()) else { return Ok(()) };
    let shown = found.operations.iter().filter_map(|operation| events.get(operation.id as usize));
    let what = format!("{} {}: {}", found.family.name(), found.key, found.what);
    Err(Violation::shown_by("linearizable", what, shown))
}

/// What a command is by HTTP, and about what; nothing for what is checked otherwise.
fn asked(command: &Command) -> Option<(Family, u8, Wish)> {
    let side = Side::Offer;
    Some(match *command {
        Command::Write { register, value } => (Family::Register, register, Wish::Put { side, value }),
        Command::Read { register } => (Family::Register, register, Wish::Get { side }),
        Command::Put { transfer, index, variant } => {
            (Family::Transfer, transfer, Wish::Send { index, variant })
        }
        Command::Take { transfer } => (Family::Transfer, transfer, Wish::Receive),
        Command::Acknowledge { transfer, existing: false } => (Family::Transfer, transfer, Wish::Ack),
        Command::Acknowledge { transfer, existing: true } => (Family::Transfer, transfer, Wish::Finish),
        Command::View { transfer } => (Family::Transfer, transfer, Wish::View),
        _ => return None,
    })
}

/// What came of it, in the words of the contract.
fn answered(event: &Event) -> Outcome {
    let answer = match &event.fate {
        Fate::Unknown => return Outcome::Unknown("not answered".into()),
        Fate::Never => return Outcome::Refused("never".into()),
        Fate::Saw(Sight::Value(value)) => value.map_or(Answer::Nothing, Answer::Value),
        Fate::Saw(Sight::Transfer(sight)) => sight.as_ref().map_or(Answer::Gone, |sight| Answer::Sight {
            received: sight.received.into(),
            delivered: sight.delivered,
            acknowledged: sight.acknowledged,
        }),
        Fate::Saw(other) => Answer::Wrong(format!("{other:?}").into()),
        Fate::Answered(answer) => match &answer.outcome {
            // For want of storage anything may be refused; nothing is changed by it.
            Err(Refusal::StorageFull | Refusal::ShareFull) => return Outcome::Refused("full".into()),
            Ok(outcome::Outcome::Transfer(outcome)) => transferred(event, outcome),
            Err(Refusal::Transfer(refusal)) => match refusal {
                transfer::Refusal::Absent => Answer::Gone,
                transfer::Refusal::Conflict => Answer::Conflict,
                transfer::Refusal::Delivered => Answer::Delivered,
                other => Answer::Wrong(format!("{other:?}").into()),
            },
            Ok(_) if matches!(event.command, Command::Write { .. }) => Answer::Done,
            Err(_) if matches!(event.command, Command::Write { .. }) => {
                return Outcome::Refused("not written".into());
            }
            other => Answer::Wrong(format!("{other:?}").into()),
        },
    };
    Outcome::Answered(answer)
}

fn transferred(event: &Event, outcome: &transfer::Outcome) -> Answer {
    match outcome {
        transfer::Outcome::Stored | transfer::Outcome::Acknowledged => Answer::Done,
        transfer::Outcome::Duplicate => Answer::Duplicate,
        transfer::Outcome::Absent => Answer::Gone,
        transfer::Outcome::Waiting => Answer::Nothing,
        transfer::Outcome::Done => Answer::Complete,
        transfer::Outcome::Chunk { .. } => match event.chunk() {
            Some((index, variant)) => Answer::Chunk { index, variant },
            None => Answer::Wrong("no chunk".into()),
        },
        other => Answer::Wrong(format!("{other:?}").into()),
    }
}

#[cfg(test)]
mod tests {
    use conclave_cluster::state::outcome::Answer;

    use super::*;
    use crate::simulation::history::History;

    fn write(history: &mut History, value: u64) -> usize {
        history.begin(3, Command::Write { register: 0, value }, None, 0)
    }

    fn is_written(history: &mut History, number: usize, at: u64) {
        let answer = Answer { outcome: Ok(outcome::Outcome::Spent), balance: None, replayed: false };
        history.end(number, Fate::Answered(answer), at);
    }

    /// A read that finds nothing, asked before or after the write is answered, by nodes with these times.
    fn write_and_read(read_at: u64, write_answered_at: u64, read_is_first: bool) -> History {
        let mut history = History::default();
        let number = write(&mut history, 6);
        let read = |history: &mut History| history.begin(1, Command::Read { register: 0 }, None, read_at);
        let number = if read_is_first {
            let read = read(&mut history);
            is_written(&mut history, number, write_answered_at);
            read
        } else {
            is_written(&mut history, number, write_answered_at);
            read(&mut history)
        };
        history.end(number, Fate::Saw(Sight::Value(None)), 1000);
        history
    }

    #[test]
    fn what_was_asked_before_an_answer_need_not_see_it_whatever_its_nodes_time() {
        assert!(check(write_and_read(987, 986, true).events()).is_ok());
    }

    #[test]
    fn what_was_asked_after_an_answer_must_see_it_whatever_its_nodes_time() {
        let violation = check(write_and_read(986, 987, false).events()).expect_err("it is stale");
        assert_eq!(violation.invariant, "linearizable");
    }

    #[test]
    fn a_stale_read_is_shown_by_what_it_contradicts_alone() {
        let mut history = History::default();
        for value in 1..=40 {
            let number = write(&mut history, value);
            is_written(&mut history, number, value);
        }
        let read = history.begin(1, Command::Read { register: 0 }, None, 50);
        history.end(read, Fate::Saw(Sight::Value(Some(39))), 51);
        let violation = check(history.events()).expect_err("it is stale");
        let shown: Vec<&str> = violation.context.lines().skip(1).collect();
        assert_eq!(shown.len(), 3, "{shown:?}");
    }
}
