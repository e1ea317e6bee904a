//! openraft's log storage, on top of a [`LogDisk`].

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::{Stream, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use tokio::sync::oneshot;

use super::disk_traits::{self, LogDisk};
use super::types::{
    self, Entry, LogId, TypeConfig, Vote, entry_from_disk, entry_to_disk, log_id_from_disk, log_id_to_disk,
};

/// Bytes of entries handed out at once, to replication or to apply.
const READ_BYTES_MAX: usize = 1 << 20;

/// The log of one node; clones share it.
///
/// The mutex is a plain one: nothing awaits while it is held, and a disk's writes only copy into its buffer.
#[derive(Clone)]
pub(super) struct Log(Arc<Mutex<Inner>>);

struct Inner {
    disk: Box<dyn LogDisk>,
    /// Bytes of log since the last snapshot, the measure of when to take the next.
    appended: u64,
    fsyncs: metrics::Counter,
    fsync_seconds: metrics::Histogram,
}

impl Log {
    pub(super) fn new(disk: Box<dyn LogDisk>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            // What a restart finds was not covered by the last snapshot, or little of it was. A node that forgot it and is
            // restarted often would never take one, and read a longer log at each start.
            appended: disk.size(),
            disk,
            fsyncs: metrics::counter!("conclave_raft_fsyncs_total"),
            fsync_seconds: metrics::histogram!("conclave_raft_fsync_seconds"),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("a disk that panicked has an unknown state: the node stops")
    }

    /// Bytes of log since [`Log::snapshot_taken`].
    pub(super) fn appended(&self) -> u64 {
        self.lock().appended
    }

    /// Starts the count of appended bytes again.
    pub(super) fn snapshot_taken(&self) {
        self.lock().appended = 0;
    }

    /// The last entry, or the last purged one if there is none.
    pub(super) fn last(&self) -> Option<disk_traits::LogId> {
        self.lock().disk.last()
    }

    /// Bytes the log takes on its disk.
    pub(super) fn size(&self) -> u64 {
        self.lock().disk.size()
    }

    /// Begins a fresh file, so that what is purged leaves the disk. Others write in between.
    pub(super) async fn renew(&self) -> io::Result<()> {
        while !self.lock().disk.renew()? {
            tokio::task::yield_now().await;
        }
        self.sync().await
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let records = self.lock().disk.read(range, bytes_max)?;
        records.into_iter().map(entry_from_disk).collect()
    }

    /// Waits until all that was written before is durable.
    async fn sync(&self) -> io::Result<()> {
        let (done, flushed) = oneshot::channel();
        self.lock().flush(Box::new(move |result| {
            // Nobody waits any more only if the node is being torn down.
            let _ = done.send(result);
        }))?;
        flushed.await.map_err(|_| io::Error::other("the log's disk went away in the middle of a flush"))?
    }
}

impl Inner {
    fn flush(&mut self, done: disk_traits::Flushed) -> io::Result<()> {
        let (fsyncs, seconds) = (self.fsyncs.clone(), self.fsync_seconds.clone());
        let begun = tokio::time::Instant::now();
        self.disk.flush(Box::new(move |result| {
            fsyncs.increment(1);
            seconds.record(begun.elapsed().as_secs_f64());
            done(result);
        }))
    }
}

fn bounds<RB: RangeBounds<u64>>(range: &RB) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end + 1,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        self.read(bounds(&range), usize::MAX)
    }

    /// Reads as it goes, so that a long catch-up never holds the whole range in memory.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let log = self.clone();
        stream::unfold(
            (log, bounds(&range), Vec::new().into_iter()),
            |(log, mut rest, mut read)| async move {
                if let Some(entry) = Iterator::next(&mut read) {
                    return Some((Ok(entry), (log, rest, read)));
                }
                if rest.is_empty() {
                    return None;
                }
                match log.read(rest.clone(), READ_BYTES_MAX) {
                    Ok(entries) if entries.is_empty() => None,
                    Ok(entries) => {
                        rest.start += entries.len() as u64;
                        let mut read = entries.into_iter();
                        let entry = read.next()?;
                        Some((Ok(entry), (log, rest, read)))
                    }
                    Err(error) => Some((Err(error), (log, 0..0, Vec::new().into_iter()))),
                }
            },
        )
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.lock().disk.vote().map(types::vote_from_disk))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start..end, READ_BYTES_MAX)
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let inner = self.lock();
        Ok(LogState {
            last_purged_log_id: inner.disk.purged().map(log_id_from_disk),
            last_log_id: inner.disk.last().map(log_id_from_disk),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.lock().disk.save_vote(types::vote_to_disk(vote))?;
        self.sync().await
    }

    /// Not flushed by itself: it rides on the next flush. What is lost with it is only found committed again.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        match committed {
            Some(id) => self.lock().disk.save_committed(log_id_to_disk(&id)),
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.lock().disk.committed().map(log_id_from_disk))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let records: Vec<_> = entries.into_iter().map(|entry| entry_to_disk(&entry)).collect();
        let mut inner = self.lock();
        inner.appended += records.iter().map(|record| record.payload.size() as u64 + 64).sum::<u64>();
        inner.disk.append(records)?;
        inner.flush(Box::new(move |result| callback.io_completed(result)))
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        self.lock().disk.truncate_after(last_log_id.as_ref().map(log_id_to_disk))?;
        self.sync().await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.lock().disk.purge(log_id_to_disk(&log_id))?;
        self.sync().await
    }
}
