//! Tests of the tests: what is broken on purpose is noticed, by the invariant it breaks, with a seed that shows it
//! again.

#[cfg(feature = "doubles")]
mod planted;

use std::process::Command;

use super::invariants::Violation;
use super::plan::{Double, Plan};
use super::{caught, number};

/// Seeds that are tried until the violation shows.
const SEEDS: u64 = 100;
/// Which seed a process is to simulate that another one started.
const SEED_VARIABLE: &str = "CONCLAVE_DOUBLE_SEED";
/// What such a process writes before a violation.
const MARK: &str = "the double violates ";

/// Finds a seed whose simulation violates `invariant`, and runs it again. `known` is where it was found last: only the first to
/// be tried, since most changes of the code move it.
fn breaks(double: Double, invariant: &'static str, known: u64) {
    if let Some(seed) = number(SEED_VARIABLE) {
        if let Err(failure) = caught(Plan::new(seed, double, Some(invariant))) {
            let Violation { invariant, context } = failure.violation;
            println!("\n{MARK}{invariant}: {context:?}");
        }
        return;
    }
    let wanted = format!("{invariant}: ");
    let mut others = Vec::new();
    let found = std::iter::once(known).chain(0..SEEDS).find_map(|seed| {
        let violation = violation(seed)?;
        if violation.starts_with(&wanted) {
            return Some((seed, violation));
        }
        others.push(violation);
        None
    });
    let Some((seed, found)) = found else {
        panic!("{double:?} does not violate {invariant} in {SEEDS} seeds, but {others:?}");
    };
    println!("{double:?} on seed {seed} violates {found}");
    assert_eq!(violation(seed), Some(found), "seed {seed} shows it once and not again");
}

/// What the simulation of a seed violates, found by this same test in a process of its own: where a disk forgets what it
/// promised, a node may panic on it, and a panic in a simulated runtime can end the process.
fn violation(seed: u64) -> Option<String> {
    let thread = std::thread::current();
    violation_where(thread.name().expect("a test's thread has its name"), seed, &[])
}

/// The same, found by a test in an environment of its own.
fn violation_where(test: &str, seed: u64, variables: &[(&str, &str)]) -> Option<String> {
    let mut process = Command::new(std::env::current_exe().expect("this program has a path"));
    process.args(["--exact", test, "--nocapture"]).env(SEED_VARIABLE, seed.to_string());
    process.envs(variables.iter().copied());
    let output = process.output().expect("this program starts once more");
    let text = String::from_utf8_lossy(&output.stdout);
    let violation = text.lines().find_map(|line| line.strip_prefix(MARK)).map(str::to_owned);
    violation.or_else(|| (!output.status.success()).then(|| format!("no node panics: {}", output.status)))
}

#[test]
fn a_disk_that_lies_about_its_flushes_loses_what_was_acknowledged() {
    breaks(Double::FlushesNothing, "nothing_acknowledged_is_lost", 21);
}

#[test]
fn a_disk_that_lies_about_its_flushes_makes_replicas_differ() {
    breaks(Double::FlushesNothing, "replicas_agree", 21);
}

#[test]
fn a_disk_that_lies_about_its_flushes_hands_out_again_what_was_consumed() {
    breaks(Double::FlushesNothing, "consumed_once", 21);
}

#[test]
fn a_disk_that_forgets_its_vote_makes_replicas_differ() {
    breaks(Double::ForgetsVotes, "replicas_agree", 37);
}

#[test]
fn a_node_that_reads_its_own_replica_is_not_linearizable() {
    breaks(Double::StaleReads, "linearizable", 3);
}

#[test]
fn a_command_that_is_repeated_under_another_name_is_applied_twice() {
    breaks(Double::AsksTwice, "nothing_applied_twice", 0);
}

#[test]
fn a_consumer_that_asks_again_without_its_memo_loses_signals() {
    breaks(Double::TakesTwice, "nothing_acknowledged_is_lost", 0);
}

#[test]
fn nodes_that_count_for_themselves_admit_too_much() {
    breaks(Double::SpendsAnywhere, "allowance", 0);
}

#[test]
fn nodes_that_count_for_themselves_admit_what_nobody_paid_for() {
    breaks(Double::SpendsAnywhere, "tokens", 0);
}

#[test]
fn what_lives_half_as_long_dies_before_its_ttl() {
    breaks(Double::HalvesTtls, "ttl", 0);
}

#[test]
fn a_node_that_stores_anything_exceeds_its_bound() {
    breaks(Double::StoresAnything, "bounds", 5);
}

#[test]
fn a_node_that_shares_nothing_lets_one_client_exceed_its_share() {
    breaks(Double::SharesNothing, "shares", 31);
}

#[test]
fn what_is_said_again_without_a_name_is_said_twice() {
    breaks(Double::NamesNothing, "room_order", 10);
}

#[test]
fn a_disk_that_lies_about_its_flushes_makes_a_room_forget() {
    breaks(Double::FlushesNothing, "room_order", 21);
}

#[test]
fn a_node_that_trusts_a_ticket_unasked_opens_twice() {
    breaks(Double::TrustsTickets, "ticket_opens_once", 0);
}

#[test]
fn a_node_that_reads_its_own_replica_sees_a_session_where_it_is_no_more() {
    breaks(Double::StaleReads, "one_connection", 0);
}

#[test]
fn a_connection_that_lost_its_session_and_claims_for_it_is_seen() {
    breaks(Double::ClaimsForAnyone, "one_connection", 0);
}

#[test]
fn a_connection_that_lost_its_session_and_enters_a_room_for_it_is_seen() {
    breaks(Double::JoinsAnyTime, "one_connection", 0);
}

#[test]
fn a_host_that_lives_longer_than_its_lease_holds_what_it_should_let_go() {
    breaks(Double::StretchesLeases, "host_leases", 0);
}

#[test]
fn a_host_that_lives_shorter_than_its_lease_lets_go_what_it_should_hold() {
    breaks(Double::ShortensLeases, "host_leases", 5);
}

#[test]
fn members_that_stay_longer_than_their_grace_outlive_their_host() {
    breaks(Double::StretchesGraces, "host_leases", 22);
}
