//! A violation as a picture: time from left to right, a lane for each client, a bar for each operation.
//!
//! Columns are instants in their order and not to scale, since a history of minutes can hang on two that are a
//! microsecond apart; the axis says what they were. How it looks stands in `picture.svg`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Violation;
use crate::proof::history::Operation;
use crate::report::template::render;

const LEFT: usize = 90;
const TOP: usize = 64;
/// A picture is about so wide, as far as its columns allow.
const WIDTH: usize = 1_600;
const COLUMN_MIN: usize = 56;
const COLUMN_MAX: usize = 180;
const LANE: usize = 46;
/// What is drawn at most; the last ones tell most.
const BARS_MAX: usize = 80;
const LETTER: usize = 7;

#[derive(Serialize)]
struct Picture {
    title: String,
    what: String,
    width: usize,
    height: usize,
    top: usize,
    bottom: usize,
    /// Clients, with how far down they are.
    lanes: Vec<(usize, u32)>,
    /// Of every other one the text stands lower, since neighbours would overlap.
    instants: Vec<(usize, bool, String)>,
    bars: Vec<Bar>,
}

#[derive(Serialize)]
struct Bar {
    x: usize,
    y: usize,
    width: usize,
    /// As long as there is room for it.
    label: String,
    /// All of it.
    line: String,
    offends: bool,
    open: bool,
}

/// Draws it.
pub(super) fn draw(violation: &Violation) -> String {
    let skipped = violation.operations.len().saturating_sub(BARS_MAX);
    let operations = &violation.operations[skipped..];
    let columns = columns(operations);
    let clients: BTreeSet<u32> = operations.iter().map(|operation| operation.client).collect();
    let lanes: BTreeMap<u32, usize> = clients.into_iter().zip((TOP..).step_by(LANE)).collect();
    let column = (WIDTH / (columns.len() + 3)).clamp(COLUMN_MIN, COLUMN_MAX);
    let end = TOP + LANE * lanes.len();
    let bar = |(place, operation): (usize, &Operation)| {
        let first = columns[&operation.start];
        let last = if operation.is_open() { columns.len() + 2 } else { columns[&operation.end] };
        let width = (column * last.saturating_sub(first)).max(6);
        Bar {
            x: LEFT + column * first,
            y: lanes[&operation.client],
            width,
            label: label(operation, width.max(column) / LETTER),
            line: operation.to_string(),
            offends: place + skipped == violation.offender,
            open: operation.is_open(),
        }
    };
    let instant = |(instant, place): (&u64, &usize)| {
        (LEFT + column * place, place % 2 == 1, format!("{:.3}", *instant as f64 / 1e6))
    };
    let picture = Picture {
        title: format!("{} {}: {}", violation.family.name(), violation.key, violation.check),
        what: violation.what.clone(),
        width: LEFT + column * (columns.len() + 3),
        height: end + 56,
        top: TOP,
        bottom: end + 16,
        lanes: lanes.iter().map(|(client, y)| (*y, *client)).collect(),
        instants: columns.iter().map(instant).collect(),
        bars: operations.iter().enumerate().map(bar).collect(),
    };
    render(include_str!("picture.svg"), picture)
}

/// Which instant stands in which column.
fn columns(operations: &[Operation]) -> BTreeMap<u64, usize> {
    let ends = operations.iter().filter(|operation| !operation.is_open()).map(|operation| operation.end);
    let instants: BTreeSet<u64> = operations.iter().map(|operation| operation.start).chain(ends).collect();
    instants.into_iter().zip(0..).collect()
}

fn label(operation: &Operation, room: usize) -> String {
    let label = format!("{} → {}", operation.wish, operation.outcome);
    match label.chars().count() > room {
        true => label.chars().take(room.saturating_sub(1)).chain(['…']).collect(),
        false => label,
    }
}
