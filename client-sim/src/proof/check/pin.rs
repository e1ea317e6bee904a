//! A pin: one live session has it, until it is ended.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use porcupine_rs::{Model, Operation as Timed};

use super::linearizability::{Specification, Ties, timed};
use crate::proof::Terms;
use crate::proof::history::{Answer, Operation, Wish};

/// What a pin should be.
#[derive(Debug, Clone)]
pub(super) struct Pin;

/// Who has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    Nobody,
    Session(u64),
    /// A session whose id nobody was told, since the answer to its opening was lost.
    Unnamed,
}

/// A wish with its answer, if that is known. Sessions are numbers here.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    Acquired(u64),
    AcquiredUnnamed,
    Taken,
    /// `told`: whether somebody's opening was answered with this session.
    Resolved {
        session: u64,
        told: bool,
    },
    Unresolved,
    Released(u64),
    PerhapsReleased(u64),
    WasOver(u64),
    /// Nothing that this model knows.
    Strange,
}

impl Model for Pin {
    type State = Holder;
    type Op = Asked;
    type Metadata = ();

    fn init() -> Holder {
        Holder::Nobody
    }

    fn step(holder: &Holder, asked: &Asked) -> (bool, Holder) {
        let holder = *holder;
        match *asked {
            Asked::Acquired(session) => (holder == Holder::Nobody, Holder::Session(session)),
            Asked::AcquiredUnnamed if holder == Holder::Nobody => (true, Holder::Unnamed),
            Asked::AcquiredUnnamed => (true, holder),
            Asked::Taken => (holder != Holder::Nobody, holder),
            Asked::Resolved { session, told } => {
                let fits = holder == Holder::Session(session) || (holder == Holder::Unnamed && !told);
                (fits, Holder::Session(session))
            }
            Asked::Unresolved => (holder == Holder::Nobody, holder),
            Asked::Released(session) => (holder == Holder::Session(session), Holder::Nobody),
            Asked::PerhapsReleased(session) if holder == Holder::Session(session) => (true, Holder::Nobody),
            Asked::PerhapsReleased(_) => (true, holder),
            Asked::WasOver(session) => (holder != Holder::Session(session), holder),
            Asked::Strange => (false, holder),
        }
    }
}

impl Specification for Pin {
    type Model = Self;

    fn timed(operations: Vec<Operation>) -> Vec<Timed<Self>> {
        let acquired = operations.iter().filter(|operation| operation.wish == Wish::Acquire);
        let told: HashSet<u64> = acquired.filter_map(|operation| session(operation.answer()?)).collect();
        let asked = |it: &Operation| match (&it.wish, it.answer()) {
            (Wish::Acquire, None) => Asked::AcquiredUnnamed,
            (Wish::Acquire, Some(Answer::Session(session))) => Asked::Acquired(number(session)),
            (Wish::Acquire, Some(Answer::Taken)) => Asked::Taken,
            (Wish::Resolve, Some(Answer::Session(session))) => {
                let session = number(session);
                Asked::Resolved { session, told: told.contains(&session) }
            }
            (Wish::Resolve, Some(Answer::Nothing)) => Asked::Unresolved,
            (Wish::Release { session }, None) => Asked::PerhapsReleased(number(session)),
            (Wish::Release { session }, Some(Answer::Done)) => Asked::Released(number(session)),
            (Wish::Release { session }, Some(Answer::Gone)) => Asked::WasOver(number(session)),
            _ => Asked::Strange,
        };
        operations.iter().map(|operation| timed(operation, asked(operation))).collect()
    }

    fn ttl_ms(terms: &Terms) -> u64 {
        terms.ttl.session_ms
    }

    fn ties(operation: &Operation) -> Ties {
        let of = |session: &Arc<str>| vec![number(session)];
        match (&operation.wish, operation.answer()) {
            (_, Some(Answer::Taken)) => Ties { alone: true, about_all: true, ..Ties::default() },
            (Wish::Acquire, Some(Answer::Session(session))) => {
                Ties { tokens: of(session), ..Ties::default() }
            }
            (Wish::Resolve, Some(Answer::Session(session))) => {
                Ties { tokens: of(session), alone: true, ..Ties::default() }
            }
            (Wish::Release { session }, Some(Answer::Gone)) => {
                Ties { tokens: of(session), alone: true, ..Ties::default() }
            }
            (Wish::Release { session }, _) => Ties { tokens: of(session), ..Ties::default() },
            (Wish::Resolve, _) => Ties { alone: true, ..Ties::default() },
            _ => Ties::default(),
        }
    }
}

fn session(answer: &Answer) -> Option<u64> {
    match answer {
        Answer::Session(session) => Some(number(session)),
        _ => None,
    }
}

fn number(session: &Arc<str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    session.hash(&mut hasher);
    hasher.finish()
}
