//! What Raft asks of a disk, in our own words: records, and the traits that a real or a simulated disk fulfils.
//!
//! The records are ours and not openraft's, so that its next release cannot change what lies on a disk.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::state::slot::CellId;

/// What to do about a disk that does not give back what was written.
pub(super) const WHAT_TO_DO: &str = "Nothing acknowledged is lost as long as a majority of the other nodes is whole: \
     remove this node from the cluster, empty the directory and add the node again under a fresh id";

/// The place of an entry: the term of the leader that proposed it, and its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogId {
    /// The leader's term; a term has one leader at most.
    pub term: u64,
    /// The index, from 0 without a gap.
    pub index: u64,
}

/// Whom this node voted for, and whether a quorum did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The term voted in.
    pub term: u64,
    /// The node voted for.
    pub node: u64,
    /// Whether a quorum granted it.
    pub committed: bool,
}

impl PartialOrd for Vote {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        let key = |vote: &Self| (vote.term, vote.committed, vote.node);
        Some(key(self).cmp(&key(other)))
    }
}

/// A member of a cell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// `host:port` of its peer listener.
    pub peer: String,
    /// The cell, so that a member knows from its own log which one it belongs to.
    pub cell: CellId,
}

impl Member {
    /// A member of a cell that is reached there.
    pub fn new(peer: String, cell: CellId) -> Self {
        Self { peer, cell }
    }
}

/// Who belongs to the cluster: a joint configuration of voters, and everybody's address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// One set of voters, or two while a change is under way.
    pub voters: Vec<Vec<u64>>,
    /// Voters and learners.
    pub nodes: BTreeMap<u64, Member>,
}

/// What an entry carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: a new leader's first entry.
    Blank,
    /// A change of members.
    Membership(Membership),
    /// An encoded proposal: its header, and the bodies that follow it.
    Proposal {
        /// See `state::codec`.
        header: Bytes,
        /// Slices whose concatenation is the bodies.
        bodies: Vec<Bytes>,
    },
}

impl Payload {
    /// How many bytes of proposal this carries.
    pub fn size(&self) -> usize {
        match self {
            Self::Blank => 0,
            Self::Membership(membership) => membership.nodes.len() * 64,
            Self::Proposal { header, bodies } => header.len() + bodies.iter().map(Bytes::len).sum::<usize>(),
        }
    }
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place.
    pub id: LogId,
    /// What it carries.
    pub payload: Payload,
}

/// Called once with the result of a flush, on whatever thread did it.
pub type Flushed = Box<dyn FnOnce(io::Result<()>) + Send>;

/// An ordered, durable log with the vote beside it.
///
/// Writes take effect for readers at once and become durable, in order, with the next [`flush`](Self::flush) that
/// succeeds. After a failed flush the log must refuse every further write: what the disk holds is unknown.
pub trait LogDisk: Send + Sync + 'static {
    /// The last saved vote.
    fn vote(&self) -> Option<Vote>;
    /// The last saved commit.
    fn committed(&self) -> Option<LogId>;
    /// The last purged entry.
    fn purged(&self) -> Option<LogId>;
    /// The last entry, or the last purged one if there is none.
    fn last(&self) -> Option<LogId>;
    /// The entries in `range`, ascending; may stop early after `bytes_max` bytes, but not before one entry.
    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>>;
    /// Saves a vote.
    fn save_vote(&mut self, vote: Vote) -> io::Result<()>;
    /// Saves how far the log is known to be committed. A hint: it may be lost without harm.
    fn save_committed(&mut self, committed: LogId) -> io::Result<()>;
    /// Appends entries behind the last.
    fn append(&mut self, records: Vec<Record>) -> io::Result<()>;
    /// Drops all entries behind `last`.
    fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()>;
    /// Drops all entries up to `upto`, which a snapshot covers.
    fn purge(&mut self, upto: LogId) -> io::Result<()>;
    /// A short step towards a fresh file, so that what is purged lies in none any more; returns whether there is one now. What
    /// is purged leaves the disk with the next flush after that. A disk without files is done at once.
    fn renew(&mut self) -> io::Result<bool> {
        Ok(true)
    }
    /// Makes everything written so far durable, then calls `done`.
    fn flush(&mut self, done: Flushed) -> io::Result<()>;
    /// How many bytes the log takes.
    fn size(&self) -> u64;
}

