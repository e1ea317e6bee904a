//! `soak`: hours at a fixed rate, and whether anything grows.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::output::Output;
use super::view::{amount, bar};
use super::work::Work;
use super::{Verdict, answering, duration, interrupt};
use crate::client::Target;
use crate::report::html::Page;
use crate::report::plot::{Chart, Line};
use crate::report::table::{Grid, mebibytes, summary};
use crate::report::{Axis, Report as Load};
use crate::sample::Plan;
use crate::soak::{Bounds, Growth, Sample, Subjects};
use crate::workload;

/// A line through fewer says nothing.
const SAMPLES_MIN: f64 = 10.0;
/// More take memory that a generator has no use for.
const SAMPLES_MAX: f64 = 100_000.0;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Base URLs of the nodes; workers are spread over them in turn
    #[arg(long, required = true, value_delimiter = ',')]
    target: Vec<Target>,
    #[command(flatten)]
    pub(super) work: Work,
    /// Processes of the servers, for their memory and open files
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// Data directories, for their use of the disk
    #[arg(long, value_delimiter = ',')]
    dir: Vec<PathBuf>,
    /// Between two samples
    #[arg(long, default_value = "10s", value_parser = duration)]
    sample: Duration,
    /// Share of the window in which caches fill and stores reach their level; no line is drawn through it
    #[arg(long, default_value_t = 0.25)]
    settle: f64,
    /// By how much the resident memory of each process may grow in an hour: 1MiB/h
    #[arg(long, value_parser = growth)]
    rss_slope_max: Option<f64>,
    /// By how many the open files of each process may grow in an hour: 10/h
    #[arg(long, value_parser = growth)]
    files_slope_max: Option<f64>,
    /// By how much the disk use of each directory may grow in an hour: 10MiB/h
    #[arg(long, value_parser = growth)]
    disk_slope_max: Option<f64>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Report {
    /// Whether all was verified and nothing grew beyond its bound.
    ok: bool,
    /// From here on lines were fitted, in seconds after the run's origin.
    fitted_from_s: f64,
    growths: Vec<Growth>,
    load: Load,
    samples: Vec<Sample>,
}

impl Args {
    pub(super) async fn run(self) -> Verdict {
        answering(&self.target).await?;
        self.prepare()?;
        let subjects = Subjects { pids: self.pid.clone(), dirs: self.dir.clone() };
        let plan = Plan { pids: self.pid.clone(), ..Plan::default() };
        let total = self.work.warmup + self.work.duration;
        let bar = bar(total);
        let mut samples: Vec<Sample> = Vec::new();
        let mut next = self.sample;
        let options = self.work.options(&self.target);
        let load = workload::run_until(options, &plan, &interrupt(), |elapsed, recorder| {
            bar.set_position(elapsed.min(total).as_millis() as u64);
            if elapsed < next {
                return;
            }
            // A look that comes late is taken once, not made up for.
            while next <= elapsed {
                next += self.sample;
            }
            let sample = subjects.look(elapsed.as_secs_f64(), recorder.lap());
            let rss: u64 = sample.processes.iter().flatten().map(|held| held.rss_bytes).sum();
            let p99_ms = sample.latency.p99_us as f64 / 1e3;
            bar.set_message(format!(
                "{} operations, p99 {p99_ms:.1} ms, {} MiB resident",
                recorder.completed(),
                mebibytes(rss)
            ));
            samples.push(sample);
        })
        .await;
        drop(bar);
        let fitted_from_s = load.warmup_s + self.settle * load.duration_s;
        let bounds =
            Bounds { rss: self.rss_slope_max, files: self.files_slope_max, disk: self.disk_slope_max };
        let growths = subjects.growths(&samples, fitted_from_s, load.warmup_s + load.duration_s, bounds);
        let ok = load.ok && growths.iter().all(|growth| growth.ok);
        let report = Report { ok, fitted_from_s, growths, load, samples };
        let text = |report: &Report| format!("{}{}", summary(&report.load), growths_grid(report).text());
        self.output.give(report.ok, &report, text, |report| page(report, &subjects))
    }

