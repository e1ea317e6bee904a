//! A ticket opens once, and one that nobody used opens.

use std::collections::BTreeMap;

use conclave_cluster::state::outcome::Outcome;
use conclave_cluster::state::ticket;

use super::Violation;
use crate::simulation::history::{Command, Event, number};

const NAME: &str = "ticket_opens_once";

pub(crate) fn check(events: &[Event]) -> Result<(), Violation> {
    let mut issued = BTreeMap::new();
    let mut tries: BTreeMap<u64, Vec<&Event>> = BTreeMap::new();
    for event in events {
        match event.command {
            Command::Issue { ticket } => {
                issued.insert(ticket, event);
            }
            Command::Redeem { ticket } => tries.entry(ticket).or_default().push(event),
            _ => {}
        }
    }
    for (ticket, tries) in tries {
        let issue = issued.get(&ticket).copied();
        let opened: Vec<&Event> = tries.iter().copied().filter(|event| grant(event).is_some()).collect();
        if opened.len() > 1 {
            return Err(Violation::shown_by(NAME, format!("ticket {ticket} opened more than once"), opened));
        }
        if let Some(event) = opened.first()
            && (grant(event) != Some(ticket) || !issue.is_some_and(Event::may_count))
        {
            let what = format!("ticket {ticket} opened what it was not issued for");
            return Err(Violation::shown_by(NAME, what, issue.into_iter().chain([*event])));
        }
        for refused in tries.iter().filter(|event| event.refusal().is_some()) {
            let was_there = issue.is_some_and(|issue| issue.outcome().is_some() && issue.precedes(refused));
            let used = |other: &&&Event| other.may_count() && other.asked < refused.answered;
            if was_there && tries.iter().find(used).is_none() {
                let what = format!("ticket {ticket} was refused though nobody had used it");
                return Err(Violation::shown_by(NAME, what, issue.into_iter().chain([*refused])));
            }
        }
    }
    Ok(())
}

/// What a ticket granted that opened.
fn grant(event: &Event) -> Option<u64> {
    match event.outcome() {
        Some(Outcome::Ticket(ticket::Outcome::Redeemed { grant })) => Some(number(grant.bytes())),
        _ => None,
    }
}
