//! A mailbox: a queue that a poll empties, so that each signal is given once and in its order.

use std::collections::HashMap;

use porcupine_rs::{Model, Operation as Timed};

use super::Violation;
use super::linearizability::{Specification, Ties, timed};
use crate::proof::Terms;
use crate::proof::history::{Answer, Operation, Wish};

/// What a mailbox should be.
#[derive(Debug, Clone)]
pub(super) struct Mailbox;

/// What waits in it. A poll takes everything, so what waits together is seen together or not at all, and in what order
/// it was queued is known from the poll that saw it. A search that knows this has little to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Waiting {
    Nothing,
    /// So many of the signals that a poll sees later on.
    Seen {
        poll: u64,
        count: usize,
    },
    /// Signals that no poll sees whose answer is known.
    Unseen,
}

/// A wish with its answer, if that is known.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    /// `seen`: by which poll, and behind how many others.
    Signalled {
        seen: Option<(u64, usize)>,
    },
    /// `poll`: which one this is.
    Polled {
        poll: u64,
        count: usize,
    },
    PerhapsPolled,
    /// Nothing that this model knows.
    Strange,
}

impl Model for Mailbox {
    type State = Waiting;
    type Op = Asked;
    type Metadata = ();

    fn init() -> Waiting {
        Waiting::Nothing
    }

    fn step(waiting: &Waiting, asked: &Asked) -> (bool, Waiting) {
        use Waiting::{Nothing, Seen, Unseen};
        let next = match (*asked, *waiting) {
            (Asked::Signalled { seen: None }, Nothing | Unseen) => Some(Unseen),
            (Asked::Signalled { seen: Some((poll, 0)) }, Nothing) => Some(Seen { poll, count: 1 }),
            (Asked::Signalled { seen: Some((by, behind)) }, Seen { poll, count }) => {
                (by == poll && behind == count).then_some(Seen { poll, count: count + 1 })
            }
            (Asked::Polled { count: 0, .. }, Nothing) => Some(Nothing),
            (Asked::Polled { poll: this, count: all }, Seen { poll, count }) => {
                (this == poll && all == count).then_some(Nothing)
            }
            (Asked::PerhapsPolled, Nothing | Unseen) => Some(Nothing),
            _ => None,
        };
        (next.is_some(), next.unwrap_or(*waiting))
    }
}

impl Specification for Mailbox {
    type Model = Self;

    /// A signal that may have been queued and was never seen may as well never have been; one that was seen had been
    /// queued by the end of that poll.
    fn timed(operations: Vec<Operation>) -> Vec<Timed<Self>> {
        let mut seen: HashMap<u64, (&Operation, usize)> = HashMap::new();
        for poll in &operations {
            for (behind, number) in found(poll).iter().enumerate() {
                seen.insert(*number, (poll, behind));
            }
        }
        let asked = operations.iter().filter_map(|operation| match (&operation.wish, operation.answer()) {
            (Wish::Signal { number }, answer) => {
                let seen = seen.get(number);
                let asked = Asked::Signalled { seen: seen.map(|(poll, behind)| (poll.id, *behind)) };
                let timed = timed(operation, asked);
                match (answer, seen) {
                    (Some(Answer::Done), _) => Some(timed),
                    (Some(_), _) => Some(Timed { op: Asked::Strange, ..timed }),
                    (None, Some((poll, _))) => Some(Timed { return_time: poll.end as i64, ..timed }),
                    (None, None) => None,
                }
            }
            (Wish::Poll, Some(Answer::Letters(found))) => {
                Some(timed(operation, Asked::Polled { poll: operation.id, count: found.len() }))
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
                let Some(signal) = sent(*number) else {
                    let what = format!("nobody sent signal {number}");
                    return Some(Violation::shown_by("contract", what, &[poll]));
                };
                if let Some(before) = given.insert(*number, poll) {
                    let what = format!("signal {number} was given twice");
                    return Some(Violation::shown_by("once", what, &[signal, before, poll]));
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