    fn prepare(&self) -> Result<(), String> {
        if self.work.rate <= 0.0 {
            return Err("a soak has a fixed rate: --rate".to_owned());
        }
        if !(0.0..1.0).contains(&self.settle) {
            return Err("--settle is a share below 1".to_owned());
        }
        let fitted = self.work.duration.as_secs_f64() * (1.0 - self.settle) / self.sample.as_secs_f64();
        if !(SAMPLES_MIN..=SAMPLES_MAX).contains(&fitted) {
            return Err(format!(
                "{fitted:.0} samples to draw a line through; {SAMPLES_MIN} to {SAMPLES_MAX} are: see --duration, --sample"
            ));
        }
        self.work.prepare(self.target.len())
    }
}

/// `1MiB/h`, `10/h`: so much in an hour.
fn growth(text: &str) -> Result<f64, String> {
    amount(text.strip_suffix("/h").ok_or("growth is by the hour: 1MiB/h")?)
}

fn growths_grid(report: &Report) -> Grid {
    let mut grid =
        Grid::new("growth of | first | last | by the hour | standard error | bound | samples | holds");
    for growth in &report.growths {
        let amount = |value: f64| match growth.unit {
            "bytes" => format!("{:.3} MiB", value / f64::from(1 << 20)),
            _ => format!("{value:.2}"),
        };
        let or_unknown = |value: Option<f64>| value.map_or("?".to_owned(), amount);
        let samples = match growth.missing {
            0 => growth.samples.to_string(),
            missing => format!("{}, {missing} missing", growth.samples),
        };
        let holds = if growth.bound.is_none() {
            "–"
        } else if growth.ok {
            "yes"
        } else {
            "no"
        };
        grid.rows.push(vec![
            growth.what.clone(),
            or_unknown(growth.first_last.map(|(first, _)| first)),
            or_unknown(growth.first_last.map(|(_, last)| last)),
            or_unknown(growth.per_hour.map(|fit| fit.slope)),
            or_unknown(growth.per_hour.map(|fit| fit.standard_error)),
            growth.bound.map_or("none".to_owned(), amount),
            samples,
            holds.to_owned(),
        ]);
    }
    grid
}

fn page(report: &Report, subjects: &Subjects) -> String {
    let load = &report.load;
    let mut page = Page::new(&format!("{} soak", load.workload));
    page.text(&format!("{:.0} a second against {}", load.rate, load.targets.join(", ")));
    page.verdict(report.ok, if report.ok { "nothing grows beyond its bound" } else { "not as it should be" });
    page.section("Growth");
    page.text(&format!(
        "Lines are fitted from {:.0} s on. One fails whose slope less twice its standard error is above the bound.",
        report.fitted_from_s
    ));
    let series = |value: &dyn Fn(&Sample) -> Option<f64>| -> Vec<(f64, Option<f64>)> {
        report.samples.iter().map(|sample| (sample.at_s, value(sample))).collect()
    };
    let by_pid = |value: fn(&crate::soak::Held) -> Option<f64>| -> Vec<Line> {
        let line = |(at, pid): (usize, &u32)| Line {
            name: format!("process {pid}"),
            points: series(&|sample| value(sample.processes[at].as_ref()?)),
        };
        subjects.pids.iter().enumerate().map(line).collect()
    };
    let dir = |(at, dir): (usize, &PathBuf)| Line {
        name: dir.display().to_string(),
        points: series(&|sample| Some(sample.dirs[at]? as f64)),
    };
    let dirs: Vec<_> = subjects.dirs.iter().enumerate().map(dir).collect();
    let (seconds, bytes) = (Axis::seconds(), Axis::bytes("bytes"));
    let memory = by_pid(|held| Some(held.rss_bytes as f64));
    let files = by_pid(|held| held.files.map(|files| files as f64));
    let mut charts = vec![
        Chart::new("Resident memory", "By process; the axis does not begin at zero.", seconds, bytes, memory),
        Chart::new(
            "Open files",
            "By process; the axis does not begin at zero.",
            seconds,
            Axis::near("files"),
            files,
        ),
        Chart::new("Disk use", "By directory; the axis does not begin at zero.", seconds, bytes, dirs),
    ];
    charts.retain(|chart| !chart.lines.is_empty());
    for chart in &mut charts {
        chart.window = Some((report.fitted_from_s, load.warmup_s + load.duration_s));
    }
    page.charts(&charts).grid("Growth by the hour", &growths_grid(report));
    page.section("Load").report(load, &[]);
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_by_the_hour() {
        assert_eq!(growth("1MiB/h"), Ok(1_048_576.0));
        assert_eq!(growth("10/h"), Ok(10.0));
        assert!(growth("1MiB").is_err() && growth("/h").is_err());
    }
}
