//! A command is carried out once or not at all: no signal shows up twice, and none that was refused shows up.

use std::collections::BTreeMap;

use super::Violation;
use crate::simulation::history::{Command, Event, Fate};

pub(crate) fn check(events: &[Event]) -> Result<(), Violation> {
    let mut pushes = BTreeMap::new();
    for event in events {
        if let Command::Push { value, .. } = event.command {
            pushes.insert(value, event);
        }
    }
    let mut seen: BTreeMap<u64, (u64, &Event)> = BTreeMap::new();
    for event in events {
        for (seq, value) in event.signals().into_iter().flatten() {
            let Some(push) = pushes.get(&value) else {
                let what = format!("signal {value} was never pushed");
                return Err(Violation::shown_by("nothing_applied_twice", what, [event]));
            };
            if matches!(push.fate, Fate::Never) || push.refusal().is_some() {
                let what = format!("signal {value} was refused, and is there");
                return Err(Violation::shown_by("nothing_applied_twice", what, [push, event]));
            }
            // The same number twice is a second delivery, which is another invariant's affair.
            match seen.insert(value, (seq, event)) {
                Some((other, first)) if other != seq => {
                    let what = format!("signal {value} was queued as {other} and as {seq}");
                    return Err(Violation::shown_by("nothing_applied_twice", what, [*push, first, event]));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
