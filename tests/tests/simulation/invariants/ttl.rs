//! Nothing outlives its TTL, and nothing dies before it.

use std::collections::BTreeMap;

use super::Violation;
use crate::simulation::history::{Command, Event, Fate, Sight};
use crate::simulation::plan::Plan;

const NAME: &str = "ttl";

pub(crate) fn check(plan: &Plan, events: &[Event]) -> Result<(), Violation> {
    let error = plan.clock_error_ms * 1000;
    let mut planted = BTreeMap::new();
    for event in events {
        if let Command::Plant { name, ttl_ms, .. } = event.command {
            planted.insert(name, (event, u64::from(ttl_ms) * 1000));
        }
    }
    for probe in events {
        let (Command::Probe { name, .. }, Fate::Saw(Sight::Present(present))) = (&probe.command, &probe.fate)
        else {
            continue;
        };
        let Some(&(plant, ttl)) = planted.get(name) else { continue };
        // What is not known to have been made may be made late, or never.
        if *present && plant.fate != Fate::Unknown && probe.start > plant.end + ttl + error {
            return Err(Violation::shown_by(NAME, "it outlives its TTL", [plant, probe]));
        }
        let was_there = plant.outcome().is_some() && plant.precedes(probe);
        if !present && was_there && probe.end + error < plant.start + ttl {
            return Err(Violation::shown_by(NAME, "it died before its TTL", [plant, probe]));
        }
        if *present && plant.refusal().is_some() {
            return Err(Violation::shown_by(NAME, "it was refused, and is there", [plant, probe]));
        }
    }
    Ok(())
}
