//! A violation as a picture: time from left to right, a lane for each client, a bar for each operation.
//!
//! Columns are instants in their order and not to scale, since a history of minutes can hang on two that are a
//! microsecond apart; the axis says what they were.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Violation;
use crate::proof::history::Operation;
use crate::report::html::escape;

const LEFT: usize = 90;
const TOP: usize = 64;
/// A picture is about so wide, as far as its columns allow.
const WIDTH: usize = 1_600;
const COLUMN_MIN: usize = 56;
const COLUMN_MAX: usize = 180;
const LANE: usize = 46;
const BAR: usize = 24;
/// What is drawn at most; the last ones tell most.
const BARS_MAX: usize = 80;
const LETTER: usize = 7;

/// Draws it.
pub(super) fn draw(violation: &Violation) -> String {
    let skipped = violation.operations.len().saturating_sub(BARS_MAX);
    let operations = &violation.operations[skipped..];
    let columns = columns(operations);
    let lanes: BTreeMap<u32, usize> = {
        let mut clients: Vec<u32> = operations.iter().map(|operation| operation.client).collect();
        clients.sort_unstable();
        clients.dedup();
        clients.into_iter().enumerate().map(|(lane, client)| (client, lane)).collect()
    };
    let column = (WIDTH / (columns.len() + 3)).clamp(COLUMN_MIN, COLUMN_MAX);
    let (width, height) = (LEFT + column * (columns.len() + 3), TOP + LANE * lanes.len() + 56);
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="monospace" font-size="11">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="12" y="20" font-size="14">{}</text>
<text x="12" y="38">{}</text>
"##,
        escape(&format!("{} {}: {}", violation.family.name(), violation.key, violation.check)),
        escape(&violation.what),
    );
    for (client, lane) in &lanes {
        let y = TOP + LANE * lane + BAR / 2 + 4;
        let _ = writeln!(svg, r##"<text x="12" y="{y}" fill="#555555">client {client}</text>"##);
        let y = TOP + LANE * lane + BAR + 16;
        let _ = writeln!(svg, r##"<line x1="0" y1="{y}" x2="{width}" y2="{y}" stroke="#eeeeee"/>"##);
    }
    for (place, operation) in operations.iter().enumerate() {
        let first = columns[&operation.start];
        let last = if operation.is_open() { columns.len() + 2 } else { columns[&operation.end] };
        let top = TOP + LANE * lanes[&operation.client];
        bar(&mut svg, operation, place + skipped == violation.offender, (first, last), (column, top));
    }
    axis(&mut svg, &columns, column, TOP + LANE * lanes.len() + 16);
    svg + "</svg>\n"
}

/// Which instant stands in which column.
fn columns(operations: &[Operation]) -> BTreeMap<u64, usize> {
    let ends = operations.iter().filter(|operation| !operation.is_open()).map(|operation| operation.end);
    let mut instants: Vec<u64> = operations.iter().map(|operation| operation.start).chain(ends).collect();
    instants.sort_unstable();
    instants.dedup();
    instants.into_iter().enumerate().map(|(column, instant)| (instant, column)).collect()
}

fn bar(
    svg: &mut String,
    operation: &Operation,
    offends: bool,
    (first, last): (usize, usize),
    (column, top): (usize, usize),
) {
    let (x, width) = (LEFT + column * first, (column * last.saturating_sub(first)).max(6));
    let (fill, stroke, dashes) = match (offends, operation.is_open()) {
        (true, _) => ("#f8c8c8", "#c00000", ""),
        (false, true) => ("#f4f4f4", "#999999", r#" stroke-dasharray="4 3""#),
        (false, false) => ("#d4e4f7", "#3a6ea5", ""),
    };
    let label = format!("{} → {}", operation.wish, operation.outcome);
    let room = width.max(column) / LETTER;
    let shown: String = match label.chars().count() > room {
        true => label.chars().take(room.saturating_sub(1)).chain(['…']).collect(),
        false => label.clone(),
    };
    let _ = writeln!(
        svg,
        r#"<g><title>{}</title><rect x="{x}" y="{top}" width="{width}" height="{BAR}" rx="3" fill="{fill}" stroke="{stroke}"{dashes}/><text x="{}" y="{}">{}</text></g>"#,
        escape(&operation.to_string()),
        x + 4,
        top + BAR / 2 + 4,
        escape(&shown),
    );
}

fn axis(svg: &mut String, columns: &BTreeMap<u64, usize>, width: usize, y: usize) {
    for (instant, column) in columns {
        let x = LEFT + width * column;
        // Alternating heights, since neighbours would overlap.
        let text_y = y + 12 + 14 * (column % 2);
        let milliseconds = *instant as f64 / 1e6;
        let _ = writeln!(
            svg,
            r##"<line x1="{x}" y1="{TOP}" x2="{x}" y2="{y}" stroke="#f0f0f0"/><text x="{x}" y="{text_y}" fill="#777777" font-size="9">{milliseconds:.3} ms</text>"##
        );
    }
}
