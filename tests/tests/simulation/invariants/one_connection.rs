//! A session, and a peer id, has one connection at a time: nobody sees it on one that lost it, and nobody who has no
//! right to takes it from one that lives. Where a later connection of a session was, an earlier one enters no room and
//! claims nothing, though all that was there is gone.

use conclave_cluster::state::limits::DEPARTURE_MS;

use super::Violation;
use super::holds::{Hold, Take};
use super::incarnations::Incarnations;
use crate::simulation::history::{Event, Tie};
use crate::simulation::plan::Plan;

const NAME: &str = "one_connection";

pub(crate) fn check(plan: &Plan, events: &[Event]) -> Result<(), Violation> {
    let incarnations = Incarnations::of(plan, events);
    for hold in Hold::all(events) {
        check_sights(&hold)?;
        check_takes(&hold, &incarnations)?;
        check_turns(plan, &hold)?;
    }
    Ok(())
}

fn check_sights(hold: &Hold<'_>) -> Result<(), Violation> {
    for (tie, reader) in &hold.sights {
        let Tie::At(at) = tie else { continue };
        // The same connection may have taken it more than once.
        let takes = hold.takes.iter().filter(|take| take.at == *at && take.event.asked < reader.answered);
        let takes: Vec<_> = takes.filter(|take| take.event.may_count()).collect();
        if takes.is_empty() {
            let what = format!("{} is on a connection that it was never given", hold.what);
            return Err(Violation::shown_by(NAME, what, [*reader]));
        }
        let ends: Vec<_> = takes.iter().filter_map(|take| hold.ended_by(take, reader)).collect();
        if ends.len() == takes.len() {
            let what = format!("{} is seen on a connection that has lost it", hold.what);
            let takes = takes.into_iter().map(|take| take.event);
            return Err(Violation::shown_by(NAME, what, takes.chain(ends).chain([*reader])));
        }
    }
    Ok(())
}

fn check_takes(hold: &Hold<'_>, incarnations: &Incarnations<'_>) -> Result<(), Violation> {
    let done = |take: &&Take<'_>| take.event.outcome().is_some();
    for second in hold.takes.iter().filter(done).filter(|take| take.gently) {
        for first in hold.takes.iter().filter(done) {
            if first.owner != second.owner
                && first.event.precedes(second.event)
                && !hold.may_have_ended(first, second.event)
                && incarnations.lives_through(&first.at.incarnation, first.event, second.event)
            {
                let what = format!("{} was taken from a connection that lives", hold.what);
                return Err(Violation::shown_by(NAME, what, [first.event, second.event]));
            }
        }
    }
    Ok(())
}

/// A session's turns grow, and under other keys none comes after a greater one.
fn check_turns(plan: &Plan, hold: &Hold<'_>) -> Result<(), Violation> {
    let remembered = (u64::from(DEPARTURE_MS) - plan.clock_error_ms) * 1000;
    let done = |take: &&Take<'_>| take.event.outcome().is_some();
    for second in hold.takes.iter().filter(done) {
        for first in hold.takes.iter().filter(done) {
            if let (Some((session, before)), Some((same, generation))) = (first.generation, second.generation)
                && session == same
                && generation < before
                && first.event.precedes(second.event)
                && second.event.end.saturating_sub(first.event.start) < remembered
            {
                let what = format!("{} was taken by a connection that had lost its session", hold.what);
                return Err(Violation::shown_by(NAME, what, [first.event, second.event]));
            }
        }
    }
    Ok(())
}
