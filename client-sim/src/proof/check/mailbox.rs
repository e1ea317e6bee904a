//! A mailbox: a queue that a poll empties, so that each signal is given once and in its order.

use std::collections::HashMap;

use porcupine_rs::{Model, Operation as Timed};

use super::Violation;
use super::judge::{Judge, Ties, timed};
use crate::proof::Terms;
use crate::proof::history::{Answer, Operation, Wish};

/// What a mailbox should be.
#[derive(Debug, Clone)]
pub(super) struct Mailbox;

/// A wish with its answer, if that is known.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    Signalled(u64),
    Polled(Vec<u64>),
    PerhapsPolled,
    /// Nothing that this model knows.
    Strange,
}

impl Model for Mailbox {
    /// What waits, oldest first.
    type State = Vec<u64>;
    type Op = Asked;
    type Metadata = ();

    fn init() -> Vec<u64> {
        Vec::new()
    }

    fn step(waiting: &Vec<u64>, asked: &Asked) -> (bool, Vec<u64>) {
        match asked {
            Asked::Signalled(number) => (true, waiting.iter().copied().chain([*number]).collect()),
            Asked::Polled(found) => (found == waiting, Vec::new()),
            Asked::PerhapsPolled => (true, Vec::new()),
            Asked::Strange => (false, waiting.clone()),
        }
    }
}

impl Judge for Mailbox {
    type Model = Self;

    /// A signal that may have been queued and was never seen may as well never have been; one that was seen had been
    /// queued by the end of that poll.
    fn timed(operations: Vec<Operation>) -> Vec<Timed<Self>> {
        let mut seen: HashMap<u64, u64> = HashMap::new();
        for operation in &operations {
            for number in found(operation) {
                let by = seen.entry(*number).or_insert(operation.end);
                *by = operation.end.min(*by);
            }
        }
        let asked = operations.iter().filter_map(|operation| match (&operation.wish, operation.answer()) {
            (Wish::Signal { number }, None) => {
                let by = *seen.get(number)?;
                let known = Timed { return_time: by as i64, ..timed(operation, Asked::Signalled(*number)) };
                Some(known)
            }
            (Wish::Signal { number }, Some(Answer::Done)) => {
                Some(timed(operation, Asked::Signalled(*number)))
            }
            (Wish::Poll, Some(Answer::Letters(found))) => {
                Some(timed(operation, Asked::Polled(found.clone())))
            }
            (Wish::Poll, None) => Some(timed(operation, Asked::PerhapsPolled)),
            _ => Some(timed(operation, Asked::Strange)),
        });
        asked.collect()
    }

    /// A signal that was given twice, or that nobody sent.
    fn at_sight(operations: &[Operation]) -> Option<Violation> {
        let mut polls: Vec<&Operation> = operations.iter().filter(|it| !found(it).is_empty()).collect();
        polls.sort_by_key(|poll| poll.end);
        let sent = |number: u64| operations.iter().find(|it| it.wish == Wish::Signal { number });
        let mut given: HashMap<u64, &Operation> = HashMap::new();
        for poll in polls {
            for number in found(poll) {
                let show = |shown: &[Option<&Operation>], check, what| {
                    let shown: Vec<Operation> = shown.iter().copied().flatten().cloned().collect();
                    let last = shown.len() - 1;
                    Some(Violation::new(check, what, shown, last))
                };
                let Some(signal) = sent(*number) else {
                    return show(&[Some(poll)], "contract", format!("nobody sent signal {number}"));
                };
                if let Some(before) = given.insert(*number, poll) {
                    let before = (before.id != poll.id).then_some(before);
                    let what = format!("signal {number} was given twice");
                    return show(&[Some(signal), before, Some(poll)], "once", what);
                }
            }
        }
        None
    }

    fn ttl_ms(terms: &Terms) -> u64 {
        terms.ttl.signal_ms
    }

    fn ties(operation: &Operation) -> Ties {
        match &operation.wish {
            Wish::Signal { number } => Ties { tokens: vec![*number], ..Ties::default() },
            _ => Ties {
                tokens: found(operation).to_vec(),
                // A poll that found nothing changed nothing.
                alone: operation.answer() == Some(&Answer::Letters(Vec::new())),
                ..Ties::default()
            },
        }
    }

    /// A poll stays, without the signals that are left out.
    fn without(operation: &Operation, gone: &dyn Fn(u64) -> bool) -> Option<Operation> {
        match &operation.wish {
            Wish::Signal { number } => (!gone(*number)).then(|| operation.clone()),
            _ => Some(match operation.answer() {
                Some(Answer::Letters(found)) => {
                    let kept = found.iter().copied().filter(|number| !gone(*number)).collect();
                    let outcome = crate::proof::history::Outcome::Answered(Answer::Letters(kept));
                    Operation { outcome, ..operation.clone() }
                }
                _ => operation.clone(),
            }),
        }
    }
}

fn found(operation: &Operation) -> &[u64] {
    match operation.answer() {
        Some(Answer::Letters(found)) => found,
        _ => &[],
    }
}
