//! Reports as tables.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

use super::{ErrorCount, Latency, Report};
use crate::socket::Sockets;

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn milliseconds(micros: u64) -> String {
    format!("{:.2}", micros as f64 / 1e3)
}

fn row(name: &str, operations: u64, per_s: f64, latency: &Latency) -> Vec<String> {
    let points = [latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us];
    let mut row = vec![name.to_owned(), operations.to_string(), format!("{per_s:.0}")];
    row.extend(points.map(milliseconds));
    row
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

/// The whole report for a terminal.
pub fn summary(report: &Report) -> String {
    let mut latencies =
        table(["operation", "count", "per s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"]);
    for (name, kind) in &report.kinds {
        latencies.add_row(row(name, kind.operations, kind.per_s, &kind.latency));
    }
    latencies.add_row(row("all", report.operations, report.ops_per_s, &report.all));
    let mut out = format!("{latencies}\n");
    if let Some(open) = &report.open_loop {
        out += &format!(
            "open loop: {} of {} planned starts taken, begun late by p99 {} ms, at most {} ms\n",
            open.started,
            open.planned,
            milliseconds(open.lag.p99_us),
            milliseconds(open.lag.max_us)
        );
    }
    out += &format!(
        "bytes: {} MiB sent, {} MiB received, {} MiB of data verified\n",
        mebibytes(report.bytes.sent),
        mebibytes(report.bytes.received),
        mebibytes(report.bytes.verified)
    );
    out += &format!(
        "retries: {} at another node, {} after Retry-After; {} flows unfinished\n",
        report.retries.failovers, report.retries.retry_afters, report.unfinished
    );
    if let Some(sockets) = &report.sockets {
        out += &of_sockets(sockets);
    }
    out += &format!(
        "generator: {:.2} s of CPU, {:.1} µs per operation\n",
        report.generator.cpu_s, report.generator.cpu_us_per_op
    );
    if let Some(servers) = &report.servers {
        out += &format!(
            "servers: {:.2} s of CPU, {:.1} µs per operation over all nodes\n",
            servers.cost.cpu_s, servers.cost.cpu_us_per_op
        );
        let mut nodes = table(["pid", "CPU s", "RSS MiB", "peak MiB", "write calls", "written MiB"]);
        for node in &servers.nodes {
            let or_gone = |text: Option<String>| text.unwrap_or_else(|| "gone".to_owned());
            nodes.add_row([
                node.pid.to_string(),
                or_gone(node.cpu_s.map(|s| format!("{s:.2}"))),
                or_gone(node.rss_bytes.map(mebibytes)),
                or_gone(node.rss_peak_bytes.map(mebibytes)),
                or_gone(node.write_calls.map(|n| n.to_string())),
                or_gone(node.written_bytes.map(mebibytes)),
            ]);
        }
        out += &format!("{nodes}\n");
    }
    if let Some(fsyncs) = &report.fsyncs {
        out += &format!("fsyncs: {:.0}, {:.4} per operation\n", fsyncs.count, fsyncs.per_op);
    }
    out + &failures(&report.errors)
}

fn of_sockets(sockets: &Sockets) -> String {
    let mut out = format!(
        "sockets: {}, {} opened, {} resumed, {} not recovered; {} published, {} volatile ones lost, {} came again\n",
        sockets.encoding,
        sockets.opened,
        sockets.resumed,
        sockets.unrecovered,
        sockets.published,
        sockets.lost_volatile,
        sockets.redelivered
    );
    for (code, count) in &sockets.lost {
        out += &format!("connections lost with close code {code}: {count}\n");
    }
    if let Some(idle) = &sockets.idle {
        let kib = |bytes: Option<f64>| bytes.map_or("?".to_owned(), |bytes| format!("{:.1}", bytes / 1024.0));
        out += &format!(
            "idle: {} of {} held {:.1} s after the first try, {} in the end; {} KiB each over all servers, {} in the end; {} % of a core\n",
            idle.held,
            idle.sockets,
            idle.open_s,
            idle.left,
            kib(idle.rss_bytes_per_socket),
            kib(idle.rss_bytes_per_socket_after),
            idle.cpu_percent.map_or("?".to_owned(), |percent| format!("{percent:.1}"))
        );
    }
    out
}

/// Failures as a table; nothing where there are none.
pub fn failures(errors: &[ErrorCount]) -> String {
    if errors.is_empty() {
        return String::new();
    }
    let mut table = table(["failed operation", "status", "code", "count", "allowed"]);
    for error in errors {
        let allowed = if error.allowed { "yes" } else { "no" };
        table.add_row([
            error.operation,
            &error.status.to_string(),
            &error.code,
            &error.count.to_string(),
            allowed,
        ]);
    }
    format!("{table}\n")
}
