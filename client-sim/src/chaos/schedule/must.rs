//! Figures that have to be within bounds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The figures there are. What each means: `docs/guarantees.md`, "Under faults".
pub const NAMES: [&str; 21] = [
    "acknowledged_per_s",
    "resume_ms",
    "gap_ms",
    "leader_changes",
    "leader_changes_per_minute",
    "p99_before_ms",
    "p99_during_ms",
    "p99_after_ms",
    "p99_ratio",
    "leader_p99_ratio",
    "recover_ms",
    "refuse_ms",
    "served_ms",
    "patient_failures",
    "reconnect_p99_ms",
    "sockets_lost",
    "capacity_per_s",
    "goodput_ratio",
    "refusal_p99_ms",
    "overload_recovery_ms",
    "rss_mib",
];

/// Bounds of figures, by the figure's name with `_max` or `_min`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, f64>", into = "BTreeMap<String, f64>")]
pub struct Must(BTreeMap<String, f64>);

/// A figure against its bounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// What was measured; absent where there was nothing to measure.
    pub measured: Option<f64>,
    /// The least that is allowed.
    pub least: Option<f64>,
    /// The most that is allowed.
    pub most: Option<f64>,
}

impl Must {
    /// Holds the measured figures against the bounds. A figure with a bound that was not measured is in the answer, too.
    pub fn judge(&self, measured: &BTreeMap<&'static str, f64>) -> Vec<Figure> {
        NAMES
            .into_iter()
            .map(|name| Figure {
                name: name.to_owned(),
                measured: measured.get(name).copied(),
                least: self.0.get(&format!("{name}_min")).copied(),
                most: self.0.get(&format!("{name}_max")).copied(),
            })
            .filter(|figure| figure.measured.is_some() || figure.is_bounded())
            .collect()
    }

    /// A figure's least value.
    pub fn least(&self, name: &str) -> Option<f64> {
        self.0.get(&format!("{name}_min")).copied()
    }
}

impl Figure {
    /// Whether there is a bound at all.
    pub fn is_bounded(&self) -> bool {
        self.least.is_some() || self.most.is_some()
    }

    /// Whether it is within its bounds; one that has bounds and was not measured is not.
    pub fn holds(&self) -> bool {
        match self.measured {
            None => !self.is_bounded(),
            Some(measured) => {
                self.least.is_none_or(|least| measured >= least)
                    && self.most.is_none_or(|most| measured <= most)
            }
        }
    }

    /// The bounds, for people.
    pub fn allowed(&self) -> String {
        let bound = |sign: &str, bound: Option<f64>| bound.map(|bound| format!("{sign} {bound}"));
        [bound("≥", self.least), bound("≤", self.most)].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl TryFrom<BTreeMap<String, f64>> for Must {
    type Error = String;

    fn try_from(bounds: BTreeMap<String, f64>) -> Result<Self, String> {
        for name in bounds.keys() {
            let figure = name.strip_suffix("_max").or_else(|| name.strip_suffix("_min"));
            if !figure.is_some_and(|figure| NAMES.contains(&figure)) {
                return Err(format!(
                    "`{name}` is no figure with _max or _min; there are: {}",
                    NAMES.join(", ")
                ));
            }
        }
        Ok(Self(bounds))
    }
}

impl From<Must> for BTreeMap<String, f64> {
    fn from(must: Must) -> Self {
        must.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_was_not_measured_does_not_hold() {
        let must = Must::try_from(BTreeMap::from([
            ("resume_ms_max".to_owned(), 1_500.0),
            ("acknowledged_per_s_min".to_owned(), 50.0),
        ]))
        .unwrap();
        let holds = |measured: &[(&'static str, f64)]| {
            must.judge(&measured.iter().copied().collect()).iter().all(Figure::holds)
        };
        assert!(holds(&[("resume_ms", 1_500.0), ("acknowledged_per_s", 50.0), ("gap_ms", 1e9)]));
        assert!(!holds(&[("resume_ms", 1_501.0), ("acknowledged_per_s", 50.0)]));
        assert!(!holds(&[("resume_ms", 1_000.0), ("acknowledged_per_s", 49.0)]));
        assert!(!holds(&[("resume_ms", 1_000.0)]));
    }
}
