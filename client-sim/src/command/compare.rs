//! `compare`: the same workload against several systems in turn.

use std::time::Duration;

use serde::Serialize;

use super::output::Output;
use super::view::progress;
use super::work::Work;
use super::{Verdict, answering, duration, interrupt};
use crate::client::Target;
use crate::compare::{Load, Ratio, Run, Side, Spread, ratios};
use crate::report::Axis;
use crate::report::html::Page;
use crate::report::plot::{Chart, Line};
use crate::report::table::{ERROR_COLUMNS, Grid, error_row, mebibytes, milliseconds};
use crate::sample::Plan;
use crate::workload;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A system's name and the base URLs of its nodes, NAME=URL[,URL…]; once for each, the first is what others are
    /// divided by
    #[arg(long, required = true, value_parser = named::<Target>)]
    target: Vec<(String, Vec<Target>)>,
    /// A system's processes, for their CPU time and memory, NAME=PID[,PID…]
    #[arg(long, value_parser = named::<u32>)]
    pids: Vec<(String, Vec<u32>)>,
    /// How often each has its turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Between two runs
    #[arg(long, default_value = "2s", value_parser = duration)]
    rest: Duration,
    /// In each round, an open loop at each of these rates besides: operations a second over all workers, latency counted
    /// from the planned start
    #[arg(long, value_delimiter = ',', value_parser = rate)]
    rates: Vec<f64>,
    #[command(flatten)]
    pub(super) work: Work,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Report {
    /// Whether every run verified everything.
    ok: bool,
    interrupted: bool,
    workload: String,
    targets: Vec<(String, Vec<String>)>,
    duration_s: f64,
    /// Open loops besides the workload's own.
    rates: Vec<f64>,
    seed: u64,
    ratios: Vec<Ratio>,
    runs: Vec<Run>,
}

impl Args {
    pub(super) async fn run(self) -> Verdict {
        let sides = self.sides()?;
        // One by one: all of them are measured, so that none may be missing.
        for side in &sides {
            answering(&side.targets).await?;
        }
        let most = sides.iter().map(|side| side.targets.len()).max().unwrap_or(0);
        self.work.prepare(most)?;
        let stop = interrupt();
        let mut runs = Vec::new();
        // The same content for all.
        let seed = self.work.options(&[]).seed;
        let loads = self.loads();
        'rounds: for round in 1..=self.rounds {
            let turns = loads.iter().flat_map(|load| order(&sides, round).map(move |side| (*load, side)));
            for (load, side) in turns {
                if !runs.is_empty() {
                    let _ = tokio::time::timeout(self.rest, stop.said()).await;
                }
                if stop.is_said() {
                    break 'rounds;
                }
                let mut options = workload::Options { seed, ..self.work.options(&side.targets) };
                if let Load::OpenLoop(rate) = load {
                    options.rate = rate.into();
                }
                let plan = Plan { pids: side.pids.clone(), ..Plan::default() };
                let watch = progress(self.work.warmup + self.work.duration);
                let report = workload::run_until(options, &plan, &stop, watch).await;
                // A run that was cut short is not like the one it would be compared with.
                if report.interrupted {
                    break 'rounds;
                }
                let run = Run::of(round, side, load, &report);
                let (rounds, load) = (self.rounds, spell(run.rate));
                tell!("round {round} of {rounds}, {load}, {}: {:.0} per second", run.side, run.per_s);
                runs.push(run);
            }
        }
        let report = Report {
            ok: !runs.is_empty() && runs.iter().all(|run| run.ok),
            interrupted: stop.is_said(),
            workload: self.work.workload.name().to_owned(),
            targets: sides
                .iter()
                .map(|side| (side.name.clone(), side.targets.iter().map(ToString::to_string).collect()))
                .collect(),
            duration_s: self.work.duration.as_secs_f64(),
            rates: self.rates.clone(),
            seed,
            ratios: ratios(&sides, &loads, &runs),
            runs,
        };
        let text = |report: &Report| {
            let errors = errors_grid(report).map(|grid| grid.text()).unwrap_or_default();
            format!("{}{errors}{}", runs_grid(report).text(), ratios_grid(report).text())
        };
        self.output.give(report.ok, &report, text, page)
    }

    fn loads(&self) -> Vec<Load> {
        std::iter::once(Load::Own).chain(self.rates.iter().copied().map(Load::OpenLoop)).collect()
    }

    fn sides(&self) -> Result<Vec<Side>, String> {
        let mut sides: Vec<Side> = Vec::new();
        for (name, targets) in &self.target {
            if sides.iter().any(|side| side.name == *name) {
                return Err(format!("{name:?} is named twice"));
            }
            sides.push(Side { name: name.clone(), targets: targets.clone(), pids: Vec::new() });
        }
        for (name, pids) in &self.pids {
            let side = sides.iter_mut().find(|side| side.name == *name);
            side.ok_or_else(|| format!("there is no target {name:?}"))?.pids.extend(pids);
        }
        if sides.len() < 2 { Err("two targets at least".to_owned()) } else { Ok(sides) }
    }
}

