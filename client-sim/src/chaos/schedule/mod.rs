//! What is to happen, and what has to hold: a TOML file, or a seed.
//!
//! ```toml
//! name = "leader-killed"
//! about = "SIGKILL of the leader"
//!
//! [must]                      # figures of the report, with `_max` or `_min`
//! resume_ms_max = 1500
//!
//! [[step]]                    # one after the other, each `after` its predecessor is done
//! after = "5s"
//! do = "kill"                 # a fault, with its fields
//! node = "leader"
//!
//! [[step]]
//! after = "5s"
//! do = "start"
//! node = "all"
//!
//! [[step]]
//! await = "healthy"           # a condition, `within` a time or the run fails
//! within = "30s"
//!
//! [[step]]
//! expect = "refuses"          # something that has to be so, or a promise is broken
//! node = 1
//! ```

mod builtin;
mod fault;
mod must;
mod random;
mod span;
mod step;

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Error;
use super::tools::Need;
use crate::proof::Family;

pub use builtin::NAMES;
pub use fault::{DamagedPart, Fault, Part, Seats, Version, Which};
pub use must::{Figure, Must, NAMES as FIGURES};
pub use random::random;
pub use span::Span;
pub use step::{Action, Await, Expect, Step};

/// A schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// A short name, for tables.
    pub name: String,
    /// What it is about, in a few words.
    pub about: String,
    /// What the machine has to have beside a `conclave` binary.
    #[serde(default)]
    pub needs: BTreeSet<Need>,
    /// How many nodes; if nothing is said, what the command line says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u64>,
    /// Operations a second, where it matters here; else what the command line says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// What the load asks about; all there is but allowances, if nothing is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<Family>,
    /// Keys of every node's configuration, `section.key=value`.
    #[serde(default)]
    pub set: Vec<String>,
    /// Gives every node a disk of its own, of so many MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_mib: Option<u64>,
    /// Load goes on for so long before the first step: what is compared with.
    #[serde(default = "Span::five_seconds")]
    pub before: Span,
    /// And for so long after the last one.
    #[serde(default = "Span::five_seconds")]
    pub after: Span,
    /// Once it has gone on for so long, it ends where all is healthy next, whatever steps are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Span>,
    /// What has to hold beside the proof, which always has to.
    #[serde(default)]
    pub must: Must,
    /// What happens.
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
}

