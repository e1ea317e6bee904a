//! What is surely known of how long incarnations lived. In microseconds of virtual time.

use std::collections::BTreeMap;

use conclave_cluster::state::incarnation::Incarnation;
use conclave_cluster::state::slot::CellId;

use crate::simulation::history::{Command, Event, Fate};
use crate::simulation::plan::Plan;

/// All renewals that may count, by cell and incarnation. What hangs on an incarnation may be in any of the cells, and in one
/// after the other.
pub(super) struct Incarnations<'a> {
    renewals: BTreeMap<CellId, BTreeMap<Incarnation, Vec<&'a Event>>>,
    deadline: u64,
    lease: u64,
    /// How far a stamp may be off.
    error: u64,
}

impl<'a> Incarnations<'a> {
    pub(super) fn of(plan: &Plan, events: &'a [Event]) -> Self {
        let mut renewals: BTreeMap<CellId, BTreeMap<Incarnation, Vec<&Event>>> = BTreeMap::new();
        for event in events {
            if let Command::Renew { incarnation, cell } = event.command
                && event.may_count()
            {
                renewals.entry(cell).or_default().entry(incarnation).or_default().push(event);
            }
        }
        let deadline = plan.deadline.as_micros() as u64;
        let (lease, error) = (u64::from(plan.lease_ms) * 1000, plan.clock_error_ms * 1000);
        Self { renewals, deadline, lease, error }
    }

    fn renewals(&self, incarnation: &Incarnation) -> impl Iterator<Item = &'a Event> {
        self.renewals.values().filter_map(|cell| cell.get(incarnation)).flatten().copied()
    }

    /// When a command was carried out at the latest, if it was. A leader may still have it in hand for a while after its
    /// node has given up waiting.
    pub(super) fn latest(&self, event: &Event) -> u64 {
        match event.fate {
            Fate::Unknown => event.start + 2 * self.deadline + self.error,
            _ => event.end,
        }
    }

    /// By when an incarnation is surely over, for a reader who finds no renewal that is asked later than himself.
    pub(super) fn over_by(&self, incarnation: &Incarnation, reader: &Event) -> u64 {
        let renewals = self.renewals(incarnation).filter(|renewal| renewal.asked < reader.answered);
        renewals.map(|renewal| self.latest(renewal) + self.lease + self.error).max().unwrap_or(0)
    }

    /// Whether an incarnation surely lived from before one event until after another, in all cells that there were by then.
    pub(super) fn lives_through(&self, incarnation: &Incarnation, from: &Event, until: &Event) -> bool {
        let is_known =
            |cell: &BTreeMap<_, Vec<&Event>>| cell.values().flatten().any(|it| it.asked < until.answered);
        let mut known = self.renewals.values().filter(|cell| is_known(cell));
        known.all(|cell| self.lives_in(cell.get(incarnation).map_or(&[], Vec::as_slice), from, until))
    }

    fn lives_in(&self, renewals: &[&Event], from: &Event, until: &Event) -> bool {
        let mut covered = 0;
        for renewal in renewals.iter().filter(|renewal| renewal.outcome().is_some()) {
            // The first must be there already, each of the others must come in time.
            if renewal.precedes(from) || renewal.end + self.error < covered {
                covered = (renewal.start + self.lease).saturating_sub(self.error).max(covered);
            }
        }
        until.end != u64::MAX && until.end + self.error < covered
    }
}
