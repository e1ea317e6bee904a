//! A disk that forgets: writes are seen at once, but durable only when their flush completes, later and in order.
//!
//! A [`Platter`] outlives the runs of its node. A crash keeps what was flushed and a random prefix of what was
//! not, cut between any two records, and loses the rest.

mod contents;
mod log;
mod snapshots;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use conclave_cluster::raft::disk_traits::{Disk, LogId, Membership, Payload, Record, SnapshotFile};
use conclave_cluster::state::slot::CellId;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc;

use contents::{Contents, Op};
use log::{SimLog, flush_in_order};
use snapshots::{SimSnapshots, Stored};

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
    written: Contents,
    durable: Contents,
    /// What is written and not durable, oldest first.
    unflushed: VecDeque<Op>,
    /// Counts the operations of all time; the place of a flush among them.
    written_count: u64,
    durable_count: u64,
    snapshots: Vec<Arc<Stored>>,
    /// The cell whose log this is, as its members are written down.
    cell: Option<CellId>,
    /// What was found to be committed, and nobody asked for yet.
    committed: Vec<(CellId, Record)>,
    /// The index from which on nothing was found to be committed.
    open_from: u64,
    flush_ms_max: u64,
    stall_ms: u64,
    fail_next: bool,
    failed: bool,
}

impl Platter {
    pub(crate) fn new(seed: u64, flush_ms_max: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        Self(Arc::new(Mutex::new(Inner {
            storage: rng.random(),
            rng,
            lies: false,
            forgets: false,
            written: Contents::default(),
            durable: Contents::default(),
            unflushed: VecDeque::new(),
            written_count: 0,
            durable_count: 0,
            snapshots: Vec::new(),
            cell: None,
            committed: Vec::new(),
            open_from: 0,
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
        let newest = inner.snapshots.iter().max_by_key(|stored| stored.meta.last).cloned();
        inner.snapshots.retain(|stored| newest.as_ref().is_some_and(|newest| Arc::ptr_eq(stored, newest)));
        let (flushes, queue) = mpsc::unbounded_channel();
        tokio::spawn(flush_in_order(self.clone(), queue));
        Disk {
            storage: inner.storage,
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

    /// The entries that its node found to be committed since this was asked last, in order, whatever became of them here.
    pub(crate) fn take_committed(&self) -> Vec<(CellId, Record)> {
        std::mem::take(&mut self.lock().committed)
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
        match &op {
            Op::Append(Record { payload: Payload::Membership(members), .. }) => self.learn_cell(members),
            Op::Committed(id) => self.note_committed(*id),
            Op::Append(_) | Op::Vote(_) | Op::Truncate(_) | Op::Purge(_) => {}
        }
        self.unflushed.push_back(op);
        self.written_count += 1;
        Ok(())
    }

    fn learn_cell(&mut self, members: &Membership) {
        self.cell = members.nodes.values().map(|member| member.cell).next().or(self.cell);
    }

    /// The entry of this id is committed, and so is each before it. What came with a snapshot is not here.
    fn note_committed(&mut self, id: LogId) {
        let Some(cell) = self.cell else { return };
        if self.open_from <= id.index {
            let entries = self.written.entries.range(self.open_from..=id.index);
            self.committed.extend(entries.map(|(_, record)| (cell, record.clone())));
            self.open_from = id.index + 1;
        }
    }
}
