//! What is asked while it is taken down.
//!
//! A few things of each family are alive at any time, each asked about by many clients at once, and are replaced as they
//! fill up, so that the history of each stays short enough to be judged.

mod allowance;
mod caller;
mod code;
mod exchange;
mod keyspace;
mod ledger;
mod mailbox;
mod member;
mod pin;
mod push;
mod register;
mod relay;
mod room;
mod subject;
mod transfer;
mod ttl;
mod words;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::caller::Caller;
use self::subject::{Subject, Things};
use super::history::Recorder;
use super::{Family, Options};
use crate::client::Tally;
use crate::schedule::{FOREVER, Pacer};

/// Everything that the clients of a run share.
pub(super) struct Workload {
    options: Options,
    recorder: Arc<Recorder>,
    tally: Arc<Tally>,
    /// Makes names unlike those of other runs against the same servers.
    run: u64,
    numbers: AtomicU64,
    over: AtomicBool,
    starts: Pacer,
    ledger: ledger::Ledger,
    registers: Things<register::Registers>,
    codes: Things<code::Codes>,
    pins: Things<pin::Pins>,
    mailboxes: Things<mailbox::Mailboxes>,
    transfers: Things<transfer::Transfers>,
}

/// What may be caught up on. Starts that nobody could take for longer are left out: nothing is measured here that would
/// have to be charged with them.
const LATE: Duration = Duration::from_millis(100);
/// The ledger's share of all starts, where it is not alone.
const LEDGER: f64 = 0.2;
/// Rooms at a time; in each some 50 messages are said a second.
const ROOMS: u32 = 2;
/// Mailboxes that are pushed at a time, with some 25 signals a second each.
const PUSHED: u32 = 3;
/// Clients that look at every node in the end.
const AUDITORS: u32 = 16;
/// Numbers of their clients begin here.
const FIRST_AUDITOR: u32 = 1_000_000;

impl Workload {
    pub(super) fn new(options: Options, recorder: Arc<Recorder>) -> Self {
        let ledger = match options.families.iter().any(|family| is_shared(*family)) {
            true => LEDGER,
            false => 1.0,
        };
        let shared = options.rate * (1.0 - ledger);
        Self {
            recorder,
            tally: Arc::default(),
            run: rand::random(),
            numbers: AtomicU64::new(1),
            over: AtomicBool::new(false),
            starts: starts(shared),
            ledger: ledger::Ledger::new(options.rate - shared),
            registers: Things::new(register::Registers),
            codes: Things::new(code::Codes),
            pins: Things::new(pin::Pins),
            mailboxes: Things::new(mailbox::Mailboxes),
            transfers: Things::new(transfer::Transfers),
            options,
        }
    }

    /// Begins to ask; ends when [`stop`](Self::stop) was called and everything under way has its outcome.
    pub(super) fn start(self: &Arc<Self>) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for family in &self.options.families {
            match family {
                Family::Ledger => {
                    clients.spawn(ledger::keep(self.clone()));
                }
                Family::Room => (0..ROOMS).for_each(|lane| {
                    clients.spawn(room::keep(self.clone(), lane));
                }),
                Family::Push => (0..PUSHED).for_each(|lane| {
                    clients.spawn(push::keep(self.clone(), lane));
                }),
                Family::Ttl => {
                    clients.spawn(ttl::keep(self.clone()));
                }
                Family::Allowance => {
                    clients.spawn(allowance::keep(self.clone()));
                }
                // The others share the clients.
                family => debug_assert!(is_shared(*family)),
            }
        }
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
        let families: Vec<Family> =
            self.options.families.iter().copied().filter(|family| is_shared(*family)).collect();
        while !self.is_over() && !families.is_empty() {
            self.starts.start_within(LATE, || {}).await;
            caller.heed_pause().await;
            if self.is_over() {
                break;
            }
            match families[caller.rng.random_range(0..families.len())] {
                Family::Ledger | Family::Room | Family::Push | Family::Ttl | Family::Allowance => {}
                Family::Register => self.registers.step(&mut caller).await,
                Family::Code => self.codes.step(&mut caller).await,
                Family::Pin => self.pins.step(&mut caller).await,
                Family::Mailbox => self.mailboxes.step(&mut caller).await,
                Family::Transfer => self.transfers.step(&mut caller).await,
            }
        }
    }

    /// Looks at everything that must still be there, on every node. What is not answered until patience ends is left.
    pub(super) async fn audit(self: &Arc<Self>) -> Audit {
        let give_up = Instant::now() + self.options.audit_patience;
        let mut audit = Audit::default();
        // What lives shortest comes first.
        self.look(|it| &it.codes, give_up, &mut audit).await;
        self.look(|it| &it.mailboxes, give_up, &mut audit).await;
        self.look(|it| &it.transfers, give_up, &mut audit).await;
        self.look(|it| &it.pins, give_up, &mut audit).await;
        self.look(|it| &it.registers, give_up, &mut audit).await;
        self.look(|it| it.ledger.sessions(), give_up, &mut audit).await;
        audit
    }

    async fn look<S: Subject>(
        self: &Arc<Self>,
        things: fn(&Self) -> &Things<S>,
        give_up: Instant,
        audit: &mut Audit,
    ) {
        let work = Arc::new(Mutex::new(things(self).all()));
        let mut auditors = JoinSet::new();
        for number in 0..AUDITORS {
            let (workload, work) = (self.clone(), work.clone());
            auditors.spawn(async move {
                let mut caller = Caller::new(workload.clone(), FIRST_AUDITOR + number);
                let mut audit = Audit::default();
                let next = || work.lock().unwrap_or_else(PoisonError::into_inner).pop();
                while let Some(thing) = next() {
                    things(&workload).audit(&mut caller, &thing, give_up, &mut audit).await;
                }
                audit
            });
        }
        while let Some(ended) = auditors.join_next().await {
            audit.add(ended.expect("an auditor does not panic"));
        }
    }

    /// A number unlike any other of this run.
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

/// Starts at a fixed rate.
fn starts(rate: f64) -> Pacer {
    let now = Instant::now();
    Pacer::new(now, now + FOREVER, rate)
}

/// Whether the same clients that ask about other things ask about these.
const fn is_shared(family: Family) -> bool {
    match family {
        Family::Register | Family::Code | Family::Pin | Family::Mailbox | Family::Transfer => true,
        Family::Ledger | Family::Room | Family::Push | Family::Ttl | Family::Allowance => false,
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
