use super::*;
use crate::state::id::Domain;

const NOW_MS: u64 = 1_700_000_000_000;
const UNTIL_MS: u64 = NOW_MS + 60_000;
const LIMIT: u32 = 160;

fn of(name: &str) -> At {
    (Key::derive(Domain::Client, &[name.as_bytes()]), Tier::Signal)
}

fn leased(count: u32, remaining: u32, reset_ms: u64) -> Leased {
    Leased { count, balance: Balance { limit: LIMIT, remaining, reset_ms } }
}

/// A purse that leased so many tokens of a window.
fn with(count: u32, until_ms: u64) -> Purse {
    let mut purse = Purse::new(1);
    fill(&mut purse, count, 100, until_ms);
    purse
}

fn fill(purse: &mut Purse, count: u32, remaining: u32, until_ms: u64) {
    let ask = purse.request_lease(of("ann"), count, NOW_MS).unwrap();
    if let Some(token) = purse.credit(ask, leased(count, remaining, until_ms)) {
        purse.give_back(token);
    }
}

fn drain(purse: &mut Purse, now_ms: u64) -> u32 {
    std::iter::from_fn(|| purse.take(of("ann"), now_ms)).count() as u32
}

#[test]
fn tokens_are_taken_one_by_one_until_there_are_none() {
    let mut purse = with(3, UNTIL_MS);
    let token = purse.take(of("ann"), NOW_MS).unwrap();
    assert_eq!(token.payment(), Payment::Paid { until_ms: UNTIL_MS });
    assert_eq!(drain(&mut purse, NOW_MS), 2);
    assert_eq!(purse.take(of("bob"), NOW_MS), None);
}

#[test]
fn a_token_that_was_not_used_is_there_again_in_its_window_only() {
    let mut purse = with(1, UNTIL_MS);
    let token = purse.take(of("ann"), NOW_MS).unwrap();
    purse.give_back(token);
    let token = purse.take(of("ann"), NOW_MS).unwrap();
    fill(&mut purse, 2, 0, UNTIL_MS + 60_000);
    purse.give_back(token);
    assert_eq!(drain(&mut purse, NOW_MS), 2, "it is of the window before");
}

#[test]
fn tokens_are_tried_for_a_moment_after_their_window_has_ended() {
    let mut purse = with(3, UNTIL_MS);
    let moment_ms = millis(limits::TRIED_AFTER_END);
    assert!(purse.take(of("ann"), UNTIL_MS + moment_ms - 1).is_some());
    assert_eq!(purse.take(of("ann"), UNTIL_MS + moment_ms), None);
    purse.forget_closed_windows(UNTIL_MS + moment_ms - 1);
    assert_eq!(drain(&mut purse, UNTIL_MS), 2);
}

#[test]
fn what_the_home_gave_is_tried_though_this_nodes_clock_says_that_it_is_over() {
    let mut purse = Purse::new(1);
    let late_ms = UNTIL_MS + millis(limits::TRIED_AFTER_END);
    let ask = purse.request_lease(of("ann"), 5, late_ms).unwrap();
    assert!(purse.credit(ask, leased(5, 0, UNTIL_MS)).is_some());
    assert_eq!(purse.take(of("ann"), late_ms), None);
}

#[test]
fn tokens_of_two_windows_are_never_mixed() {
    let mut purse = with(3, UNTIL_MS);
    fill(&mut purse, 2, 0, UNTIL_MS + 1);
    assert_eq!(purse.give(of("ann"), UNTIL_MS, 9), 0);
    fill(&mut purse, 9, 0, UNTIL_MS);
    assert_eq!(drain(&mut purse, NOW_MS), 2, "a late answer is of a window that is over");
}

#[test]
fn one_token_that_lapsed_says_it_of_all_that_are_no_younger() {
    let mut purse = with(3, UNTIL_MS);
    let [token, other] = [(); 2].map(|()| purse.take(of("ann"), NOW_MS).unwrap());
    purse.expire(token);
    purse.give_back(other);
    assert_eq!(drain(&mut purse, NOW_MS), 0);
    assert_eq!(purse.want(of("ann"), LIMIT), 1, "the home may be behind");
    fill(&mut purse, 3, 100, UNTIL_MS);
    assert_eq!(drain(&mut purse, NOW_MS), 0, "what it gives lapses");
    assert!(!purse.is_low(of("ann"), NOW_MS));
    fill(&mut purse, 1, 100, UNTIL_MS + 1);
    assert_eq!(purse.want(of("ann"), LIMIT), 10, "the next window is another one");

    let mut purse = with(3, UNTIL_MS);
    let token = purse.take(of("ann"), NOW_MS).unwrap();
    fill(&mut purse, 2, 0, UNTIL_MS + 1);
    purse.expire(token);
    assert_eq!(drain(&mut purse, NOW_MS), 2);
}

