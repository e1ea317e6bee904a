//! The smallest history that is still wrong.
//!
//! First everything after the earliest wrong answer is cut off. Then whatever hangs together is left out, in large pieces
//! and then in small ones, as long as the rest is wrong. Only such pieces are left out without which a right history would
//! stay right, so that what remains is wrong for a reason of its own.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use porcupine_rs::CheckResult;

use super::linearizability::{Specification, beginning, returns, verdict};
use crate::proof::history::Operation;

/// After that what is left will do.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Token(u64),
    Alone(u64),
}

/// The smallest history found, by start, and where in it the operation stands whose answer cannot be.
pub(super) fn smallest<J: Specification>(operations: Vec<Operation>) -> (Vec<Operation>, usize) {
    let (mut kept, offender) = shortest_beginning::<J>(operations);
    let give_up = Instant::now() + PATIENCE;
    loop {
        let before = kept.len();
        let pieces = pieces::<J>(&kept, offender);
        let mut size = pieces.len().div_ceil(2);
        while size > 0 && Instant::now() < give_up {
            for chunk in pieces.chunks(size) {
                let rest = without::<J>(&kept, chunk);
                let still = rest.len() < kept.len()
                    && rest.iter().any(|operation| operation.id == offender)
                    && verdict::<J>(&rest) == CheckResult::Illegal;
                if still {
                    kept = rest;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
        if kept.len() == before || Instant::now() >= give_up {
            break;
        }
    }
    kept.sort_by_key(|operation| operation.start);
    let place = kept.iter().position(|operation| operation.id == offender).unwrap_or(usize::MAX);
    (kept, place)
}

/// The shortest wrong beginning of a history, by ends, and the operation that ends it.
fn shortest_beginning<J: Specification>(operations: Vec<Operation>) -> (Vec<Operation>, u64) {
    let mut ended: Vec<&Operation> = operations.iter().filter(|operation| !operation.is_open()).collect();
    ended.sort_by_key(|operation| returns(operation));
    let (mut right, mut wrong) = (0, ended.len());
    while right + 1 < wrong {
        let middle = (right + wrong) / 2;
        let cut = beginning(&operations, ended[middle - 1].end);
        if verdict::<J>(&cut) == CheckResult::Illegal { wrong = middle } else { right = middle }
    }
    match wrong.checked_sub(1).map(|last| ended[last]) {
        Some(last) => (beginning(&operations, last.end), last.id),
        None => (operations, u64::MAX),
    }
}

fn pieces<J: Specification>(operations: &[Operation], offender: u64) -> Vec<Piece> {
    let whole = operations.iter().any(|operation| J::ties(operation).needs_all);
    let parts = operations.iter().filter(|_| !whole);
    let tokens: BTreeSet<u64> = parts.flat_map(|operation| J::ties(operation).tokens).collect();
    let alone = operations.iter().filter(|it| it.id != offender && J::ties(it).alone);
    tokens.into_iter().map(Piece::Token).chain(alone.map(|it| Piece::Alone(it.id))).collect()
}

fn without<J: Specification>(operations: &[Operation], pieces: &[Piece]) -> Vec<Operation> {
    let any_token = pieces.iter().any(|piece| matches!(piece, Piece::Token(_)));
    let gone = |token: u64| pieces.contains(&Piece::Token(token));
    let goes = |operation: &Operation| {
        pieces.contains(&Piece::Alone(operation.id)) || (any_token && J::ties(operation).about_all)
    };
    let kept = operations.iter().filter(|operation| !goes(operation));
    kept.filter_map(|operation| J::without(operation, &gone)).collect()
}
