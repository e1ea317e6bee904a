use super::super::incarnation::{self, Attachment, Incarnation};
use super::super::limits::{INCARNATIONS_MAX, ROOM_HEAD_MS, ROOM_MEMBERS_MAX};
use super::super::outcome;
use super::super::room::{Action, Keep, Op, Outcome, Refusal, View};
use super::*;

const KEEP: Keep = Keep { count: 100, bytes: 1 << 20, age_ms: 60_000 };
const GRACE_MS: u32 = 5_000;
/// That of every session.
const GENERATION: Generation = Generation::first(1);

fn key() -> Key {
    Key::derive(Domain::Room, &[b"lobby"])
}

fn member(name: &str) -> Key {
    Key::derive(Domain::Socket, &[name.as_bytes()])
}

fn at(connection: u64) -> Attachment {
    Attachment { incarnation: Incarnation { node: 1, run: 7 }, connection }
}

fn room(action: Action) -> Op {
    Op { key: key(), action }
}

fn join(name: &str, connection: u64) -> Op {
    room(Action::Join {
        member: member(name),
        generation: GENERATION,
        at: at(connection),
        grace_ms: GRACE_MS,
    })
}

fn publish(name: &str, message_id: Option<u64>, text: &str, keep: Keep) -> Op {
    room(Action::Publish { member: member(name), message_id, data: body(text), keep })
}

fn say(lab: &mut Lab, text: &str) -> (u64, bool) {
    said(lab.ask(publish("alice", None, text, KEEP)))
}

fn said(outcome: Result<outcome::Outcome, super::super::outcome::Refusal>) -> (u64, bool) {
    match outcome {
        Ok(outcome::Outcome::Room(Outcome::Published { offset, repeated, .. })) => (offset, repeated),
        other => panic!("not published: {other:?}"),
    }
}

/// An incarnation that lives, and alice in the room.
fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.ask(incarnation::Op::Renew { incarnation: at(0).incarnation, ttl_ms: 10_000 }).unwrap();
    lab.ask(join("alice", 1)).unwrap();
    lab
}

fn view(lab: &Lab) -> View {
    lab.read(query::Room(key())).unwrap()
}

fn heard(lab: &Lab, after: u64) -> Vec<(u64, String)> {
    let messages = lab.read(query::RoomMessages(key(), Page { after, count_max: 100, bytes_max: 1 << 20 }));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    messages.iter().map(|message| (message.offset, text(message.data.bytes()))).collect()
}

#[test]
fn offsets_grow_by_one_and_everybody_hears_the_same() {
    let mut lab = lab();
    assert_eq!(view(&lab).last, 0);
    assert_eq!((say(&mut lab, "one"), say(&mut lab, "two")), ((1, false), (2, false)));
    assert_eq!(lab.effects, vec![Effect::Wake(Domain::Room, key())]);
    assert_eq!(heard(&lab, 0), vec![(1, "one".to_owned()), (2, "two".to_owned())]);
    assert_eq!(heard(&lab, 1), vec![(2, "two".to_owned())]);
    assert_eq!((view(&lab).first, view(&lab).last), (1, 2));
}

#[test]
fn the_same_message_id_of_one_member_is_one_message() {
    let mut lab = lab();
    lab.ask(join("bob", 2)).unwrap();
    let mut tell = |name, id, text| said(lab.ask(publish(name, Some(id), text, KEEP)));
    assert_eq!(tell("alice", 9, "once"), (1, false));
    assert_eq!(tell("alice", 9, "once"), (1, true));
    assert_eq!(tell("bob", 9, "another's"), (2, false));
    assert_eq!(tell("alice", 10, "next"), (3, false));
    assert_eq!(heard(&lab, 0).len(), 3);
}

#[test]
fn history_is_bounded_by_count_bytes_and_age() {
    let mut lab = lab();
    for text in ["a", "b", "c"] {
        say(&mut lab, text);
    }
    lab.ask(publish("alice", None, "d", Keep { count: 2, ..KEEP })).unwrap();
    assert_eq!((view(&lab).first, view(&lab).last), (3, 4));
    lab.ask(publish("alice", None, "eeee", Keep { bytes: 5, ..KEEP })).unwrap();
    assert_eq!(heard(&lab, 0), vec![(4, "d".to_owned()), (5, "eeee".to_owned())]);
    // The newest stays, however large.
    lab.ask(publish("alice", None, "ffffff", Keep { bytes: 5, ..KEEP })).unwrap();
    assert_eq!(view(&lab).first, 6);
    lab.wait(60_000);
    assert_eq!(view(&lab), View { first: 7, last: 6, ..view(&lab) });
    lab.tick();
    assert_eq!(lab.state.counts().room_messages, 0);
}

#[test]
fn who_is_not_in_cannot_speak() {
    let mut lab = lab();
    let refused = Err(Refusal::NotAMember.into());
    assert_eq!(lab.ask(publish("mallory", None, "hi", KEEP)), refused);
    lab.ask(room(Action::Leave { member: member("alice"), connection: 1 })).unwrap();
    assert_eq!(lab.ask(publish("alice", None, "hi", KEEP)), refused);
    assert_eq!(lab.read(query::RoomMembers(key())), vec![]);
}

