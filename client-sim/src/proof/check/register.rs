//! A session as two registers: many write an offer or an answer, many read it, one may end the session.

use std::collections::HashSet;

use porcupine_rs::Operation as Timed;

use super::linearizability::{Of, Sequential, Specification, Ties, asked};
use crate::proof::Terms;
use crate::proof::history::{Answer, Operation, Side, Wish};

/// What a session should be.
#[derive(Debug, Clone)]
pub struct Register;

/// Where one stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Exchange {
    lives: bool,
    offer: Option<u64>,
    answer: Option<u64>,
}

/// The end of the session, beside the numbers of envelopes.
const END: u64 = u64::MAX;

impl Sequential for Register {
    type State = Exchange;

    fn carry_out(state: &Exchange, wish: &Wish) -> (Answer, Exchange) {
        let mut exchange = *state;
        match *wish {
            Wish::Create => (Answer::Done, Exchange { lives: true, ..Exchange::default() }),
            _ if !exchange.lives => (Answer::Gone, exchange),
            Wish::Put { side, value } => {
                *exchange.side(side) = Some(value);
                (Answer::Done, exchange)
            }
            Wish::Get { side } => (exchange.side(side).map_or(Answer::Nothing, Answer::Value), exchange),
            Wish::Delete => (Answer::Done, Exchange::default()),
            _ => (Answer::Wrong("not asked of sessions".into()), exchange),
        }
    }
}

impl Exchange {
    fn side(&mut self, side: Side) -> &mut Option<u64> {
        match side {
            Side::Offer => &mut self.offer,
            Side::Answer => &mut self.answer,
        }
    }
}

impl Specification for Register {
    type Model = Of<Self>;

    /// An envelope that may have been stored and was never seen may as well never have been.
    fn timed(operations: Vec<Operation>) -> Vec<Timed<Of<Self>>> {
        let seen: HashSet<u64> = operations.iter().filter_map(value).collect();
        asked(operations.iter().filter(|operation| match operation.wish {
            Wish::Put { value, .. } => !operation.is_open() || seen.contains(&value),
            _ => true,
        }))
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
