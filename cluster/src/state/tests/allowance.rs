use super::super::allowance::{Balance, Charge, Tier};
use super::super::mailbox;
use super::super::outcome::Scope;
use super::*;

fn client(name: &str) -> Key {
    Key::derive(Domain::Client, &[name.as_bytes()])
}

fn charge(count: u32) -> Charge {
    Charge { client: client("ann"), tier: Tier::Signal, count, limit: 5, window_ms: 1000 }
}

fn poll() -> Op {
    let key = Key::derive(Domain::Mailbox, &[b"ann"]);
    Op::Mailbox(mailbox::Op { key, action: mailbox::Action::Drain { bytes_max: 1 } })
}

fn left(lab: &Lab) -> u32 {
    lab.read(query::Balance(charge(1))).remaining
}

#[test]
fn a_window_opens_with_the_first_charge_and_admits_its_limit() {
    let mut lab = Lab::new();
    let reset_ms = lab.now_ms + 1000;
    for remaining in (0..5).rev() {
        let command = lab.charged(charge(1), poll());
        let answer = lab.carry_out(command);
        assert!(answer.outcome.is_ok());
        assert_eq!(answer.balance, Some(Balance { limit: 5, remaining, reset_ms }));
        lab.wait(100);
    }
    let command = lab.charged(charge(1), poll());
    let answer = lab.carry_out(command);
    assert_eq!(answer.outcome, Err(Refusal::Allowance { retry_after_ms: 500, scope: Scope::Client }));
    assert_eq!(answer.balance, Some(Balance { limit: 5, remaining: 0, reset_ms }));
    lab.wait(500);
    assert_eq!(left(&lab), 5);
    let command = lab.charged(charge(1), poll());
    assert_eq!(lab.carry_out(command).balance.unwrap().reset_ms, lab.now_ms + 1000);
}

#[test]
fn a_refused_charge_spends_nothing_and_does_nothing() {
    let mut lab = Lab::new();
    let command = lab.charged(charge(4), poll());
    lab.carry_out(command);
    let put = super::transfer::put("t", 0, 1, "x");
    let command = lab.charged(charge(2), put);
    assert!(matches!(lab.carry_out(command).outcome, Err(Refusal::Allowance { .. })));
    assert_eq!((left(&lab), lab.state.counts().transfers), (1, 0));
    let command = lab.charged(charge(6), poll());
    assert!(matches!(lab.carry_out(command).outcome, Err(Refusal::Allowance { .. })));
    assert_eq!(left(&lab), 1);
}

#[test]
fn clients_and_tiers_have_windows_of_their_own() {
    let mut lab = Lab::new();
    let command = lab.charged(charge(5), poll());
    lab.carry_out(command);
    for other in [Charge { client: client("bob"), ..charge(5) }, Charge { tier: Tier::Chunk, ..charge(5) }] {
        let command = lab.charged(other, poll());
        assert!(lab.carry_out(command).outcome.is_ok());
    }
    assert_eq!(lab.state.counts().windows, 3);
    lab.wait(1000);
    lab.tick();
    assert_eq!(lab.state.counts().windows, 0);
}

#[test]
fn a_charge_made_afterwards_takes_what_is_left() {
    let mut lab = Lab::new();
    for (count, remaining) in [(3, 2), (3, 0), (u32::MAX, 0)] {
        let command = lab.charged(charge(count), Op::Spend);
        let answer = lab.carry_out(command);
        assert_eq!(answer.outcome, Ok(Outcome::Spent));
        assert_eq!(answer.balance.unwrap().remaining, remaining);
    }
}

#[test]
fn a_charge_made_before_is_taken_in_full_or_refused() {
    let mut lab = Lab::new();
    for (count, paid, remaining) in [(3, true, 2), (3, false, 2), (2, true, 0), (1, false, 0)] {
        let command = lab.charged(charge(count), Op::Pay);
        let answer = lab.carry_out(command);
        match answer.outcome {
            Ok(outcome) => assert!(paid && outcome == Outcome::Spent, "{count}"),
            Err(refusal) => assert!(!paid && matches!(refusal, Refusal::Allowance { .. }), "{count}"),
        }
        assert_eq!(answer.balance.unwrap().remaining, remaining);
    }
}

#[test]
fn a_lowered_limit_counts_at_once() {
    let mut lab = Lab::new();
    let command = lab.charged(charge(4), poll());
    lab.carry_out(command);
    let command = lab.charged(Charge { limit: 3, ..charge(1) }, poll());
    let answer = lab.carry_out(command);
    assert!(matches!(answer.outcome, Err(Refusal::Allowance { .. })));
    assert_eq!(answer.balance.unwrap().remaining, 0);
}

#[test]
fn other_refusals_cost_what_success_costs() {
    let mut lab = Lab::new();
    let command =
        lab.charged(charge(1), super::transfer::about("t", super::super::transfer::Action::Discard));
    let answer = lab.carry_out(command);
    assert!(answer.outcome.is_err());
    assert_eq!(answer.balance.unwrap().remaining, 4);
}
