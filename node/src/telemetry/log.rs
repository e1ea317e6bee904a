//! Log lines: JSON for machines, readable on a terminal, never in a request's way.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use super::writer::{Flush, Lines};
use crate::config::{Log, LogFormat};

/// Starts logging for the whole process. Lines are written until the guard is dropped, which waits for the last one.
pub fn start(log: &Log) -> Flush {
    let (lines, flush) = Lines::to(std::io::stderr());
    // Checked with the configuration already; a default keeps logging from ever being the reason not to start.
    let filter = EnvFilter::try_new(filter(&log.level)).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_span_events(FmtSpan::NONE).with_writer(lines);
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !terminal,
    };
    // A second subscriber in one process, as in tests, leaves the first one in place.
    let _ = if json {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    } else {
        builder.with_ansi(terminal).try_init()
    };
    log_panics();
    flush
}

/// The level, with the libraries' own chatter left out unless it is asked for. Raft's is fifty lines a start.
fn filter(level: &str) -> String {
    format!("actix_server=warn,{},{level}", conclave_cluster::raft::QUIET)
}

/// Makes a panic a log line. Only a text that stands in the source is shown: a formatted one may carry a caller's
/// data, since slicing a string panics with the string in the message.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(text withheld)");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        tracing::error!(place, thread = thread.name().unwrap_or("unnamed"), text, "panicked");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chatter_can_be_asked_for() {
        let shown = |level| EnvFilter::new(filter(level)).to_string();
        assert!(shown("info").contains("actix_server=warn") && shown("info").ends_with("info"));
        let asked = shown("info,actix_server=debug");
        assert!(asked.contains("actix_server=debug") && !asked.contains("actix_server=warn"), "{asked}");
    }
}
