//! One session resumed by two connections at once: the rules one by one here, every order of their commands in `orders`.

mod orders;

use super::super::incarnation::{self, Attachment, Incarnation};
use super::super::limits::{DEPARTURE_MS, DEPARTURES_MAX};
use super::super::room::{self, Action as RoomAction};
use super::super::socket::{self, Action as SocketAction};
use super::super::{mailbox_claim, outcome};
use super::*;

const LEASE_MS: u32 = 300_000;
/// For how long an incarnation lives that is renewed no more.
const TTL_MS: u32 = 60_000;

fn session() -> Key {
    Key::derive(Domain::Socket, &[b"session"])
}

fn lobby() -> Key {
    Key::derive(Domain::Room, &[b"lobby"])
}

fn bob() -> Key {
    Key::derive(Domain::Mailbox, &[b"bob"])
}

fn at(connection: u64) -> Attachment {
    Attachment { incarnation: Incarnation { node: 1, run: 7 }, connection }
}

fn socket(action: SocketAction) -> Op {
    socket::Op { key: session(), action }.into()
}

fn open(connection: u64) -> Op {
    socket(SocketAction::Open { subject: None, at: at(connection), lease_ms: LEASE_MS })
}

fn resume(connection: u64, takes_over: bool) -> Op {
    socket(SocketAction::Resume { subject: None, at: at(connection), lease_ms: LEASE_MS, takes_over })
}

fn close(connection: u64) -> Op {
    socket(SocketAction::Close { connection })
}

fn join(generation: Generation, number: u64) -> Op {
    let action = RoomAction::Join { member: session(), generation, at: at(number), grace_ms: 10_000 };
    room::Op { key: lobby(), action }.into()
}

fn leave(number: u64) -> Op {
    let action = RoomAction::Leave { member: session(), connection: number };
    room::Op { key: lobby(), action }.into()
}

fn take_as(session: Key, generation: Option<Generation>, number: u64, seize: bool) -> Op {
    let action =
        mailbox_claim::Action::Take { session, generation, at: at(number), lease_ms: LEASE_MS, seize };
    mailbox_claim::Op { key: bob(), action }.into()
}

fn take(generation: Generation, number: u64) -> Op {
    take_as(session(), Some(generation), number, false)
}

fn release(number: u64) -> Op {
    let action = mailbox_claim::Action::Release { session: session(), connection: number };
    mailbox_claim::Op { key: bob(), action }.into()
}

fn replaced<T>() -> Result<T, outcome::Refusal> {
    Err(socket::Refusal::Replaced.into())
}

fn generation_of(outcome: &Result<Outcome, Refusal>) -> Option<Generation> {
    match outcome {
        Ok(Outcome::Socket(
            socket::Outcome::Opened { generation } | socket::Outcome::Resumed { generation, .. },
        )) => Some(*generation),
        _ => None,
    }
}

/// Opens or resumes the session.
fn begin(lab: &mut Lab, op: Op) -> Generation {
    generation_of(&lab.ask(op)).expect("it is given")
}

/// An incarnation that lives.
fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.ask(incarnation::Op::Renew { incarnation: at(0).incarnation, ttl_ms: TTL_MS }).unwrap();
    lab
}

#[test]
fn what_a_connection_asks_for_is_refused_where_a_later_one_was() {
    let mut lab = lab();
    let one = begin(&mut lab, open(1));
    lab.ask(join(one, 11)).unwrap();
    lab.ask(take(one, 12)).unwrap();
    let two = begin(&mut lab, resume(2, true));
    lab.ask(join(two, 21)).unwrap();
    lab.ask(take(two, 22)).unwrap();
    assert_eq!((lab.ask(join(one, 13)), lab.ask(take(one, 14))), (replaced(), replaced()));
    assert_eq!(lab.read(query::RoomMember(lobby(), session())), Some(at(21)));
    assert_eq!(lab.read(query::Holder(bob())), Some((session(), Some(at(22)))));
    lab.ask(leave(21)).unwrap();
    lab.ask(release(22)).unwrap();
    lab.ask(close(2)).unwrap();
    assert_eq!((lab.ask(join(one, 15)), lab.ask(take(one, 16))), (replaced(), replaced()), "it is gone");
    lab.ask(join(two, 23)).expect("its own node orders what it asks for");
}

#[test]
fn what_a_later_connection_lost_is_remembered_as_what_it_left() {
    let mut lab = lab();
    let one = begin(&mut lab, open(1));
    let two = begin(&mut lab, resume(2, true));
    lab.ask(join(two, 21)).unwrap();
    lab.ask(take(two, 22)).unwrap();
    let detach = RoomAction::Detach { member: session(), connection: 21 };
    lab.ask(room::Op { key: lobby(), action: detach }).unwrap();
    lab.wait(10_000);
    assert_eq!(lab.ask(join(one, 11)), replaced(), "the grace is over");
    let other = Key::derive(Domain::Socket, &[b"other"]);
    lab.ask(take_as(other, Some(Generation::first(1)), 31, true)).unwrap();
    assert_eq!(lab.ask(take_as(session(), Some(one), 12, true)), replaced(), "it was taken away");
    assert!(lab.ask(take_as(session(), Some(two), 23, true)).is_ok());
}

