//! What hangs on an incarnation is let go when the incarnation is over, and not before.

use super::Violation;
use super::holds::{Hold, Take};
use super::incarnations::Incarnations;
use crate::simulation::history::{Event, Tie};
use crate::simulation::plan::Plan;

const NAME: &str = "host_leases";

pub(crate) fn check(plan: &Plan, events: &[Event]) -> Result<(), Violation> {
    let incarnations = Incarnations::of(plan, events);
    for hold in Hold::all(events) {
        let clock = LogClock::of(plan, events, &hold);
        for (tie, reader) in &hold.sights {
            check_held(&hold, *tie, reader, &incarnations)?;
            let kept = match tie {
                Tie::At(at) => reader.start > incarnations.over_by(&at.incarnation, reader),
                Tie::Somewhere => clock.is_over(&hold, reader, &incarnations),
                Tie::Loose | Tie::Gone => false,
            };
            if kept {
                let what = format!("{} hangs on a host that is over", hold.what);
                let takes = hold.takes.iter().map(|take| take.event).filter(|it| it.asked < reader.asked);
                return Err(Violation::shown_by(NAME, what, takes.chain([*reader])));
            }
        }
    }
    Ok(())
}

/// That what was taken on an incarnation that lives, and not given up, is there.
fn check_held(
    hold: &Hold<'_>,
    tie: Tie,
    reader: &Event,
    incarnations: &Incarnations<'_>,
) -> Result<(), Violation> {
    for take in hold.takes.iter().filter(|take| take.event.outcome().is_some()) {
        if tie != Tie::At(take.at)
            && tie != Tie::Somewhere
            && take.event.precedes(reader)
            && !hold.may_have_ended(take, reader)
            && incarnations.lives_through(&take.at.incarnation, take.event, reader)
        {
            let what = format!("{} was let go by a host that lives", hold.what);
            return Err(Violation::shown_by(NAME, what, [take.event, reader]));
        }
    }
    Ok(())
}

/// What was surely carried out when. A member whose incarnation is over is let go by what is carried out next, and is gone
/// with what is carried out one grace after that; while there is no leader, neither happens. Where there may be cells, only
/// what is about the same room is surely carried out in the cell that has the room.
struct LogClock<'a> {
    /// By start.
    writes: Vec<&'a Event>,
    grace: u64,
    error: u64,
}

impl<'a> LogClock<'a> {
    fn of(plan: &Plan, events: &'a [Event], hold: &Hold<'_>) -> Self {
        let counts = |event: &Event| !plan.shape.may_have_cells() || event.command.room() == hold.room;
        let writes = events.iter().filter(|event| event.outcome().is_some() && counts(event));
        let mut writes: Vec<&Event> = writes.collect();
        writes.sort_by_key(|event| event.start);
        let (grace, error) = (u64::from(plan.grace_ms) * 1000, plan.clock_error_ms * 1000);
        Self { writes, grace, error }
    }

    /// Whether whatever a thing may hang on is surely over for a reader, and let go.
    fn is_over(&self, hold: &Hold<'_>, reader: &Event, incarnations: &Incarnations<'_>) -> bool {
        let takes = hold.takes.iter().filter(|take| take.event.may_count());
        let takes = takes.filter(|take| take.event.asked < reader.answered);
        let over = |take: &Take<'_>| {
            incarnations
                .over_by(&take.at.incarnation, reader)
                .max(incarnations.latest(take.event) + self.error)
        };
        let over = takes.map(over).max().unwrap_or(0);
        self.after(over, reader)
            .is_some_and(|found| self.after(found.end + self.grace + self.error, reader).is_some())
    }

    /// What was surely carried out after an instant and before a reader looked, the earliest of that.
    fn after(&self, instant: u64, reader: &Event) -> Option<&'a Event> {
        let from = self.writes.partition_point(|event| event.start <= instant);
        let writes = self.writes[from..].iter().copied().filter(|event| event.precedes(reader));
        writes.min_by_key(|event| event.end)
    }
}
