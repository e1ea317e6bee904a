//! An invite code: the first peer to register holds it, and every lookup says so.

use porcupine_rs::{Model, Operation as Timed};

use super::judge::{Judge, Ties, timed};
use crate::proof::Terms;
use crate::proof::history::{Answer, Operation, Wish};

/// What an invite code should be.
#[derive(Debug, Clone)]
pub(super) struct Code;

/// A wish with its answer, if that is known.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Who wants to hold it; a lookup wants nothing.
    peer: Option<u64>,
    answer: Option<Answer>,
}

impl Model for Code {
    /// Who holds it.
    type State = Option<u64>;
    type Op = Asked;
    type Metadata = ();

    fn init() -> Option<u64> {
        None
    }

    fn step(holder: &Option<u64>, Asked { peer, answer }: &Asked) -> (bool, Option<u64>) {
        let (expected, next) = match (peer, holder) {
            (Some(peer), None) => (Answer::Done, Some(*peer)),
            (Some(peer), Some(holder)) if peer == holder => (Answer::Done, Some(*holder)),
            (Some(_), Some(holder)) => (Answer::Taken, Some(*holder)),
            (None, None) => (Answer::Nothing, None),
            (None, Some(holder)) => (Answer::Peer(*holder), Some(*holder)),
        };
        (answer.as_ref().is_none_or(|answer| *answer == expected), next)
    }
}

impl Judge for Code {
    type Model = Self;

    fn timed(operations: Vec<Operation>) -> Vec<Timed<Self>> {
        let op = |it: &Operation| Asked { peer: wanted(&it.wish), answer: it.answer().cloned() };
        operations.iter().map(|operation| timed(operation, op(operation))).collect()
    }

    fn ttl_ms(terms: &Terms) -> u64 {
        terms.ttl.register_ms
    }

    fn ties(operation: &Operation) -> Ties {
        match (wanted(&operation.wish), operation.answer()) {
            (_, Some(Answer::Taken)) => Ties { alone: true, about_all: true, ..Ties::default() },
            (Some(peer), _) => Ties { tokens: vec![peer], ..Ties::default() },
            (None, Some(Answer::Peer(peer))) => Ties { tokens: vec![*peer], alone: true, ..Ties::default() },
            (None, _) => Ties { alone: true, ..Ties::default() },
        }
    }
}

fn wanted(wish: &Wish) -> Option<u64> {
    match wish {
        Wish::Register { peer } => Some(*peer),
        _ => None,
    }
}
