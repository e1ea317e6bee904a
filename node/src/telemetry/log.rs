//! Log lines: JSON for machines, readable on a terminal, never in a request's way.

use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::reload::Handle;

use super::writer::{Flush, Lines};
use crate::config::{self, Log, LogFormat};

/// Changes what is logged; whether that worked.
type Reload = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// The level of the whole process, once logging was started.
static LEVEL: OnceLock<Level> = OnceLock::new();

/// What is logged, as a node that runs may change it.
pub struct Level {
    configured: String,
    now: Mutex<Now>,
    reload: Reload,
}

/// What is in force, and how often that was changed.
#[derive(Debug)]
struct Now {
    level: String,
    changes: u64,
}

impl Level {
    /// That of this process; none before logging was started.
    pub fn of_process() -> Option<&'static Self> {
        LEVEL.get()
    }

    /// As configured.
    pub fn configured(&self) -> &str {
        &self.configured
    }

    /// What is in force.
    pub fn now(&self) -> String {
        self.lock().level.clone()
    }

    /// Changes it; says which change that was, for [`Level::restore`].
    ///
    /// # Errors
    /// If it is no level; says why.
    pub fn set(&self, level: &str) -> Result<u64, String> {
        if let Some(why) = config::log_level_problem(level) {
            return Err(why);
        }
        let mut now = self.lock();
        self.put(&mut now, level)?;
        Ok(now.changes)
    }

    /// Back to what is configured, unless it was changed again since that change.
    pub fn restore(&self, change: u64) {
        let mut now = self.lock();
        if now.changes == change {
            // What is configured was read before.
            let _ = self.put(&mut now, &self.configured);
        }
    }

    fn put(&self, now: &mut Now, level: &str) -> Result<(), String> {
        let filter = EnvFilter::try_new(filter(level)).map_err(|error| error.to_string())?;
        if !(self.reload)(filter) {
            return Err("this process logs by other rules".to_owned());
        }
        *now = Now { level: level.to_owned(), changes: now.changes + 1 };
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    // A second subscriber in one process, as in tests, leaves the first one in place, and its level.
    let (reload, started) = if json {
        let builder = builder.json().flatten_event(true).with_current_span(true).with_span_list(false);
        let builder = builder.with_filter_reloading();
        (reload(builder.reload_handle()), builder.try_init())
    } else {
        let builder = builder.with_ansi(terminal).with_filter_reloading();
        (reload(builder.reload_handle()), builder.try_init())
    };
    if started.is_ok() {
        let now = Mutex::new(Now { level: log.level.clone(), changes: 0 });
        let _ = LEVEL.set(Level { configured: log.level.clone(), now, reload });
    }
    log_panics();
    flush
}

fn reload<S: 'static>(handle: Handle<EnvFilter, S>) -> Reload {
    Box::new(move |filter| handle.reload(filter).is_ok())
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

    #[test]
    fn a_level_goes_back_unless_it_was_changed_again() {
        let level = Level {
            configured: "info".to_owned(),
            now: Mutex::new(Now { level: "info".to_owned(), changes: 0 }),
            reload: Box::new(|_| true),
        };
        let first = level.set("debug").unwrap();
        let second = level.set("trace").unwrap();
        level.restore(first);
        assert_eq!(level.now(), "trace");
        assert!(level.set("loud").unwrap_err().contains("`loud` is no level"));
        level.restore(second);
        assert_eq!((level.now().as_str(), level.configured()), ("info", "info"));
    }
}