#[test]
fn a_departure_is_remembered_for_longer_than_a_command_may_be_under_way_and_then_forgotten() {
    let mut lab = lab();
    let one = begin(&mut lab, open(1));
    let two = begin(&mut lab, resume(2, true));
    lab.ask(join(two, 21)).unwrap();
    lab.ask(leave(21)).unwrap();
    lab.wait(u64::from(DEPARTURE_MS) - 1);
    assert_eq!(lab.ask(join(one, 11)), replaced());
    lab.wait(1);
    assert!(lab.ask(join(one, 11)).is_ok());
    lab.ask(leave(11)).unwrap();
    assert_eq!(lab.state.counts().departures, 0, "before the first connection there was none");
}

#[test]
fn no_more_departures_are_remembered_than_the_bound() {
    let mut lab = lab();
    let generation = Generation::after(Some(Generation::first(1)), 1);
    let commands = (0..=DEPARTURES_MAX as u64).flat_map(|number| {
        let member = Key::derive(Domain::Socket, &[&number.to_be_bytes()]);
        let join = RoomAction::Join { member, generation, at: at(1), grace_ms: 10_000 };
        let leave = RoomAction::Leave { member, connection: 1 };
        [join, leave].map(|action| room::Op { key: lobby(), action })
    });
    let commands: Vec<_> = commands.map(|op| lab.command(op)).collect();
    let answers = lab.apply(Vec::new(), commands);
    assert!(answers.iter().all(|answer| answer.outcome.is_ok()));
    assert_eq!(lab.state.counts().departures, DEPARTURES_MAX);
    assert_eq!(lab.state.counts().room_members, 0);
}

#[test]
fn a_session_that_is_opened_anew_is_not_refused_by_what_an_earlier_one_left() {
    let mut lab = lab();
    let mut last = begin(&mut lab, open(1));
    // All within one millisecond.
    for connection in 2..9 {
        let generation = begin(&mut lab, resume(connection, true));
        assert!(generation > last);
        last = generation;
    }
    lab.ask(join(last, 81)).unwrap();
    lab.ask(take(last, 82)).unwrap();
    lab.ask(close(8)).unwrap();
    let next = begin(&mut lab, open(9));
    assert!(next > last);
    lab.ask(join(next, 91)).expect("it is the later one");
    lab.ask(take(next, 92)).expect("it is the later one");
    lab.ask(socket(SocketAction::Detach { connection: 9 })).unwrap();
    // Long after nobody remembers the generation.
    while let Some(due_ms) = lab.state.next_expiry_ms() {
        lab.now_ms = due_ms;
        lab.tick();
    }
    assert_eq!(lab.state.counts().departures, 0);
    assert!(begin(&mut lab, open(10)) > next);
}

#[test]
fn the_session_of_an_event_stream_is_its_claim() {
    let mut lab = lab();
    lab.ask(take_as(session(), None, 12, false)).unwrap();
    assert_eq!(lab.read(query::Holder(bob())), Some((session(), Some(at(12)))));
}

#[test]
fn a_connection_whose_node_was_cut_off_takes_nothing_back_that_went_on_elsewhere() {
    let other = Attachment { incarnation: Incarnation { node: 2, run: 8 }, connection: 2 };
    let renew = |incarnation| incarnation::Op::Renew { incarnation, ttl_ms: TTL_MS };
    let mut lab = lab();
    begin(&mut lab, open(1));
    lab.wait(u64::from(TTL_MS));
    lab.ask(renew(at(0).incarnation)).unwrap();
    let back = begin(&mut lab, resume(1, false));
    lab.ask(join(back, 11)).unwrap();
    lab.wait(u64::from(TTL_MS));
    lab.ask(renew(other.incarnation)).unwrap();
    let elsewhere = SocketAction::Resume { subject: None, at: other, lease_ms: LEASE_MS, takes_over: true };
    let there = begin(&mut lab, socket(elsewhere));
    lab.ask(join(there, 21)).unwrap();
    lab.ask(renew(at(0).incarnation)).unwrap();
    assert_eq!((lab.ask(resume(1, false)), lab.ask(join(back, 11))), (replaced(), replaced()));
    assert_eq!(lab.read(query::Socket(session())).unwrap().connection, Some(2));
    lab.ask(socket(SocketAction::Detach { connection: 2 })).unwrap();
    let again = begin(&mut lab, resume(1, false));
    assert!(again > there, "nobody else has it");
    lab.ask(join(again, 11)).expect("and its room");
}
