//! Linearizability: is there an order of all operations, true to the clock, in which every answer is right?

use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;
use std::time::Duration;

use porcupine_rs::{CheckResult, Model, Operation as Timed, check_operations_timeout};

use super::{Violation, shrink};
use crate::proof::Terms;
use crate::proof::history::{Answer, Operation, Outcome, Wish};

/// A verdict takes milliseconds; one that takes this long counts as a violation.
const PATIENCE: Duration = Duration::from_secs(20);
/// Near its expiry a thing may be there or not. What ends later than this share of its time is not judged.
pub(super) const CERTAIN: f64 = 0.8;

/// A server that does one thing at a time.
pub trait Sequential: Debug + Clone + Send + Sync {
    /// What it remembers.
    type State: Debug + Clone + Default + Eq + Hash + Send + Sync;

    /// What a wish comes to, and what is left behind.
    fn carry_out(state: &Self::State, wish: &Wish) -> (Answer, Self::State);

    /// Where the contract leaves the server a choice: whether it may answer so, too.
    fn admits(_state: &Self::State, _wish: &Wish, _answer: &Answer) -> bool {
        false
    }
}

/// A sequential server as porcupine's model: an operation is a wish with its answer, if that is known.
#[derive(Debug, Clone)]
pub struct Of<S>(PhantomData<S>);

impl<S: Sequential> Model for Of<S> {
    type State = S::State;
    type Op = (Wish, Option<Answer>);
    type Metadata = ();

    fn init() -> S::State {
        S::State::default()
    }

    fn step(state: &S::State, (wish, answer): &Self::Op) -> (bool, S::State) {
        let (expected, next) = S::carry_out(state, wish);
        let fits = |answer: &Answer| *answer == expected || S::admits(state, wish, answer);
        (answer.as_ref().is_none_or(fits), next)
    }
}

/// All operations as a sequential server takes them.
pub(super) fn asked<'a, S: Sequential>(
    operations: impl IntoIterator<Item = &'a Operation>,
) -> Vec<Timed<Of<S>>> {
    operations.into_iter().map(|it| timed(it, (it.wish.clone(), it.answer().cloned()))).collect()
}

/// How one family's operations are understood.
pub trait Specification {
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
pub struct Ties {
    /// Leaving out a token leaves out all operations that hang on it, or the token's part of each.
    pub tokens: Vec<u64>,
    /// The operation can be left out alone.
    pub alone: bool,
    /// It says something about all tokens at once, and goes with the first of them.
    pub about_all: bool,
    /// It does something that depends on all tokens, which therefore all stay.
    pub needs_all: bool,
}

/// Judges one key's operations: nothing if there is an order that explains all answers, else the smallest part found of
/// them that no order explains. The operations may come in any order.
pub fn linearizable<J: Specification>(operations: &[Operation], terms: &Terms) -> Option<Violation> {
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

pub(super) fn verdict<J: Specification>(operations: &[Operation]) -> CheckResult {
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
