//! Once: replay by request id, idempotency keys by callers' own names.

use super::super::allowance::{Charge, Tier};
use super::super::limits::ORIGIN_SILENT_MS_MAX;
use super::super::transfer::Action;
use super::transfer::{about, chunk, put};
use super::*;

fn charge(limit: u32) -> Charge {
    let client = Key::derive(Domain::Client, &[b"ann"]);
    Charge { client, tier: Tier::Chunk, count: 1, limit, window_ms: 1000 }
}

#[test]
fn a_retry_finds_the_answer_and_changes_nothing() {
    let mut lab = Lab::new();
    lab.ask(put("t", 0, 2, "zero")).unwrap();
    lab.ask(put("t", 1, 2, "one")).unwrap();
    let take = lab.charged(charge(5), about("t", Action::Take));
    let first = lab.carry_out(take.clone());
    assert_eq!(first.outcome, chunk(0, 2, "zero"));
    let before = lab.state.fingerprint();
    assert_eq!(lab.carry_out(take.clone()), first);
    assert_eq!(lab.apply(Vec::new(), vec![take.clone(), take]), vec![first.clone(), first]);
    assert_eq!(lab.state.fingerprint(), before);
    assert_eq!(lab.effects, vec![]);
}

#[test]
fn a_refusal_is_remembered_too() {
    let mut lab = Lab::new();
    let refused = lab.charged(charge(0), about("t", Action::Take));
    let first = lab.carry_out(refused.clone());
    assert!(matches!(first.outcome, Err(Refusal::Allowance { .. })));
    lab.wait(1000);
    let again = Command { payment: charge(1).into(), ..refused };
    assert_eq!(lab.carry_out(again), first);
}

#[test]
fn below_the_floor_nothing_is_carried_out_or_remembered() {
    let mut lab = Lab::new();
    let old = lab.command(put("t", 0, 2, "zero"));
    let kept = lab.command(put("t", 1, 2, "one"));
    lab.apply(Vec::new(), vec![old.clone(), kept.clone()]);
    let stale = Answer::refused(Refusal::Stale);
    let answers = lab.apply(vec![(1, kept.id.seq)], vec![old.clone(), kept]);
    assert_eq!(answers[0], stale);
    assert!(answers[1].outcome.is_ok());
    assert_eq!(lab.state.counts().outcomes, 1);
    lab.apply(vec![(1, 0)], Vec::new());
    assert_eq!(lab.carry_out(old), stale, "a floor never falls");
}

#[test]
fn origins_do_not_meet() {
    let mut lab = Lab::new();
    let ours = lab.command(put("t", 0, 2, "zero"));
    let theirs =
        Command { id: RequestId { origin: 2, seq: ours.id.seq }, ..lab.command(put("t", 1, 2, "one")) };
    lab.apply(vec![(7, 100)], vec![ours, theirs]);
    assert_eq!((lab.state.counts().outcomes, lab.state.counts().chunks), (2, 2));
}

#[test]
fn a_silent_origin_is_dropped_whole() {
    let mut lab = Lab::new();
    lab.ask(put("t", 0, 1, "zero")).unwrap();
    lab.wait(ORIGIN_SILENT_MS_MAX - 1);
    lab.apply(vec![(1, 0)], Vec::new());
    lab.wait(ORIGIN_SILENT_MS_MAX - 1);
    lab.tick();
    assert_eq!(lab.state.counts().outcomes, 1);
    lab.wait(1);
    lab.tick();
    assert_eq!(lab.state.counts().outcomes, 0);
    assert_eq!(lab.state.next_expiry_ms(), None);
}

#[test]
fn a_caller_gets_the_same_answer_again_under_its_own_name() {
    let mut lab = Lab::new();
    lab.ask(put("t", 0, 2, "zero")).unwrap();
    lab.ask(put("t", 1, 2, "one")).unwrap();
    let first = lab.memoed("mine", about("t", Action::Take));
    let memo_key = first.idempotency_key.unwrap().key;
    let answer = lab.carry_out(first);
    assert_eq!((answer.outcome.clone(), answer.replayed), (chunk(0, 2, "zero"), false));
    assert_eq!(lab.state.counts().bodies, 2, "a memo shares its body with the chunk");
    let second = Command { payment: charge(0).into(), ..lab.memoed("mine", about("t", Action::Take)) };
    let again = lab.carry_out(second.clone());
    assert_eq!(again, Answer { replayed: true, ..answer });
    assert_eq!(lab.carry_out(second), again);
    assert_eq!(lab.read(query::Remembered(memo_key)), Some(again));
    assert_eq!(lab.read(query::Transfer(super::transfer::key("t"))).unwrap().delivered, 1);
}

#[test]
fn a_memo_keeps_its_chunk_when_the_transfer_is_gone_and_ends_in_time() {
    let mut lab = Lab::new();
    lab.ask(put("t", 0, 1, "zero")).unwrap();
    let first = lab.memoed("mine", about("t", Action::Take));
    let memo_key = first.idempotency_key.unwrap().key;
    lab.carry_out(first);
    lab.ask(about("t", Action::Discard)).unwrap();
    assert_eq!((lab.state.counts().chunks, lab.state.counts().bodies), (0, 1));
    lab.wait(119_999);
    assert_eq!(lab.read(query::Remembered(memo_key)).unwrap().outcome, chunk(0, 1, "zero"));
    lab.wait(1);
    assert_eq!(lab.read(query::Remembered(memo_key)), None);
    let again = lab.memoed("mine", about("t", Action::Take));
    assert!(!lab.carry_out(again).replayed);
    assert_eq!(lab.state.counts().bodies, 0);
}

#[test]
fn a_refusal_for_want_of_allowance_is_not_kept_for_the_caller() {
    let mut lab = Lab::new();
    let poor = Command { payment: charge(0).into(), ..lab.memoed("mine", put("t", 0, 1, "zero")) };
    assert!(matches!(lab.carry_out(poor).outcome, Err(Refusal::Allowance { .. })));
    assert_eq!(lab.state.counts().idempotency_keys, 0);
    let rich = Command { payment: charge(9).into(), ..lab.memoed("mine", put("t", 0, 1, "zero")) };
    assert!(lab.carry_out(rich).outcome.is_ok());
    assert_eq!(lab.state.counts().idempotency_keys, 1);
}
