//! `growth`: the same load for each node, in clusters of several sizes.

use std::time::Duration;

use serde::Serialize;

use super::generator::Generator;
use super::output::Output;
use super::server::Server;
use super::{Verdict, duration, home, interrupt, progress};
use crate::compare::Spread;
use crate::files::raise_open_files;
use crate::growth::{Options, Run, Size, run, sizes};
use crate::report::Axis;
use crate::report::html::Page;
use crate::report::plot::{Chart, Line};
use crate::report::table::{Grid, milliseconds};

/// Files beside the workers' connections, two for each.
const FILES_BESIDE: u64 = 256;
const SCRATCH: &str = "conclave-growth-";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many nodes; the first is what others are divided by
    #[arg(long, value_delimiter = ',', default_values_t = [3, 5, 6, 7, 9],
        value_parser = clap::value_parser!(u64).range(1..=64))]
    nodes: Vec<u64>,
    /// Workers for each node, each with one request in flight
    #[arg(long, default_value_t = 85, value_parser = clap::value_parser!(u64).range(1..=4096))]
    workers: u64,
    /// Bytes of data per chunk
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=44_000))]
    size: u64,
    /// How often each size has its turn, with a fresh cluster
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Length of the measured window
    #[arg(long, default_value = "5s", value_parser = duration)]
    duration: Duration,
    /// Load before the window opens
    #[arg(long, default_value = "2s", value_parser = duration)]
    warmup: Duration,
    /// A key of every node's configuration, KEY=VALUE; may be given several times
    #[arg(long, value_parser = setting)]
    set: Vec<(String, String)>,
    /// Hold each node to so much of the processors while it is measured, as if it had a machine of its own; choose it so that
    /// all of them and the generator have enough. Needs cgroups
    #[arg(long, value_parser = cores)]
    cores: Option<f64>,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(super) generator: Generator,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Report {
    /// Whether no operation failed and no node died.
    ok: bool,
    interrupted: bool,
    /// For each node.
    workers: u64,
    size: u64,
    duration_s: f64,
    settings: Vec<(String, String)>,
    /// What each node may use of the processors, if it was held to that.
    cores: Option<f64>,
    sizes: Vec<Size>,
    runs: Vec<Run>,
}

impl Args {
    pub(super) async fn run(self) -> Verdict {
        let most = self.nodes.iter().max().copied().unwrap_or(0);
        raise_open_files(2 * most * self.workers + FILES_BESIDE)?;
        let options = Options {
            binary: self.server.binary()?,
            folder: home(None, SCRATCH)?,
            settings: self.set,
            workers: self.workers as usize,
            size: self.size as usize,
            warmup: self.warmup,
            duration: self.duration,
            seed: self.generator.seed(),
            cores: self.cores,
        };
        let stop = interrupt();
        let mut runs = Vec::new();
        'rounds: for round in 1..=self.rounds {
            for turn in 0..self.nodes.len() {
                // Each round begins with another size, since what a run leaves behind is felt by the next.
                let nodes = self.nodes[(turn + round as usize - 1) % self.nodes.len()];
                if stop.is_said() {
                    break 'rounds;
                }
                let watch = progress(self.warmup + self.duration);
                let Some(run) = run(round, nodes, &options, &stop, watch).await? else { break 'rounds };
                let (rounds, cpu) = (self.rounds, run.cpu_us_per_op);
                tell!("round {round} of {rounds}, {nodes} nodes: {cpu:.1} µs of CPU an operation");
                runs.push(run);
            }
        }
        let _ = std::fs::remove_dir_all(&options.folder);
        let report = Report {
            ok: !runs.is_empty() && runs.iter().all(|run| run.ok),
            interrupted: stop.is_said(),
            workers: self.workers,
            size: self.size,
            duration_s: self.duration.as_secs_f64(),
            settings: options.settings(),
            cores: self.cores,
            sizes: sizes(&self.nodes, &runs),
            runs,
        };
        let text = |report: &Report| format!("{}{}", runs_grid(report).text(), sizes_grid(report).text());
        self.output.give(report.ok, &report, text, page)
    }
}