/// Whose turn it is in a round. Each round begins with another system: what a run leaves behind, a disk that still writes or a
/// processor that was warmed, is felt by the next, and would otherwise always be felt by the same one.
fn order(sides: &[Side], round: u32) -> impl Iterator<Item = &Side> {
    let (later, first) = sides.split_at((round as usize - 1) % sides.len());
    first.iter().chain(later)
}

/// A rate above zero.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if f64::is_finite(rate) && rate > 0.0 => Ok(rate),
        Ok(_) | Err(_) => Err(format!("{text:?} is no rate above zero")),
    }
}

/// A load's name.
fn spell(rate: Option<f64>) -> String {
    rate.map_or("as given".to_owned(), |rate| format!("{rate}/s"))
}

/// `NAME=ITEM,ITEM`.
fn named<T>(text: &str) -> Result<(String, Vec<T>), String>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let (name, items) = text.split_once('=').ok_or("not NAME=…")?;
    if name.is_empty() || name.contains(['/', ':']) {
        return Err("a name comes first".to_owned());
    }
    let parse = |item: &str| item.parse().map_err(|error: T::Err| format!("{item:?}: {error}"));
    Ok((name.to_owned(), items.split(',').map(parse).collect::<Result<_, _>>()?))
}

fn runs_grid(report: &Report) -> Grid {
    let mut grid = Grid::new(
        "round | load | system | per s | p50 ms | p99 ms | max ms | CPU µs each | RSS MiB | failures | verified",
    );
    for run in &report.runs {
        let mut row =
            vec![run.round.to_string(), spell(run.rate), run.side.clone(), format!("{:.0}", run.per_s)];
        row.extend([run.p50_us, run.p99_us, run.max_us].map(milliseconds));
        row.push(run.cpu_us_per_op.map_or("–".to_owned(), |cpu| format!("{cpu:.1}")));
        row.push(run.rss_bytes.map_or("–".to_owned(), mebibytes));
        row.push(run.failures.to_string());
        row.push(if run.ok { "yes" } else { "no" }.to_owned());
        grid.rows.push(row);
    }
    grid
}

/// What went wrong in which run, if anything did.
fn errors_grid(report: &Report) -> Option<Grid> {
    let mut grid = Grid::new(&format!("round | load | system | {ERROR_COLUMNS}"));
    for run in &report.runs {
        for error in &run.errors {
            let mut row = vec![run.round.to_string(), spell(run.rate), run.side.clone()];
            row.extend(error_row(error));
            grid.rows.push(row);
        }
    }
    (!grid.rows.is_empty()).then_some(grid)
}

fn ratios_grid(report: &Report) -> Grid {
    let mut grid = Grid::new("ratio | load | of | median | lowest | highest");
    for ratio in &report.ratios {
        let figures = [
            ("operations per second", ratio.per_s),
            ("p50", ratio.p50),
            ("p99", ratio.p99),
            ("CPU per operation", ratio.cpu_per_op),
            ("resident memory", ratio.rss),
        ];
        for (name, spread) in figures {
            let Some(Spread { median, min, max }) = spread else { continue };
            let mut row = vec![format!("{} : {}", ratio.side, ratio.to), spell(ratio.rate), name.to_owned()];
            row.extend([median, min, max].map(|value| format!("{value:.3}")));
            grid.rows.push(row);
        }
    }
    grid
}

