//! What a schedule came to: measured against allowed, and the proof's verdict.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use super::schedule::{Figure, Schedule};
use crate::proof::Verdict;
use crate::report::table::Grid;

/// How a schedule ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "why")]
pub enum Outcome {
    /// Every promise held.
    Held,
    /// At least one did not.
    Broken,
    /// The cluster was not under load while it was healthy: nothing is shown.
    Void,
    /// Something it needs is not there.
    Skipped(String),
    /// It could not be begun.
    Impossible(String),
    /// It was ended early, and what was seen until then held.
    Interrupted,
}

/// What one run of a schedule came to.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The schedule's name.
    pub name: String,
    /// What it was about.
    pub about: String,
    /// What load and choices were derived from.
    pub seed: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What was measured, against what is allowed.
    pub figures: Vec<Figure>,
    /// Promises that were not kept, beside those of the proof and the figures.
    pub broken: Vec<String>,
    /// The last entry that all nodes have applied in the end.
    pub applied: Option<u64>,
    /// The proof's verdict, if there was any load.
    pub verdict: Option<Verdict>,
    /// Where the nodes' logs are.
    pub folder: PathBuf,
}

/// Violations that are shown in full; all that were kept are in the JSON.
const SHOWN: usize = 2;
/// The figure below which a run shows nothing.
const HEALTHY: &str = "acknowledged_per_s";

impl Report {
    /// Of a schedule of which nothing is known yet.
    pub(super) fn new(schedule: &Schedule, seed: u64, folder: PathBuf) -> Self {
        Self {
            name: schedule.name.clone(),
            about: schedule.about.clone(),
            seed,
            outcome: Outcome::Interrupted,
            figures: Vec::new(),
            broken: Vec::new(),
            applied: None,
            verdict: None,
            folder,
        }
    }

    /// Takes what was measured, and judges.
    pub(super) fn close(
        &mut self,
        schedule: &Schedule,
        measured: &BTreeMap<&'static str, f64>,
        verdict: Verdict,
        interrupted: bool,
    ) {
        self.figures = schedule.must.judge(measured);
        if interrupted {
            // A step that was not reached has no figures to hold.
            self.figures.retain(|figure| figure.measured.is_some());
        }
        let healthy = self.figures.iter().find(|figure| figure.name == HEALTHY);
        let holds = verdict.ok && self.broken.is_empty();
        self.outcome = if healthy.is_some_and(|figure| !figure.holds()) {
            Outcome::Void
        } else if !holds || !self.figures.iter().all(Figure::holds) {
            Outcome::Broken
        } else if interrupted {
            Outcome::Interrupted
        } else {
            Outcome::Held
        };
        self.verdict = Some(verdict);
    }

