//! Two or more systems measured in turn, and how they stand to one another.
//!
//! Rounds alternate, A B A B, so that what drifts on the machine meanwhile meets all alike. A ratio is of two runs of
//! one round, next to one another in time; over the rounds there is its median, and how far it spread.

use serde::Serialize;

use crate::client::Target;
use crate::report::{ErrorCount, Percentile, Report};

/// One of the systems.
#[derive(Debug, Clone)]
pub struct Side {
    /// How it is called.
    pub name: String,
    /// Its nodes.
    pub targets: Vec<Target>,
    /// Their processes on this machine.
    pub pids: Vec<u32>,
}

/// What is asked of a side in a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// What the workload's own options say: a closed loop, if they say nothing.
    Own,
    /// So many operations a second, whether or not those before were answered.
    OpenLoop(f64),
}

impl Load {
    /// The rate of an open loop.
    pub fn rate(self) -> Option<f64> {
        match self {
            Self::Own => None,
            Self::OpenLoop(rate) => Some(rate),
        }
    }
}

/// One run of one side.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// From 1 on.
    pub round: u32,
    /// Whose.
    pub side: String,
    /// Operations a second that were planned, where the run was one of [`Load::OpenLoop`].
    pub rate: Option<f64>,
    /// Whether everything was verified.
    pub ok: bool,
    /// Operations completed within the window.
    pub operations: u64,
    /// The same per second.
    pub per_s: f64,
    /// Median latency.
    pub p50_us: u64,
    /// 99 % were no slower.
    pub p99_us: u64,
    /// The slowest.
    pub max_us: u64,
    /// Its distribution.
    pub percentiles: Vec<Percentile>,
    /// CPU time of its processes per operation, where pids were given.
    pub cpu_us_per_op: Option<f64>,
    /// Resident bytes of all its processes together in the end, where pids were given and all were still there.
    pub rss_bytes: Option<u64>,
    /// Operations that failed.
    pub failures: u64,
    /// The same by what went wrong.
    pub errors: Vec<ErrorCount>,
}

/// A figure over all rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// In the middle; of an even number of rounds, the mean of both.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
}

/// How one side stands to the first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ratio {
    /// Which side.
    pub side: String,
    /// Which it is divided by.
    pub to: String,
    /// The rate of the runs, where they were in an open loop.
    pub rate: Option<f64>,
    /// Operations per second.
    pub per_s: Option<Spread>,
    /// Median latency.
    pub p50: Option<Spread>,
    /// Latency at p99.
    pub p99: Option<Spread>,
    /// CPU time per operation.
    pub cpu_per_op: Option<Spread>,
    /// Resident memory.
    pub rss: Option<Spread>,
}

impl Run {
    /// What counts of a report.
    pub fn of(round: u32, side: &Side, load: Load, report: &Report) -> Self {
        let nodes = report.servers.as_ref().map(|servers| &servers.nodes);
        Self {
            round,
            side: side.name.clone(),
            rate: load.rate(),
            ok: report.ok,
            operations: report.operations,
            per_s: report.ops_per_s,
            p50_us: report.all.p50_us,
            p99_us: report.all.p99_us,
            max_us: report.all.max_us,
            percentiles: report.percentiles.clone(),
            cpu_us_per_op: report.servers.as_ref().map(|servers| servers.cost.cpu_us_per_op),
            rss_bytes: nodes.and_then(|nodes| nodes.iter().map(|node| node.rss_bytes).sum()),
            failures: report.errors.iter().map(|error| error.count).sum(),
            errors: report.errors.clone(),
        }
    }
}

impl Spread {
    /// `None` of nothing.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() {
            0 => return None,
            odd if odd % 2 == 1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        };
        Some(Self { median, min: values[0], max: values[values.len() - 1] })
    }
}

/// Each side but the first, divided by the first round by round, under each load.
pub fn ratios(sides: &[Side], loads: &[Load], runs: &[Run]) -> Vec<Ratio> {
    let [base, others @ ..] = sides else { return Vec::new() };
    let of = |side: &Side, load: Load, figure: fn(&Run) -> Option<f64>| {
        let run = |name: &str, round| {
            runs.iter().find(|run| run.side == name && run.round == round && run.rate == load.rate())
        };
        let rounds = runs.iter().map(|run| run.round).max().unwrap_or(0);
        let ratio = |round| {
            let (ours, theirs) = (figure(run(&side.name, round)?)?, figure(run(&base.name, round)?)?);
            // Nothing is so many times nothing.
            (ours > 0.0 && theirs > 0.0).then(|| ours / theirs)
        };
        Spread::of((1..=rounds).filter_map(ratio).collect())
    };
    let ratio = |side: &Side, load: Load| Ratio {
        side: side.name.clone(),
        to: base.name.clone(),
        rate: load.rate(),
        per_s: of(side, load, |run| Some(run.per_s)),
        p50: of(side, load, |run| Some(run.p50_us as f64)),
        p99: of(side, load, |run| Some(run.p99_us as f64)),
        cpu_per_op: of(side, load, |run| run.cpu_us_per_op),
        rss: of(side, load, |run| Some(run.rss_bytes? as f64)),
    };
    others.iter().flat_map(|side| loads.iter().map(move |load| ratio(side, *load))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(name: &str) -> Side {
        Side { name: name.to_owned(), targets: Vec::new(), pids: Vec::new() }
    }

    fn run(round: u32, side: &str, per_s: f64) -> Run {
        Run {
            round,
            side: side.to_owned(),
            rate: None,
            ok: true,
            operations: 1,
            per_s,
            p50_us: 10,
            p99_us: 20,
            max_us: 30,
            percentiles: Vec::new(),
            cpu_us_per_op: None,
            rss_bytes: None,
            failures: 0,
            errors: Vec::new(),
        }
    }

    #[test]
    fn ratios_are_of_the_runs_of_one_round() {
        let sides = [side("a"), side("b")];
        // The machine became ten times as fast between the rounds, which concerns no ratio.
        let runs = [
            run(1, "a", 10.0),
            run(1, "b", 20.0),
            run(2, "a", 100.0),
            run(2, "b", 300.0),
            run(3, "a", 100.0),
        ];
        let ratios = ratios(&sides, &[Load::Own], &runs);
        assert_eq!(ratios.len(), 1);
        assert_eq!(ratios[0].per_s, Some(Spread { median: 2.5, min: 2.0, max: 3.0 }));
        assert_eq!(ratios[0].p99, Some(Spread { median: 1.0, min: 1.0, max: 1.0 }));
        assert_eq!((ratios[0].cpu_per_op, ratios[0].rss), (None, None));
    }

    #[test]
    fn ratios_are_of_runs_under_one_load() {
        let sides = [side("a"), side("b")];
        let at = |rate, per_s, name| Run { rate: Some(rate), ..run(1, name, per_s) };
        let runs = [run(1, "a", 10.0), run(1, "b", 20.0), at(5.0, 5.0, "a"), at(5.0, 5.0, "b")];
        let ratios = ratios(&sides, &[Load::Own, Load::OpenLoop(5.0), Load::OpenLoop(9.0)], &runs);
        let figures: Vec<_> = ratios.iter().map(|it| (it.rate, it.per_s.map(|it| it.median))).collect();
        assert_eq!(figures, [(None, Some(2.0)), (Some(5.0), Some(1.0)), (Some(9.0), None)]);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
