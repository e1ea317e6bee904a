//! Temporary folders that do not outlive the tests by much.

use std::fs;
use std::path::Path;

use conclave_supervisor::{abandoned, scratch};
use tempfile::TempDir;

const PREFIX: &str = "conclave-tests-";

/// A folder that is removed when dropped.
///
/// A static cluster is never dropped, and a killed test drops nothing: so those of processes that are no more are
/// removed with each new one.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// A new empty folder.
    pub fn new() -> Self {
        for folder in abandoned(PREFIX) {
            // Another process may do the same.
            let _ = fs::remove_dir_all(folder);
        }
        Self(scratch(PREFIX).expect("the temporary folder is writable"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}
