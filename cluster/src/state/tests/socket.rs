use super::super::incarnation::{self, Attachment, Incarnation};
use super::super::socket::{Action, Mark, Op, Outcome, Refusal};
use super::super::{mailbox, mailbox_claim, outcome, ticket};
use super::*;

const LEASE_MS: u32 = 300_000;

fn key() -> Key {
    Key::derive(Domain::Socket, &[b"session"])
}

fn peer() -> Key {
    Key::derive(Domain::Mailbox, &[b"bob"])
}

fn subject(name: &str) -> Option<Key> {
    Some(Key::derive(Domain::Client, &[name.as_bytes()]))
}

fn at(connection: u64) -> Attachment {
    Attachment { incarnation: Incarnation { node: 1, run: 7 }, connection }
}

fn socket(action: Action) -> Op {
    Op { key: key(), action }
}

fn open(who: &str, connection: u64) -> Op {
    socket(Action::Open { subject: subject(who), at: at(connection), lease_ms: LEASE_MS })
}

fn resume(who: &str, connection: u64) -> Op {
    socket(Action::Resume { subject: subject(who), at: at(connection), lease_ms: LEASE_MS, takes_over: true })
}

fn beat(lab: &mut Lab) {
    lab.ask(incarnation::Op::Renew { incarnation: at(0).incarnation, ttl_ms: 10_000 }).unwrap();
}

fn lab() -> Lab {
    let mut lab = Lab::new();
    beat(&mut lab);
    lab
}

fn connection(lab: &Lab) -> Option<u64> {
    lab.read(query::Socket(key())).unwrap().connection
}

#[test]
fn a_mark_is_kept_with_its_room_and_a_new_opening_begins_a_new_numbering() {
    let mut lab = lab();
    let mark = Mark { epoch: 9, received: 4, sent: 7, said: 2 };
    let seen = |lab: &Lab| {
        let view = lab.read(query::Socket(key())).unwrap();
        (view.numbering, view.mark)
    };
    let enter = |room: &str| socket(Action::Enter { connection: 1, room: Some(room.into()) });
    lab.ask(open("alice", 1)).unwrap();
    lab.ask(enter("lobby")).unwrap();
    assert_eq!(lab.ask(socket(Action::Mark { connection: 1, mark })), Ok(Outcome::Noted.into()));
    assert_eq!(lab.ask(socket(Action::Mark { connection: 2, mark })), Err(Refusal::Replaced.into()));
    lab.ask(enter("lobby")).unwrap();
    assert_eq!(seen(&lab), (1, Some(mark)));
    lab.ask(resume("alice", 1)).unwrap();
    assert_eq!(seen(&lab), (1, Some(mark)), "a resume goes on where it was");
    lab.ask(enter("elsewhere")).unwrap();
    assert_eq!(seen(&lab), (1, None));
    lab.ask(socket(Action::Mark { connection: 1, mark })).unwrap();
    lab.ask(socket(Action::Detach { connection: 1 })).unwrap();
    lab.ask(open("alice", 2)).unwrap();
    assert_eq!(seen(&lab), (2, None));
}

#[test]
fn a_live_session_is_not_opened_by_another_connection() {
    let mut lab = lab();
    let generation = Generation::first(MORNING_MS);
    assert_eq!(lab.ask(open("alice", 1)), Ok(Outcome::Opened { generation }.into()));
    assert_eq!(lab.ask(open("alice", 2)), Err(Refusal::InUse.into()));
    assert_eq!(connection(&lab), Some(1));
    lab.ask(socket(Action::Detach { connection: 1 })).unwrap();
    assert_eq!(lab.ask(open("mallory", 3)), Err(Refusal::InUse.into()));
    let generation = Generation::after(Some(generation), MORNING_MS);
    assert_eq!(lab.ask(open("alice", 4)), Ok(Outcome::Opened { generation }.into()));
}

