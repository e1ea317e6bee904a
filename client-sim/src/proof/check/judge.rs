//! Linearizability: is there an order of all operations, true to the clock, in which every answer is right?

use std::time::Duration;

use porcupine_rs::{CheckResult, Model, Operation as Timed, check_operations_timeout};

use super::{Violation, shrink};
use crate::proof::Terms;
use crate::proof::history::{Operation, Outcome};

/// A verdict takes milliseconds; one that takes this long counts as a violation.
const PATIENCE: Duration = Duration::from_secs(20);
/// Near its expiry a thing may be there or not. What ends later than this share of its time is not judged.
pub(super) const CERTAIN: f64 = 0.8;

/// How one family's operations are understood.
pub(super) trait Judge {
    /// What the server should be.
    type Model: Model<Metadata = ()>;

    /// The operations in the model's words, without what says nothing. What may have happened and was not seen to may be
    /// left out where that changes nothing; it only makes the search longer.
    fn timed(operations: Vec<Operation>) -> Vec<Timed<Self::Model>>;

    /// How long the thing lives from its first touch on, at least.
    fn ttl_ms(terms: &Terms) -> u64;

    /// What is wrong at first sight, with fewer operations than a search would need to show it.
    fn at_sight(_operations: &[Operation]) -> Option<Violation> {
        None
    }

    /// What the operation hangs together with.
    fn ties(operation: &Operation) -> Ties;

    /// The operation without what belongs to some tokens; `None` if nothing is left of it.
    fn without(operation: &Operation, gone: &dyn Fn(u64) -> bool) -> Option<Operation> {
        (!Self::ties(operation).tokens.iter().any(|token| gone(*token))).then(|| operation.clone())
    }
}

/// What may be left out of a history such that the rest is right if the whole was.
#[derive(Debug, Default)]
pub(super) struct Ties {
    /// Leaving out a token leaves out all operations that hang on it, or the token's part of each.
    pub(super) tokens: Vec<u64>,
    /// The operation can be left out alone.
    pub(super) alone: bool,
    /// It says something about all tokens at once, and goes with the first of them.
    pub(super) about_all: bool,
    /// It does something that depends on all tokens, which therefore all stay.
    pub(super) needs_all: bool,
}

/// Judges one key's operations.
pub(super) fn linearizable<J: Judge>(operations: &[Operation], terms: &Terms) -> Option<Violation> {
    if let Some(violation) = J::at_sight(operations) {
        return Some(violation);
    }
    let certain = before_expiry(operations, J::ttl_ms(terms));
    match verdict::<J>(&certain) {
        CheckResult::Ok => None,
        CheckResult::Unknown => {
            let what = format!("no verdict within {PATIENCE:?}");
            Some(Violation::new("linearizable", what, certain, usize::MAX))
        }
        CheckResult::Illegal => {
            let (shown, offender) = shrink::smallest::<J>(certain);
            let what = format!(
                "no order of these operations, true to the clock, explains all {} answers",
                shown.iter().filter(|operation| !operation.is_open()).count()
            );
            Some(Violation::new("linearizable", what, shown, offender))
        }
    }
}

pub(super) fn verdict<J: Judge>(operations: &[Operation]) -> CheckResult {
    let telling = operations.iter().filter(|operation| !(operation.is_open() && operation.wish.reads()));
    let timed = J::timed(telling.cloned().collect());
    check_operations_timeout(&timed, PATIENCE)
}

/// An operation as porcupine takes it.
pub(super) fn timed<M: Model<Metadata = ()>>(operation: &Operation, op: M::Op) -> Timed<M> {
    let (call_time, return_time) = (operation.start as i64, returns(operation) as i64);
    Timed { client_id: None, call_time, return_time, op, metadata: None }
}

/// By when it has happened.
pub(super) fn returns(operation: &Operation) -> u64 {
    if operation.is_open() { i64::MAX as u64 } else { operation.end }
}

/// The part of a history in which nothing can have expired.
fn before_expiry(operations: &[Operation], ttl_ms: u64) -> Vec<Operation> {
    let did_nothing = |operation: &&Operation| matches!(operation.outcome, Outcome::Refused(_));
    let first =
        operations.iter().filter(|operation| !did_nothing(operation)).map(|operation| operation.start).min();
    let horizon = first.unwrap_or_default() + (ttl_ms as f64 * 1e6 * CERTAIN) as u64;
    let telling: Vec<Operation> = operations.iter().filter(|it| !did_nothing(it)).cloned().collect();
    beginning(&telling, horizon)
}

/// What had been asked by an instant, and answered; the rest is left open.
pub(super) fn beginning(operations: &[Operation], until: u64) -> Vec<Operation> {
    let asked = operations.iter().filter(|operation| operation.start <= until);
    let cut = asked.filter_map(|operation| {
        if operation.end <= until {
            return Some(operation.clone());
        }
        let outcome = Outcome::Unknown("not ended yet".into());
        (!operation.wish.reads()).then(|| Operation { outcome, ..operation.clone() })
    });
    cut.collect()
}
