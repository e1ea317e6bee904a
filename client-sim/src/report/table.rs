//! Reports as lines and grids, which a terminal and a page show each in their own way.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::{ErrorCount, Latency, Report, Servers, StepReport};
use crate::socket::Sockets;

/// A grid of texts: the first column names, the others count.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Grid {
    /// What the columns hold.
    pub header: Vec<String>,
    /// As long as the header each.
    pub rows: Vec<Vec<String>>,
}

impl Grid {
    /// Without rows yet; the columns' names stand between bars.
    pub fn new(header: &str) -> Self {
        Self { header: header.split(" | ").map(str::to_owned).collect(), rows: Vec::new() }
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(&self.header);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for row in &self.rows {
            table.add_row(row);
        }
        format!("{table}\n")
    }
}

/// Thousandths, two digits.
pub fn milliseconds(micros: u64) -> String {
    format!("{:.2}", micros as f64 / 1e3)
}

/// One digit.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

fn row(name: &str, operations: u64, per_s: f64, latency: &Latency) -> Vec<String> {
    let points = [latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us];
    let mut row = vec![name.to_owned(), operations.to_string(), format!("{per_s:.0}")];
    row.extend(points.map(milliseconds));
    row
}

/// Rate and latency by kind of operation.
pub fn latencies(report: &Report) -> Grid {
    let mut grid = Grid::new("operation | count | per s | p50 ms | p90 ms | p99 ms | p99.9 ms | max ms");
    for (name, kind) in &report.kinds {
        grid.rows.push(row(name, kind.operations, kind.per_s, &kind.latency));
    }
    grid.rows.push(row("all", report.operations, report.ops_per_s, &report.all));
    grid
}

/// The same by step of the rate.
pub fn steps(steps: &[StepReport]) -> Grid {
    let mut grid = Grid::new("planned per s | count | per s | p50 ms | p90 ms | p99 ms | p99.9 ms | max ms");
    for step in steps {
        grid.rows.push(row(&format!("{:.0}", step.rate), step.operations, step.per_s, &step.latency));
    }
    grid
}

/// What each server took.
pub fn nodes(servers: &Servers) -> Grid {
    let mut grid = Grid::new("pid | CPU s | RSS MiB | peak MiB | write calls | written MiB");
    for node in &servers.nodes {
        let or_gone = |text: Option<String>| text.unwrap_or_else(|| "gone".to_owned());
        grid.rows.push(vec![
            node.pid.to_string(),
            or_gone(node.cpu_s.map(|s| format!("{s:.2}"))),
            or_gone(node.rss_bytes.map(mebibytes)),
            or_gone(node.rss_peak_bytes.map(mebibytes)),
            or_gone(node.write_calls.map(|n| n.to_string())),
            or_gone(node.written_bytes.map(mebibytes)),
        ]);
    }
    grid
}

/// Failures; `None` where there are none.
pub fn errors(errors: &[ErrorCount]) -> Option<Grid> {
    let mut grid = Grid::new(ERROR_COLUMNS);
    grid.rows.extend(errors.iter().map(|error| error_row(error).to_vec()));
    (!errors.is_empty()).then_some(grid)
}

/// What [`error_row`] is made of.
pub const ERROR_COLUMNS: &str = "failed operation | status | code | count | allowed";

/// One failure and how often it happened.
pub fn error_row(error: &ErrorCount) -> [String; 5] {
    let allowed = if error.allowed { "yes" } else { "no" };
    let ErrorCount { operation, status, code, count, .. } = error;
    [operation.to_string(), status.to_string(), code.clone(), count.to_string(), allowed.to_owned()]
}

/// Replies by status.
pub fn statuses(report: &Report) -> Grid {
    let mut grid = Grid::new("status | replies");
    grid.rows = report.statuses.iter().map(|(status, n)| vec![status.to_string(), n.to_string()]).collect();
    grid
}

/// What is said in sentences, each with a word for what it is about.
pub fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if report.interrupted {
        facts.push(("interrupted", format!("after {:.1} s of the window", report.duration_s)));
    }
    if let Some(open) = &report.open_loop {
        facts.push((
            "open loop",
            format!(
                "{} of {} planned starts taken, begun late by p99 {} ms, at most {} ms",
                open.started,
                open.planned,
                milliseconds(open.lag.p99_us),
                milliseconds(open.lag.max_us)
            ),
        ));
    }
    let [sent, received, verified] =
        [report.bytes.sent, report.bytes.received, report.bytes.verified].map(mebibytes);
    facts.push((
        "bytes",
        format!("{sent} MiB sent, {received} MiB received, {verified} MiB of data verified"),
    ));
    facts.push((
        "retries",
        format!(
            "{} at another node, {} after Retry-After; {} flows unfinished",
            report.retries.failovers, report.retries.retry_afters, report.unfinished
        ),
    ));
    facts.extend(report.sockets.iter().flat_map(of_sockets));
    let took = |cpu_s, each| format!("{cpu_s:.2} s of CPU, {each:.1} µs per operation");
    facts.push(("generator", took(report.generator.cpu_s, report.generator.cpu_us_per_op)));
    if let Some(servers) = &report.servers {
        let took = took(servers.cost.cpu_s, servers.cost.cpu_us_per_op);
        facts.push(("servers", format!("{took} over all nodes")));
    }
    if let Some(fsyncs) = &report.fsyncs {
        facts.push(("fsyncs", format!("{:.0}, {:.4} per operation", fsyncs.count, fsyncs.per_op)));
    }
    facts
}

/// The whole report for a terminal.
pub fn summary(report: &Report) -> String {
    let mut out = latencies(report).text();
    if !report.steps.is_empty() {
        out += &steps(&report.steps).text();
    }
    for (about, fact) in facts(report) {
        out += &format!("{about}: {fact}\n");
    }
    if let Some(servers) = &report.servers {
        out += &nodes(servers).text();
    }
    out + &errors(&report.errors).map_or(String::new(), |grid| grid.text())
}

fn of_sockets(sockets: &Sockets) -> Vec<(&'static str, String)> {
    let mut facts = vec![(
        "sockets",
        format!(
            "{}, {} opened, {} resumed, {} not recovered; {} published, {} volatile ones lost, {} came again",
            sockets.encoding,
            sockets.opened,
            sockets.resumed,
            sockets.unrecovered,
            sockets.published,
            sockets.lost_volatile,
            sockets.redelivered
        ),
    )];
    for (code, count) in &sockets.lost {
        facts.push(("connections lost", format!("{count} with close code {code}")));
    }
    if let Some(idle) = &sockets.idle {
        let kib = |bytes: Option<f64>| bytes.map_or("?".to_owned(), |bytes| format!("{:.1}", bytes / 1024.0));
        facts.push((
            "idle",
            format!(
                "{} of {} held {:.1} s after the first try, {} in the end; {} KiB each over all servers, {} in the \
                 end; {} % of a core",
                idle.held,
                idle.sockets,
                idle.open_s,
                idle.left,
                kib(idle.rss_bytes_per_socket),
                kib(idle.rss_bytes_per_socket_after),
                idle.cpu_percent.map_or("?".to_owned(), |percent| format!("{percent:.1}"))
            ),
        ));
    }
    facts
}
