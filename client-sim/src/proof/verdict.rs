//! What a run came to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Family;
use super::check::Violation;
use super::history::Second;
use super::workload::Audit;

/// Operations by what came of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    /// The server said what is.
    pub answered: u64,
    /// Nothing happened.
    pub refused: u64,
    /// It may have happened.
    pub unknown: u64,
}

impl Outcomes {
    /// All of them.
    pub fn all(&self) -> u64 {
        self.answered + self.refused + self.unknown
    }
}

/// Something that was noted on the time line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Seconds since the run began.
    pub at_s: f64,
    /// What happened.
    pub text: String,
}

/// What was asked about one family.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FamilyVerdict {
    /// Operations by what came of them.
    #[serde(flatten)]
    pub outcomes: Outcomes,
    /// Keys whose histories were checked.
    pub keys: u64,
}

/// What a run came to.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// Whether every promise was kept, and each family was asked about.
    pub ok: bool,
    /// What the run was derived from.
    pub seed: u64,
    /// How long it was.
    pub duration_s: f64,
    /// All operations.
    pub operations: u64,
    /// By what came of them.
    pub outcomes: Outcomes,
    /// Why operations were refused or stayed unknown.
    pub refusals: BTreeMap<Box<str>, u64>,
    /// By what they were about.
    pub families: BTreeMap<Family, FamilyVerdict>,
    /// Families of which nothing was answered, so that nothing is proven about them.
    pub unproven: Vec<Family>,
    /// The last look at all nodes.
    pub audit: Audit,
    /// Promises that were not kept, the first ones.
    pub violations: Vec<Violation>,
    /// How many there were beyond those.
    pub violations_beyond: u64,
    /// Why the history on disk is not whole, if it isn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_failed: Option<String>,
    /// What was noted on the time line.
    pub events: Vec<Event>,
    /// The run by seconds.
    pub timeline: Vec<Second>,
}