#[test]
fn a_block_is_a_sixteenth_of_the_limit() {
    let purse = Purse::new(1);
    for (limit, want) in [(0, 1), (15, 1), (16, 1), (32, 2), (160, 10), (u32::MAX, u32::MAX / 16)] {
        assert_eq!(purse.want(of("ann"), limit), want);
    }
    for (holders, want) in [(0, 10), (1, 10), (3, 3), (11, 1)] {
        assert_eq!(purse.want_of_each(of("ann"), LIMIT, holders), want);
    }
}

#[test]
fn more_is_asked_for_ahead_below_half_a_block_while_the_home_has_any() {
    let mut purse = with(10, UNTIL_MS);
    for _ in 0..5 {
        assert!(!purse.is_low(of("ann"), NOW_MS));
        let _used = purse.take(of("ann"), NOW_MS);
    }
    assert!(!purse.is_low(of("ann"), NOW_MS), "half");
    let _used = purse.take(of("ann"), NOW_MS);
    assert!(purse.is_low(of("ann"), NOW_MS));
    assert!(!purse.is_low(of("ann"), UNTIL_MS), "nothing of a new window has gone");
    let ask = purse.request_lease(of("ann"), 10, NOW_MS).unwrap();
    assert!(!purse.is_low(of("ann"), NOW_MS), "it is under way");
    assert_eq!(purse.request_lease(of("ann"), 10, NOW_MS), None, "one at a time");
    let token = purse.credit(ask, leased(3, 0, UNTIL_MS)).unwrap();
    purse.give_back(token);
    assert_eq!(drain(&mut purse, NOW_MS), 7);
    assert!(!purse.is_low(of("ann"), NOW_MS), "the home has nothing left");
    assert!(!Purse::new(1).is_low(of("ann"), NOW_MS));
}

#[test]
fn an_answer_counts_once_and_only_for_the_run_that_asked() {
    let mut purse = Purse::new(1);
    let ask = purse.request_lease(of("ann"), 3, NOW_MS).unwrap();
    assert!(purse.credit(ask, leased(3, 0, UNTIL_MS)).is_some());
    assert_eq!(purse.credit(ask, leased(3, 0, UNTIL_MS)), None);
    let gift = purse.request_gift(of("ann"), UNTIL_MS, 2, NOW_MS).unwrap();
    assert_eq!(purse.credit(gift, leased(2, 0, UNTIL_MS)), None, "it is no lease");
    assert!(purse.receive(gift, 2).is_some());
    assert_eq!(purse.receive(gift, 2), None);
    assert_eq!(drain(&mut purse, NOW_MS), 2 + 1);

    let mut next = Purse::new(2);
    let own = next.request_gift(of("ann"), UNTIL_MS, 2, NOW_MS).unwrap();
    assert_eq!(next.receive(TokenRequest { number: own.number, ..gift }, 2), None);
    assert!(next.receive(own, 2).is_some());
}

#[test]
fn no_answer_brings_more_than_was_asked_for() {
    let mut purse = Purse::new(1);
    fill(&mut purse, 0, 0, UNTIL_MS);
    let ask = purse.request_lease(of("ann"), 3, NOW_MS).unwrap();
    assert!(purse.credit(ask, leased(99, 0, UNTIL_MS)).is_some());
    let ask = purse.request_gift(of("ann"), UNTIL_MS, 2, NOW_MS).unwrap();
    assert!(purse.receive(ask, 99).is_some());
    assert_eq!(drain(&mut purse, NOW_MS), 2 + 1);
}

#[test]
fn an_answer_that_was_given_up_brings_nothing_and_another_may_be_asked_for() {
    let mut purse = Purse::new(1);
    let ask = purse.request_lease(of("ann"), 3, NOW_MS).unwrap();
    purse.give_up(ask);
    assert_eq!(purse.credit(ask, leased(3, 0, UNTIL_MS)), None);
    let deadline_ms = millis(limits::DEADLINE_MAX);
    let ask = purse.request_lease(of("ann"), 3, NOW_MS).unwrap();
    assert_eq!(purse.request_lease(of("ann"), 3, NOW_MS + deadline_ms), None);
    assert!(purse.request_lease(of("ann"), 3, NOW_MS + deadline_ms + 1).is_some(), "it was forgotten");
    assert_eq!(purse.credit(ask, leased(3, 0, UNTIL_MS)), None);
}