impl Schedule {
    /// Reads the text of a schedule.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let schedule: Self = toml::from_str(text).map_err(|error| Error::Schedule(error.to_string()))?;
        schedule.check()?;
        Ok(schedule)
    }

    /// A file, or one of those that come with the program, by its name.
    pub fn find(name_or_file: &str) -> Result<Self, Error> {
        if let Some(text) = builtin::text(name_or_file) {
            return Self::parse(text);
        }
        let path = Path::new(name_or_file);
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::Schedule(format!(
                "{name_or_file} is no file ({error}) and no schedule that is known: {}",
                NAMES.join(", ")
            ))
        })?;
        Self::parse(&text).map_err(|error| Error::Schedule(format!("{name_or_file}: {error}")))
    }

    /// The schedule as a file would have it.
    pub fn text(&self) -> Result<String, Error> {
        toml::to_string(self).map_err(|error| Error::Schedule(error.to_string()))
    }

    /// The faults in it, in their order.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.steps.iter().filter_map(|step| match &step.action {
            Action::Do(fault) => Some(fault),
            Action::Await(_) | Action::Expect(_) => None,
        })
    }

    /// Everything it needs of the machine, said or implied.
    pub fn needs(&self) -> BTreeSet<Need> {
        let mut needs = self.needs.clone();
        needs.extend(self.faults().filter_map(Fault::need));
        if self.disk_mib.is_some() {
            needs.insert(Need::Root);
        }
        needs
    }

    /// The keys and values of `set`.
    pub fn settings(&self) -> Vec<(String, String)> {
        let split =
            |pair: &String| pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        self.set.iter().filter_map(split).collect()
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = |why: String| Err(Error::Schedule(format!("{}: {why}", self.name)));
        if let Some(pair) = self.set.iter().find(|pair| !pair.contains('=')) {
            return wrong(format!("`{pair}` is not KEY=VALUE"));
        }
        if self.faults().any(Fault::is_about_disks) && self.disk_mib.is_none() {
            return wrong("a step is about the nodes' disks, so `disk_mib` has to give them some".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILL: &str = r#"
        name = "leader-killed"
        about = "SIGKILL of the leader"
        set = ["ttl.chunk=10m"]
        [must]
        resume_ms_max = 1500
        [[step]]
        after = "1500ms"
        do = "kill"
        node = "leader"
        [[step]]
        await = "healthy"
        within = "30s"
        [[step]]
        expect = "refuses"
        node = 2
    "#;

    #[test]
    fn a_schedule_is_read() {
        let schedule = Schedule::parse(KILL).unwrap();
        assert_eq!(schedule.settings(), [("ttl.chunk".to_owned(), "10m".to_owned())]);
        assert_eq!(schedule.steps[0].after, Span::from_millis(1_500));
        assert_eq!(schedule.steps[0].action, Action::Do(Fault::Kill { node: Which::Leader }));
        assert!(matches!(schedule.steps[1].action, Action::Await(Await::Healthy { .. })));
        assert!(matches!(
            schedule.steps[2].action,
            Action::Expect(Expect::Refuses { node: Which::Id(2), .. })
        ));
        assert!(schedule.needs().is_empty());
    }

    #[test]
    fn what_is_written_is_read_again_as_it_was() {
        let minute = Span::from_millis(60_000).into();
        for schedule in [Schedule::parse(KILL).unwrap(), random(7, 3, minute), random(7, 6, minute)] {
            assert_eq!(Schedule::parse(&schedule.text().unwrap()).unwrap(), schedule);
        }
    }

    #[test]
    fn mistakes_are_named() {
        let mistake =
            |from: &str, to: &str| Schedule::parse(&KILL.replace(from, to)).unwrap_err().to_string();
        for (from, to, said) in [
            ("do = \"kill\"", "do = \"kil\"", "kil"),
            ("node = \"leader\"", "node = \"leeder\"", "leeder"),
            ("node = \"leader\"", "nod = \"leader\"", "nod"),
            ("node = \"leader\"", "node = { cel = 2 }", "cel = 2"),
            ("node = \"leader\"", "node = \"cell 2\"", "cell 2"),
            ("resume_ms_max", "resume_max", "resume_max"),
            ("1500ms", "1500 bananas", "bananas"),
            ("await = \"healthy\"", "", "within"),
            ("ttl.chunk=10m", "ttl.chunk", "KEY=VALUE"),
            ("do = \"kill\"", "do = \"fill-disk\"", "disk_mib"),
        ] {
            assert!(mistake(from, to).contains(said), "{to}: {}", mistake(from, to));
        }
    }

    #[test]
    fn nodes_are_named_by_their_cell() {
        let named = |seats: &str| {
            let schedule =
                Schedule::parse(&KILL.replace("node = \"leader\"", &format!("node = {seats}"))).unwrap();
            let again = Schedule::parse(&schedule.text().unwrap()).unwrap();
            assert_eq!(again, schedule);
            let which = again.faults().next().unwrap().which().unwrap();
            (which, which.to_string())
        };
        let of = |cell, count, role| Which::Of(Seats { cell, count, role });
        assert_eq!(named("{ cell = 2 }"), (of(2, None, None), "seats (cell 2)".to_owned()));
        assert_eq!(
            named("{ cell = 2, count = 2 }"),
            (of(2, Some(2), None), "seats (2 of cell 2)".to_owned())
        );
        let leader = named("{ cell = 1, role = \"leader\" }");
        assert_eq!(leader, (of(1, None, Some(Part::Leader)), "seats (the leader of cell 1)".to_owned()));
    }

    #[test]
    fn six_nodes_are_hurt_in_both_cells_and_three_of_them_come_and_go() {
        let schedules: Vec<_> =
            (0..20).map(|seed| random(seed, 6, std::time::Duration::from_secs(60))).collect();
        let faults: Vec<&Fault> = schedules.iter().flat_map(Schedule::faults).collect();
        assert!(faults.contains(&&Fault::Shrink { to: 3, drain: true }));
        assert!(faults.contains(&&Fault::Grow { to: 6, fronts: true }));
        let cells = [1, 2].map(|cell| {
            let hurt =
                |fault: &&&Fault| matches!(fault.which(), Some(Which::Of(seats)) if seats.cell == cell);
            faults.iter().filter(hurt).count()
        });
        assert!(cells.iter().all(|count| *count > 0), "{cells:?}");
        for schedule in &schedules {
            let last = &schedule.steps.last().unwrap().action;
            assert!(matches!(last, Action::Await(Await::Settled { cells: 2, .. })), "{last:?}");
        }
        let three = random(7, 3, std::time::Duration::from_secs(60));
        assert!(three.faults().all(|fault| !matches!(fault, Fault::Grow { .. } | Fault::Shrink { .. })));
    }

    #[test]
    fn what_comes_along_is_right_and_in_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schedules");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        assert_eq!(files, NAMES);
        for name in NAMES {
            assert_eq!(Schedule::find(name).unwrap().name, name);
        }
    }

    #[test]
    fn a_seed_makes_the_same_schedule_every_time_and_another_seed_another() {
        let minute = std::time::Duration::from_secs(60);
        let text = |seed| random(seed, 3, minute).text().unwrap();
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }
}
