//! What was acknowledged is there, or was handed out.

use std::collections::{BTreeMap, BTreeSet};

use conclave_cluster::state::outcome::Outcome;
use conclave_cluster::state::transfer;

use super::Violation;
use crate::simulation::history::{Command, Event, Fate, Sight};
use crate::simulation::workload::is_acknowledged;

/// To be called with a history whose end reads everything back and drains every mailbox.
pub(crate) fn check(events: &[Event]) -> Result<(), Violation> {
    check_signals(events)?;
    check_chunks(events)
}

fn check_signals(events: &[Event]) -> Result<(), Violation> {
    let mut drained: BTreeMap<u8, BTreeSet<u64>> = BTreeMap::new();
    let mut unsure: BTreeSet<u8> = BTreeSet::new();
    for event in events {
        if let Command::Drain { mailbox, .. } = event.command {
            // What an answer held that nobody got and no idempotency key tells is gone, as the contract says.
            if event.fate == Fate::Unknown {
                unsure.insert(mailbox);
            }
            drained
                .entry(mailbox)
                .or_default()
                .extend(event.signals().unwrap_or_default().iter().map(|it| it.0));
        }
    }
    for event in events {
        let Command::Push { mailbox, value } = event.command else { continue };
        let Some(seq) = event.seq() else { continue };
        if !unsure.contains(&mailbox) && !drained.get(&mailbox).is_some_and(|seqs| seqs.contains(&seq)) {
            let what = format!("signal {value} was queued as {seq} in mailbox {mailbox} and never came out");
            return Err(Violation::shown_by("nothing_acknowledged_is_lost", what, [event]));
        }
    }
    for (mailbox, seqs) in drained.iter().filter(|(mailbox, _)| !unsure.contains(mailbox)) {
        let first = seqs.iter().min().copied().unwrap_or_default();
        if let Some(gap) = (first..first + seqs.len() as u64).find(|seq| !seqs.contains(seq)) {
            let what = format!("signal {gap} of mailbox {mailbox} is missing between others");
            return Err(Violation::new("nothing_acknowledged_is_lost", what));
        }
    }
    Ok(())
}

fn check_chunks(events: &[Event]) -> Result<(), Violation> {
    for event in events {
        let Command::Put { transfer, index, .. } = event.command else { continue };
        let stored = matches!(
            event.outcome(),
            Some(Outcome::Transfer(transfer::Outcome::Stored | transfer::Outcome::Duplicate))
        );
        if !stored || is_acknowledged(transfer) {
            continue;
        }
        for view in events.iter().filter(|view| event.precedes(view)) {
            if let (Command::View { transfer: seen }, Fate::Saw(Sight::Transfer(sight))) =
                (&view.command, &view.fate)
                && *seen == transfer
                && sight.as_ref().is_none_or(|sight| sight.received & (1 << index) == 0)
            {
                let what = format!("chunk {index} of transfer {transfer} was stored and is not there");
                return Err(Violation::shown_by("nothing_acknowledged_is_lost", what, [event, view]));
            }
        }
    }
    Ok(())
}
