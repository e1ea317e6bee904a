//! Takes down operations as they begin and end.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::samples::Samples;
use super::{Latency, Operation, Outcome, Second, Wish, Writer};
use crate::proof::{Family, Outcomes};

/// Everything that was asked about one key, which nobody asks about any more.
pub type Closed = Vec<Operation>;

/// Shared by all clients of a run. Keeps the operations of each key until it is [closed](Self::close) and then hands
/// them on, so that what is kept is bounded by the keys in use and not by the length of the run.
#[derive(Debug)]
pub struct Recorder {
    origin: Instant,
    // A std mutex, since nothing awaits inside.
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    last: u64,
    next_id: u64,
    keys: HashMap<Arc<str>, Key>,
    families: BTreeMap<Family, Outcomes>,
    acknowledged: u64,
    refusals: BTreeMap<Box<str>, u64>,
    samples: Samples,
    closed: SyncSender<Closed>,
    writer: Option<Writer>,
    failed: Option<io::Error>,
}

#[derive(Debug, Default)]
struct Key {
    under_way: usize,
    closed: bool,
    operations: Vec<Operation>,
}

/// An operation that has not ended yet.
#[derive(Debug)]
pub struct Begun {
    id: u64,
    family: Family,
    key: Arc<str>,
    client: u32,
    wish: Wish,
    start: u64,
    asked: Option<u16>,
}

impl Begun {
    /// Which node is asked first.
    pub fn at(mut self, target: usize) -> Self {
        self.asked = Some(target as u16);
        self
    }
}

/// Kinds of refusals told apart; further ones are counted together.
const REFUSALS_MAX: usize = 64;

impl Recorder {
    /// A run that begins now.
    pub fn new(closed: SyncSender<Closed>, writer: Option<io::Result<Writer>>) -> Self {
        let (writer, failed) = match writer.transpose() {
            Ok(writer) => (writer, None),
            Err(error) => (None, Some(error)),
        };
        let inner = Inner {
            last: 0,
            next_id: 0,
            keys: HashMap::new(),
            families: BTreeMap::new(),
            acknowledged: 0,
            refusals: BTreeMap::new(),
            samples: Samples::default(),
            closed,
            writer,
            failed,
        };
        Self { origin: Instant::now(), inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an instant is called in this run.
    pub fn stamp(&self, instant: Instant) -> u64 {
        instant.saturating_duration_since(self.origin).as_nanos() as u64
    }

    /// Takes down that something is asked now.
    pub fn begin(&self, family: Family, key: &Arc<str>, client: u32, wish: Wish) -> Begun {
        let mut inner = self.inner();
        let start = inner.tick(self.origin);
        let id = inner.next_id;
        inner.next_id += 1;
        inner.keys.entry(key.clone()).or_default().under_way += 1;
        Begun { id, family, key: key.clone(), client, wish, start, asked: None }
    }

    /// The key of what was asked is known only now.
    pub fn name(&self, begun: &mut Begun, key: &Arc<str>) {
        let mut inner = self.inner();
        if let Some(known) = inner.keys.get_mut(&begun.key) {
            known.under_way -= 1;
        }
        inner.keys.entry(key.clone()).or_default().under_way += 1;
        begun.key = key.clone();
    }

    /// Takes down what came of it.
    pub fn end(&self, begun: Begun, target: usize, outcome: Outcome) {
        let mut inner = self.inner();
        let end = inner.tick(self.origin);
        let Begun { id, family, key, client, wish, start, asked } = begun;
        let target = target as u16;
        let operation = Operation { id, family, key, client, target, wish, start, end, outcome };
        inner.count(&operation, asked);
        inner.write(&operation);
        let Some(key) = inner.keys.get_mut(&operation.key) else { return };
        key.under_way -= 1;
        let name = operation.key.clone();
        key.operations.push(operation);
        inner.hand_on(&name);
    }

    /// Nothing more will be asked about this key.
    pub fn close(&self, key: &Arc<str>) {
        let mut inner = self.inner();
        if let Some(known) = inner.keys.get_mut(key) {
            known.closed = true;
            inner.hand_on(key);
        }
    }

    /// Closes all keys. What is under way now will not be taken down.
    pub fn close_all(&self) {
        let mut inner = self.inner();
        for (_, key) in std::mem::take(&mut inner.keys) {
            // Whoever should check them is gone only if the run is dropped.
            let _ = inner.closed.send(key.operations);
        }
    }

    /// Operations that have ended, by family.
    pub fn families(&self) -> BTreeMap<Family, Outcomes> {
        self.inner().families.clone()
    }

    /// Why operations were refused or their outcome stayed unknown.
    pub fn refusals(&self) -> BTreeMap<Box<str>, u64> {
        self.inner().refusals.clone()
    }

    /// How many operations were answered, without what was told unasked.
    pub fn acknowledged(&self) -> u64 {
        self.inner().acknowledged
    }

    /// The end of the first write to be answered of those that started at `instant` or later.
    pub fn first_write_since(&self, instant: u64) -> Option<u64> {
        self.inner().samples.first_write_since(instant)
    }

    /// The longest time between two answers to writes within a span, its edges included.
    pub fn longest_gap(&self, from: u64, to: u64) -> u64 {
        self.inner().samples.longest_gap(from, to)
    }

    /// Of what was answered within a span; with a node, of what that one was asked first and answered.
    pub fn latency(&self, from: u64, to: u64, node: Option<u16>) -> Latency {
        self.inner().samples.latency(from, to, node)
    }

    /// The run by seconds.
    pub fn seconds(&self) -> Vec<Second> {
        self.inner().samples.seconds()
    }

    /// Brings the file to its end; the first error that writing it met.
    pub fn finish(&self) -> io::Result<()> {
        let mut inner = self.inner();
        match inner.failed.take() {
            Some(error) => Err(error),
            None => inner.writer.take().map_or(Ok(()), Writer::finish),
        }
    }
}

impl Inner {
    /// The clock, but later than ever before.
    fn tick(&mut self, origin: Instant) -> u64 {
        self.last = (origin.elapsed().as_nanos() as u64).max(self.last + 1);
        self.last
    }

    fn count(&mut self, operation: &Operation, asked: Option<u16>) {
        let outcomes = self.families.entry(operation.family).or_default();
        let code = match &operation.outcome {
            Outcome::Answered(_) => {
                outcomes.answered += 1;
                if operation.wish.is_timed() {
                    self.acknowledged += 1;
                    let node = asked.filter(|asked| *asked == operation.target);
                    self.samples.answered(operation.start, operation.end, !operation.wish.reads(), node);
                }
                return;
            }
            Outcome::Refused(code) => {
                outcomes.refused += 1;
                self.samples.refused(operation.end);
                code
            }
            Outcome::Unknown(code) => {
                outcomes.unknown += 1;
                self.samples.unknown(operation.end);
                code
            }
        };
        let known = self.refusals.len() < REFUSALS_MAX || self.refusals.contains_key(code);
        *self.refusals.entry(if known { code.clone() } else { "others".into() }).or_default() += 1;
    }

    fn write(&mut self, operation: &Operation) {
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.write(operation)
        {
            // One missing line makes the rest worthless.
            self.writer = None;
            self.failed = Some(error);
        }
    }

    fn hand_on(&mut self, name: &Arc<str>) {
        let Some(key) = self.keys.get(name) else { return };
        if key.closed && key.under_way == 0 {
            let key = self.keys.remove(name).expect("it was there a moment ago");
            // Whoever should check them is gone only if the run is dropped.
            let _ = self.closed.send(key.operations);
        }
    }
}
