//! Tests of the tests: what is broken on purpose is noticed, by the invariant it breaks, with a seed that shows it
//! again.

use super::caught;
use super::plan::{Double, Plan};

/// Seeds that are tried until the violation shows.
const SEEDS: u64 = 60;

/// Finds a seed whose simulation violates `invariant`, and runs it again. `known` is where it was found last: only the first to
/// be tried, since most changes of the code move it.
fn breaks(double: Double, invariant: &'static str, known: u64) {
    let run = |seed| caught(Plan::new(seed, double, Some(invariant)));
    let mut others = Vec::new();
    let found = std::iter::once(known).chain(0..SEEDS).find_map(|seed| {
        let violation = run(seed).err()?.violation;
        if violation.invariant == invariant {
            return Some((seed, violation));
        }
        others.push(violation.invariant);
        None
    });
    let Some((seed, violation)) = found else {
        panic!("{double:?} does not violate {invariant} in {SEEDS} seeds, but {others:?}");
    };
    println!("{double:?} on seed {seed}: {}", violation.context);
    let again = run(seed).expect_err("the same seed shows the same violation").violation;
    assert_eq!((again.invariant, again.context), (violation.invariant, violation.context));
}

#[test]
fn a_disk_that_lies_about_its_flushes_loses_what_was_acknowledged() {
    breaks(Double::FlushesNothing, "nothing_acknowledged_is_lost", 2);
}

#[test]
fn a_disk_that_lies_about_its_flushes_makes_replicas_differ() {
    breaks(Double::FlushesNothing, "replicas_agree", 2);
}

#[test]
fn a_disk_that_lies_about_its_flushes_hands_out_again_what_was_consumed() {
    breaks(Double::FlushesNothing, "consumed_once", 2);
}

#[test]
fn a_disk_that_forgets_its_vote_makes_replicas_differ() {
    breaks(Double::ForgetsVotes, "replicas_agree", 14);
}

#[test]
fn a_node_that_reads_its_own_replica_is_not_linearizable() {
    breaks(Double::StaleReads, "linearizable", 3);
}

#[test]
fn a_wish_that_is_repeated_under_another_name_is_applied_twice() {
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
fn what_lives_half_as_long_dies_before_its_ttl() {
    breaks(Double::HalvesTtls, "ttl", 0);
}

#[test]
fn a_node_that_stores_anything_exceeds_its_bound() {
    breaks(Double::StoresAnything, "bounds", 5);
}

#[test]
fn a_node_that_shares_nothing_lets_one_client_exceed_its_share() {
    breaks(Double::SharesNothing, "shares", 34);
}

#[test]
fn what_is_said_again_without_a_name_is_said_twice() {
    breaks(Double::NamesNothing, "room_order", 31);
}

#[test]
fn a_disk_that_lies_about_its_flushes_makes_a_room_forget() {
    breaks(Double::FlushesNothing, "room_order", 2);
}

#[test]
fn a_node_that_trusts_a_ticket_unasked_opens_twice() {
    breaks(Double::TrustsTickets, "ticket_opens_once", 0);
}

#[test]
fn a_node_that_reads_its_own_replica_sees_a_session_where_it_is_no_more() {
    breaks(Double::StaleReads, "one_connection", 5);
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
    breaks(Double::StretchesGraces, "host_leases", 6);
}
