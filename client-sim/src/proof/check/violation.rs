//! A promise that was not kept, and what shows it.

use std::sync::Arc;

use serde::Serialize;

use super::picture;
use crate::proof::Family;
use crate::proof::history::Operation;

/// A promise that was not kept.
#[derive(Debug, Clone, Serialize)]
pub struct Violation {
    /// What it is about.
    pub family: Family,
    /// The key.
    pub key: Arc<str>,
    /// Which promise.
    pub check: &'static str,
    /// What is wrong, in a sentence.
    pub what: String,
    /// The smallest history found that shows it, a line for each operation; the one that cannot be is marked with `>`.
    pub history: Vec<String>,
    /// Where the picture of it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// The same operations.
    #[serde(skip)]
    pub operations: Vec<Operation>,
    /// Where among them the one stands that cannot be; beyond them if it is none alone.
    #[serde(skip)]
    pub offender: usize,
}

/// More lines help nobody.
const LINES_MAX: usize = 60;

impl Violation {
    /// Shown by these operations, of which there is at least one.
    pub(super) fn new(
        check: &'static str,
        what: String,
        operations: Vec<Operation>,
        offender: usize,
    ) -> Self {
        let (family, key) = match operations.first() {
            Some(first) => (first.family, first.key.clone()),
            None => (Family::Register, "".into()),
        };
        let mark = |place: usize| if place == offender { '>' } else { ' ' };
        let line = |(place, operation): (usize, &Operation)| format!("{} {operation}", mark(place));
        // The last ones tell most.
        let skipped = operations.len().saturating_sub(LINES_MAX);
        let history = operations.iter().enumerate().skip(skipped).map(line).collect();
        Self { family, key, check, what, history, picture: None, operations, offender }
    }

    /// Shown by these operations, the last of which cannot be.
    pub(super) fn shown_by(check: &'static str, what: String, shown: &[&Operation]) -> Self {
        let mut sorted: Vec<Operation> = shown.iter().copied().cloned().collect();
        let offender = shown.last().map_or(u64::MAX, |operation| operation.id);
        sorted.sort_by_key(|operation| operation.start);
        sorted.dedup_by_key(|operation| operation.id);
        let place = sorted.iter().position(|operation| operation.id == offender).unwrap_or(usize::MAX);
        Self::new(check, what, sorted, place)
    }

    /// A picture of it, as SVG.
    pub fn svg(&self) -> String {
        picture::draw(self)
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let Self { family, key, check, what, history, .. } = self;
        let mut text = format!("{} {key}: {check}: {what}\n", family.name());
        history.iter().for_each(|line| text += &format!("  {line}\n"));
        if let Some(picture) = &self.picture {
            text += &format!("  drawn in {picture}\n");
        }
        text
    }
}
