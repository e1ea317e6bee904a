//! A client is never admitted more often than its limit in one window, and a window lasts its time.

use std::collections::{BTreeMap, BTreeSet};

use conclave_cluster::state::allowance::Balance;
use conclave_cluster::state::outcome::{Answer, Refusal};

use super::Violation;
use crate::simulation::clock::EPOCH_MS;
use crate::simulation::history::{Command, Event, Fate};
use crate::simulation::plan::Plan;
use crate::simulation::workload::ALLOWANCES;

const NAME: &str = "allowance";

pub(crate) fn check(plan: &Plan, events: &[Event]) -> Result<(), Violation> {
    for (client, (limit, window_ms)) in ALLOWANCES.into_iter().enumerate() {
        let admitted: Vec<(&Event, Balance)> =
            events.iter().filter_map(|event| Some((event, admitted(event, client as u8)?))).collect();
        count_in_windows(plan, limit, &admitted)?;
        count_in_time(plan, limit, window_ms, &admitted)?;
        measure_windows(plan, window_ms, &admitted)?;
    }
    Ok(())
}

/// The balance of a request that was admitted, whatever became of the command itself.
pub(super) fn admitted(event: &Event, client: u8) -> Option<Balance> {
    match (&event.command, &event.fate) {
        (Command::Charge { client: charged }, Fate::Answered(Answer { outcome, balance, .. }))
            if *charged == client =>
        {
            let refused = matches!(outcome, Err(Refusal::Allowance { .. }));
            balance.filter(|_| !refused)
        }
        _ => None,
    }
}

/// By the windows' own account. Where there are cells, what is left is counted by each node for itself, and two may come to
/// the same number.
fn count_in_windows(plan: &Plan, limit: u32, admitted: &[(&Event, Balance)]) -> Result<(), Violation> {
    let mut windows: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for (event, balance) in admitted {
        let left = windows.entry(balance.reset_ms).or_default();
        if left.contains(&balance.remaining) && !plan.shape.may_have_cells() {
            let what = format!("two requests of one window left {} each", balance.remaining);
            return Err(Violation::shown_by(NAME, what, [*event]));
        }
        left.push(balance.remaining);
        if left.len() > limit as usize {
            let window = admitted.iter().filter(|(_, other)| other.reset_ms == balance.reset_ms);
            let what = format!("{} of {limit} requests admitted in one window", left.len());
            return Err(Violation::shown_by(NAME, what, window.map(|(event, _)| *event)));
        }
    }
    Ok(())
}

/// By the time of the requests alone: so many were certainly admitted within less than a window's time, and two
/// windows at most can touch that.
fn count_in_time(
    plan: &Plan,
    limit: u32,
    window_ms: u32,
    admitted: &[(&Event, Balance)],
) -> Result<(), Violation> {
    let span = (u64::from(window_ms) * 1000).saturating_sub(plan.clock_error_ms * 1000);
    for (first, _) in admitted {
        let within = admitted.iter().filter(|(it, _)| it.start >= first.start && it.end < first.start + span);
        let within: Vec<&Event> = within.map(|(event, _)| *event).collect();
        if within.len() > 2 * limit as usize {
            let what = format!("{} requests admitted where two windows hold {}", within.len(), 2 * limit);
            return Err(Violation::shown_by(NAME, what, within));
        }
    }
    Ok(())
}

fn measure_windows(plan: &Plan, window_ms: u32, admitted: &[(&Event, Balance)]) -> Result<(), Violation> {
    let resets: BTreeSet<u64> = admitted.iter().map(|(_, balance)| balance.reset_ms).collect();
    let resets: Vec<u64> = resets.into_iter().collect();
    if let Some(pair) = resets.windows(2).find(|pair| pair[1] - pair[0] < u64::from(window_ms)) {
        let touching = admitted.iter().filter(|(_, balance)| pair.contains(&balance.reset_ms));
        let what = format!("windows of {window_ms} ms that end at {} and {} overlap", pair[0], pair[1]);
        return Err(Violation::shown_by(NAME, what, touching.map(|(event, _)| *event)));
    }
    for (event, balance) in admitted {
        let opened_ms = balance.reset_ms - u64::from(window_ms);
        let soonest = opened_ms.saturating_sub(plan.clock_error_ms);
        let latest = balance.reset_ms + plan.clock_error_ms;
        if EPOCH_MS + event.end / 1000 < soonest || EPOCH_MS + event.start / 1000 > latest {
            let (from, to) = (opened_ms as i64 - EPOCH_MS as i64, balance.reset_ms as i64 - EPOCH_MS as i64);
            let what =
                format!("a request was charged to a window from {from} to {to} ms, which is another time");
            return Err(Violation::shown_by(NAME, what, [*event]));
        }
    }
    Ok(())
}
