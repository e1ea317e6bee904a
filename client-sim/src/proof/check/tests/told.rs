//! What is looked at directly: rooms, pushed mailboxes, time.

use super::super::*;
use crate::proof::history::Wish;

/// An operation of a socket's client.
fn told(id: u64, family: Family, client: u32, wish: Wish, outcome: Outcome) -> Operation {
    let (start, end) = (id * 1_000_000, id * 1_000_000 + 500_000);
    Operation { id, family, key: "k".into(), client, target: 0, wish, start, end, outcome }
}

fn placed(offset: u64, number: u64) -> Outcome {
    Outcome::Answered(Answer::Placed { epoch: "1".into(), offset, number })
}

fn entered(offset: u64, recovered: bool) -> Outcome {
    Outcome::Answered(Answer::Entered { epoch: "1".into(), offset, recovered })
}

/// Two speakers, 10 and 11, who take turns, and a listener, 1, who was lost and came back in between.
fn room() -> Vec<Operation> {
    let mut said: Vec<(u32, Wish, Outcome)> = vec![
        (1, Wish::Enter, entered(0, true)),
        (10, Wish::Enter, entered(0, true)),
        (11, Wish::Enter, entered(0, true)),
    ];
    for offset in 1..=8 {
        let (speaker, other) = if offset % 2 == 0 { (10, 11) } else { (11, 10) };
        let outcome =
            if offset == 5 { Outcome::Unknown("lost".into()) } else { placed(offset, 100 + offset) };
        said.push((speaker, Wish::Publish { number: 100 + offset }, outcome));
        said.push((other, Wish::Hear, placed(offset, 100 + offset)));
        if offset == 4 {
            said.push((1, Wish::Enter, entered(3, true)));
        }
        said.push((1, Wish::Hear, placed(offset, 100 + offset)));
    }
    said.push((1, Wish::Part, Outcome::Answered(Answer::Done)));
    let operation =
        |(id, (client, wish, outcome)): (usize, _)| told(id as u64, Family::Room, client, wish, outcome);
    said.into_iter().enumerate().map(operation).collect()
}

/// What is found in a room after something was done to what the listener was told.
fn found(family: Family, operations: &[Operation]) -> Option<&'static str> {
    assert!(operations.iter().all(|operation| operation.family == family));
    key(operations, &Terms::default()).first().map(|violation| violation.check)
}

/// Where the listener heard of an offset.
fn heard(operations: &[Operation], at: u64) -> usize {
    let is_it = |it: &Operation| {
        it.client == 1 && matches!(it.answer(), Some(Answer::Placed { offset, .. }) if *offset == at)
    };
    operations.iter().position(is_it).unwrap()
}

#[test]
fn a_room_in_order_is_right() {
    assert_eq!(found(Family::Room, &room()), None);
}

#[test]
fn what_a_member_was_not_told_is_lost() {
    for offset in 1..=8 {
        let mut operations = room();
        operations.remove(heard(&operations, offset));
        assert_eq!(found(Family::Room, &operations), Some("lost"), "{offset}");
    }
}

#[test]
fn what_nobody_knew_of_when_a_member_left_is_not_lost_to_it() {
    let late = |id| {
        let publish =
            told(200, Family::Room, 10, Wish::Publish { number: 900 }, Outcome::Unknown("lost".into()));
        let mut operations = room();
        operations.extend([publish, told(id, Family::Room, 11, Wish::Hear, placed(9, 900))]);
        let part = operations.iter_mut().find(|it| it.wish == Wish::Part).unwrap();
        (part.start, part.end) = (500_000_000, 500_000_001);
        found(Family::Room, &operations)
    };
    assert_eq!(late(600), None);
    assert_eq!(late(400), Some("lost"));
}

#[test]
fn what_was_said_to_be_missing_is_not_lost() {
    let mut operations = room();
    operations.remove(heard(&operations, 4));
    let enter = operations.iter_mut().filter(|it| it.client == 1 && it.wish == Wish::Enter).nth(1).unwrap();
    enter.outcome = entered(4, false);
    assert_eq!(found(Family::Room, &operations), None);
}

#[test]
fn a_message_told_twice_or_in_another_place_or_order_is_found() {
    let mut operations = room();
    let mut again = operations[heard(&operations, 6)].clone();
    (again.id, again.start, again.end) = (900, again.start + 600_000, again.end + 1);
    operations.push(again);
    assert_eq!(found(Family::Room, &operations), Some("once"));

    let mut operations = room();
    let place = heard(&operations, 6);
    operations[place].outcome = placed(6, 103);
    assert_eq!(found(Family::Room, &operations), Some("order"));

    let mut operations = room();
    let (five, six) = (heard(&operations, 5), heard(&operations, 6));
    let outcome = operations[five].outcome.clone();
    operations[five].outcome = std::mem::replace(&mut operations[six].outcome, outcome);
    assert!(matches!(found(Family::Room, &operations), Some("order" | "lost")));

    let mut operations = room();
    let place = heard(&operations, 6);
    operations[place].outcome = placed(6, 999);
    assert_eq!(found(Family::Room, &operations), Some("contract"));
}

