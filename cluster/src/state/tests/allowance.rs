use super::super::allowance::{Balance, Charge, Payment, Tier};
use super::super::codec;
use super::super::handoff::Op as Handoff;
use super::super::limits::{EXPIRED_PER_PROPOSAL_MAX, HOLDERS_MAX, WINDOWS_FULL_RETRY_MS, WINDOWS_MIN};
use super::super::mailbox;
use super::super::outcome::Scope;
use super::transfer::put;
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
    let put = put("t", 0, 1, "x");
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

fn lease(lab: &mut Lab, node: u64, charge: Charge) -> Answer {
    let command = lab.charged(charge, Op::Lease { node });
    lab.carry_out(command)
}

fn leased(count: u32, holders: &[u64]) -> Result<Outcome, Refusal> {
    Ok(Outcome::Leased { count, holders: holders.to_vec() })
}

#[test]
fn a_lease_takes_what_is_left_and_tells_who_holds_the_rest() {
    let mut lab = Lab::new();
    let reset_ms = lab.now_ms + 1000;
    for (node, count, granted, remaining, holders) in
        [(7, 2, 2, 3, &[7][..]), (3, 2, 2, 1, &[7, 3]), (7, 2, 1, 0, &[7, 3]), (9, 2, 0, 0, &[7, 3])]
    {
        let answer = lease(&mut lab, node, charge(count));
        assert_eq!(answer.outcome, leased(granted, holders));
        assert_eq!(answer.balance, Some(Balance { limit: 5, remaining, reset_ms }));
        lab.wait(10);
    }
    let command = lab.charged(charge(1), poll());
    assert!(matches!(lab.carry_out(command).outcome, Err(Refusal::Allowance { .. })));
    lab.wait(960);
    let answer = lease(&mut lab, 9, charge(2));
    assert_eq!(answer.outcome, leased(2, &[9]), "a new window has new holders");
}

#[test]
fn a_window_that_is_over_and_not_freed_yet_hands_no_holders_on() {
    let mut lab = Lab::new();
    let other = |number: usize| Charge { client: client(&number.to_string()), ..charge(1) };
    let others = (0..EXPIRED_PER_PROPOSAL_MAX).map(|number| lab.charged(other(number), Op::Pay)).collect();
    lab.apply(Vec::new(), others);
    lab.wait(1);
    lease(&mut lab, 1, charge(2));
    lab.wait(1000);
    let answer = lease(&mut lab, 2, charge(2));
    assert_eq!(lab.state.counts().windows, 1);
    assert_eq!(answer.outcome, leased(2, &[2]));
    assert_eq!(left(&lab), 3);
}

#[test]
fn an_answer_with_all_its_holders_is_within_its_size() {
    let holders = vec![u64::MAX; HOLDERS_MAX];
    let outcome = Ok(Outcome::Leased { count: u32::MAX, holders });
    let balance = Some(Balance { limit: u32::MAX, remaining: u32::MAX, reset_ms: u64::MAX });
    let answer = Answer { outcome, balance, replayed: false };
    assert!(codec::encode_answers(std::slice::from_ref(&answer)).header.len() <= answer.size() + 16);
}

#[test]
fn an_answer_with_too_many_holders_is_refused() {
    let recoded = |count| {
        let outcome = Ok(Outcome::Leased { count: 1, holders: vec![1; count] });
        let answers = [Answer { outcome, balance: None, replayed: false }];
        codec::decode_answers(&codec::encode_answers(&answers).header, Bytes::new())
    };
    assert!(recoded(HOLDERS_MAX).is_ok());
    assert_eq!(recoded(HOLDERS_MAX + 1), Err(codec::Error::Malformed));
}

#[test]
fn charges_and_leases_are_of_one_window() {
    let mut lab = Lab::new();
    let command = lab.charged(charge(4), poll());
    lab.carry_out(command);
    assert_eq!(lease(&mut lab, 1, charge(2)).outcome, leased(1, &[1]));
    assert_eq!(left(&lab), 0);
}

#[test]
fn a_lease_of_nothing_opens_no_window_and_one_without_a_charge_is_of_nothing() {
    let mut lab = Lab::new();
    assert_eq!(lease(&mut lab, 1, charge(0)).outcome, leased(0, &[]));
    assert_eq!(lab.ask(Op::Lease { node: 1 }), leased(0, &[]));
    assert_eq!(lab.state.counts().windows, 0);
}

