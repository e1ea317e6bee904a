//! An invite code: the first peer to register holds it, and every lookup says so.

use porcupine_rs::Operation as Timed;

use super::linearizability::{Of, Sequential, Specification, Ties, asked};
use crate::proof::Terms;
use crate::proof::history::{Answer, Operation, Wish};

/// What an invite code should be.
#[derive(Debug, Clone)]
pub(super) struct Code;

impl Sequential for Code {
    /// Who holds it.
    type State = Option<u64>;

    fn carry_out(holder: &Option<u64>, wish: &Wish) -> (Answer, Option<u64>) {
        match (wanted(wish), *holder) {
            (Some(peer), None) => (Answer::Done, Some(peer)),
            (Some(peer), Some(holder)) if peer == holder => (Answer::Done, Some(holder)),
            (Some(_), Some(holder)) => (Answer::Taken, Some(holder)),
            (None, None) => (Answer::Nothing, None),
            (None, Some(holder)) => (Answer::Peer(holder), Some(holder)),
        }
    }
}

impl Specification for Code {
    type Model = Of<Self>;

    fn timed(operations: Vec<Operation>) -> Vec<Timed<Of<Self>>> {
        asked(&operations)
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

/// Who wants to hold it; a lookup wants nothing.
fn wanted(wish: &Wish) -> Option<u64> {
    match wish {
        Wish::Register { peer } => Some(*peer),
        _ => None,
    }
}