#[test]
fn a_message_applied_twice_is_found() {
    let mut operations = room();
    let part = operations.pop().unwrap();
    operations.push(told(800, Family::Room, 1, Wish::Hear, placed(9, 108)));
    operations.push(Operation { id: 801, start: 801_000_000, end: 802_000_000, ..part });
    assert_eq!(found(Family::Room, &operations), Some("once"));
}

#[test]
fn a_place_that_contradicts_the_clock_is_found() {
    let publish =
        |id, client, offset| told(id, Family::Room, client, Wish::Publish { number: id }, placed(offset, id));
    assert_eq!(found(Family::Room, &[publish(1, 10, 1), publish(2, 11, 2)]), None);
    assert_eq!(found(Family::Room, &[publish(1, 10, 2), publish(2, 11, 1)]), Some("order"));
}

fn pushed(seq: u64, number: u64) -> Outcome {
    Outcome::Answered(Answer::Placed { epoch: "".into(), offset: seq, number })
}

/// A mailbox whose socket is lost after the fourth signal, of which two were confirmed for sure and one perhaps.
fn mailbox_pushed() -> Vec<Operation> {
    let done = || Outcome::Answered(Answer::Done);
    let mut said: Vec<(u32, Wish, Outcome)> = vec![(1, Wish::Enter, entered(0, true))];
    for seq in 1..=4 {
        said.push((2, Wish::Signal { number: 100 + seq }, done()));
        said.push((1, Wish::Hear, pushed(seq, 100 + seq)));
    }
    said.push((1, Wish::Confirm { seq: 2 }, done()));
    said.push((1, Wish::Confirm { seq: 3 }, Outcome::Unknown("lost".into())));
    said.push((1, Wish::Enter, entered(0, true)));
    said.push((1, Wish::Hear, pushed(4, 104)));
    said.push((2, Wish::Signal { number: 105 }, done()));
    said.push((1, Wish::Hear, pushed(5, 105)));
    said.push((1, Wish::Part, done()));
    let operation =
        |(id, (client, wish, outcome)): (usize, _)| told(id as u64, Family::Push, client, wish, outcome);
    said.into_iter().enumerate().map(operation).collect()
}

#[test]
fn a_mailbox_pushed_in_order_is_right_with_what_was_not_confirmed_once_more() {
    assert_eq!(found(Family::Push, &mailbox_pushed()), None);
    let mut operations = mailbox_pushed();
    let again = heard(&operations, 4) + 4;
    operations.insert(again, told(900, Family::Push, 1, Wish::Hear, pushed(3, 103)));
    (operations[again].start, operations[again].end) = (11_600_000, 11_700_000);
    assert_eq!(found(Family::Push, &operations), None);
}

#[test]
fn a_signal_that_was_never_pushed_is_lost() {
    for seq in [2, 5] {
        let mut operations = mailbox_pushed();
        operations.remove(heard(&operations, seq));
        assert_eq!(found(Family::Push, &operations), Some("lost"), "{seq}");
    }
}

#[test]
fn a_signal_that_comes_again_after_it_was_confirmed_is_found() {
    let mut operations = mailbox_pushed();
    operations.push(told(12, Family::Push, 1, Wish::Hear, pushed(2, 102)));
    assert_eq!(found(Family::Push, &operations), Some("once"));
}

#[test]
fn a_signal_in_two_places_is_found() {
    let mut operations = mailbox_pushed();
    let place = heard(&operations, 5);
    operations[place].outcome = pushed(5, 101);
    assert_eq!(found(Family::Push, &operations), Some("once"));
}

#[test]
fn what_is_shown_after_its_time_is_found() {
    let done = Outcome::Answered(Answer::Done);
    let register = told(1, Family::Ttl, 1, Wish::Register { peer: 1 }, done);
    let lookup = |late_ms: u64, answer: Answer| Operation {
        start: register.end + late_ms * 1_000_000,
        end: register.end + late_ms * 1_000_000 + 1,
        ..told(2, Family::Ttl, 1, Wish::Lookup, Outcome::Answered(answer))
    };
    let found = |lookup: Operation| found(Family::Ttl, &[register.clone(), lookup]);
    assert_eq!(found(lookup(32_001, Answer::Peer(1))), Some("ttl"));
    assert_eq!(found(lookup(32_001, Answer::Nothing)), None);
    assert_eq!(found(lookup(29_000, Answer::Peer(1))), None);
}

#[test]
fn what_may_have_expired_is_not_judged() {
    let register = told(1, Family::Code, 1, Wish::Register { peer: 1 }, Outcome::Answered(Answer::Done));
    let lookup = |at_ms: u64| Operation {
        start: at_ms * 1_000_000,
        end: at_ms * 1_000_000 + 1,
        ..told(2, Family::Code, 1, Wish::Lookup, Outcome::Answered(Answer::Nothing))
    };
    assert_eq!(found(Family::Code, &[register.clone(), lookup(20_000)]), Some("linearizable"));
    assert_eq!(found(Family::Code, &[register, lookup(29_000)]), None);
}
