//! Sessions that are opened and written once each, by clients of their own, and read on every node in the end.
//!
//! Starts do not wait for anybody's answer, so that there is always a write that has just begun: from it one sees when a
//! cluster takes writes again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tokio::task::JoinSet;

use super::Workload;
use super::caller::Caller;
use super::exchange;
use super::keyspace::{Live, Span};
use super::subject::{Subject, Things};
use crate::proof::Family;
use crate::proof::history::{Outcome, Side};
use crate::schedule::Pacer;

/// What is written once.
pub(super) struct Ledger {
    starts: Pacer,
    sessions: Things<Sessions>,
    /// Clients that wait for nothing.
    free: Mutex<Vec<Caller>>,
}

/// How they are made, written and read.
pub(super) struct Sessions;

const FAMILY: Family = Family::Ledger;
/// Clients at most; beyond them starts are left out.
const CLIENTS_MAX: u32 = 192;
/// Their numbers begin here.
const FIRST_CLIENT: u32 = 10_000;

impl Ledger {
    pub(super) fn new(rate: f64) -> Self {
        Self { starts: super::starts(rate), sessions: Things::new(Sessions), free: Mutex::default() }
    }

    pub(super) fn sessions(&self) -> &Things<Sessions> {
        &self.sessions
    }

    fn free(&self) -> Option<Caller> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// Writes until the run is over.
pub(super) async fn keep(workload: Arc<Workload>) {
    let mut under_way = JoinSet::new();
    let mut clients = 0;
    let mut rng = SmallRng::seed_from_u64(workload.options.seed);
    while !workload.is_over() {
        workload.ledger.starts.start_within(super::LATE, || {}).await;
        while under_way.try_join_next().is_some() {}
        let caller = match workload.ledger.free() {
            Some(caller) => caller,
            None if clients < CLIENTS_MAX => {
                clients += 1;
                Caller::new(workload.clone(), FIRST_CLIENT + clients)
            }
            None => continue,
        };
        let (workload, target) = (workload.clone(), rng.random_range(0..workload.options.targets.len()));
        under_way.spawn(async move {
            let mut caller = caller;
            caller.turn_to(target);
            workload.ledger.sessions.step(&mut caller).await;
            workload.ledger.free.lock().unwrap_or_else(PoisonError::into_inner).push(caller);
        });
    }
    while under_way.join_next().await.is_some() {}
    // They hold on to the workload.
    while workload.ledger.free().is_some() {}
}

impl Subject for Sessions {
    /// More than can be under way, so that nobody waits for another.
    const SLOTS: usize = 2 * CLIENTS_MAX as usize;
    /// Written once, then left.
    const SPAN: Span = Span { age: Duration::from_secs(30), asked: 1 };
    const KEPT: Duration = Duration::from_secs(90);
    const KEPT_MAX: usize = 4096;
    type Data = ();

    async fn make(&self, caller: &mut Caller) -> Option<Live<()>> {
        exchange::create(caller, FAMILY).await.map(|session| Live::new(session, ()))
    }

    async fn ask(&self, caller: &mut Caller, session: &Live<()>) -> Outcome {
        exchange::put(caller, FAMILY, &session.key, Side::Offer).await
    }

    /// Reads it a while after it was written, since in a long run not all can be read in the end.
    async fn see(&self, caller: &mut Caller, session: &Live<()>) -> Outcome {
        exchange::get(caller, FAMILY, &session.key, Side::Offer).await
    }
}
