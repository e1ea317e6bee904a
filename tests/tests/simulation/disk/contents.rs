//! What a log's disk holds: writes, one after the other.

use std::collections::BTreeMap;

use conclave_cluster::raft::disk_traits::{LogId, Record, Vote};

/// One write.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Vote(Vote),
    Committed(LogId),
    Append(Record),
    Truncate(Option<LogId>),
    Purge(LogId),
}

/// What writes amount to.
#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    pub(super) vote: Option<Vote>,
    /// The last vote of an earlier term.
    pub(super) older_vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) entries: BTreeMap<u64, Record>,
    pub(super) bytes: u64,
}

impl Contents {
    pub(super) fn carry_out(&mut self, op: &Op) {
        match op {
            Op::Vote(vote) => {
                if self.vote.is_some_and(|last| last.term < vote.term) {
                    self.older_vote = self.vote;
                }
                self.vote = Some(*vote);
            }
            Op::Committed(id) => self.committed = Some(*id),
            Op::Append(record) => {
                self.bytes += record.payload.size() as u64;
                self.entries.insert(record.id.index, record.clone());
            }
            Op::Truncate(last) => {
                let gone = self.entries.split_off(&last.map_or(0, |id| id.index + 1));
                self.bytes -= gone.values().map(|record| record.payload.size() as u64).sum::<u64>();
            }
            Op::Purge(upto) => {
                let kept = self.entries.split_off(&(upto.index + 1));
                self.entries = kept;
                self.bytes = self.entries.values().map(|record| record.payload.size() as u64).sum();
                self.purged = Some(*upto);
            }
        }
    }

    pub(super) fn last(&self) -> Option<LogId> {
        self.entries.last_key_value().map(|(_, record)| record.id).or(self.purged)
    }
}
