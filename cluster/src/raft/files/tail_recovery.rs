//! The end of a log whose last write was cut short.
//!
//! A write that was under way when the power went leaves the beginning of a record, zeros, or garbage behind the
//! last whole record of the newest file. Nothing of it was ever acknowledged, so it is cut off. A record that does
//! not read although a whole one stands somewhere behind it is another matter: that is damage to what may have
//! been acknowledged, and the file is left as it is.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

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

/// Whether a file holds no record, not even a damaged one with a whole one behind it.
pub(super) fn is_unwritten<Record: Decode>(path: &Path) -> io::Result<bool> {
    let bytes = fs::read(path)?;
    Ok(!(0..bytes.len()).any(|at| is_record::<Record>(&bytes[at..])))
}

/// Mends the newest file of a log in which a record was written; older files were complete before that.
pub(super) fn mend<Record: Decode>(path: &Path) -> io::Result<Tail> {
    let bytes = fs::read(path)?;
    let whole = whole_records::<Record>(&bytes);
    if whole == bytes.len() {
        return Ok(Tail::Whole);
    }
    if (whole + 1..bytes.len()).any(|at| is_record::<Record>(&bytes[at..])) {
        return Ok(Tail::Damaged(whole as u64));
    }
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(whole as u64)?;
    file.sync_all()?;
    Ok(Tail::Cut((bytes.len() - whole) as u64))
}

/// The offset of the first record of a file that does not read.
pub(super) fn first_damage<Record: Decode>(path: &Path) -> io::Result<Option<u64>> {
    let bytes = fs::read(path)?;
    let whole = whole_records::<Record>(&bytes);
    Ok((whole < bytes.len()).then_some(whole as u64))
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
