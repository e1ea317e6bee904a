//! Nothing is shown after its time.

use super::Violation;
use crate::proof::Ttls;
use crate::proof::history::{Answer, Operation, Wish};

/// How long after its time a thing may be shown: the servers look at the clock a few times a second, and agree on it among
/// themselves.
pub(in crate::proof) const SLACK_MS: u64 = 2_000;

/// Looks at things that were touched and then left alone.
pub(super) fn check(operations: &[Operation], ttls: &Ttls) -> Option<Violation> {
    let touches =
        operations.iter().filter(|operation| !operation.wish.reads() && operation.wish != Wish::Poll);
    let touches: Vec<&Operation> = touches.collect();
    // One that may happen yet may lengthen the time.
    if touches.iter().any(|touch| touch.is_open()) {
        return None;
    }
    let last = touches.into_iter().max_by_key(|touch| touch.end)?;
    let over = last.end + (ttl_ms(&last.wish, ttls) + SLACK_MS) * 1_000_000;
    let shown = operations.iter().find(|operation| operation.start > over && shows(operation))?;
    let late = (shown.start - last.end) as f64 / 1e6;
    let what =
        format!("shown {late:.0} ms after its last touch, and it lives for {} ms", ttl_ms(&last.wish, ttls));
    Some(Violation::new("ttl", what, vec![last.clone(), shown.clone()], 1))
}

fn shows(operation: &Operation) -> bool {
    match operation.answer() {
        Some(Answer::Letters(numbers)) => !numbers.is_empty(),
        Some(Answer::Peer(_) | Answer::Value(_) | Answer::Sight { .. }) => true,
        _ => false,
    }
}

pub(in crate::proof) fn ttl_ms(wish: &Wish, ttls: &Ttls) -> u64 {
    match wish {
        Wish::Register { .. } => ttls.register_ms,
        Wish::Signal { .. } => ttls.signal_ms,
        Wish::Open | Wish::Send { .. } | Wish::Store { .. } => ttls.chunk_ms,
        _ => ttls.session_ms,
    }
}
