use super::super::limits::{MAILBOX_BYTES_MAX, MAILBOX_HEAD_MS, MAILBOX_SIGNALS_MAX, PAYLOAD_BYTES_MAX};
use super::super::mailbox::{Action, Kind, Message, Op, Outcome, Refusal};
use super::super::outcome;
use super::*;

const TTL_MS: u32 = 30_000;

fn key() -> Key {
    Key::derive(Domain::Mailbox, &[b"bob"])
}

fn push_for(text: &str, ttl_ms: u32) -> Op {
    let action = Action::Push { from: "alice".into(), kind: Kind::Ready, payload: body(text), ttl_ms };
    Op { key: key(), action }
}

fn push(text: &str) -> Op {
    push_for(text, TTL_MS)
}

fn drain(lab: &mut Lab, bytes_max: u32) -> Vec<Message> {
    match lab.ask(Op { key: key(), action: Action::Drain { bytes_max } }) {
        Ok(outcome::Outcome::Mailbox(Outcome::Messages(messages))) => messages,
        other => panic!("a drain is never refused: {other:?}"),
    }
}

fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| std::str::from_utf8(message.payload.bytes()).unwrap()).collect()
}

/// What is answered for the signal with this place in a mailbox that began in the morning.
fn queued(place: u64) -> Result<outcome::Outcome, outcome::Refusal> {
    Ok(Outcome::Queued { seq: first(MORNING_MS) - 1 + place }.into())
}

/// The number with which a mailbox begins.
fn first(now_ms: u64) -> u64 {
    now_ms << 10
}

#[test]
fn signals_come_out_in_order_each_once() {
    let mut lab = Lab::new();
    assert_eq!(lab.ask(push("one")), queued(1));
    assert_eq!(lab.effects, vec![Effect::Wake(Domain::Mailbox, key())]);
    lab.wait(5);
    assert_eq!(lab.ask(push("two")), queued(2));
    assert_eq!(lab.read(query::Waiting(key())), 2);
    let messages = drain(&mut lab, u32::MAX);
    assert_eq!(texts(&messages), ["one", "two"]);
    let first = &messages[0];
    assert_eq!((first.seq, first.from.as_str(), first.kind), (MORNING_MS << 10, "alice", Kind::Ready));
    assert_eq!((first.at_ms, first.expires_ms), (MORNING_MS, MORNING_MS + u64::from(TTL_MS)));
    assert_eq!(drain(&mut lab, u32::MAX), vec![]);
    assert_eq!(lab.read(query::Waiting(key())), 0);
}

#[test]
fn a_drain_is_bounded_in_bytes_but_gives_at_least_one() {
    let mut lab = Lab::new();
    for text in ["aaaa", "bb", "cc", "d"] {
        lab.ask(push(text)).unwrap();
    }
    assert_eq!(texts(&drain(&mut lab, 0)), ["aaaa"]);
    assert_eq!(texts(&drain(&mut lab, 4)), ["bb", "cc"]);
    assert_eq!(texts(&drain(&mut lab, 4)), ["d"]);
}

#[test]
fn a_mailbox_is_bounded_in_signals() {
    let mut lab = Lab::new();
    let commands = (0..MAILBOX_SIGNALS_MAX).map(|_| lab.command(push("x"))).collect();
    assert!(lab.apply(Vec::new(), commands).iter().all(|answer| answer.outcome.is_ok()));
    assert_eq!(lab.ask(push("x")), Err(Refusal::Full.into()));
    lab.wait(u64::from(TTL_MS));
    assert_eq!(lab.read(query::Waiting(key())), 0);
    assert_eq!(lab.ask(push("x")), queued(MAILBOX_SIGNALS_MAX as u64 + 1));
}

#[test]
fn a_mailbox_is_bounded_in_bytes() {
    let mut lab = Lab::new();
    let big = "x".repeat(PAYLOAD_BYTES_MAX);
    for _ in 0..MAILBOX_BYTES_MAX / PAYLOAD_BYTES_MAX {
        lab.ask(push(&big)).unwrap();
    }
    assert_eq!(lab.ask(push("x")), Err(Refusal::Full.into()));
    assert_eq!(drain(&mut lab, 0).len(), 1);
    assert!(lab.ask(push("x")).is_ok());
}

#[test]
fn an_expired_signal_is_neither_counted_nor_given() {
    let mut lab = Lab::new();
    lab.ask(push_for("long", 1000)).unwrap();
    lab.ask(push_for("short", 10)).unwrap();
    lab.ask(push_for("longer", 2000)).unwrap();
    lab.wait(10);
    assert_eq!(lab.read(query::Waiting(key())), 2);
    assert_eq!(texts(&drain(&mut lab, u32::MAX)), ["long", "longer"]);
}

#[test]
fn the_numbering_never_goes_back_though_the_mailbox_is_gone() {
    let mut lab = Lab::new();
    lab.ask(push("one")).unwrap();
    drain(&mut lab, u32::MAX);
    lab.wait(u64::from(TTL_MS) + MAILBOX_HEAD_MS - 1);
    lab.tick();
    assert_eq!(lab.state.counts().mailboxes, 1);
    assert_eq!(lab.ask(push("two")), queued(2));
    lab.wait(u64::from(TTL_MS) + MAILBOX_HEAD_MS);
    lab.tick();
    assert_eq!((lab.state.counts().mailboxes, lab.state.stored_bytes()), (0, 0));
    let seq = first(lab.now_ms);
    assert!(Ok(Outcome::Queued { seq }.into()) != queued(3));
    assert_eq!(lab.ask(push("three")), Ok(Outcome::Queued { seq }.into()));
    // To a reader that knows the last number from before, nothing is hidden.
    let page = Page { after: first(MORNING_MS) + 1, count_max: 9, bytes_max: 9 };
    assert_eq!(lab.read(query::Signals(key(), page)).len(), 1);
}
