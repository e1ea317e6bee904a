//! Whether a history is one that the contract allows.
//!
//! Each key is looked at alone ([`key`]). Where one thing is changed and seen by many, porcupine searches for an order in
//! which all answers are true ([`judge`]); what is found wrong is made small ([`shrink`]) and drawn ([`picture`]).

mod checker;
mod code;
mod judge;
mod mailbox;
mod picture;
mod pin;
mod register;
mod shrink;
mod transfer;
mod violation;

use crate::proof::history::{Answer, Operation, Outcome};
use crate::proof::{Family, Ttls};

pub use checker::{Checker, Findings, check_file};
pub(super) use transfer::CHUNKS;
pub use violation::Violation;

/// Everything that is wrong with what was asked about one key. The operations may come in any order.
pub fn key(operations: &[Operation], ttls: &Ttls) -> Vec<Violation> {
    let Some(first) = operations.first() else { return Vec::new() };
    let wrong: Vec<_> = operations.iter().filter_map(wrong).collect();
    if !wrong.is_empty() {
        return wrong;
    }
    match first.family {
        Family::Register | Family::Ledger => judge::linearizable::<register::Register>(operations, ttls),
        Family::Code => judge::linearizable::<code::Code>(operations, ttls),
        Family::Pin => judge::linearizable::<pin::Pin>(operations, ttls),
        Family::Mailbox => judge::linearizable::<mailbox::Mailbox>(operations, ttls),
        Family::Transfer => judge::linearizable::<transfer::Transfer>(operations, ttls),
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
