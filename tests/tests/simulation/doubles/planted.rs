//! Mistakes in the cluster itself, planted by its feature `doubles`: the simulation notices each of them.
//!
//! `CONCLAVE_SEEDS` says of how many seeds all are tried, to see how many notice; without it the first one ends the search.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use conclave_cluster::doubles::{Double as Mistake, VARIABLE};

use super::{MARK, SEED_VARIABLE, violation_where};
use crate::simulation::plan::{Double, Plan};
use crate::simulation::{THREADS, caught, number};

/// Seeds that are tried until one notices.
const SEEDS: usize = 60;

/// Finds seeds that notice a mistake, among those whose clusters may come to have several cells, and fronts.
fn is_noticed(mistake: Mistake) {
    if let Some(seed) = number(SEED_VARIABLE) {
        if let Err(failure) = caught(Plan::new(seed, Double::None, None)) {
            println!("\n{MARK}{}: {:?}", failure.violation.invariant, failure.violation.context);
        }
        return;
    }
    let all = number("CONCLAVE_SEEDS");
    let count = all.map_or(SEEDS, |all| all as usize);
    let concerned = |seed: &u64| Plan::new(*seed, Double::None, None).shape.may_have_cells();
    let seeds: Vec<u64> = (0..).filter(concerned).take(count).collect();
    let (next, found) = (AtomicUsize::new(0), AtomicBool::new(false));
    let noticed: Mutex<BTreeMap<u64, String>> = Mutex::default();
    let thread = std::thread::current();
    let test = thread.name().expect("a test's thread has its name");
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while all.is_some() || !found.load(Ordering::Relaxed) {
                    let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                    if let Some(violation) =
                        violation_where(test, *seed, &[(VARIABLE, &format!("{mistake:?}"))])
                    {
                        found.store(true, Ordering::Relaxed);
                        noticed.lock().expect("nobody panics while holding it").insert(*seed, violation);
                    }
                }
            });
        }
    });
    let noticed = noticed.into_inner().expect("all threads are done");
    let tried = next.into_inner().min(count);
    let mut by: BTreeMap<&str, usize> = BTreeMap::new();
    for violation in noticed.values() {
        *by.entry(violation.split_once(": ").map_or("", |(invariant, _)| invariant)).or_default() += 1;
    }
    println!("{mistake:?}: noticed by {} of {tried} seeds: {by:?}", noticed.len());
    if let Some((seed, violation)) = noticed.first_key_value() {
        println!("{mistake:?} on seed {seed} violates {violation}");
    }
    assert!(!noticed.is_empty(), "{mistake:?} is not noticed in {tried} seeds");
}

#[test]
fn a_cell_that_compares_no_epochs_is_noticed() {
    is_noticed(Mistake::NoEpoch);
}

#[test]
fn a_cell_that_serves_a_slot_from_its_first_part_on_is_noticed() {
    is_noticed(Mistake::ServesFirstPart);
}

#[test]
fn a_cell_that_forgets_that_it_gave_a_slot_away_is_noticed() {
    is_noticed(Mistake::ForgetsMoved);
}

#[test]
fn tokens_that_outlive_their_window_are_noticed() {
    is_noticed(Mistake::NoFence);
}

#[test]
fn a_gift_that_its_giver_keeps_is_noticed() {
    is_noticed(Mistake::GiftKept);
}

#[test]
fn a_watch_that_is_entered_after_the_look_is_noticed() {
    is_noticed(Mistake::WatchesLate);
}
