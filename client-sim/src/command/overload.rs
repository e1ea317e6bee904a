//! `overload`: more than the servers can do.

use std::time::Duration;

use super::output::Output;
use super::view::{bar, bytes};
use super::{Generator, Verdict, answering, duration, interrupt};
use crate::client::Target;
use crate::content::LENGTH_MAX;
use crate::files::raise_open_files;
use crate::overload::{self, Bounds, Options, Report};
use crate::report::html::{Page, over_time};
use crate::report::table::{Grid, mebibytes, milliseconds};
use crate::report::{Latency, Mark};

/// Files beside connections: standard streams, the runtime's.
const FILES_BESIDE: u64 = 64;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Base URLs of the nodes; connections are spread over them in turn
    #[arg(long, required = true, value_delimiter = ',')]
    target: Vec<Target>,
    /// Processes of the servers, for their CPU time and memory
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// How many times the capacity is offered
    #[arg(long, default_value_t = 3.0)]
    factor: f64,
    /// Length of the overload
    #[arg(long, default_value = "60s", value_parser = duration)]
    duration: Duration,
    /// Requests in flight while capacity is measured
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=16_384))]
    concurrency: u64,
    /// Requests in flight at most during the overload
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=32_768))]
    in_flight: u64,
    /// The normal rate, as a share of the capacity
    #[arg(long, default_value_t = 0.5)]
    normal: f64,
    /// How long capacity is measured, and after it the normal rate
    #[arg(long, default_value = "10s", value_parser = duration)]
    measure: Duration,
    /// How long the recovery is watched
    #[arg(long, default_value = "10s", value_parser = duration)]
    recovery: Duration,
    /// Bytes of each chunk
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=LENGTH_MAX as u64))]
    size: u64,
    /// Chunks per transfer
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=2048))]
    chunks: u32,
    /// How long one request may take
    #[arg(long, default_value = "20s", value_parser = duration)]
    timeout: Duration,
    /// Share of the capacity that must be stored during the overload
    #[arg(long, default_value_t = 0.8)]
    goodput_min: f64,
    /// How soon 429 and 503 must be answered, at p99
    #[arg(long, default_value = "100ms", value_parser = duration)]
    refusal_max: Duration,
    /// How soon p99 must be back to twice the normal
    #[arg(long, default_value = "2s", value_parser = duration)]
    recovery_max: Duration,
    /// Resident memory that no process may exceed during the overload
    #[arg(long, value_parser = bytes)]
    rss_max: Option<u64>,
    #[command(flatten)]
    pub(super) generator: Generator,
    #[command(flatten)]
    output: Output,
}

impl Args {
    pub(super) async fn run(self) -> Verdict {
        answering(&self.target).await?;
        let usable = |value: f64| value.is_finite() && value > 0.0;
        if !usable(self.factor) || !usable(self.normal) || self.normal > 1.0 {
            return Err("--factor is above 0, --normal between 0 and 1".into());
        }
        raise_open_files(self.concurrency + self.in_flight + FILES_BESIDE)?;
        let output = self.output.clone();
        let total = 2 * self.measure + self.duration + self.recovery;
        let bar = bar(total);
        let report = overload::run(self.options(), &interrupt(), |phase, elapsed, done| {
            bar.set_position(elapsed.min(total).as_millis() as u64);
            bar.set_message(format!("{phase}: {done} stored"));
        })
        .await;
        drop(bar);
        output.give(report.ok, &report, summary, page)
    }

    fn options(self) -> Options {
        Options {
            targets: self.target,
            pids: self.pid,
            concurrency: self.concurrency as usize,
            connections: self.in_flight as usize,
            factor: self.factor,
            normal: self.normal,
            measure: self.measure,
            duration: self.duration,
            recovery: self.recovery,
            size: self.size as usize,
            chunks: self.chunks,
            seed: self.generator.seed(),
            timeout: self.timeout,
            bounds: Bounds {
                goodput_min: self.goodput_min,
                refusal_p99_max_ms: self.refusal_max.as_secs_f64() * 1e3,
                recovery_max_s: self.recovery_max.as_secs_f64(),
                rss_max_bytes: self.rss_max,
            },
        }
    }
}

