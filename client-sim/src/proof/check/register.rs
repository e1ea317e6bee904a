//! A session as two registers: many write an offer or an answer, many read it, one may end the session.

use std::collections::HashSet;

use porcupine_rs::{Model, Operation as Timed};

use super::judge::{Judge, Ties, timed};
use crate::proof::Terms;
use crate::proof::history::{Answer, Operation, Side, Wish};

/// What a session should be.
#[derive(Debug, Clone)]
pub(super) struct Register;

/// Where one stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Exchange {
    lives: bool,
    offer: Option<u64>,
    answer: Option<u64>,
}

/// A wish with its answer, if that is known.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    wish: Wish,
    answer: Option<Answer>,
}

/// The end of the session, beside the numbers of envelopes.
const END: u64 = u64::MAX;

impl Exchange {
    fn carry_out(mut self, wish: &Wish) -> (Answer, Self) {
        if let Wish::Create = wish {
            return (Answer::Done, Self { lives: true, ..Self::default() });
        }
        if !self.lives {
            return (Answer::Gone, self);
        }
        match *wish {
            Wish::Put { side, value } => {
                *self.side(side) = Some(value);
                (Answer::Done, self)
            }
            Wish::Get { side } => (self.side(side).map_or(Answer::Nothing, Answer::Value), self),
            Wish::Delete => (Answer::Done, Self::default()),
            _ => (Answer::Wrong("not asked of sessions".into()), self),
        }
    }

    fn side(&mut self, side: Side) -> &mut Option<u64> {
        match side {
            Side::Offer => &mut self.offer,
            Side::Answer => &mut self.answer,
        }
    }
}

impl Model for Register {
    type State = Exchange;
    type Op = Asked;
    type Metadata = ();

    fn init() -> Exchange {
        Exchange::default()
    }

    fn step(state: &Exchange, Asked { wish, answer }: &Asked) -> (bool, Exchange) {
        let (expected, next) = state.carry_out(wish);
        (answer.as_ref().is_none_or(|answer| *answer == expected), next)
    }
}

impl Judge for Register {
    type Model = Self;

    /// An envelope that may have been stored and was never seen may as well never have been.
    fn timed(operations: Vec<Operation>) -> Vec<Timed<Self>> {
        let seen: HashSet<u64> = operations.iter().filter_map(value).collect();
        let telling = operations.iter().filter(|operation| match operation.wish {
            Wish::Put { value, .. } => !operation.is_open() || seen.contains(&value),
            _ => true,
        });
        let op = |it: &Operation| Asked { wish: it.wish.clone(), answer: it.answer().cloned() };
        telling.map(|operation| timed(operation, op(operation))).collect()
    }

    fn ttl_ms(terms: &Terms) -> u64 {
        terms.ttl.session_ms
    }

    fn ties(operation: &Operation) -> Ties {
        let changes = !operation.wish.reads() && operation.answer() != Some(&Answer::Gone);
        let token = match (&operation.wish, operation.answer()) {
            (_, Some(Answer::Gone)) | (Wish::Delete, _) => Some(END),
            (Wish::Put { value, .. }, _) | (_, Some(Answer::Value(value))) => Some(*value),
            _ => None,
        };
        Ties { tokens: token.into_iter().collect(), alone: !changes, ..Ties::default() }
    }
}

/// The envelope that a read saw.
fn value(operation: &Operation) -> Option<u64> {
    match operation.answer() {
        Some(Answer::Value(value)) => Some(*value),
        _ => None,
    }
}