    /// What was measured of one figure.
    pub fn measured(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name)?.measured
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let mut text = format!("{}: {}\n", self.name, self.about);
        let mut grid = Grid::new("figure | measured | allowed | ");
        for figure in &self.figures {
            let held = match (figure.is_bounded(), figure.holds()) {
                (false, _) => "",
                (true, true) => "held",
                (true, false) => "BROKEN",
            };
            let row = [figure.name.clone(), number(figure.measured), figure.allowed(), held.to_owned()];
            grid.rows.push(row.to_vec());
        }
        if !self.figures.is_empty() {
            text += &grid.text();
        }
        for broken in &self.broken {
            let _ = writeln!(text, "BROKEN: {broken}");
        }
        if let Some(verdict) = &self.verdict {
            let Verdict { operations, outcomes, violations, unproven, .. } = verdict;
            let _ = writeln!(
                text,
                "{operations} operations: {} acknowledged, {} refused, {} unknown; {} violations",
                outcomes.answered,
                outcomes.refused,
                outcomes.unknown,
                violations.len() as u64 + verdict.violations_beyond,
            );
            if !unproven.is_empty() {
                let _ = writeln!(text, "BROKEN: nothing is proven about {unproven:?}");
            }
            for violation in violations.iter().take(SHOWN) {
                text += &violation.text();
            }
        }
        let _ = writeln!(text, "{}", self.verdict_line());
        text
    }

    fn verdict_line(&self) -> String {
        match &self.outcome {
            Outcome::Held => format!("{}: every promise held", self.name),
            Outcome::Broken => format!(
                "{}: BROKEN; seed {}, the nodes' logs are in {}",
                self.name,
                self.seed,
                self.folder.display()
            ),
            Outcome::Void => format!("{}: VOID, too little load while all was well", self.name),
            Outcome::Skipped(why) => format!("{}: skipped, {why}", self.name),
            Outcome::Impossible(why) => {
                format!("{}: could not be run, {why}; see {}", self.name, self.folder.display())
            }
            Outcome::Interrupted => format!("{}: interrupted; held so far", self.name),
        }
    }

    fn word(&self) -> &'static str {
        match self.outcome {
            Outcome::Held => "held",
            Outcome::Broken => "BROKEN",
            Outcome::Void => "VOID",
            Outcome::Skipped(_) => "skipped",
            Outcome::Impossible(_) => "IMPOSSIBLE",
            Outcome::Interrupted => "interrupted",
        }
    }

    fn row(&self) -> Vec<String> {
        let of = |name| number(self.measured(name));
        let count = |count: fn(&Verdict) -> u64| {
            self.verdict.as_ref().map_or(String::new(), |verdict| count(verdict).to_string())
        };
        vec![
            self.name.clone(),
            count(|verdict| verdict.operations),
            count(|verdict| verdict.outcomes.answered),
            of("resume_ms"),
            of("gap_ms"),
            of("leader_changes"),
            of("p99_before_ms"),
            of("p99_during_ms"),
            of("p99_after_ms"),
            count(|verdict| verdict.violations.len() as u64 + verdict.violations_beyond),
            self.word().to_owned(),
        ]
    }
}

/// A line for each report, for a terminal.
pub fn summary(reports: &[Report]) -> String {
    let mut grid = Grid::new(
        "schedule | operations | acknowledged | resume ms | longest gap ms | leader changes | p99 before ms | during | \
         after | violations | verdict",
    );
    grid.rows = reports.iter().map(Report::row).collect();
    grid.text()
}

/// The same in Markdown, with what the schedules are about in place of their verdict alone.
pub fn markdown(reports: &[Report]) -> String {
    let mut text = String::from("| fault | schedule | what held | measured |\n| --- | --- | --- | --- |\n");
    for report in reports {
        let bounded = report.figures.iter().filter(|figure| figure.is_bounded());
        let held = bounded.map(|figure| format!("`{}` {}", figure.name, figure.allowed()));
        let held: Vec<_> = held.chain([report.word().to_owned()]).collect();
        let shown = ["resume_ms", "gap_ms", "leader_changes", "p99_before_ms", "p99_during_ms"];
        let measured = report
            .figures
            .iter()
            .filter(|figure| figure.is_bounded() || shown.contains(&figure.name.as_str()));
        let mut measured: Vec<_> =
            measured.map(|figure| format!("`{}` {}", figure.name, number(figure.measured))).collect();
        if let Some(verdict) = &report.verdict {
            let violations = verdict.violations.len() as u64 + verdict.violations_beyond;
            measured.push(format!("{} operations, {violations} violations", verdict.operations));
        }
        let _ = writeln!(
            text,
            "| {} | `{}` | {} | {} |",
            report.about,
            report.name,
            held.join(", "),
            measured.join(", ")
        );
    }
    text
}

/// As exact as it is worth.
fn number(figure: Option<f64>) -> String {
    match figure {
        None => String::new(),
        Some(figure) if figure.abs() >= 100.0 || figure.fract() == 0.0 => format!("{figure:.0}"),
        Some(figure) => format!("{figure:.2}"),
    }
}