#[test]
fn a_lease_that_is_asked_again_is_one() {
    let mut lab = Lab::new();
    let command = lab.charged(charge(2), Op::Lease { node: 1 });
    let answer = lab.carry_out(command.clone());
    assert_eq!(lab.carry_out(command), answer);
    assert_eq!(left(&lab), 3);
}

#[test]
fn beyond_the_bound_of_holders_a_node_leases_without_being_known() {
    let mut lab = Lab::new();
    let many = Charge { limit: 1000, ..charge(1) };
    let known: Vec<u64> = (0..HOLDERS_MAX as u64).collect();
    for node in 0..=HOLDERS_MAX as u64 {
        lease(&mut lab, node, many);
    }
    assert_eq!(lease(&mut lab, HOLDERS_MAX as u64, many).outcome, leased(1, &known));
    assert_eq!(lease(&mut lab, 0, many).outcome, leased(1, &known));
}

#[test]
fn where_windows_take_all_they_may_a_node_leases_of_an_open_one_without_being_known() {
    let mut lab = Lab::new();
    lab.storage_bytes_max = 0;
    let of = |number: u64| Charge { client: client(&number.to_string()), ..charge(1) };
    let commands = (0..WINDOWS_MIN).map(|number| lab.charged(of(number), Op::Pay)).collect();
    lab.apply(Vec::new(), commands);
    assert_eq!(lease(&mut lab, 1, of(0)).outcome, leased(1, &[]));
    let (retry_after_ms, scope) = (WINDOWS_FULL_RETRY_MS, Scope::Cluster);
    assert_eq!(
        lease(&mut lab, 1, of(WINDOWS_MIN)).outcome,
        Err(Refusal::Allowance { retry_after_ms, scope })
    );
}

#[test]
fn holders_count_among_the_windows() {
    let mut lab = Lab::new();
    lab.storage_bytes_max = 0;
    let of = |number: u64| Charge { client: client(&number.to_string()), limit: 100, ..charge(1) };
    lease(&mut lab, 1, of(0));
    let commands = (1..WINDOWS_MIN).map(|number| lab.charged(of(number), Op::Pay)).collect();
    let answers = lab.apply(Vec::new(), commands);
    assert!(answers[answers.len() - 2].outcome.is_ok());
    assert!(answers[answers.len() - 1].outcome.is_err(), "one place is taken by the holder");
}

#[test]
fn a_lease_is_heard_when_the_storage_is_full() {
    let mut lab = Lab::new();
    lab.storage_bytes_max = 0;
    assert_eq!(lab.ask(put("t", 0, 1, "x")), Err(Refusal::StorageFull));
    let command = Command { payment: charge(2).into(), ..lab.memoed("mine", Op::Lease { node: 1 }) };
    assert_eq!(lab.carry_out(command).outcome, leased(2, &[1]));
}

fn paid(lab: &mut Lab, until_ms: u64, op: impl Into<Op>) -> Command {
    Command { payment: Payment::Paid { until_ms }, ..lab.command(op) }
}

#[test]
fn a_token_is_good_until_its_window_ends_by_the_clock_of_the_log() {
    let mut lab = Lab::new();
    let until_ms = lab.now_ms + 1000;
    lab.wait(999);
    let command = paid(&mut lab, until_ms, put("t", 0, 2, "zero"));
    let answer = lab.carry_out(command);
    assert!(answer.outcome.is_ok());
    assert_eq!(answer.balance, None, "the window is not here");
    lab.wait(1);
    let late = paid(&mut lab, until_ms, put("t", 1, 2, "one"));
    assert_eq!(lab.carry_out(late.clone()).outcome, Err(Refusal::Lapsed));
    lab.now_ms -= 500;
    let answer = lab.carry_out(Command { payment: charge(1).into(), ..late });
    assert_eq!(answer.outcome, Err(Refusal::Lapsed), "under its id it stays refused");
    let early = paid(&mut lab, until_ms, put("t", 1, 2, "one"));
    assert_eq!(lab.carry_out(early).outcome, Err(Refusal::Lapsed), "the log's clock never falls");
    assert_eq!(lab.state.counts().chunks, 1);
}

