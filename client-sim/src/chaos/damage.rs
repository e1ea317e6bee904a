//! What a disk does to files that lie still.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;

use super::Error;
use super::cluster::node::Node;
use super::error::During as _;
use super::schedule::DamagedPart;

/// How much of a record is torn, too short for a whole one.
const TORN_BYTES: usize = 10;
/// What a write that was under way had set aside.
const TORN_WITH_ZEROS: usize = 8_192;
/// How much is cut from the end of what had been flushed.
const CUT_BYTES: u64 = 5;

/// Damages the files of a node that does not run; says what was done.
pub(super) fn damage(node: &Node, place: DamagedPart) -> Result<String, Error> {
    if node.runs() {
        return Err(Error::NoSuchNode(format!("node {} still runs", node.id)));
    }
    let done = match place {
        DamagedPart::Log => largest(node.files("wal")).and_then(flip),
        DamagedPart::Snapshot => last(node.files("snapshot")).and_then(flip),
        DamagedPart::Tail => last(node.files("wal")).and_then(tear),
        DamagedPart::LastRecord => last(node.files("wal")).and_then(cut),
    };
    done.during(|| format!("damaging the files of node {}", node.id))
}

fn last(mut files: Vec<PathBuf>) -> io::Result<PathBuf> {
    files.pop().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no such file"))
}

fn largest(mut files: Vec<PathBuf>) -> io::Result<PathBuf> {
    files.sort_by_key(|path| path.metadata().map_or(0, |about| about.len()));
    last(files)
}

/// One bit, in the middle of what was written and not of space that was set aside.
fn flip(path: PathBuf) -> io::Result<String> {
    let mut bytes = fs::read(&path)?;
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap_or_default();
    let at = written / 2;
    let byte = bytes.get_mut(at).ok_or(io::ErrorKind::UnexpectedEof)?;
    *byte ^= 0b0001_0000;
    fs::write(&path, bytes)?;
    Ok(format!("one bit at {at} of {written} bytes"))
}

/// The beginning of a record and zeros behind the last one.
fn tear(path: PathBuf) -> io::Result<String> {
    let bytes = fs::read(&path)?;
    let mut torn = bytes.get(..TORN_BYTES).ok_or(io::ErrorKind::UnexpectedEof)?.to_vec();
    torn.resize(TORN_WITH_ZEROS, 0);
    OpenOptions::new().append(true).open(&path)?.write_all(&torn)?;
    Ok(format!("half a record behind {} bytes", bytes.len()))
}

fn cut(path: PathBuf) -> io::Result<String> {
    let file = OpenOptions::new().write(true).open(&path)?;
    let length = file.metadata()?.len();
    file.set_len(length.checked_sub(CUT_BYTES).ok_or(io::ErrorKind::UnexpectedEof)?)?;
    Ok(format!("the last {CUT_BYTES} of {length} bytes"))
}
