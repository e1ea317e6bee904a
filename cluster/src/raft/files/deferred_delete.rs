//! Gives back what files no longer need: the space of removed ones in small steps, and pages of the cache.
//!
//! When the last name and the last handle of a file are gone, the file system drops its pages and frees its blocks
//! at once. For a gigabyte of log that took half a second, and the log's next flush waited behind it. So a handle
//! is kept here, and a file without a name is cut shorter step by step before it is closed. A crash in between does
//! no harm: the file system frees what has no name by itself.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::page_cache;

/// Bytes cut off at once: a millisecond's work.
const STEP_BYTES: u64 = 4 << 20;
/// Pause after each step, in which the log has the disk for itself. 200 MB/s, more than the log sustains beside it.
const REST: Duration = Duration::from_millis(20);
/// Files and pages that may wait. One more file is closed at once, at the price it has then; one more page stays where it is.
const WAITING_MAX: usize = 256;
/// How often, one rest apart, a file is asked whether its name is gone; after five seconds it is left alone.
const ASKED_MAX: u32 = 250;

/// Clones share one thread, which ends with the last.
#[derive(Debug, Clone)]
pub(super) struct Disposal(SyncSender<Waste>);

#[derive(Debug)]
enum Waste {
    /// A file that is removed, or about to be.
    File(File),
    /// What the page cache holds of a part of a file.
    Pages(File, Range<u64>),
}

impl Disposal {
    pub(super) fn start() -> io::Result<Self> {
        let (sender, waste) = sync_channel(WAITING_MAX);
        std::thread::Builder::new().name("disposal".to_owned()).spawn(move || run(&waste))?;
        Ok(Self(sender))
    }

    /// Frees what `file`, a writable handle, holds, once it has no name any more. One that keeps its name is kept whole.
    pub(super) fn take(&self, file: File) {
        // A full queue drops the handle: the file system frees the file by itself.
        let _ = self.0.try_send(Waste::File(file));
    }

    /// Takes a part of `file` out of the page cache.
    pub(super) fn forget(&self, file: File, range: Range<u64>) {
        // A full queue leaves it to the system, which lets go of it when memory runs short.
        let _ = self.0.try_send(Waste::Pages(file, range));
    }
}

fn run(waste: &Receiver<Waste>) {
    while let Ok(waste) = waste.recv() {
        match waste {
            Waste::File(file) => {
                if let Err(error) = free(&file, &mut || std::thread::sleep(REST)) {
                    tracing::debug!(%error, "a removed file is freed at once");
                }
            }
            Waste::Pages(file, range) => page_cache::forget(&file, &range),
        }
    }
}

fn free(file: &File, rest: &mut dyn FnMut()) -> io::Result<()> {
    let mut asked = 0;
    while file.metadata()?.nlink() > 0 {
        asked += 1;
        if asked > ASKED_MAX {
            return Ok(());
        }
        rest();
    }
    let mut len = file.metadata()?.len();
    while len > 0 {
        len = len.saturating_sub(STEP_BYTES);
        file.set_len(len)?;
        rest();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &tempfile::TempDir) -> (std::path::PathBuf, File) {
        let path = dir.path().join("file");
        let file = File::create(&path).unwrap();
        file.set_len(3 * STEP_BYTES + 1).unwrap();
        (path, file)
    }

    #[test]
    fn a_file_without_a_name_is_freed_in_steps() {
        let dir = tempfile::tempdir().unwrap();
        let (path, file) = file(&dir);
        std::fs::remove_file(path).unwrap();
        let mut lengths = Vec::new();
        free(&file, &mut || lengths.push(file.metadata().unwrap().len())).unwrap();
        assert_eq!(lengths, [2 * STEP_BYTES + 1, STEP_BYTES + 1, 1, 0]);
    }

    #[test]
    fn a_file_is_whole_as_long_as_it_has_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let (path, file) = file(&dir);
        let mut lengths = Vec::new();
        free(&file, &mut || {
            lengths.push(file.metadata().unwrap().len());
            if lengths.len() == 3 {
                std::fs::remove_file(&path).unwrap();
            }
        })
        .unwrap();
        assert_eq!(lengths[..3], [3 * STEP_BYTES + 1; 3]);
        assert_eq!(lengths.last(), Some(&0));
    }

    #[test]
    fn a_file_that_keeps_its_name_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, file) = file(&dir);
        free(&file, &mut || {}).unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().len(), 3 * STEP_BYTES + 1);
    }
}
