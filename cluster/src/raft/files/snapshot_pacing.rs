//! How snapshots are written and read beside a log that shares their disk: flushed as they go, at half the pace, and out of
//! the page cache.

use std::fs::File;
use std::io::{self, Seek as _};
use std::time::{Duration, Instant};

use super::page_cache;

/// Written bytes after which a long snapshot is flushed, so that it never floods the disk the log shares.
const FLUSH_BYTES: u64 = 1 << 20;

/// The longest pause after that. A disk this slow needs no more protection, and the log must not outgrow it.
const REST_MAX: Duration = Duration::from_millis(100);

/// Flushes as it goes: a gigabyte of dirty pages would make every fsync of the log wait for it.
pub(super) struct Flushing {
    pub(super) file: File,
    pub(super) unflushed: u64,
}

impl Flushing {
    pub(super) fn new(file: File) -> Self {
        Self { file, unflushed: 0 }
    }
}

impl io::Write for Flushing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unflushed += written as u64;
        if self.unflushed >= FLUSH_BYTES {
            self.unflushed = 0;
            self.file.sync_data()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Rests after each flush for as long as the work since the last rest took, so that writing a snapshot has at most half
/// of a core and of the disk. Each node writes its own when its log has grown, which is when all others write theirs.
/// What is flushed leaves the page cache: nobody reads it, unless a follower falls behind.
pub(super) struct Paced {
    out: Flushing,
    begun: Instant,
}

impl Paced {
    pub(super) fn new(file: File) -> Self {
        Self { out: Flushing::new(file), begun: Instant::now() }
    }

    pub(super) fn finish(self) -> io::Result<()> {
        self.out.file.sync_all()
    }
}

impl io::Write for Paced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        if self.out.unflushed == 0 {
            let end = self.out.file.stream_position()?;
            page_cache::forget(&self.out.file, &(end.saturating_sub(2 * FLUSH_BYTES)..end));
            std::thread::sleep(self.begun.elapsed().min(REST_MAX));
            self.begun = Instant::now();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a file that is not read again soon: what was read leaves the page cache.
pub(super) struct Once {
    file: File,
    at: u64,
    forgotten: u64,
}

impl Once {
    /// Reads from `at`, which is where the file stands.
    pub(super) fn new(file: File, at: u64) -> Self {
        Self { file, at, forgotten: at }
    }
}

impl io::Read for Once {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.at += read as u64;
        if self.at - self.forgotten >= page_cache::STEP_BYTES {
            page_cache::forget(&self.file, &(self.forgotten..self.at));
            self.forgotten = self.at;
        }
        Ok(read)
    }
}