/// `KEY=VALUE`.
fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or("not KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// At least what the kernel takes.
fn cores(text: &str) -> Result<f64, String> {
    let cores = text.parse().ok().filter(|cores| (0.1..=64.0).contains(cores));
    cores.ok_or_else(|| format!("`{text}` is not a number from 0.1 to 64"))
}

fn runs_grid(report: &Report) -> Grid {
    let mut grid = Grid::new(
        "round | nodes | per s | p50 ms | p99 ms | CPU µs each | fullest : mean | fsyncs each | verified",
    );
    for run in &report.runs {
        let mut row = vec![run.round.to_string(), run.nodes.to_string(), format!("{:.0}", run.per_s)];
        row.extend([run.p50_us, run.p99_us].map(milliseconds));
        row.extend([format!("{:.1}", run.cpu_us_per_op), format!("{:.2}", run.fullest)]);
        row.push(run.fsyncs_per_op.map_or("–".to_owned(), |fsyncs| format!("{fsyncs:.3}")));
        row.push(if run.ok { "yes" } else { "no" }.to_owned());
        grid.rows.push(row);
    }
    grid
}

fn sizes_grid(report: &Report) -> Grid {
    let mut grid = Grid::new(
        "nodes | CPU µs each | : first | lowest | highest | fullest : mean | fsyncs each | KiB written each | capacity : first | lowest | highest | per s : first | lowest | highest",
    );
    let median = |spread: Option<Spread>, places: usize| {
        spread.map_or("–".to_owned(), |spread| format!("{:.places$}", spread.median))
    };
    for size in &report.sizes {
        let (cpu, capacity, rate) = (size.cpu_to_first, size.capacity, size.rate_to_first);
        let mut row = vec![size.nodes.to_string(), median(Some(size.cpu_us_per_op), 1)];
        row.extend([cpu.median, cpu.min, cpu.max].map(|value| format!("{value:.2}")));
        row.extend([median(Some(size.fullest), 2), median(size.fsyncs_per_op, 3)]);
        let written = size.written_bytes_per_op.map(|bytes| bytes.median / 1024.0);
        row.push(written.map_or("–".to_owned(), |kibibytes| format!("{kibibytes:.2}")));
        for spread in [capacity, rate] {
            row.extend([spread.median, spread.min, spread.max].map(|value| format!("{value:.2}")));
        }
        grid.rows.push(row);
    }
    grid
}

fn page(report: &Report) -> String {
    let mut page = Page::new("What more nodes carry");
    page.text(&format!(
        "{} workers a node in a closed loop, sends of {} bytes, {:.0} s a run, a fresh cluster each time{}",
        report.workers,
        report.size,
        report.duration_s,
        report.cores.map_or(String::new(), |cores| format!(", each node held to {cores} processors"))
    ));
    page.verdict(report.ok, if report.ok { "nothing failed" } else { "not every run was as it should be" });
    let through = |name: &str, figure: fn(&Size) -> f64| {
        Line::through(name, report.sizes.iter().map(|size| (size.nodes as f64, figure(size))))
    };
    let first = report.sizes.first().map_or(1.0, |size| size.nodes as f64);
    let linear = report.sizes.iter().map(|size| (size.nodes as f64, size.nodes as f64 / first));
    page.section("By size").charts(&[
        Chart::new(
            "Capacity",
            "Operations that the fullest node has room for, and operations a second, as multiples of the first size.",
            Axis::count("nodes"),
            Axis::count("times"),
            vec![
                through("by CPU time", |size| size.capacity.median),
                through("operations a second", |size| size.rate_to_first.median),
                Line::through("linear", linear),
            ],
        ),
        Chart::new(
            "CPU time",
            "Of all nodes, per operation.",
            Axis::count("nodes"),
            Axis::count("µs"),
            vec![through("measured", |size| size.cpu_us_per_op.median)],
        ),
    ]);
    page.grid("Sizes", &sizes_grid(report)).grid("Runs", &runs_grid(report));
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_before_its_value() {
        assert_eq!(setting("a.b=c=d"), Ok(("a.b".to_owned(), "c=d".to_owned())));
        assert!(setting("a.b").is_err() && setting("=c").is_err());
    }
}