#[test]
fn a_lapsed_token_is_not_remembered_under_the_callers_key() {
    let mut lab = Lab::new();
    let lapsed = Payment::Paid { until_ms: lab.now_ms };
    let command = Command { payment: lapsed, ..lab.memoed("mine", put("t", 0, 1, "zero")) };
    assert_eq!(lab.carry_out(command).outcome, Err(Refusal::Lapsed));
    let until_ms = lab.now_ms + 1;
    let command =
        Command { payment: Payment::Paid { until_ms }, ..lab.memoed("mine", put("t", 0, 1, "zero")) };
    let answer = lab.carry_out(command);
    assert!(answer.outcome.is_ok() && !answer.replayed);
    let command = Command { payment: lapsed, ..lab.memoed("mine", put("t", 0, 1, "zero")) };
    assert!(lab.carry_out(command).replayed, "a remembered answer costs nothing");
}

/// A cell that gave away the slot of the client, or of the key; the others are here.
fn without(key: Key) -> Lab {
    let mut lab = Lab::new();
    let to = super::super::slot::CellId::of(2);
    lab.ask(Handoff::Seal { slot: key.slot(), epoch: 1, to }).unwrap();
    lab
}

#[test]
fn a_lease_is_asked_where_the_window_is_and_a_token_used_where_the_key_is() {
    let op = put("t", 0, 1, "zero");
    let key = op.key;
    assert_ne!(key.slot(), client("ann").slot());

    let mut here = without(client("ann"));
    let until_ms = here.now_ms + 1;
    assert!(matches!(lease(&mut here, 1, charge(1)).outcome, Err(Refusal::Moved { .. })));
    assert_eq!(here.state.counts().windows, 0);
    let command = paid(&mut here, until_ms, op.clone());
    assert!(here.carry_out(command).outcome.is_ok());

    let mut home = without(key);
    assert_eq!(lease(&mut home, 1, charge(1)).outcome, leased(1, &[1]));
    let lapsed = home.now_ms;
    let command = paid(&mut home, lapsed, op);
    assert!(matches!(home.carry_out(command).outcome, Err(Refusal::Moved { .. })), "the slot is asked first");
}

#[test]
fn no_payment_and_a_charge_are_encoded_as_an_option_is() {
    for charge in [None, Some(charge(300))] {
        let option = bincode::serde::encode_to_vec(charge, codec::CONFIG).unwrap();
        assert_eq!(bincode::serde::encode_to_vec(Payment::from(charge), codec::CONFIG).unwrap(), option);
    }
}

#[test]
fn a_reset_forgets_what_one_client_spent_and_no_other() {
    let mut lab = Lab::new();
    let other = Charge { client: client("other"), ..charge(2) };
    let create = Charge { tier: Tier::Create, ..charge(1) };
    for charge in [charge(5), create, other] {
        let command = lab.charged(charge, Op::Pay);
        assert!(lab.carry_out(command).outcome.is_ok());
    }
    lab.wait(10);
    let reset = || Op::Reset { client: charge(1).client };
    assert_eq!(lab.ask(reset()), Ok(Outcome::Reset { windows: 2 }));
    assert_eq!(lab.state.counts().windows, 1);
    let command = lab.charged(charge(1), Op::Pay);
    let balance = Balance { limit: 5, remaining: 4, reset_ms: lab.now_ms + 1000 };
    assert_eq!(lab.carry_out(command).balance, Some(balance), "a window opens anew");
    assert_eq!(lab.state.counts().windows, 2);
    lab.wait(1000);
    assert_eq!(lab.ask(reset()), Ok(Outcome::Reset { windows: 0 }), "what is over is not open");
}

#[test]
fn a_token_of_a_window_that_was_reset_is_worth_what_it_was() {
    let mut lab = Lab::new();
    let answer = lease(&mut lab, 1, charge(3));
    let until_ms = answer.balance.unwrap().reset_ms;
    lab.wait(10);
    assert_eq!(lab.ask(Op::Reset { client: charge(1).client }), Ok(Outcome::Reset { windows: 1 }));
    let command = paid(&mut lab, until_ms, Op::Pay);
    assert_eq!(lab.carry_out(command).outcome, Ok(Outcome::Spent));
    assert_eq!(lease(&mut lab, 2, charge(9)).outcome, leased(5, &[2]), "the new window knows no holders");
}
