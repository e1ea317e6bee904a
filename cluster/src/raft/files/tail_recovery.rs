//! The end of a log whose last write was cut short.
//!
//! A write that was under way when the power went leaves the beginning of a record, zeros, or garbage behind the
//! last whole record of the newest file. Nothing of it was ever acknowledged, so it is cut off. A record that does
//! not read although a whole one stands somewhere behind it is another matter: that is damage to what may have
//! been acknowledged, and the file is left as it is.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use raft_log::codeq::Decode;

/// What a look at the newest file found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Every record reads.
    Whole,
    /// This many bytes behind the last whole record were cut off.
    Cut(u64),
    /// The record at this offset does not read, a later one does.
    Damaged(u64),
}

/// Mends the newest file of a log; older files were complete before newer ones were begun.
pub(super) fn mend<Record: Decode>(dir: &Path) -> io::Result<Tail> {
    let Some(path) = newest(dir)? else {
        return Ok(Tail::Whole);
    };
    let bytes = fs::read(&path)?;
    let whole = whole_records::<Record>(&bytes);
    if whole == bytes.len() {
        return Ok(Tail::Whole);
    }
    if (whole + 1..bytes.len()).any(|at| is_record::<Record>(&bytes[at..])) {
        return Ok(Tail::Damaged(whole as u64));
    }
    let file = OpenOptions::new().write(true).open(&path)?;
    file.set_len(whole as u64)?;
    file.sync_all()?;
    Ok(Tail::Cut((bytes.len() - whole) as u64))
}

/// The files' names sort as they follow each other.
fn newest(dir: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest = None;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wal") {
            newest = newest.max(Some(path));
        }
    }
    Ok(newest)
}

/// The offset behind the last record that reads.
fn whole_records<Record: Decode>(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let mut rest = &bytes[at..];
        if rest.is_empty() || Record::decode(&mut rest).is_err() {
            return at;
        }
        at = bytes.len() - rest.len();
    }
}

/// A record begins with its kind, a small number in four bytes; whatever does not is not tried.
fn is_record<Record: Decode>(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, 0, 0..=5, ..]) && Record::decode(bytes).is_ok()
}
