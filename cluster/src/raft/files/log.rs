//! The log on disk: the `raft-log` crate, with our records inside.

mod records;
mod sequence;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use raft_log::api::raft_log_writer::RaftLogWriter as _;
use raft_log::codeq::Span as _;
use raft_log::{ChunkId, RaftLog, RaftLogRecord};

use records::{Done, Records, StoredId, StoredPayload, StoredVote};
use sequence::damaged;

use super::deferred_delete::Disposal;
use super::page_cache::Trail;
use super::tail_recovery::{self, Tail};
use super::{Error, damage_or_io, io_error, is_damage};
use crate::raft::disk_traits::{Flushed, LogDisk, LogId, Record, Vote};

/// Bytes of one file of the log. What is in the newest file is also in memory, however small [`CACHE_BYTES`] is: the library
/// evicts from its cache only what is in closed files.
const FILE_BYTES: usize = 16 << 20;
/// Entries of one file of the log.
const FILE_RECORDS: usize = 1 << 18;
/// Records of one step towards a fresh file.
const RENEW_RECORDS: usize = 1024;
/// Recent entries kept in memory, for replication and apply.
const CACHE_BYTES: usize = 16 << 20;
const CACHE_ITEMS: usize = 4096;

pub(super) struct FileLog {
    log: RaftLog<Records>,
    /// Set by the first failed write or flush; from then on nothing more is accepted.
    failed: Arc<std::sync::atomic::AtomicBool>,
    disposal: Disposal,
    trail: Trail,
    /// The file that a fresh one is to follow, while that is under way.
    renewing: Option<ChunkId>,
}

/// Fails unless a log is there that somebody began; see [`sequence::expect_begun`].
pub(super) fn expect_begun(dir: &Path) -> Result<(), Error> {
    sequence::expect_begun::<RaftLogRecord<Records>>(dir)
}

/// Looks whether the files follow each other, and cuts off what a torn write left at the end of the newest. A file may be begun
/// before the one before it is complete, but nothing is written to it: such a file goes, and the one before it is the newest.
fn mend_end(dir: &Path) -> Result<(), Error> {
    let mut files = sequence::of(dir)?;
    let mut unwritten = Vec::new();
    while let Some(newest) = files.pop() {
        let path = &newest.path;
        if !tail_recovery::is_unwritten::<RaftLogRecord<Records>>(path).map_err(io_error(path))? {
            files.push(newest);
            break;
        }
        unwritten.push(newest);
    }
    sequence::follow(&files)?;
    if let Some(sequence::LogFile { path, .. }) = files.last() {
        match tail_recovery::mend::<RaftLogRecord<Records>>(path).map_err(io_error(path))? {
            Tail::Whole => {}
            Tail::Cut(bytes) => tracing::warn!(bytes, "cut off what a torn write left at the end of the log"),
            Tail::Damaged(offset) => return Err(damaged_at(path, offset)),
        }
    }
    for file in &unwritten {
        std::fs::remove_file(&file.path).map_err(io_error(&file.path))?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error(dir))?;
    }
    Ok(())
}

fn damaged_at(path: &Path, offset: u64) -> Error {
    damaged(path, &format!("a record at offset {offset} fails its checksum"))
}

/// Which file it is that the library cannot read, as far as a look at all of them finds it.
fn where_damaged(dir: &Path, error: io::Error) -> Error {
    if is_damage(&error) {
        for file in sequence::of(dir).unwrap_or_default() {
            if let Ok(Some(offset)) = tail_recovery::first_damage::<RaftLogRecord<Records>>(&file.path) {
                return damaged_at(&file.path, offset);
            }
        }
    }
    damage_or_io(dir)(error)
}

impl FileLog {
    pub(super) fn open(dir: &Path, disposal: Disposal) -> Result<Self, Error> {
        std::fs::create_dir_all(dir).map_err(io_error(dir))?;
        let mut config = raft_log::Config::new(dir.display());
        config.log_cache_capacity = Some(CACHE_BYTES);
        config.log_cache_max_items = Some(CACHE_ITEMS);
        config.wal.chunk_max_size = Some(FILE_BYTES);
        config.wal.chunk_max_records = Some(FILE_RECORDS);
        config.wal.read_buffer_size = Some(1 << 20);
        config.wal.flush_batch_wait = Some(Duration::ZERO);
        // What there is to cut is cut here, by a rule that tells a torn write from damage.
        config.wal.truncate_incomplete_record = Some(false);
        mend_end(dir)?;
        let log = RaftLog::open(Arc::new(config)).map_err(|error| where_damaged(dir, error))?;
        let log = Self { log, failed: Arc::default(), disposal, trail: Trail::default(), renewing: None };
        log.expect_first_entry(dir)?;
        Ok(log)
    }

