//! What the commands show while they run and leave behind, and how they are interrupted.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use super::{Failed, NO_NODE};
use crate::client::{Stream, Target};
use crate::console::say;
use crate::report::Recorder;
use crate::stop::Stop;

/// The exit code of a program that SIGINT ended.
const INTERRUPTED: i32 = 130;
/// For a node to take a connection.
const REACH: Duration = Duration::from_secs(3);
/// Between two changes of the line beside the bar.
const SHOW: Duration = Duration::from_secs(1);

/// Turns the first Ctrl-C into a word to stop, so that there is a report of what was found so far, and the second
/// into the end of the process.
pub(super) fn interrupt() -> Stop {
    let stop = Stop::default();
    let said = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            tell!("stopping; what has begun is brought to its end (Ctrl-C again to leave at once)");
            said.say();
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(INTERRUPTED);
        }
    });
    stop
}

/// A bar on a terminal, nothing elsewhere.
pub(super) fn bar(total: Duration) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{wide_bar} {percent}% {msg}").expect("the template is a constant");
    ProgressBar::new(total.as_millis() as u64).with_style(style).with_finish(ProgressFinish::AndClear)
}

/// Shows how far a run is, and how fast at the moment.
pub(super) fn progress(total: Duration) -> impl FnMut(Duration, &Recorder) {
    let bar = bar(total);
    let (mut then, mut then_done) = (Duration::ZERO, 0);
    move |elapsed, recorder| {
        bar.set_position(elapsed.min(total).as_millis() as u64);
        let since = elapsed.saturating_sub(then);
        if bar.is_hidden() || since < SHOW {
            return;
        }
        let (done, lap) = (recorder.completed(), recorder.lap());
        let per_s = (done - then_done) as f64 / since.as_secs_f64();
        let [p50, p99] = [lap.p50_us, lap.p99_us].map(|us| us as f64 / 1e3);
        bar.set_message(format!("{done} operations, {per_s:.0}/s, p50 {p50:.1} ms, p99 {p99:.1} ms"));
        (then, then_done) = (elapsed, done);
    }
}

/// Fails if none of the nodes can be reached, before anything is measured.
pub(super) async fn answering(targets: &[Target]) -> Result<(), Failed> {
    let tries = targets.iter().map(|target| async move {
        match tokio::time::timeout(REACH, Stream::open(target)).await {
            Ok(Ok(_)) => None,
            // Somebody is there, and not whom the certificate has to name.
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                Some(format!("{target} ({error}; --ca names the authority to believe)"))
            }
            Ok(Err(_)) | Err(_) => Some(target.to_string()),
        }
    });
    match futures_util::future::join_all(tries).await.into_iter().collect::<Option<Vec<_>>>() {
        Some(all) if !all.is_empty() => {
            Err(Failed(NO_NODE, Some(format!("no node answers at {}", all.join(", ")))))
        }
        _ => Ok(()),
    }
}

/// One line of JSON.
pub(super) fn print_json(report: &impl serde::Serialize) {
    match serde_json::to_string(report) {
        Ok(json) => say(&format!("{json}\n")),
        Err(error) => tell!("the report does not serialize: {error}"),
    }
}

/// `1MiB`, `64KiB`, `2GiB`, or bytes without a unit.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    amount(text).map(|amount| amount as u64)
}

/// The same, where a part of one counts.
pub(super) fn amount(text: &str) -> Result<f64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(format!("unknown unit {other:?}; one of B, KiB, MiB, GiB")),
    };
    let number: f64 = digits.parse().map_err(|_| "not a number".to_owned())?;
    let amount = number * f64::from(unit);
    if (0.0..1e18).contains(&amount) { Ok(amount) } else { Err("out of range".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        assert_eq!(bytes("1MiB"), Ok(1 << 20));
        assert_eq!(bytes("1.5KiB"), Ok(1536));
        assert_eq!((bytes("7"), amount("0.5")), (Ok(7), Ok(0.5)));
        assert!(bytes("1MB").is_err() && bytes("-1B").is_err() && bytes("").is_err());
    }
}
