//! What is asked while it is taken down.
//!
//! A few things of each family are alive at any time, each asked about by many clients at once, and are replaced as they
//! fill up, so that the history of each stays short enough to be judged.

mod caller;
mod keyspace;
mod register;
mod starts;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::RngExt as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::caller::Caller;
use self::starts::Starts;
use super::history::Recorder;
use super::{Family, Options};
use crate::client::Tally;

/// Everything that the clients of a run share.
pub(super) struct Workload {
    options: Options,
    recorder: Arc<Recorder>,
    tally: Arc<Tally>,
    /// Makes names unlike those of other runs against the same servers.
    run: u64,
    numbers: AtomicU64,
    over: AtomicBool,
    starts: Starts,
    registers: register::Registers,
}

/// Clients that look at every node in the end.
const AUDITORS: u32 = 16;
/// Numbers of their clients begin here.
const FIRST_AUDITOR: u32 = 1_000_000;

impl Workload {
    pub(super) fn new(options: Options, recorder: Arc<Recorder>) -> Self {
        Self {
            recorder,
            tally: Arc::default(),
            run: rand::random(),
            numbers: AtomicU64::new(1),
            over: AtomicBool::new(false),
            starts: Starts::new(options.rate),
            registers: register::Registers::new(),
            options,
        }
    }

    /// Begins to ask; ends when [`stop`](Self::stop) was called and everything under way has its outcome.
    pub(super) fn start(self: &Arc<Self>) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for number in 0..self.options.clients {
            clients.spawn(self.clone().live(number as u32));
        }
        clients
    }

    pub(super) fn stop(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// One client's life.
    async fn live(self: Arc<Self>, number: u32) {
        let mut caller = Caller::new(self.clone(), number);
        let families = &self.options.families;
        while !self.is_over() && !families.is_empty() {
            self.starts.next().await;
            caller.heed_pause().await;
            if self.is_over() {
                break;
            }
            let family = families[caller.rng.random_range(0..families.len())];
            match family {
                Family::Register => self.registers.step(&mut caller).await,
            }
        }
    }

    /// Looks at everything that must still be there, on every node. What is not answered until patience ends is left.
    pub(super) async fn audit(self: &Arc<Self>) -> Audit {
        let give_up = Instant::now() + self.options.audit_patience;
        let work = Arc::new(tokio::sync::Mutex::new(self.registers.all()));
        let mut auditors = JoinSet::new();
        for number in 0..AUDITORS {
            let (workload, work) = (self.clone(), work.clone());
            auditors.spawn(async move {
                let mut caller = Caller::new(workload.clone(), FIRST_AUDITOR + number);
                let mut audit = Audit::default();
                while let Some(key) = { work.lock().await.pop() } {
                    workload.registers.audit(&mut caller, &key, give_up, &mut audit).await;
                }
                audit
            });
        }
        let mut audit = Audit::default();
        while let Some(ended) = auditors.join_next().await {
            audit.add(ended.expect("an auditor does not panic"));
        }
        audit
    }

    /// A number unlike any other of this run.
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

/// What the last look at all nodes came to.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Audit {
    /// Things that were looked at.
    pub things: u64,
    /// Answers about them.
    pub answers: u64,
    /// Questions that were not answered until patience ended.
    pub unanswered: u64,
}

impl Audit {
    fn add(&mut self, other: Self) {
        self.things += other.things;
        self.answers += other.answers;
        self.unanswered += other.unanswered;
    }
}

/// Between two questions to a node that does not answer.
const AUDIT_PAUSE: Duration = Duration::from_millis(100);
