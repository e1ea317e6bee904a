//! What people and scripts read: standard output and standard error.

pub(crate) mod cluster_status_table;

use std::io::Write as _;

use crate::exit::Exit;

/// Writes to standard output; whether the reader closed its end, as `head` does, is no failure of ours.
pub(crate) fn print(text: &str) -> Exit {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Done,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => complain(error, Exit::Failed),
    }
}

/// Says something on standard output, whether or not somebody still listens.
pub(crate) fn say(text: &str) {
    let _ = print(text);
}

/// Writes a line to standard error, whether or not somebody still reads it.
pub(crate) fn tell(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Writes why to standard error.
pub(crate) fn complain(why: impl std::fmt::Display, exit: Exit) -> Exit {
    for line in why.to_string().lines() {
        tell(&format!("conclave: {line}"));
    }
    exit
}
