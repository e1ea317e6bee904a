//! What must be true whatever goes wrong.

pub(crate) mod allowance;
pub(crate) mod bounds;
pub(crate) mod consumed_once;
mod holds;
pub(crate) mod incarnation_leases;
mod incarnations;
pub(crate) mod linearizable;
pub(crate) mod nothing_acknowledged_is_lost;
pub(crate) mod nothing_applied_twice;
pub(crate) mod one_connection;
pub(crate) mod replicas_agree;
pub(crate) mod room_order;
pub(crate) mod shares;
pub(crate) mod slots;
pub(crate) mod ticket_opens_once;
pub(crate) mod tokens;
pub(crate) mod ttl;

use super::history::Event;
use super::plan::Plan;

/// An invariant that does not hold, and the least that shows it.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) context: String,
}

impl Violation {
    pub(crate) fn new(invariant: &'static str, context: impl Into<String>) -> Self {
        Self { invariant, context: context.into() }
    }

    /// With the lines of the events that show it.
    pub(crate) fn shown_by<'a>(
        invariant: &'static str,
        what: impl Into<String>,
        events: impl IntoIterator<Item = &'a Event>,
    ) -> Self {
        let lines = events.into_iter().map(|event| format!("\n    {}", event.line()));
        Self::new(invariant, what.into() + &lines.take(24).collect::<String>())
    }
}

/// Checks the whole history, once everything was read back.
pub(crate) fn check_history(plan: &Plan, events: &[Event]) -> Result<(), Violation> {
    let checks = [
        nothing_applied_twice::check(events),
        consumed_once::check(events),
        nothing_acknowledged_is_lost::check(events),
        allowance::check(plan, events),
        ttl::check(plan, events),
        room_order::check(plan, events),
        ticket_opens_once::check(events),
        one_connection::check(plan, events),
        incarnation_leases::check(plan, events),
        linearizable::check(events),
    ];
    checks.into_iter().try_for_each(|checked| plan.mind(checked))
}

impl Plan {
    /// Passes over a violation of an invariant that is not minded.
    pub(crate) fn mind(&self, checked: Result<(), Violation>) -> Result<(), Violation> {
        checked.or_else(|violation| match self.only {
            Some(only) if only != violation.invariant => Ok(()),
            Some(_) | None => Err(violation),
        })
    }
}
