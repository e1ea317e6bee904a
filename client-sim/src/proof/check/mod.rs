//! Whether a history is one that the contract allows.
//!
//! Each key is looked at alone ([`key`]). Where one thing is changed and seen by many, porcupine searches for an order in
//! which all answers are true (`judge`); what is found wrong is made small (`shrink`) and drawn (`picture`).

mod allowance;
mod checker;
mod code;
mod linearizability;
mod mailbox;
mod picture;
mod pin;
mod push;
mod register;
mod room;
mod shrink;
mod transfer;
mod ttl;
mod violation;

use crate::proof::history::{Answer, Operation, Outcome};
use crate::proof::{Family, Terms};

pub use checker::{Checker, Findings, check_file};
pub use linearizability::{Of, Sequential, Specification, Ties, linearizable};
pub use register::{Exchange, Register};
pub(super) use transfer::CHUNKS;
pub use transfer::{State, Transfer};
pub(super) use ttl::SLACK_MS;
pub use violation::Violation;

/// Everything that is wrong with what was asked about one key. The operations may come in any order.
pub fn key(operations: &[Operation], terms: &Terms) -> Vec<Violation> {
    let Some(first) = operations.first() else { return Vec::new() };
    let wrong: Vec<_> = operations.iter().filter_map(wrong).collect();
    if !wrong.is_empty() {
        return wrong;
    }
    match first.family {
        Family::Register | Family::Ledger => linearizable::<Register>(operations, terms),
        Family::Code => linearizable::<code::Code>(operations, terms),
        Family::Pin => linearizable::<pin::Pin>(operations, terms),
        Family::Mailbox => linearizable::<mailbox::Mailbox>(operations, terms),
        Family::Transfer => linearizable::<Transfer<CHUNKS, true>>(operations, terms),
        Family::Room => room::check(operations),
        Family::Push => push::check(operations, &terms.ttl),
        Family::Ttl => ttl::check(operations, &terms.ttl),
        Family::Allowance => allowance::check(operations, terms.allowance),
    }
    .into_iter()
    .collect()
}

/// An answer that is wrong whatever came before it.
fn wrong(operation: &Operation) -> Option<Violation> {
    let Outcome::Answered(Answer::Wrong(what)) = &operation.outcome else { return None };
    Some(Violation::new(
        "contract",
        format!("no server of the contract says this: {what}"),
        vec![operation.clone()],
        0,
    ))
}

#[cfg(test)]
mod tests;