#[test]
fn a_lost_connection_leaves_after_its_grace_unless_it_comes_back() {
    let mut lab = lab();
    lab.ask(room(Action::Detach { member: member("alice"), connection: 1 })).unwrap();
    lab.wait(GRACE_MS as u64 - 1);
    lab.tick();
    assert_eq!(view(&lab).members, 1);
    assert_eq!(lab.read(query::RoomNodes(key())), Vec::<u64>::new());
    lab.ask(join("alice", 2)).unwrap();
    // Word of the old connection comes late.
    lab.ask(room(Action::Detach { member: member("alice"), connection: 1 })).unwrap();
    lab.ask(room(Action::Leave { member: member("alice"), connection: 1 })).unwrap();
    assert_eq!(lab.read(query::RoomNodes(key())), vec![1]);
    lab.ask(room(Action::Detach { member: member("alice"), connection: 2 })).unwrap();
    lab.wait(GRACE_MS.into());
    lab.tick();
    assert_eq!(view(&lab).members, 0);
    assert_eq!(lab.effects, vec![Effect::Wake(Domain::Room, key())]);
}

#[test]
fn members_of_a_dead_node_leave_and_those_of_a_living_one_stay() {
    let mut lab = lab();
    let other = Incarnation { node: 2, run: 8 };
    lab.ask(incarnation::Op::Renew { incarnation: other, ttl_ms: 10_000 }).unwrap();
    let bob = Action::Join {
        member: member("bob"),
        generation: GENERATION,
        at: Attachment { incarnation: other, connection: 3 },
        grace_ms: GRACE_MS,
    };
    lab.ask(room(bob)).unwrap();
    for _ in 0..6 {
        lab.wait(3_000);
        lab.ask(incarnation::Op::Renew { incarnation: at(0).incarnation, ttl_ms: 10_000 }).unwrap();
    }
    assert_eq!(lab.read(query::RoomMembers(key())), vec![member("alice")]);
    assert_eq!(lab.read(query::RoomNodes(key())), vec![1]);
}

#[test]
fn a_room_that_was_forgotten_comes_back_under_another_epoch() {
    let mut lab = lab();
    say(&mut lab, "one");
    let before = view(&lab);
    lab.ask(room(Action::Leave { member: member("alice"), connection: 1 })).unwrap();
    lab.wait(ROOM_HEAD_MS - 1);
    lab.tick();
    assert_eq!(view(&lab).epoch, before.epoch);
    lab.wait(1);
    lab.tick();
    assert_eq!(lab.read(query::Room(key())), None);
    lab.ask(incarnation::Op::Renew { incarnation: at(0).incarnation, ttl_ms: 10_000 }).unwrap();
    lab.ask(join("alice", 2)).unwrap();
    assert!(view(&lab).epoch > before.epoch && view(&lab).last == 0);
}

#[test]
fn a_room_takes_so_many_members_and_no_more() {
    let mut lab = lab();
    let others = (1..ROOM_MEMBERS_MAX).map(|number| number.to_string());
    let others: Vec<Command> = others.map(|name| lab.command(join(&name, 2))).collect();
    assert!(lab.apply(Vec::new(), others).iter().all(|answer| answer.outcome.is_ok()));
    assert_eq!(lab.ask(join("one too many", 3)), Err(Refusal::Full.into()));
    assert!(lab.ask(join("alice", 4)).is_ok(), "who is in may come again");
}

#[test]
fn there_are_so_many_hosts_and_no_more() {
    let mut lab = lab();
    let renew = |node| incarnation::Op::Renew { incarnation: Incarnation { node, run: 0 }, ttl_ms: 10_000 };
    let others: Vec<Command> = (1..INCARNATIONS_MAX as u64).map(|node| lab.command(renew(node))).collect();
    assert!(lab.apply(Vec::new(), others).iter().all(|answer| answer.outcome.is_ok()));
    assert_eq!(lab.ask(renew(u64::MAX)), Err(incarnation::Refusal::Full.into()));
    lab.ask(incarnation::Op::Leave { incarnation: at(0).incarnation }).unwrap();
    assert!(lab.ask(renew(u64::MAX)).is_ok());
}

#[test]
fn what_is_new_in_a_room_is_told_by_its_numbering() {
    let mut lab = lab();
    for offset in 1..=3 {
        assert_eq!(say(&mut lab, "hello").0, offset);
    }
    let View { epoch, members_version: version, .. } = view(&lab);
    let since = |epoch, after| {
        let page = Page { after, count_max: 100, bytes_max: 1 << 20 };
        let (_, messages) = lab.read(query::RoomSince(key(), epoch, page)).unwrap();
        messages.iter().map(|message| message.offset).collect::<Vec<_>>()
    };
    assert_eq!((since(epoch, 2), since(epoch + 1, 2)), (vec![3], vec![1, 2, 3]));
    let members = |lab: &Lab, epoch| lab.read(query::RoomMembersSince(key(), epoch, version));
    assert_eq!((members(&lab, epoch), members(&lab, epoch + 1)), (None, Some(vec![member("alice")])));
    lab.ask(join("bob", 2)).unwrap();
    assert_eq!(members(&lab, epoch).map(|members| members.len()), Some(2));
}