#[test]
fn what_is_given_is_gone_before_anybody_is_told() {
    let mut purse = with(5, UNTIL_MS);
    assert_eq!(purse.give(of("bob"), UNTIL_MS, 3), 0);
    assert_eq!(purse.give(of("ann"), UNTIL_MS, 3), 3);
    assert_eq!(purse.give(of("ann"), UNTIL_MS, 3), 2);
    assert_eq!((purse.give(of("ann"), UNTIL_MS, 3), drain(&mut purse, NOW_MS)), (0, 0));
}

#[test]
fn that_nobody_has_any_is_said_for_a_while_and_not_beyond_the_window() {
    let mut purse = Purse::new(1);
    assert_eq!(purse.exhausted(of("ann"), NOW_MS), None);
    purse.exhaust(of("ann"), UNTIL_MS, NOW_MS);
    assert_eq!(purse.exhausted(of("ann"), NOW_MS + 249), Some(UNTIL_MS));
    assert_eq!(purse.exhausted(of("ann"), NOW_MS + 250), None);
    purse.exhaust(of("ann"), UNTIL_MS, UNTIL_MS - 100);
    assert_eq!(purse.exhausted(of("ann"), UNTIL_MS - 1), Some(UNTIL_MS));
    assert_eq!(purse.exhausted(of("ann"), UNTIL_MS), None);
    fill(&mut purse, 2, 0, UNTIL_MS + 60_000);
    assert_eq!(purse.exhausted(of("ann"), UNTIL_MS - 1), None, "the next window is another one");
}

#[test]
fn the_balance_is_what_the_home_had_left_and_what_is_here() {
    let mut purse = with(10, UNTIL_MS);
    let left = |purse: &Purse| purse.balance(of("ann"), LIMIT, NOW_MS).map(|balance| balance.remaining);
    assert_eq!(left(&purse), Some(110));
    let _used = purse.take(of("ann"), NOW_MS);
    assert_eq!(left(&purse), Some(109));
    assert_eq!(purse.balance(of("ann"), LIMIT, UNTIL_MS), None);
}

#[test]
fn beyond_the_bound_of_windows_tokens_come_one_by_one_and_are_not_kept() {
    let mut purse = Purse::new(1);
    let windows = limits::PURSE_WINDOWS_MAX;
    for number in 0..windows {
        let at = of(&number.to_string());
        let ask = purse.request_lease(at, 10, NOW_MS).unwrap();
        assert!(purse.credit(ask, leased(10, 9, UNTIL_MS + number as u64 % 2)).is_some());
    }
    assert_eq!(purse.want(of("0"), LIMIT), 10, "it has its place");
    assert_eq!((purse.want(of("ann"), LIMIT), purse.want_of_each(of("ann"), LIMIT, 2)), (1, 1));
    let ask = purse.request_lease(of("ann"), 10, NOW_MS).unwrap();
    assert!(purse.credit(ask, leased(10, 9, UNTIL_MS)).is_some(), "whoever waits is served");
    assert_eq!(purse.take(of("ann"), NOW_MS), None);
    purse.exhaust(of("ann"), UNTIL_MS, NOW_MS);
    assert_eq!((purse.exhausted(of("ann"), NOW_MS), purse.windows.len()), (None, windows));

    purse.forget_closed_windows(UNTIL_MS + millis(limits::TRIED_AFTER_END));
    assert_eq!(purse.windows.len(), windows / 2, "those that have ended make room");
    assert_eq!(purse.want(of("ann"), LIMIT), 10);
}

#[test]
fn beyond_the_bound_of_requests_nothing_is_asked_until_some_are_answered() {
    let mut purse = Purse::new(1);
    let requests: Vec<TokenRequest> = (0..limits::TOKEN_REQUESTS_MAX)
        .map(|_| purse.request_gift(of("ann"), UNTIL_MS, 1, NOW_MS).unwrap())
        .collect();
    assert_eq!(purse.request_gift(of("ann"), UNTIL_MS, 1, NOW_MS), None);
    assert_eq!(purse.request_lease(of("bob"), 1, NOW_MS), None);
    assert_eq!(purse.receive(requests[7], 0), None);
    assert!(purse.request_lease(of("bob"), 1, NOW_MS).is_some());
}
