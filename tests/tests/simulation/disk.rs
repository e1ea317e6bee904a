//! A disk that forgets: writes are seen at once, but durable only when their flush completes, later and in order.
//!
//! A [`Platter`] outlives the runs of its node. A crash keeps what was flushed and a random prefix of what was
//! not, cut between any two records, and loses the rest.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use conclave_cluster::raft::disk::{
    Disk, Drain, Fill, Flushed, LogDisk, LogId, Record, SnapshotDisk, SnapshotFile, SnapshotMeta,
    SnapshotSink, Vote,
};
use futures_util::future::BoxFuture;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::time::sleep;

/// One node's disk, shared by its successive runs and by whoever breaks it.
#[derive(Clone)]
pub(crate) struct Platter(Arc<Mutex<Inner>>);

struct Inner {
    rng: SmallRng,
    /// Whether what is said to be flushed only lies in a cache, which survives the node but not a loss of power.
    lies: bool,
    /// Whether a vote of the last term is lost with every run.
    forgets: bool,
    storage: u128,
    opened: bool,
    written: Contents,
    durable: Contents,
    /// What is written and not durable, oldest first.
    unflushed: VecDeque<Op>,
    /// Counts the operations of all time; the place of a flush among them.
    written_count: u64,
    durable_count: u64,
    snapshots: Vec<Arc<Stored>>,
    flush_ms_max: u64,
    stall_ms: u64,
    fail_next: bool,
    failed: bool,
}

#[derive(Debug, Clone)]
enum Op {
    Vote(Vote),
    Committed(LogId),
    Append(Record),
    Truncate(Option<LogId>),
    Purge(LogId),
}

#[derive(Debug, Clone, Default)]
struct Contents {
    vote: Option<Vote>,
    /// The last vote of an earlier term.
    older_vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, Record>,
    bytes: u64,
}