    /// Fails if the oldest entry that was not purged is not there: the files follow each other, but the oldest are gone.
    fn expect_first_entry(&self, dir: &Path) -> Result<(), Error> {
        let first = self.purged().map_or(0, |purged| purged.index + 1);
        let kept = self.last().is_none_or(|last| last.index < first)
            || self.log.read(first, first + 1).next().is_some();
        if kept {
            return Ok(());
        }
        let oldest = sequence::of(dir)?.into_iter().next().map_or(dir.to_owned(), |file| file.path);
        Err(damaged(&oldest, &format!("entry {first} is missing: the file before this one is gone")))
    }

    /// Makes durable what a log has in its first file when nothing was written yet.
    pub(super) fn sync_begun(dir: &Path) -> Result<(), Error> {
        for file in sequence::of(dir)? {
            File::open(&file.path).and_then(|open| open.sync_all()).map_err(io_error(&file.path))?;
        }
        Ok(())
    }

    fn closed_files(&self) -> BTreeSet<ChunkId> {
        self.log.stat().closed_chunks.iter().map(|file| file.chunk_id).collect()
    }

    /// Takes what lies far behind `end` out of the page cache.
    fn forget_behind(&mut self, end: u64) {
        let Some(range) = self.trail.next(end) else {
            return;
        };
        let stat = self.log.stat();
        for file in stat.closed_chunks.iter().chain([&stat.open_chunk]) {
            let part = range.start.max(file.global_start)..range.end.min(file.global_end);
            let path = self.log.config().wal.chunk_path(file.chunk_id);
            if !part.is_empty()
                && let Ok(open) = File::open(path)
            {
                self.disposal.forget(open, part.start - file.global_start..part.end - file.global_start);
            }
        }
    }

    /// Runs a write unless one failed before, and remembers if this one does.
    fn write<T>(&mut self, write: impl FnOnce(&mut RaftLog<Records>) -> io::Result<T>) -> io::Result<T> {
        use std::sync::atomic::Ordering::Relaxed;
        if self.failed.load(Relaxed) {
            return Err(io::Error::other("the log's disk failed before; what it holds is unknown"));
        }
        let result = write(&mut self.log);
        if result.is_err() {
            self.failed.store(true, Relaxed);
        }
        result
    }
}

impl LogDisk for FileLog {
    fn vote(&self) -> Option<Vote> {
        self.log.log_state().vote().map(|vote| vote.0)
    }

    fn committed(&self) -> Option<LogId> {
        self.log.log_state().committed().map(|id| id.0)
    }

    fn purged(&self) -> Option<LogId> {
        self.log.log_state().purged().map(|id| id.0)
    }

    fn last(&self) -> Option<LogId> {
        self.log.log_state().last().map(|id| id.0)
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        let mut bytes = 0;
        for record in self.log.read(range.start, range.end) {
            let (id, StoredPayload(payload)) = record?;
            bytes += payload.size();
            if bytes > bytes_max && !records.is_empty() {
                break;
            }
            records.push(Record { id: id.0, payload });
        }
        Ok(records)
    }

    fn save_vote(&mut self, vote: Vote) -> io::Result<()> {
        self.write(|log| log.save_vote(StoredVote(vote)).map(drop))
    }

    fn save_committed(&mut self, committed: LogId) -> io::Result<()> {
        self.write(|log| log.commit(StoredId(committed)).map(drop))
    }

    fn append(&mut self, records: Vec<Record>) -> io::Result<()> {
        let records = records.into_iter().map(|record| (StoredId(record.id), StoredPayload(record.payload)));
        let written = self.write(|log| log.append(records))?;
        self.forget_behind(written.end().0);
        Ok(())
    }

    fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        if last >= self.last() {
            // Nothing lies behind it; the crate takes that for a mistake.
            return Ok(());
        }
        self.write(|log| log.truncate(last.map_or(0, |id| id.index + 1)).map(drop))
    }

    fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let before = self.closed_files();
        self.write(|log| log.purge(StoredId(upto)).map(drop))?;
        // The next flush takes these files' names away, on the thread that writes the log. With a handle left, that
        // is all it does.
        for file in before.difference(&self.closed_files()) {
            let path = self.log.config().wal.chunk_path(*file);
            if let Ok(file) = File::options().write(true).open(path) {
                self.disposal.take(file);
            }
        }
        Ok(())
    }

    /// The library begins a file when the last has its number of records, and has no other way to: the rest of them are
    /// written, each a repetition of the vote. That is 10 MB, once in hours.
    fn renew(&mut self) -> io::Result<bool> {
        let open = self.log.stat().open_chunk.chunk_id;
        let old = *self.renewing.get_or_insert(open);
        if open != old {
            self.renewing = None;
            return Ok(true);
        }
        let Some(vote) = self.vote() else {
            // Who never voted has no log.
            self.renewing = None;
            return Ok(true);
        };
        self.write(|log| (0..RENEW_RECORDS).try_for_each(|_| log.save_vote(StoredVote(vote)).map(drop)))?;
        Ok(false)
    }

    fn flush(&mut self, done: Flushed) -> io::Result<()> {
        let failed = self.failed.clone();
        let done = Done(Box::new(move |result: io::Result<()>| {
            if result.is_err() {
                failed.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            done(result);
        }));
        self.write(|log| log.flush(true, Some(done)))
    }

    fn size(&self) -> u64 {
        self.log.on_disk_size()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::time::Instant;

    use bytes::Bytes;

    use super::*;
    use crate::raft::disk_traits::Payload;

    #[test]
    fn what_is_purged_is_freed_though_somebody_holds_it_open() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = FileLog::open(dir.path(), Disposal::start().unwrap()).unwrap();
        let entries = 2 * (FILE_BYTES >> 20) as u64;
        for index in 0..entries {
            let id = LogId { term: 1, index };
            let payload = Payload::Proposal { header: vec![0; 1 << 20].into(), bodies: Vec::new() };
            log.append(vec![Record { id, payload }]).unwrap();
        }
        flushed(&mut log);
        let closed: Vec<_> = log.closed_files().into_iter().collect();
        let first = log.log.config().wal.chunk_path(closed[0]);
        let held = File::open(&first).unwrap();
        assert!(held.metadata().unwrap().len() > 1 << 20);

        log.purge(LogId { term: 1, index: entries - 2 }).unwrap();
        flushed(&mut log);

        let begun = Instant::now();
        while held.metadata().unwrap().len() > 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "the file is not freed");
            std::thread::yield_now();
        }
        assert_eq!(held.metadata().unwrap().nlink(), 0);
        assert_eq!(log.read(entries - 1..entries, 1).unwrap().len(), 1);
    }

    #[test]
    fn what_is_kept_in_memory_of_a_long_log_is_no_more_than_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = FileLog::open(dir.path(), Disposal::start().unwrap()).unwrap();
        let entry = vec![0; 1 << 20];
        for index in 0..5 * (FILE_BYTES >> 20) as u64 {
            let payload = Payload::Proposal { header: entry.clone().into(), bodies: Vec::new() };
            log.append(vec![Record { id: LogId { term: 1, index }, payload }]).unwrap();
            flushed(&mut log);
            let cached = log.log.stat().payload_cache_size as usize;
            assert!(
                cached <= CACHE_BYTES.max(FILE_BYTES) + 2 * entry.len(),
                "{cached} bytes at entry {index}"
            );
        }
    }

    #[test]
    fn what_is_purged_leaves_the_disk_though_nothing_else_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = FileLog::open(dir.path(), Disposal::start().unwrap()).unwrap();
        log.save_vote(Vote { term: 1, node: 1, committed: true }).unwrap();
        let secret = b"an offer with somebody's address in it";
        let record = |index, text: &'static [u8]| Record {
            id: LogId { term: 1, index },
            payload: Payload::Proposal { header: Bytes::from_static(text), bodies: vec![Bytes::new()] },
        };
        log.append((0..100).map(|index| record(index, secret)).collect()).unwrap();
        log.save_committed(LogId { term: 1, index: 99 }).unwrap();
        flushed(&mut log);
        let on_disk = || {
            std::fs::read_dir(dir.path()).unwrap().any(|entry| {
                let bytes = std::fs::read(entry.unwrap().path()).unwrap();
                bytes.windows(secret.len()).any(|window| window == secret)
            })
        };
        assert!(on_disk());

        log.purge(LogId { term: 1, index: 99 }).unwrap();
        flushed(&mut log);
        assert!(on_disk(), "the file that holds it is still written to");
        while !log.renew().unwrap() {}
        flushed(&mut log);
        log.log.wait_worker_idle().unwrap();

        assert!(!on_disk());
        log.append(vec![record(100, b"goes on")]).unwrap();
        flushed(&mut log);
        drop(log);
        let log = FileLog::open(dir.path(), Disposal::start().unwrap()).unwrap();
        assert_eq!((log.purged().unwrap().index, log.last().unwrap().index), (99, 100));
        assert_eq!(log.read(100..101, 1).unwrap(), [record(100, b"goes on")]);
        assert_eq!(log.vote(), Some(Vote { term: 1, node: 1, committed: true }));
    }

    fn flushed(log: &mut FileLog) {
        let (sender, receiver) = std::sync::mpsc::channel();
        log.flush(Box::new(move |result| sender.send(result).unwrap())).unwrap();
        receiver.recv().unwrap().unwrap();
    }
}
