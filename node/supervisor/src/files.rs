//! What nodes have on the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::{env, process};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use tempfile::TempDir;

/// No more than so much of the end of a log is looked at.
const TAIL_BYTES: i64 = 65_536;

/// A new folder among the system's temporary ones, named `<prefix><pid>-…`, which nobody else can read. It is removed
/// when dropped.
///
/// # Errors
/// If it cannot be made.
pub fn scratch(prefix: &str) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(&format!("{prefix}{}-", process::id())).tempdir()
}

/// The folders that [`scratch`] made for processes that are no more, and that nobody removed.
pub fn abandoned(prefix: &str) -> impl Iterator<Item = PathBuf> {
    let entries = env::temp_dir().read_dir().into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(move |path| {
        let name = path.file_name().and_then(|name| name.to_str()?.strip_prefix(prefix));
        let owner = name.and_then(|name| Pid::from_raw(name.split('-').next()?.parse().ok()?));
        owner.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
    })
}

/// Writes a new file that nobody else can read.
///
/// # Errors
/// If the file is there, or cannot be written.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// Writes a fresh secret of a cluster's own into a new file: whoever else is on this machine must not reach the ports
/// of the peers.
///
/// # Errors
/// As [`write_private`].
pub fn write_secret(path: &Path) -> io::Result<()> {
    let digits: String = rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect();
    write_private(path, &format!("{digits}\n"))
}

/// The last lines of a log; nothing if there is none.
pub fn tail(log: &Path, lines: usize) -> String {
    let read = || {
        let (mut file, mut bytes) = (File::open(log)?, Vec::new());
        // What is shorter is read from its beginning.
        let _ = file.seek(SeekFrom::End(-TAIL_BYTES));
        file.read_to_end(&mut bytes)?;
        io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_dead_are_found_and_no_others() {
        let prefix = format!("conclave-supervisor-{}-", rand::random::<u32>());
        let own = scratch(&prefix).unwrap();
        let mut child = process::Command::new("true").spawn().unwrap();
        let dead = env::temp_dir().join(format!("{prefix}{}-x", child.id()));
        std::fs::create_dir(&dead).unwrap();
        child.wait().unwrap();
        assert_eq!(abandoned(&prefix).collect::<Vec<_>>(), [dead.as_path()]);
        std::fs::remove_dir(dead).unwrap();
        assert!(own.path().is_dir());
    }

    #[test]
    fn the_end_of_a_long_log_is_read_alone() {
        let home = scratch("conclave-supervisor-").unwrap();
        let log = home.path().join("log");
        std::fs::write(&log, format!("{}one\ntwo\n", "long\n".repeat(100_000))).unwrap();
        assert_eq!(tail(&log, 2), "one\ntwo");
        assert_eq!(tail(&log, usize::MAX).len(), usize::try_from(TAIL_BYTES).unwrap() - 1);
        assert_eq!(tail(home.path(), 2) + &tail(&home.path().join("none"), 2), "");
    }
}
