//! The log's part of a disk.

use std::io;
use std::ops::Range;

use conclave_cluster::raft::disk_traits::{Flushed, LogDisk, LogId, Record, Vote};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::Platter;
use super::contents::Op;

/// The place of a flush among the operations of all time, and whom to tell.
pub(super) type Flush = (u64, Flushed);

/// Completes flushes one after the other; those that came meanwhile are completed together, as a disk does.
pub(super) async fn flush_in_order(platter: Platter, mut queue: mpsc::UnboundedReceiver<Flush>) {
    while let Some(first) = queue.recv().await {
        let mut group = vec![first];
        while let Ok(more) = queue.try_recv() {
            group.push(more);
        }
        sleep(platter.latency()).await;
        for (upto, done) in group {
            done(platter.settle(upto));
        }
    }
}

pub(super) struct SimLog {
    pub(super) platter: Platter,
    pub(super) flushes: mpsc::UnboundedSender<Flush>,
}

impl LogDisk for SimLog {
    fn vote(&self) -> Option<Vote> {
        self.platter.lock().written.vote
    }

    fn committed(&self) -> Option<LogId> {
        self.platter.lock().written.committed
    }

    fn purged(&self) -> Option<LogId> {
        self.platter.lock().written.purged
    }

    fn last(&self) -> Option<LogId> {
        self.platter.lock().written.last()
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>> {
        let inner = self.platter.lock();
        let mut bytes = 0;
        let mut records = Vec::new();
        for record in inner.written.entries.range(range).map(|(_, record)| record) {
            bytes += record.payload.size();
            if bytes > bytes_max && !records.is_empty() {
                break;
            }
            records.push(record.clone());
        }
        Ok(records)
    }

    fn save_vote(&mut self, vote: Vote) -> io::Result<()> {
        self.platter.lock().write(Op::Vote(vote))
    }

    fn save_committed(&mut self, committed: LogId) -> io::Result<()> {
        self.platter.lock().write(Op::Committed(committed))
    }

    fn append(&mut self, records: Vec<Record>) -> io::Result<()> {
        let mut inner = self.platter.lock();
        records.into_iter().try_for_each(|record| inner.write(Op::Append(record)))
    }

    fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.platter.lock().write(Op::Truncate(last))
    }

    fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.platter.lock().write(Op::Purge(upto))
    }

    fn flush(&mut self, done: Flushed) -> io::Result<()> {
        let inner = self.platter.lock();
        if inner.failed {
            return Err(io::Error::other("the simulated disk failed before"));
        }
        self.flushes
            .send((inner.written_count, done))
            .map_err(|_| io::Error::other("the node this disk belonged to is gone"))
    }

    fn size(&self) -> u64 {
        self.platter.lock().written.bytes
    }
}