#[test]
fn a_resume_takes_over_with_room_and_peer() {
    let mut lab = lab();
    lab.ask(open("alice", 1)).unwrap();
    lab.ask(socket(Action::Enter { connection: 1, room: Some("lobby".into()) })).unwrap();
    lab.ask(socket(Action::Hold { connection: 1, peer: Some("bob".into()) })).unwrap();
    let generation = Generation::after(Some(Generation::first(MORNING_MS)), MORNING_MS);
    let resumed = Outcome::Resumed { generation, room: Some("lobby".into()), peer: Some("bob".into()) };
    assert_eq!(lab.ask(resume("alice", 2)), Ok(resumed.into()));
    assert_eq!(lab.effects, vec![Effect::Wake(Domain::Socket, key())]);
    // The old connection has no say any more.
    assert_eq!(lab.ask(socket(Action::Enter { connection: 1, room: None })), Err(Refusal::Replaced.into()));
    lab.ask(socket(Action::Close { connection: 1 })).unwrap();
    assert_eq!(connection(&lab), Some(2));
}

#[test]
fn a_stolen_session_id_is_as_good_as_an_unknown_one() {
    let mut lab = lab();
    assert_eq!(lab.ask(resume("mallory", 9)), Err(Refusal::Unknown.into()));
    lab.ask(open("alice", 1)).unwrap();
    assert_eq!(lab.ask(resume("mallory", 9)), Err(Refusal::Unknown.into()));
    let anonymous = Action::Resume { subject: None, at: at(9), lease_ms: LEASE_MS, takes_over: true };
    assert_eq!(lab.ask(socket(anonymous)), Err(Refusal::Unknown.into()));
    assert_eq!(connection(&lab), Some(1));
}

#[test]
fn a_session_outlives_its_connection_by_its_lease_and_no_longer() {
    let mut lab = lab();
    lab.ask(open("alice", 1)).unwrap();
    lab.ask(socket(Action::Detach { connection: 1 })).unwrap();
    lab.wait(LEASE_MS as u64 - 1);
    lab.tick();
    assert!(lab.read(query::Socket(key())).is_some());
    lab.wait(1);
    assert!(lab.read(query::Socket(key())).is_none(), "hidden before it is freed");
    lab.tick();
    assert_eq!(lab.state.counts().sockets, 0);
}

#[test]
fn a_session_of_a_node_that_died_waits_for_its_client() {
    let mut lab = lab();
    lab.ask(open("alice", 1)).unwrap();
    lab.wait(10_000);
    assert_eq!(connection(&lab), None, "its host is not heard any more");
    lab.tick();
    lab.wait(LEASE_MS as u64 - 1);
    beat(&mut lab);
    assert!(matches!(lab.ask(resume("alice", 2)), Ok(outcome::Outcome::Socket(Outcome::Resumed { .. }))));
}

#[test]
fn a_closed_session_cannot_be_resumed() {
    let mut lab = lab();
    lab.ask(open("alice", 1)).unwrap();
    lab.ask(socket(Action::Close { connection: 1 })).unwrap();
    assert_eq!(lab.ask(resume("alice", 2)), Err(Refusal::Unknown.into()));
}

fn take(session: &Key, connection: u64, seize: bool) -> mailbox_claim::Op {
    let action = mailbox_claim::Action::Take {
        session: *session,
        generation: None,
        at: at(connection),
        lease_ms: LEASE_MS,
        seize,
    };
    mailbox_claim::Op { key: peer(), action }
}

fn push(lab: &mut Lab, text: &str) {
    let action = mailbox::Action::Push {
        from: "alice".into(),
        kind: mailbox::Kind::Offer,
        payload: body(text),
        ttl_ms: 30_000,
    };
    lab.ask(mailbox::Op { key: peer(), action }).unwrap();
}

fn poll(lab: &mut Lab) -> usize {
    match lab.ask(mailbox::Op { key: peer(), action: mailbox::Action::Drain { bytes_max: 1 << 20 } }) {
        Ok(outcome::Outcome::Mailbox(mailbox::Outcome::Messages(messages))) => messages.len(),
        other => panic!("a drain is never refused: {other:?}"),
    }
}

/// The number of a mailbox's first signal.
const FIRST: u64 = MORNING_MS << 10;

fn acknowledge(session: &Key, seq: u64) -> mailbox::Op {
    mailbox::Op { key: peer(), action: mailbox::Action::Acknowledge { session: *session, seq } }
}

fn waiting(lab: &Lab) -> Vec<u64> {
    let signals = lab.read(query::Signals(peer(), Page { after: 0, count_max: 100, bytes_max: 1 << 20 }));
    signals.iter().map(|signal| signal.seq).collect()
}

