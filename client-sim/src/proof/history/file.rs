//! Histories on disk: a line of JSON about the run, then one for each operation in the order of their ends.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::proof::Terms;

/// The first line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Header {
    /// The format's version, 1.
    pub conclave_history: u32,
    /// What the run was derived from.
    pub seed: u64,
    /// Who was asked; an operation's `target` counts them from 0.
    pub targets: Vec<String>,
    /// How the cluster is configured.
    #[serde(flatten)]
    pub terms: Terms,
}

/// This format.
pub(crate) const VERSION: u32 = 1;

/// Why a file is no history.
#[derive(Debug, thiserror::Error)]
pub enum BadFile {
    /// It cannot be read.
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A line is not what it should be.
    #[error("line {line} is none of a history: {why}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        why: String,
    },
    /// Another version wrote it.
    #[error("the file has format {0}, and only format {VERSION} is known")]
    Version(u32),
}

/// Writes a history as it happens.
#[derive(Debug)]
pub struct Writer(BufWriter<File>);

impl Writer {
    /// Begins a file, over one that is there.
    pub fn create(path: &Path, header: &Header) -> io::Result<Self> {
        let mut writer = Self(BufWriter::new(File::create(path)?));
        writer.line(header)?;
        Ok(writer)
    }

    pub(super) fn write(&mut self, operation: &Operation) -> io::Result<()> {
        self.line(operation)
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, value)?;
        self.0.write_all(b"\n")
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Reads a whole history into memory, about 200 bytes for each operation.
pub fn read(path: &Path) -> Result<(Header, Vec<Operation>), BadFile> {
    let mut lines = BufReader::new(File::open(path)?).lines().enumerate();
    let bad =
        |line: usize| move |why: serde_json::Error| BadFile::Line { line: line + 1, why: why.to_string() };
    let first = lines.next().map_or(Ok(String::new()), |(_, line)| line)?;
    let header: Header = serde_json::from_str(&first).map_err(bad(0))?;
    if header.conclave_history != VERSION {
        return Err(BadFile::Version(header.conclave_history));
    }
    let mut operations = Vec::new();
    for (number, line) in lines {
        operations.push(serde_json::from_str(&line?).map_err(bad(number))?);
    }
    Ok((header, operations))
}
