//! One step of a schedule: a fault, a condition to wait for, or something that has to be so.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use toml::{Table, Value};

use super::fault::{Fault, Which};
use super::span::Span;

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// The load goes on for so long before it.
    #[serde(skip_serializing_if = "Span::is_zero")]
    pub after: Span,
    /// What is measured "during" the schedule is measured from this step on, and not from the first harm.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub during: bool,
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Action {
    /// Does something to the cluster.
    Do(Fault),
    /// Waits.
    Await(Await),
    /// Looks whether something holds.
    Expect(Expect),
}

/// What can be waited for. That it does not come true in time is a broken promise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "await", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Await {
    /// Every node runs and is ready; the time since the last fault or cure is the figure `recover_ms`.
    Healthy {
        /// Or the run fails.
        #[serde(default = "Span::minute")]
        within: Span,
    },
    /// Every node is ready, and there are so many cells, each with a leader, which share all slots evenly, with none on
    /// its way. All nodes say so.
    Settled {
        /// How many.
        cells: usize,
        /// Or the run fails.
        #[serde(default = "Span::minute")]
        within: Span,
    },
    /// Something that was asked from now on is acknowledged.
    Acknowledged {
        /// Or the run fails.
        #[serde(default = "Span::minute")]
        within: Span,
    },
    /// Another node leads than did when the last fault was made.
    NewLeader {
        /// Or the run fails.
        #[serde(default = "Span::minute")]
        within: Span,
    },
    /// The node has snapshots on its disk.
    Snapshot {
        /// Which.
        node: Which,
        /// Or the run fails.
        #[serde(default = "Span::minute")]
        within: Span,
    },
}

/// What may have to be so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "expect", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Expect {
    /// The node answers reads and writes with 503 `no_leader`, never anything else; the slowest answer is the figure
    /// `refuse_ms`.
    Refuses {
        /// Which.
        node: Which,
    },
    /// The nodes answer what lies in one part of the keys and refuse the other part with 503 `no_leader`, and all draw the
    /// line in the same place; the slowest refusal is the figure `refuse_ms`, the slowest answer `served_ms`.
    RefusesAPart {
        /// Which.
        node: Which,
    },
    /// The node ends by itself, with a failure, having printed all of these.
    Ends {
        /// Which.
        node: Which,
        /// In what it printed, whatever the case of its letters.
        says: Vec<String>,
        /// At the latest.
        #[serde(default = "Span::minute")]
        within: Span,
    },
    /// The node runs, and never ended.
    Runs {
        /// Which.
        node: Which,
    },
    /// The node does not lead.
    Follows {
        /// Which.
        node: Which,
    },
}

impl<'de> Deserialize<'de> for Step {
    /// By hand, since a step that is none of the three, or has a field too many, is to be told so.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table = Table::deserialize(deserializer)?;
        let after = match table.remove("after") {
            Some(after) => after.try_into().map_err(D::Error::custom)?,
            None => Span::default(),
        };
        let during = match table.remove("during") {
            Some(during) => during.try_into().map_err(D::Error::custom)?,
            None => false,
        };
        let kinds = ["do", "await", "expect"].map(|kind| table.contains_key(kind));
        let action = match kinds {
            [true, false, false] => read(table).map(Action::Do),
            [false, true, false] => read(table).map(Action::Await),
            [false, false, true] => read(table).map(Action::Expect),
            _ => Err(format!("a step has one of `do`, `await` and `expect`, not so: {table}")),
        };
        Ok(Self { after, during, action: action.map_err(D::Error::custom)? })
    }
}

fn read<T: DeserializeOwned>(table: Table) -> Result<T, String> {
    Value::Table(table.clone()).try_into().map_err(|error| format!("{error} in the step {table}"))
}
