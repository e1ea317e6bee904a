//! The files of a log in the order in which they were written, and whether they can be all of it.
//!
//! A file is named by the offset at which it begins, so that each ends where the next one begins. The library opens what
//! does not follow each other with a panic or an error that names no file; so the files are looked at first.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use raft_log::codeq::Decode;

use super::super::{Error, io_error, stray};

/// The library's lock, which is no file of the log.
const LOCK: &str = "LOCK";
/// Digits of an offset in a name, as in `r-00_000_000_000_016_777_216.wal`.
const DIGITS: usize = 20;
/// Bytes that are read of a file to find its first record, a checkpoint of some hundred.
const FIRST_RECORD_BYTES_MAX: u64 = 64 << 10;

/// One file of a log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    /// Where it begins in the whole log.
    pub(super) start: u64,
    /// Its length.
    pub(super) bytes: u64,
}

/// The files of a log, oldest first. Each can be opened; that they follow each other is asked by [`follow`].
pub(super) fn of(dir: &Path) -> Result<Vec<LogFile>, Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error(dir))? {
        let path = entry.map_err(io_error(dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let start = start(&name);
        if start.is_none() && name != LOCK {
            if name.ends_with(".wal") {
                return Err(stray(&path));
            }
            tracing::warn!(path = %path.display(), "this is none of the log's files; it is left alone");
            continue;
        }
        let metadata = fs::metadata(&path).map_err(io_error(&path))?;
        if !metadata.is_file() {
            return Err(damaged(&path, "what has its name is no file"));
        }
        // As the library opens it, whose error would not name it.
        File::options().read(true).append(true).open(&path).map_err(io_error(&path))?;
        files.extend(start.map(|start| LogFile { path, start, bytes: metadata.len() }));
    }
    files.sort_by_key(|file| file.start);
    Ok(files)
}

/// Fails unless each file ends where the next one begins.
pub(super) fn follow(files: &[LogFile]) -> Result<(), Error> {
    for pair in files.windows(2) {
        let [file, next] = pair else { continue };
        let wanted = next.start - file.start;
        if file.bytes == 0 {
            return Err(damaged(&file.path, "it is empty, and is not the newest file of the log"));
        }
        if file.bytes != wanted {
            let next = next.path.file_name().unwrap_or_default().to_string_lossy();
            let why = format!(
                "it has {} bytes, and {wanted} lie between its beginning and that of {next}, the next file there is",
                file.bytes
            );
            return Err(damaged(&file.path, &why));
        }
    }
    Ok(())
}

/// Fails unless a log is there that somebody began. The directory of a node has one from before it has an identity, so that
/// without it the node has forgotten what it promised.
pub(in super::super) fn expect_begun<Record: Decode>(dir: &Path) -> Result<(), Error> {
    let files = if dir.exists() { of(dir)? } else { Vec::new() };
    let Some(first) = files.first() else {
        return Err(damaged(dir, "the log is gone, and with it what this node has promised"));
    };
    let mut bytes = Vec::new();
    let file = File::open(&first.path).map_err(io_error(&first.path))?;
    file.take(FIRST_RECORD_BYTES_MAX).read_to_end(&mut bytes).map_err(io_error(&first.path))?;
    if Record::decode(&mut bytes.as_slice()).is_err() {
        let why = if bytes.is_empty() { "it is empty" } else { "a record at offset 0 fails its checksum" };
        return Err(damaged(&first.path, why));
    }
    Ok(())
}

pub(super) fn damaged(path: &Path, why: &str) -> Error {
    Error::Damaged { path: path.display().to_string(), error: why.to_owned() }
}

/// The offset that a file's name says, if it is a name of the log's files to the letter.
fn start(name: &str) -> Option<u64> {
    let text = name.strip_prefix("r-")?.strip_suffix(".wal")?;
    let digits: String = text.chars().filter(|char| *char != '_').collect();
    let start = (digits.len() == DIGITS).then(|| digits.parse().ok())??;
    let named = raft_log::Config::new("").wal.chunk_path(raft_log::ChunkId(start));
    named.strip_prefix('/').is_some_and(|named| named == name).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(start: u64, bytes: u64) -> LogFile {
        LogFile { path: format!("/log/{start}").into(), start, bytes }
    }

    #[test]
    fn only_names_of_the_logs_files_say_where_they_begin() {
        assert_eq!(start("r-00_000_000_000_016_777_216.wal"), Some(16 << 20));
        for name in [
            "LOCK",
            "copy.wal",
            "r-16777216.wal",
            "r-00000000000016777216.wal",
            "r-00_000_000_000_016_777_216.wal.part",
            "r-00_000_000_000_016_777_21x.wal",
        ] {
            assert_eq!(start(name), None, "{name}");
        }
    }

    #[test]
    fn files_that_follow_each_other_are_a_log_wherever_they_begin() {
        follow(&[]).unwrap();
        follow(&[file(70, 30), file(100, 5), file(105, 0)]).unwrap();
    }

    #[test]
    fn a_gap_is_told_of_the_file_before_it() {
        for (files, word) in [
            ([file(0, 100), file(100, 0), file(200, 5)], "/log/100 is damaged (it is empty"),
            ([file(0, 100), file(200, 7), file(207, 5)], "/log/0 is damaged (it has 100 bytes, and 200"),
            ([file(0, 100), file(100, 90), file(200, 5)], "/log/100 is damaged (it has 90 bytes, and 100"),
        ] {
            let error = follow(&files).unwrap_err().to_string();
            assert!(error.starts_with(word) && error.contains("fresh id"), "{error}");
        }
    }
}