/// What a snapshot covers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// The last entry in it.
    pub last: Option<LogId>,
    /// The last change of members in it, and its place.
    pub membership_at: Option<LogId>,
    /// The members as of then.
    pub membership: Membership,
}

/// Writes one snapshot's bytes. Blocking; run where blocking is allowed.
pub type Fill = Box<dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + Send>;

/// Reads one snapshot's bytes. Blocking; run where blocking is allowed.
pub type Drain = Box<dyn FnOnce(&mut dyn io::Read) -> io::Result<()> + Send>;

/// A complete snapshot that can be read in pieces.
pub trait SnapshotFile: Send + Sync + 'static {
    /// What it covers.
    fn meta(&self) -> &SnapshotMeta;
    /// How many bytes it has.
    fn len(&self) -> u64;
    /// Whether it has none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Up to `bytes_max` bytes from `offset` on; fewer only at the end.
    fn read_at<'a>(&'a self, offset: u64, bytes_max: usize) -> BoxFuture<'a, io::Result<Bytes>>;
    /// Runs `drain` over all of it, where blocking is allowed.
    fn drain<'a>(&'a self, drain: Drain) -> BoxFuture<'a, io::Result<()>>;
}

/// A snapshot that arrives in pieces; nothing of it counts before [`finish`](Self::finish).
pub trait SnapshotSink: Send + 'static {
    /// Appends the next piece.
    fn write<'a>(&'a mut self, piece: Bytes) -> BoxFuture<'a, io::Result<()>>;
    /// Makes it durable, and complete. It is not yet the current snapshot: see [`SnapshotDisk::install`].
    fn finish(self: Box<Self>) -> BoxFuture<'static, io::Result<std::sync::Arc<dyn SnapshotFile>>>;
}

/// Where snapshots are kept. At most one is current.
pub trait SnapshotDisk: Send + Sync + 'static {
    /// The current snapshot, as it was found when the disk was opened or installed since.
    fn current(&self) -> Option<std::sync::Arc<dyn SnapshotFile>>;
    /// Writes a new snapshot and makes it current. Atomic: after a crash the old or the new one is there.
    fn create<'a>(
        &'a self,
        meta: SnapshotMeta,
        fill: Fill,
    ) -> BoxFuture<'a, io::Result<std::sync::Arc<dyn SnapshotFile>>>;
    /// Begins to receive one.
    fn receive<'a>(&'a self, meta: SnapshotMeta) -> BoxFuture<'a, io::Result<Box<dyn SnapshotSink>>>;
    /// Drops something large, where that may take its time.
    fn discard(&self, garbage: Box<dyn Send>) {
        drop(garbage);
    }
    /// Makes a received snapshot current.
    fn install<'a>(&'a self, snapshot: std::sync::Arc<dyn SnapshotFile>) -> BoxFuture<'a, io::Result<()>>;
}

/// All that a node keeps on its disk.
pub struct Disk {
    /// A random number drawn when the directory was made; binds a node id to this disk.
    pub storage: u128,
    /// The log.
    pub log: Box<dyn LogDisk>,
    /// The snapshots.
    pub snapshots: std::sync::Arc<dyn SnapshotDisk>,
}

impl Disk {
    /// Whether its node has promised nothing yet: there is no vote, no entry and no snapshot. So it is when the directory
    /// was made just now, and when it was and the node got no further.
    pub fn is_blank(&self) -> bool {
        self.log.vote().is_none() && self.log.last().is_none() && self.snapshots.current().is_none()
    }
}
