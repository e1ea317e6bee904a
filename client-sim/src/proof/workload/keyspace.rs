//! A few things that many ask about at once, replaced as they fill up.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::SmallRng;
use tokio::time::Instant;

/// How long a thing is asked about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// Well below its time to live.
    pub(super) age: Duration,
    /// Questions about it.
    pub(super) asked: u32,
}

/// Each operation with an unknown outcome may double the work of judging.
const UNKNOWN_MAX: u32 = 4;

/// One thing.
#[derive(Debug)]
pub(super) struct Live<K> {
    pub(super) key: Arc<str>,
    pub(super) data: K,
    born: Instant,
    asked: AtomicU32,
    unknown: AtomicU32,
}

impl<K> Live<K> {
    pub(super) fn new(key: impl Into<Arc<str>>, data: K) -> Self {
        let (asked, unknown) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { key: key.into(), data, born: Instant::now(), asked, unknown }
    }

    /// An operation about it came to an unknown end.
    pub(super) fn doubtful(&self) {
        self.unknown.fetch_add(1, Ordering::Relaxed);
    }

    fn is_full(&self, span: Span) -> bool {
        self.born.elapsed() > span.age
            || self.asked.load(Ordering::Relaxed) >= span.asked
            || self.unknown.load(Ordering::Relaxed) >= UNKNOWN_MAX
    }

    pub(super) fn age(&self) -> Duration {
        self.born.elapsed()
    }
}

#[derive(Debug)]
enum Slot<K> {
    Empty,
    /// Somebody is replacing it.
    Taken,
    Filled(Arc<Live<K>>),
}

/// So many things at a time.
#[derive(Debug)]
pub(super) struct Keyspace<K> {
    span: Span,
    // A std mutex, since nothing awaits inside.
    slots: Mutex<Vec<Slot<K>>>,
}

/// What a client may do next.
pub(super) enum Turn<'a, K> {
    /// Ask about this.
    Ask(Arc<Live<K>>),
    /// Replace what was there, if anything.
    Replace(Option<Arc<Live<K>>>, Vacancy<'a, K>),
    /// Nothing; all are being replaced.
    Pass,
}

/// A slot to fill; empty again if it is dropped.
pub(super) struct Vacancy<'a, K> {
    keyspace: &'a Keyspace<K>,
    slot: usize,
    filled: bool,
}

impl<K> Keyspace<K> {
    pub(super) fn new(slots: usize, span: Span) -> Self {
        Self { span, slots: Mutex::new((0..slots).map(|_| Slot::Empty).collect()) }
    }

    pub(super) fn turn(&self, rng: &mut SmallRng) -> Turn<'_, K> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, first) = (slots.len(), rng.random_range(0..slots.len()));
        let free =
            (first..first + count).map(|slot| slot % count).find(|slot| !matches!(slots[*slot], Slot::Taken));
        let Some(slot) = free else { return Turn::Pass };
        let old = match &slots[slot] {
            Slot::Filled(live) if !live.is_full(self.span) => {
                live.asked.fetch_add(1, Ordering::Relaxed);
                return Turn::Ask(live.clone());
            }
            Slot::Filled(live) => Some(live.clone()),
            Slot::Empty | Slot::Taken => None,
        };
        slots[slot] = Slot::Taken;
        Turn::Replace(old, Vacancy { keyspace: self, slot, filled: false })
    }

    /// What is there now.
    pub(super) fn all(&self) -> Vec<Arc<Live<K>>> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let live = slots.iter().filter_map(|slot| match slot {
            Slot::Filled(live) => Some(live.clone()),
            Slot::Empty | Slot::Taken => None,
        });
        live.collect()
    }

    fn set(&self, slot: usize, to: Slot<K>) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)[slot] = to;
    }
}

impl<K> Vacancy<'_, K> {
    pub(super) fn fill(mut self, live: Live<K>) {
        self.filled = true;
        self.keyspace.set(self.slot, Slot::Filled(Arc::new(live)));
    }
}

impl<K> Drop for Vacancy<'_, K> {
    fn drop(&mut self) {
        if !self.filled {
            self.keyspace.set(self.slot, Slot::Empty);
        }
    }
}