fn phases(report: &Report) -> Grid {
    let seconds = |cpu_s: Option<f64>| cpu_s.map_or("?".to_owned(), |cpu_s| format!("{cpu_s:.2}"));
    let mut grid = Grid::new(
        "phase | planned per s | offered per s | not offered | stored per s | p50 ms | p99 ms | begun late p99 ms | generator CPU s | servers CPU s | stolen CPU s",
    );
    for phase in &report.phases {
        let row = [
            phase.name.to_owned(),
            if phase.planned_per_s > 0.0 { format!("{:.0}", phase.planned_per_s) } else { "all".to_owned() },
            format!("{:.0}", phase.offered_per_s),
            phase.not_offered.to_string(),
            format!("{:.0}", phase.done_per_s),
            milliseconds(phase.latency.p50_us),
            milliseconds(phase.latency.p99_us),
            milliseconds(phase.lag.p99_us),
            format!("{:.2}", phase.cpu.generator_cpu_s),
            seconds(phase.cpu.servers_cpu_s),
            seconds(phase.cpu.stolen_cpu_s),
        ];
        grid.rows.push(row.to_vec());
    }
    grid
}

fn refusals(report: &Report) -> Grid {
    let mut grid = Grid::new("not stored | phase | count | p50 ms | p99 ms | max ms");
    for phase in &report.phases {
        for (status, latency) in &phase.refused {
            let Latency { count, p50_us, p99_us, max_us, .. } = *latency;
            let mut row = vec![status.to_string(), phase.name.to_owned(), count.to_string()];
            row.extend([p50_us, p99_us, max_us].map(milliseconds));
            grid.rows.push(row);
        }
        for (code, count) in &phase.failed {
            let row = [code.as_str(), phase.name, &count.to_string(), "", "", ""];
            grid.rows.push(row.map(str::to_owned).to_vec());
        }
    }
    grid
}

fn verdicts(report: &Report) -> Grid {
    let mut grid = Grid::new("demanded | found | holds");
    for verdict in &report.verdicts {
        let holds = if verdict.ok { "yes" } else { "no" };
        grid.rows.push(vec![verdict.what.clone(), verdict.found.clone(), holds.to_owned()]);
    }
    grid
}

fn memory(report: &Report) -> Grid {
    let mut grid = Grid::new("pid | RSS before MiB | most during MiB | after MiB");
    for memory in &report.servers {
        let rss = [memory.before_bytes, memory.overload_bytes, memory.after_bytes];
        let mut row = vec![memory.pid.to_string()];
        row.extend(rss.map(|rss| rss.map_or("?".to_owned(), mebibytes)));
        grid.rows.push(row);
    }
    grid
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let mut facts = vec![("capacity", format!("{:.0} uploads per second", report.capacity_per_s))];
    if report.interrupted {
        facts.push(("interrupted", "before its end".to_owned()));
    }
    if let Some(offered) = report.offered {
        facts.push((
            "offered",
            format!(
                "{offered:.2} times the capacity, where {:.2} were to be; {} in flight at most",
                report.factor, report.connections
            ),
        ));
    }
    facts
}

fn summary(report: &Report) -> String {
    let mut out = phases(report).text();
    for (about, fact) in facts(report) {
        out += &format!("{about}: {fact}\n");
    }
    for grid in [refusals(report), memory(report), verdicts(report)] {
        if !grid.rows.is_empty() {
            out += &grid.text();
        }
    }
    out
}

fn page(report: &Report) -> String {
    let mut page = Page::new("Overload");
    page.text(&format!("uploads of {} bytes to {}", report.size, report.targets.join(", ")));
    page.verdict(report.ok, if report.ok { "holds what is demanded" } else { "not as demanded" });
    page.tiles(&[
        ("capacity per second", format!("{:.0}", report.capacity_per_s)),
        ("offered", report.offered.map_or("–".to_owned(), |times| format!("{times:.2} ×"))),
        ("goodput", report.goodput.map_or("–".to_owned(), |share| format!("{:.1} %", share * 100.0))),
        ("recovery", report.recovery_s.map_or("never".to_owned(), |s| format!("{s:.2} s"))),
    ]);
    page.section("Demands").grid("What was demanded and found", &verdicts(report));
    page.section("Over time");
    let mark = |phase: &overload::Phase| Mark { at_s: phase.at_s, text: format!("{} begins", phase.name) };
    let marks: Vec<_> = report.phases.iter().map(mark).collect();
    page.charts(&over_time(&report.timeline, (0.0, f64::INFINITY), &marks)).marks(&marks);
    page.section("Phases").facts(&facts(report)).grid("Rates and latencies by phase", &phases(report));
    for (caption, grid) in [("Refused and failed", refusals(report)), ("Memory", memory(report))] {
        if !grid.rows.is_empty() {
            page.grid(caption, &grid);
        }
    }
    page.finish()
}
