//! Each chunk and each signal is handed out once, signals in their order.

use std::collections::BTreeMap;

use super::Violation;
use crate::simulation::history::{Command, Event};
use crate::simulation::workload::is_acknowledged;

pub(crate) fn check(events: &[Event]) -> Result<(), Violation> {
    let mut chunks: BTreeMap<(u8, u16), &Event> = BTreeMap::new();
    let mut signals: BTreeMap<(u8, u64), &Event> = BTreeMap::new();
    let mut drains: BTreeMap<u8, Vec<(&Event, u64, u64)>> = BTreeMap::new();
    for event in events {
        match event.command {
            // A transfer that was acknowledged and freed may begin anew; the model of transfers looks after those.
            Command::Take { transfer } if !is_acknowledged(transfer) => {
                if let Some((index, _)) = event.chunk()
                    && let Some(first) = chunks.insert((transfer, index), event)
                {
                    let what = format!("chunk {index} of transfer {transfer} was handed out twice");
                    return Err(Violation::shown_by("consumed_once", what, [first, event]));
                }
            }
            Command::Drain { mailbox, .. } => {
                let handed_out = event.signals().unwrap_or_default();
                if !handed_out.is_sorted() {
                    let what = format!("signals of mailbox {mailbox} were handed out of order");
                    return Err(Violation::shown_by("consumed_once", what, [event]));
                }
                for (seq, _) in &handed_out {
                    if let Some(first) = signals.insert((mailbox, *seq), event) {
                        let what = format!("signal {seq} of mailbox {mailbox} was handed out twice");
                        return Err(Violation::shown_by("consumed_once", what, [first, event]));
                    }
                }
                if let (Some(first), Some(last)) = (handed_out.first(), handed_out.last()) {
                    drains.entry(mailbox).or_default().push((event, first.0, last.0));
                }
            }
            _ => {}
        }
    }
    for drains in drains.values() {
        for (one, _, last) in drains {
            let later = drains.iter().filter(|(other, _, _)| one.precedes(other));
            if let Some((other, _, _)) = later.into_iter().find(|(_, first, _)| first < last) {
                let what = "an older signal was handed out after a newer one";
                return Err(Violation::shown_by("consumed_once", what, [*one, *other]));
            }
        }
    }
    Ok(())
}
