//! Histories on disk: a line of JSON about the run, then one for each operation in the order of their ends, then one that
//! says that this was all.

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

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
struct Footer {
    /// How many operations stand before it.
    operations: u64,
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
    /// Its end is missing, so that it proves nothing.
    #[error("the file has no end: its run was cut off")]
    Cut,
    /// Another version wrote it.
    #[error("the file has format {0}, and only format {VERSION} is known")]
    Version(u32),
}

/// Writes a history as it happens.
#[derive(Debug)]
pub struct Writer {
    file: BufWriter<File>,
    operations: u64,
}

impl Writer {
    /// Begins a file, over one that is there.
    pub fn create(path: &Path, header: &Header) -> io::Result<Self> {
        let mut writer = Self { file: BufWriter::new(File::create(path)?), operations: 0 };
        writer.line(header)?;
        Ok(writer)
    }

    pub(super) fn write(&mut self, operation: &Operation) -> io::Result<()> {
        self.operations += 1;
        self.line(operation)
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, value)?;
        self.file.write_all(b"\n")
    }

    /// Says that this was all.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let operations = self.operations;
        self.line(&Footer { operations })?;
        self.file.flush()
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
    let mut last: Option<(usize, String)> = None;
    for (number, line) in lines {
        if let Some((number, line)) = last.replace((number, line?)) {
            operations.push(serde_json::from_str(&line).map_err(bad(number))?);
        }
    }
    // Without its end it may lack what explains the rest.
    let footer = last.and_then(|(_, line)| serde_json::from_str::<Footer>(&line).ok());
    match footer.filter(|footer| footer.operations == operations.len() as u64) {
        Some(_) => Ok((header, operations)),
        None => Err(BadFile::Cut),
    }
}
