//! Nobody gets more than the allowance.
//!
//! A window opens with a request and admits so many; the next opens with the first request after its end. When requests
//! were counted is not known to the instant, only that it was between their starts and ends. So the windows are laid as
//! early as they can be, and each takes those requests first that end first: if that does not work out, nothing does.

use super::Violation;
use crate::proof::Allowance;
use crate::proof::history::{Answer, Operation};

/// Looks at what was admitted.
pub(super) fn check(operations: &[Operation], allowance: Allowance) -> Option<Violation> {
    let window = allowance.window_ms * 1_000_000;
    let admitted = operations.iter().filter(|operation| operation.answer() == Some(&Answer::Done));
    let mut left: Vec<&Operation> = admitted.collect();
    left.sort_by_key(|operation| operation.end);
    let mut opens = 0;
    while let Some(first) = left.iter().map(|operation| operation.start).min() {
        opens = first.max(opens);
        let mut room = allowance.limit;
        let mut taken = Vec::new();
        left.retain(|operation| {
            let fits = operation.start < opens + window && room > 0;
            if fits {
                room -= 1;
                taken.push(*operation);
            }
            !fits
        });
        let next = opens + window;
        if let Some(beyond) = left.iter().find(|operation| operation.end < next) {
            let what = format!(
                "{} requests were admitted within {} ms, and {} may be",
                taken.len() + 1,
                allowance.window_ms,
                allowance.limit
            );
            taken.push(beyond);
            let shown: Vec<Operation> = taken.into_iter().cloned().collect();
            let offender = shown.len() - 1;
            return Some(Violation::new("allowance", what, shown, offender));
        }
        opens = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::Family;
    use crate::proof::history::{Outcome, Wish};

    const MS: u64 = 1_000_000;

    fn spent(spans: &[(u64, u64)]) -> Vec<Operation> {
        let operation = |(id, (start, end)): (usize, &(u64, u64))| Operation {
            id: id as u64,
            family: Family::Allowance,
            key: "a".into(),
            client: 0,
            target: 0,
            wish: Wish::Spend,
            start: start * MS,
            end: end * MS,
            outcome: Outcome::Answered(Answer::Done),
        };
        spans.iter().enumerate().map(operation).collect()
    }

    fn is_kept(spans: &[(u64, u64)]) -> bool {
        check(&spent(spans), Allowance { limit: 2, window_ms: 10 }).is_none()
    }

    #[test]
    fn a_window_admits_so_many_and_no_more() {
        assert!(is_kept(&[(0, 1), (2, 3)]));
        assert!(!is_kept(&[(0, 1), (2, 3), (4, 5)]));
        assert!(is_kept(&[(0, 1), (2, 3), (11, 12), (13, 14)]));
        assert!(!is_kept(&[(0, 1), (2, 3), (11, 12), (13, 14), (15, 16)]));
    }

    #[test]
    fn what_took_long_may_belong_to_the_next_window() {
        assert!(is_kept(&[(0, 1), (2, 3), (4, 15)]));
        assert!(is_kept(&[(0, 1), (2, 20), (4, 5), (6, 20)]));
        assert!(!is_kept(&[(0, 1), (2, 9), (4, 5), (6, 20)]));
    }
}
