//! A room: one order for all its members, positions that grow by one, each message told once, and none left out in silence.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Violation;
use crate::proof::history::{Answer, Operation, Wish};

/// Looks at everything that was said and heard in one room.
pub(super) fn check(operations: &[Operation]) -> Option<Violation> {
    let mut operations: Vec<&Operation> = operations.iter().collect();
    operations.sort_by_key(|operation| operation.end);
    let order = Order::of(&operations)?;
    let members = order.members(&operations);
    let order = match order.violation {
        Some(violation) => return Some(violation),
        None => order,
    };
    members.or_else(|| order.contradicts_the_clock(&operations))
}

/// A position in the room.
type Position = (Arc<str>, u64);

/// What stands where.
struct Order<'a> {
    /// Who said so first.
    positions: BTreeMap<Position, (u64, &'a Operation)>,
    published: HashMap<u64, &'a Operation>,
    violation: Option<Violation>,
}

fn position(operation: &Operation) -> Option<(Position, u64)> {
    match operation.answer() {
        Some(Answer::Placed { epoch, offset, number }) => Some(((epoch.clone(), *offset), *number)),
        _ => None,
    }
}

impl<'a> Order<'a> {
    /// What all members and publishers say together. Always something; an `Option` so that callers can use `?`.
    fn of(operations: &[&'a Operation]) -> Option<Self> {
        let mut positions: BTreeMap<Position, (u64, &Operation)> = BTreeMap::new();
        let mut numbers: HashMap<u64, (Position, &Operation)> = HashMap::new();
        let publishes = operations.iter().filter_map(|operation| match operation.wish {
            Wish::Publish { number } => Some((number, *operation)),
            _ => None,
        });
        let published: HashMap<u64, &Operation> = publishes.collect();
        let mut violation = None;
        for operation in operations {
            let Some((position, number)) = position(operation) else { continue };
            if !published.contains_key(&number) {
                violation =
                    Some(Violation::shown_by("contract", format!("nobody said {number}"), &[operation]));
                break;
            }
            if let Some((other, before)) = positions.get(&position).filter(|(other, _)| *other != number) {
                let what = format!("{other} and {number} stand in the same position, {}", position.1);
                violation =
                    Some(Violation::shown_by("order", what, &[published[&number], before, operation]));
                break;
            }
            if let Some((other, before)) = numbers.get(&number).filter(|(other, _)| *other != position) {
                let what = format!("{number} stands in two positions, {} and {}", other.1, position.1);
                violation = Some(Violation::shown_by("once", what, &[published[&number], before, operation]));
                break;
            }
            positions.entry(position.clone()).or_insert((number, operation));
            numbers.entry(number).or_insert((position, operation));
        }
        Some(Self { positions, published, violation })
    }

    /// What each member was told, one after the other.
    fn members(&self, operations: &[&'a Operation]) -> Option<Violation> {
        let mut members: BTreeMap<u32, Vec<&Operation>> = BTreeMap::new();
        for operation in operations {
            if matches!(operation.wish, Wish::Enter | Wish::Hear | Wish::Part) {
                members.entry(operation.client).or_default().push(operation);
            }
        }
        members.values().find_map(|told| self.member(told))
    }

    fn member(&self, told: &[&'a Operation]) -> Option<Violation> {
        // The last position told, and by what.
        let mut last: Option<(Position, &Operation)> = None;
        for operation in told {
            match (&operation.wish, operation.answer()) {
                (Wish::Enter, Some(Answer::Entered { epoch, offset, recovered }))
                    if !recovered || last.is_none() =>
                {
                    last = Some(((epoch.clone(), *offset), operation));
                }
                (Wish::Hear, _) => {
                    let (position, _) = position(operation)?;
                    if let Some((before, by)) = &last
                        && let Some(violation) = self.step(before, by, &position, operation)
                    {
                        return Some(violation);
                    }
                    last = Some((position, operation));
                }
                (Wish::Part, Some(_)) => {
                    let (before, by) = last.as_ref()?;
                    let beyond = self.positions.range((before.0.clone(), before.1 + 1)..);
                    // What nobody had been told, and nobody been promised, when it left may have come later.
                    let mut missed = beyond
                        .take_while(|((epoch, _), _)| *epoch == before.0)
                        .filter(|(_, (_, said))| said.end <= operation.start);
                    return missed.find_map(|(position, _)| self.missed(position, by, operation));
                }
                _ => {}
            }
        }
        None
    }

    /// From one position to the next that was told.
    fn step(
        &self,
        before: &Position,
        by: &Operation,
        position: &Position,
        operation: &Operation,
    ) -> Option<Violation> {
        if position.0 != before.0 {
            let what = "the numbering changed without a word".to_owned();
            return Some(Violation::shown_by("order", what, &[by, operation]));
        }
        if position.1 <= before.1 {
            let what = format!("position {} was told after position {}", position.1, before.1);
            let check = if position.1 == before.1 { "once" } else { "order" };
            return Some(Violation::shown_by(check, what, &[by, operation]));
        }
        (before.1 + 1..position.1)
            .find_map(|offset| self.missed(&(position.0.clone(), offset), by, operation))
    }

    /// A position that a member was not told. Nobody is told what he said himself.
    fn missed(&self, position: &Position, by: &Operation, operation: &Operation) -> Option<Violation> {
        let told = match self.positions.get(position) {
            Some((number, said)) => {
                let publish = self.published[number];
                if publish.client == operation.client {
                    return None;
                }
                let what =
                    format!("{number} at {} was never told to client {}", position.1, operation.client);
                return Some(Violation::shown_by("lost", what, &[publish, said, by, operation]));
            }
            None => self.published.values().any(|publish| {
                publish.client == operation.client && publish.is_open() && publish.start < operation.end
            }),
        };
        let what = format!("position {} was left out", position.1);
        (!told).then(|| Violation::shown_by("lost", what, &[by, operation]))
    }

    /// What was said after something had been acknowledged stands behind it.
    fn contradicts_the_clock(&self, operations: &[&'a Operation]) -> Option<Violation> {
        let mut acknowledged: Vec<(Position, &Operation)> = Vec::new();
        for operation in operations {
            if let (Wish::Publish { .. }, Some((position, _))) = (&operation.wish, position(operation)) {
                acknowledged.push((position, operation));
            }
        }
        // By ends, which ascend, with the highest position so far.
        let mut highest: Vec<(u64, &Position, &Operation)> = Vec::new();
        for (position, operation) in &acknowledged {
            let top = match highest.last() {
                Some((_, top, by)) if top.0 == position.0 && top.1 > position.1 => (operation.end, *top, *by),
                _ => (operation.end, position, *operation),
            };
            highest.push(top);
        }
        acknowledged.iter().find_map(|(position, operation)| {
            let before = highest.partition_point(|(end, ..)| *end < operation.start);
            let (_, top, by) = highest[..before].last()?;
            let what = format!("position {} was taken before position {}", top.1, position.1);
            (top.0 == position.0 && top.1 > position.1)
                .then(|| Violation::shown_by("order", what, &[by, operation]))
        })
    }
}