impl Contents {
    fn carry_out(&mut self, op: &Op) {
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

    fn last(&self) -> Option<LogId> {
        self.entries.last_key_value().map(|(_, record)| record.id).or(self.purged)
    }
}

impl Platter {
    pub(crate) fn new(seed: u64, flush_ms_max: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        Self(Arc::new(Mutex::new(Inner {
            storage: rng.random(),
            rng,
            lies: false,
            forgets: false,
            opened: false,
            written: Contents::default(),
            durable: Contents::default(),
            unflushed: VecDeque::new(),
            written_count: 0,
            durable_count: 0,
            snapshots: Vec::new(),
            flush_ms_max,
            stall_ms: 0,
            fail_next: false,
            failed: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nothing panics while this is held")
    }

    /// Hands the disk to a new run of its node, within that node's runtime.
    pub(crate) fn open(&self) -> Disk {
        let mut inner = self.lock();
        let fresh = !std::mem::replace(&mut inner.opened, true);
        let newest = inner.snapshots.iter().max_by_key(|stored| stored.meta.last).cloned();
        inner.snapshots.retain(|stored| newest.as_ref().is_some_and(|newest| Arc::ptr_eq(stored, newest)));
        let (flushes, queue) = mpsc::unbounded_channel();
        tokio::spawn(flush_in_order(self.clone(), queue));
        Disk {
            storage: inner.storage,
            fresh,
            log: Box::new(SimLog { platter: self.clone(), flushes }),
            snapshots: Arc::new(SimSnapshots {
                platter: self.clone(),
                current: Mutex::new(newest.map(|stored| stored as Arc<dyn SnapshotFile>)),
            }),
        }
    }

    /// Takes back a stall or a failure that has not come about yet.
    pub(crate) fn mend(&self) {
        let mut inner = self.lock();
        inner.stall_ms = 0;
        inner.fail_next = false;
    }

    /// From now on nothing reaches the disk that is said to. Ends with the next loss of power.
    pub(crate) fn lie(&self) {
        self.lock().lies = true;
    }

    /// From now on, whenever its node goes down, the vote is again what it was before the last term.
    pub(crate) fn forget_votes(&self) {
        self.lock().forgets = true;
    }

    /// The power went; an honest disk has nothing more to lose by that than by a crash.
    pub(crate) fn cut_power(&self) {
        let mut inner = self.lock();
        if std::mem::take(&mut inner.lies) {
            inner.unflushed.clear();
            let last = inner.durable.last();
            inner.snapshots.retain(|stored| stored.meta.last <= last);
        }
    }

    /// The node is gone. To be called once nothing of its run is left.
    pub(crate) fn crash(&self) {
        let mut inner = self.lock();
        inner.failed = false;
        inner.fail_next = false;
        inner.stall_ms = 0;
        if inner.lies {
            return;
        }
        let most = inner.unflushed.len();
        let kept = inner.rng.random_range(0..=most);
        for _ in 0..kept {
            inner.settle_one();
        }
        inner.unflushed.clear();
        if inner.forgets {
            inner.durable.vote = inner.durable.older_vote;
        }
        inner.written = inner.durable.clone();
        inner.written_count = inner.durable_count;
    }

    /// The next flush takes so much longer.
    pub(crate) fn stall(&self, time: Duration) {
        self.lock().stall_ms = time.as_millis() as u64;
    }

    /// The next flush fails.
    pub(crate) fn fail(&self) {
        self.lock().fail_next = true;
    }

    /// For how long the next flush takes.
    fn latency(&self) -> Duration {
        let mut inner = self.lock();
        let most = inner.flush_ms_max * 1000;
        let micros = inner.rng.random_range(100..=most) + std::mem::take(&mut inner.stall_ms) * 1000;
        Duration::from_micros(micros)
    }

    /// Ends a flush of the first `upto` operations of all time.
    fn settle(&self, upto: u64) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.failed || std::mem::take(&mut inner.fail_next) {
            inner.failed = true;
            return Err(io::Error::other("the simulated disk failed to flush"));
        }
        if inner.lies {
            return Ok(());
        }
        while inner.durable_count < upto {
            inner.settle_one();
        }
        Ok(())
    }
}

impl Inner {
    fn settle_one(&mut self) {
        if let Some(op) = self.unflushed.pop_front() {
            self.durable.carry_out(&op);
            self.durable_count += 1;
        }
    }

    fn write(&mut self, op: Op) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("the simulated disk failed before"));
        }
        self.written.carry_out(&op);
        self.unflushed.push_back(op);
        self.written_count += 1;
        Ok(())
    }
}

type Flush = (u64, Flushed);

/// Completes flushes one after the other; those that came meanwhile are completed together, as a disk does.
async fn flush_in_order(platter: Platter, mut queue: mpsc::UnboundedReceiver<Flush>) {
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

struct SimLog {
    platter: Platter,
    flushes: mpsc::UnboundedSender<Flush>,
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

struct SimSnapshots {
    platter: Platter,
    current: Mutex<Option<Arc<dyn SnapshotFile>>>,
}

/// A complete snapshot.
struct Stored {
    meta: SnapshotMeta,
    bytes: Bytes,
}

impl SimSnapshots {
    fn set_current(&self, snapshot: Arc<dyn SnapshotFile>) {
        *self.current.lock().expect("nothing panics while this is held") = Some(snapshot);
    }
}

impl SnapshotDisk for SimSnapshots {
    fn current(&self) -> Option<Arc<dyn SnapshotFile>> {
        self.current.lock().expect("nothing panics while this is held").clone()
    }

    fn create<'a>(
        &'a self,
        meta: SnapshotMeta,
        fill: Fill,
    ) -> BoxFuture<'a, io::Result<Arc<dyn SnapshotFile>>> {
        Box::pin(async move {
            let mut bytes = Vec::new();
            fill(&mut bytes)?;
            sleep(self.platter.latency()).await;
            let stored = Arc::new(Stored { meta, bytes: bytes.into() });
            self.platter.lock().snapshots = vec![stored.clone()];
            self.set_current(stored.clone());
            Ok(stored as Arc<dyn SnapshotFile>)
        })
    }

    fn receive<'a>(&'a self, meta: SnapshotMeta) -> BoxFuture<'a, io::Result<Box<dyn SnapshotSink>>> {
        let sink = Sink { platter: self.platter.clone(), meta, bytes: Vec::new() };
        Box::pin(async move { Ok(Box::new(sink) as Box<dyn SnapshotSink>) })
    }

    fn install<'a>(&'a self, snapshot: Arc<dyn SnapshotFile>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            sleep(self.platter.latency()).await;
            self.platter.lock().snapshots.retain(|stored| stored.meta == *snapshot.meta());
            self.set_current(snapshot);
            Ok(())
        })
    }
}

struct Sink {
    platter: Platter,
    meta: SnapshotMeta,
    bytes: Vec<u8>,
}

impl SnapshotSink for Sink {
    fn write<'a>(&'a mut self, piece: Bytes) -> BoxFuture<'a, io::Result<()>> {
        self.bytes.extend_from_slice(&piece);
        Box::pin(async { Ok(()) })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, io::Result<Arc<dyn SnapshotFile>>> {
        Box::pin(async move {
            sleep(self.platter.latency()).await;
            let stored = Arc::new(Stored { meta: self.meta, bytes: self.bytes.into() });
            self.platter.lock().snapshots.push(stored.clone());
            Ok(stored as Arc<dyn SnapshotFile>)
        })
    }
}

impl SnapshotFile for Stored {
    fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at<'a>(&'a self, offset: u64, bytes_max: usize) -> BoxFuture<'a, io::Result<Bytes>> {
        let start = (offset as usize).min(self.bytes.len());
        let end = (start + bytes_max).min(self.bytes.len());
        let piece = self.bytes.slice(start..end);
        Box::pin(async move { Ok(piece) })
    }

    fn drain<'a>(&'a self, drain: Drain) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { drain(&mut self.bytes.as_ref()) })
    }
}