fn page(report: &Report) -> String {
    let names: Vec<_> = report.targets.iter().map(|(name, _)| name.as_str()).collect();
    let mut page = Page::new(&format!("{} compared", names.join(" and ")));
    page.text(&format!(
        "{}, {:.0} s a run, in turn, seed {}",
        report.workload, report.duration_s, report.seed
    ));
    page.verdict(
        report.ok,
        if report.ok { "everything verified" } else { "not every run was as it should be" },
    );
    for ratio in &report.ratios {
        let times = |spread: Option<Spread>| {
            spread.map_or("–".to_owned(), |spread| format!("{:.2} ×", spread.median))
        };
        let at = ratio.rate.map_or(String::new(), |rate| format!(", at {rate}/s"));
        page.section(&format!("{} as a multiple of {}{at}", ratio.side, ratio.to)).tiles(&[
            ("operations per second", times(ratio.per_s)),
            ("p50", times(ratio.p50)),
            ("p99", times(ratio.p99)),
            ("CPU per operation", times(ratio.cpu_per_op)),
            ("resident memory", times(ratio.rss)),
        ]);
    }
    page.section("Ratios").grid("Over the rounds", &ratios_grid(report));
    for load in std::iter::once(None).chain(report.rates.iter().copied().map(Some)) {
        page.section(&format!("Round by round, {}", spell(load))).charts(&charts(report, &names, load));
    }
    page.grid("Runs", &runs_grid(report));
    if let Some(errors) = errors_grid(report) {
        page.grid("Failures", &errors);
    }
    let targets: Vec<_> =
        report.targets.iter().map(|(name, urls)| (name.as_str(), urls.join(", "))).collect();
    page.section("Systems").facts(&targets);
    page.finish()
}

/// The runs of one load.
fn charts(report: &Report, names: &[&str], load: Option<f64>) -> [Chart; 3] {
    let of = |name: &str| -> Vec<&Run> {
        report.runs.iter().filter(|run| run.side == name && run.rate == load).collect()
    };
    let lines = |figure: fn(&Run) -> f64| -> Vec<Line> {
        let points = |name: &str| of(name).into_iter().map(|run| (f64::from(run.round), figure(run)));
        names.iter().map(|name| Line::through(*name, points(name))).collect()
    };
    let curve = |name: &&str| {
        let mut runs = of(name);
        runs.sort_by(|a, b| a.per_s.total_cmp(&b.per_s));
        let points = runs.get(runs.len() / 2).map_or(&[][..], |run| run.percentiles.as_slice());
        Line::through(*name, points.iter().map(|point| (point.share, point.us as f64)))
    };
    [
        Chart::new(
            "Throughput",
            "Operations completed per second.",
            Axis::count("round"),
            Axis::count("per second"),
            lines(|run| run.per_s),
        ),
        Chart::new(
            "p99",
            "99 % took no longer; logarithmic.",
            Axis::count("round"),
            Axis::latency("latency"),
            lines(|run| run.p99_us as f64),
        ),
        Chart::new(
            "Distribution",
            "Of the run in the middle by throughput: this share took no longer.",
            Axis::nines("share of operations"),
            Axis::latency("latency"),
            names.iter().map(curve).collect(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_above_zero() {
        assert_eq!(rate("1e3"), Ok(1000.0));
        for text in ["0", "-1", "inf", "NaN", "many"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_come_before_what_they_name() {
        assert_eq!(named::<u32>("a=1,2"), Ok(("a".to_owned(), vec![1, 2])));
        assert!(named::<u32>("1,2").is_err() && named::<u32>("a=x").is_err() && named::<u32>("=1").is_err());
        assert!(named::<Target>("http://host/?a=http://host").is_err());
        assert!(named::<Target>("a=http://127.0.0.1:1,http://127.0.0.1:2").is_ok());
    }
}