#[test]
fn a_claimed_mailbox_is_pushed_and_not_polled() {
    let mut lab = lab();
    push(&mut lab, "before");
    lab.ask(take(&key(), 1, false)).unwrap();
    push(&mut lab, "after");
    assert_eq!((poll(&mut lab), lab.read(query::Waiting(peer()))), (0, 0));
    assert_eq!(waiting(&lab), vec![FIRST, FIRST + 1]);
    let count = |count| Ok(mailbox::Outcome::Acknowledged { count }.into());
    assert_eq!(lab.ask(acknowledge(&key(), FIRST)), count(1));
    assert_eq!(lab.ask(acknowledge(&key(), FIRST)), count(0));
    assert_eq!(waiting(&lab), vec![FIRST + 1]);
    let stranger = Key::derive(Domain::Socket, &[b"stranger"]);
    assert_eq!(lab.ask(acknowledge(&stranger, FIRST + 1)), Err(mailbox::Refusal::NotHeld.into()));
}

#[test]
fn what_was_not_acknowledged_goes_to_whoever_comes_next() {
    let mut lab = lab();
    lab.ask(take(&key(), 1, false)).unwrap();
    push(&mut lab, "lost on the way");
    let detach = mailbox_claim::Action::Detach { session: key(), connection: 1 };
    lab.ask(mailbox_claim::Op { key: peer(), action: detach }).unwrap();
    assert_eq!(lab.effects, vec![Effect::Wake(Domain::Mailbox, peer())]);
    assert_eq!(lab.read(query::Waiting(peer())), 1);
    lab.ask(take(&key(), 2, false)).unwrap();
    assert_eq!(waiting(&lab), vec![FIRST]);
    // And if the node dies, polls are answered again.
    lab.wait(10_000);
    assert_eq!(poll(&mut lab), 1);
}

#[test]
fn a_peer_id_is_one_sessions_until_it_is_given_up() {
    let mut lab = lab();
    let other = Key::derive(Domain::Socket, &[b"other"]);
    lab.ask(take(&key(), 1, false)).unwrap();
    assert_eq!(lab.ask(take(&other, 2, false)), Err(mailbox_claim::Refusal::Held.into()));
    let detach = mailbox_claim::Action::Detach { session: key(), connection: 1 };
    lab.ask(mailbox_claim::Op { key: peer(), action: detach }).unwrap();
    assert_eq!(lab.ask(take(&other, 2, false)), Err(mailbox_claim::Refusal::Held.into()));
    assert_eq!(lab.ask(take(&other, 2, true)), Ok(mailbox_claim::Outcome::Taken.into()));
    assert_eq!(lab.read(query::Holder(peer())), Some((other, Some(at(2)))));
    let release = mailbox_claim::Action::Release { session: other, connection: 2 };
    lab.ask(mailbox_claim::Op { key: peer(), action: release }).unwrap();
    assert_eq!(lab.ask(take(&key(), 3, false)), Ok(mailbox_claim::Outcome::Taken.into()));
}

#[test]
fn a_ticket_is_used_once_within_its_time() {
    let mut lab = lab();
    let key = Key::derive(Domain::Ticket, &[b"ticket"]);
    let issue = ticket::Action::Issue { grant: body("grant"), ttl_ms: 30_000 };
    let redeem = || ticket::Op { key, action: ticket::Action::Redeem };
    assert_eq!(lab.ask(redeem()), Err(ticket::Refusal::Unknown.into()));
    lab.ask(ticket::Op { key, action: issue.clone() }).unwrap();
    assert_eq!(lab.ask(ticket::Op { key, action: issue.clone() }), Err(ticket::Refusal::InUse.into()));
    assert_eq!(lab.ask(redeem()), Ok(ticket::Outcome::Redeemed { grant: body("grant") }.into()));
    assert_eq!(lab.ask(redeem()), Err(ticket::Refusal::Unknown.into()));
    lab.ask(ticket::Op { key, action: issue }).unwrap();
    lab.wait(30_000);
    assert_eq!(lab.ask(redeem()), Err(ticket::Refusal::Unknown.into()));
}
