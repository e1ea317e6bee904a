//! A mailbox that is pushed to a socket: in order, again only until it is confirmed, and nothing left out.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Violation;
use super::linearizability::CERTAIN;
use crate::proof::Ttls;
use crate::proof::history::{Answer, Operation, Wish};

/// A mailbox that was empty for long begins anew, this far above its last number at least.
const GAP_MAX: u64 = 1 << 20;

/// Looks at everything that was queued in one mailbox and pushed from it.
pub(super) fn check(operations: &[Operation], ttls: &Ttls) -> Option<Violation> {
    let mut operations: Vec<&Operation> = operations.iter().collect();
    operations.sort_by_key(|operation| operation.end);
    let signals = operations.iter().filter_map(|operation| match operation.wish {
        Wish::Signal { number } => Some((number, *operation)),
        _ => None,
    });
    let mut told = Told {
        signals: signals.collect(),
        seqs: BTreeMap::new(),
        numbers: HashMap::new(),
        last: None,
        confirmed: 0,
        perhaps_confirmed: 0,
        certain: (ttls.signal_ms as f64 * 1e6 * CERTAIN) as u64,
    };
    operations.iter().find_map(|operation| told.take(operation))
}

/// What is known up to some moment.
struct Told<'a> {
    signals: HashMap<u64, &'a Operation>,
    seqs: BTreeMap<u64, (u64, &'a Operation)>,
    numbers: HashMap<u64, u64>,
    /// The last signal pushed since the socket was there, or came back.
    last: Option<u64>,
    /// Up to here nothing may come again.
    confirmed: u64,
    /// Up to here it need not come again, since a confirmation may have arrived whose answer did not.
    perhaps_confirmed: u64,
    /// Younger than this a signal has not expired.
    certain: u64,
}

fn show(check: &'static str, what: String, shown: &[&Operation]) -> Option<Violation> {
    Some(Violation::shown_by(check, what, shown))
}

impl<'a> Told<'a> {
    fn take(&mut self, operation: &'a Operation) -> Option<Violation> {
        match (&operation.wish, operation.answer()) {
            (Wish::Enter, Some(_)) => self.last = None,
            (Wish::Confirm { seq }, told) => {
                self.perhaps_confirmed = self.perhaps_confirmed.max(*seq);
                if told.is_some() {
                    self.confirmed = self.confirmed.max(*seq);
                }
            }
            (Wish::Hear, Some(Answer::Placed { offset, number, .. })) => {
                return self.hear(*offset, *number, operation);
            }
            (Wish::Part, Some(_)) => return self.part(operation),
            _ => {}
        }
        None
    }

    fn hear(&mut self, seq: u64, number: u64, operation: &'a Operation) -> Option<Violation> {
        let Some(signal) = self.signals.get(&number).copied() else {
            return show("contract", format!("nobody sent signal {number}"), &[operation]);
        };
        if let Some((other, before)) = self.seqs.get(&seq).filter(|(other, _)| *other != number) {
            let what = format!("signals {other} and {number} both have place {seq}");
            return show("order", what, &[signal, before, operation]);
        }
        if let Some(other) = self.numbers.get(&number).filter(|other| **other != seq) {
            let what = format!("signal {number} was queued twice, at {other} and {seq}");
            return show("once", what, &[signal, self.seqs[other].1, operation]);
        }
        if seq <= self.confirmed {
            let what = format!("signal {number} came again after it was confirmed");
            return show("once", what, &[signal, self.seqs.get(&seq).map_or(signal, |it| it.1), operation]);
        }
        if let Some(last) = self.last.filter(|last| seq <= *last) {
            let what = format!("place {seq} was pushed after place {last}");
            return show("order", what, &[self.seqs[&last].1, operation]);
        }
        // On each connection it goes on behind what was confirmed. With what number the first one begins is the server's.
        let before = self.last.or((self.confirmed > 0).then_some(self.confirmed));
        let known = || self.seqs.keys().next().copied();
        let expected = before.map(|before| before + 1).or_else(known).unwrap_or(seq);
        let expected = if seq.saturating_sub(expected) > GAP_MAX { seq } else { expected };
        for gap in expected..seq {
            if let Some(violation) = self.gap(gap, operation) {
                return Some(violation);
            }
        }
        self.last = Some(seq);
        self.seqs.entry(seq).or_insert((number, operation));
        self.numbers.insert(number, seq);
        None
    }

    /// A place that was left out, which is right only if its signal may have expired.
    fn gap(&self, seq: u64, operation: &Operation) -> Option<Violation> {
        if seq <= self.perhaps_confirmed && self.seqs.contains_key(&seq) {
            return None;
        }
        let (number, before) = match self.seqs.get(&seq) {
            // It was pushed on an earlier connection and was not confirmed.
            Some((number, _)) => (*number, None),
            // Its signal was queued after the one before it.
            None => {
                let (_, (number, before)) = self.seqs.range(..seq).next_back()?;
                (*number, Some(*before))
            }
        };
        let signal = self.signals.get(&number)?;
        let young = operation.end.saturating_sub(signal.start) < self.certain;
        let what = format!("place {seq} was left out");
        young.then(|| show("lost", what, &[signal, before.unwrap_or(signal), operation])).flatten()
    }

    /// Everything was to be heard by now that was acknowledged and has not expired.
    fn part(&self, operation: &Operation) -> Option<Violation> {
        let heard: HashSet<u64> = self.numbers.keys().copied().collect();
        let mut acknowledged: Vec<_> =
            self.signals.iter().filter(|(_, signal)| signal.answer() == Some(&Answer::Done)).collect();
        acknowledged.sort_by_key(|(_, signal)| signal.start);
        let lost = acknowledged.into_iter().find(|(number, signal)| {
            !heard.contains(number) && operation.end.saturating_sub(signal.start) < self.certain
        });
        let (number, signal) = lost?;
        show("lost", format!("signal {number} was never pushed"), &[signal, operation])
    }
}
