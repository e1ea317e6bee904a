//! Standard output and standard error.

use std::io::Write as _;

/// Writes to standard output. A reader that closed its end, as `head` does, has read enough.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes a line to standard error. That nobody reads it is no failure.
pub(crate) fn complain(what: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{what}");
}
