//! Things that are touched once, left alone, and looked at after their time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tokio::time::Instant;

use super::Workload;
use super::caller::Caller;
use super::keyspace::Live;
use super::subject::Subject;
use super::{code, exchange, mailbox, register, transfer};
use crate::proof::Family;
use crate::proof::check::SLACK_MS;
use crate::proof::history::{Outcome, Side};

const FAMILY: Family = Family::Ttl;
/// Between two things of each kind.
const PAUSE: Duration = Duration::from_millis(500);
/// So many wait at most; beyond them no new ones are touched.
const WAITING_MAX: usize = 4_096;
/// The numbers of its clients begin here.
const FIRST_CLIENT: u32 = 40_000;

/// A thing that was touched.
enum Thing {
    Code(Arc<str>),
    Letter(Arc<str>),
    Transfer(Live<transfer::Known>),
    Session(Arc<str>),
}

/// Touches and looks until the run is over.
pub(super) async fn keep(workload: Arc<Workload>) {
    let ttls = workload.options.ttls;
    tokio::join!(
        watch(&workload, 0, ttls.register_ms, touch_code),
        watch(&workload, 1, ttls.signal_ms, touch_mailbox),
        watch(&workload, 2, ttls.chunk_ms, touch_transfer),
        watch(&workload, 3, ttls.session_ms, touch_session),
    );
}

async fn watch(
    workload: &Arc<Workload>,
    lane: u32,
    ttl_ms: u64,
    touch: impl AsyncFn(&mut Caller) -> Option<Thing>,
) {
    let mut caller = Caller::new(workload.clone(), FIRST_CLIENT + lane);
    let rest = Duration::from_millis(ttl_ms + SLACK_MS + 1);
    let mut waiting: VecDeque<(Instant, Thing)> = VecDeque::new();
    while !workload.is_over() {
        tokio::time::sleep(PAUSE).await;
        if waiting.len() < WAITING_MAX
            && let Some(thing) = touch(&mut caller).await
        {
            waiting.push_back((Instant::now() + rest, thing));
        }
        while waiting.front().is_some_and(|(due, _)| *due <= Instant::now()) {
            if let Some((_, thing)) = waiting.pop_front() {
                let target = caller.rng.random_range(0..caller.targets());
                caller.turn_to(target);
                look(&mut caller, &thing).await;
            }
        }
    }
}

async fn touch_code(caller: &mut Caller) -> Option<Thing> {
    let live = code::Codes.make(caller).await?;
    let outcome = code::register(caller, FAMILY, &live.key).await;
    kept(caller, &live.key, &outcome).then_some(Thing::Code(live.key))
}

async fn touch_mailbox(caller: &mut Caller) -> Option<Thing> {
    let key = register::named(caller, "peer");
    let number = caller.fresh();
    let outcome = mailbox::signal(caller, FAMILY, &key, number).await;
    kept(caller, &key, &outcome).then_some(Thing::Letter(key))
}

async fn touch_transfer(caller: &mut Caller) -> Option<Thing> {
    transfer::open(caller, FAMILY).await.map(Thing::Transfer)
}

async fn touch_session(caller: &mut Caller) -> Option<Thing> {
    let session = exchange::create(caller, FAMILY).await?;
    let outcome = exchange::put(caller, FAMILY, &session, Side::Offer).await;
    kept(caller, &session, &outcome).then_some(Thing::Session(session))
}

/// Whether it was touched for sure; else there is nothing to wait for.
fn kept(caller: &Caller, key: &Arc<str>, outcome: &Outcome) -> bool {
    let touched = matches!(outcome, Outcome::Answered(_));
    if !touched {
        caller.close(key);
    }
    touched
}

async fn look(caller: &mut Caller, thing: &Thing) {
    let key = match thing {
        Thing::Code(key) => {
            code::lookup(caller, FAMILY, key).await;
            key
        }
        Thing::Letter(key) => {
            mailbox::poll(caller, FAMILY, key).await;
            key
        }
        Thing::Transfer(live) => {
            transfer::view(caller, FAMILY, live).await;
            &live.key
        }
        Thing::Session(key) => {
            exchange::get(caller, FAMILY, key, Side::Offer).await;
            key
        }
    };
    caller.close(key);
}
