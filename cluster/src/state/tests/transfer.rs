use super::super::transfer::{Action, Encoding, Op, Outcome, Refusal};
use super::super::{outcome, transfer};
use super::*;

const TTL_MS: u32 = 60_000;

pub(super) fn key(name: &str) -> Key {
    Key::derive(Domain::Transfer, &[name.as_bytes()])
}

pub(super) fn about(name: &str, action: Action) -> Op {
    Op { key: key(name), ttl_ms: TTL_MS, action }
}

pub(super) fn put(name: &str, index: u16, total: u16, text: &str) -> Op {
    let encoding = Encoding::Text;
    about(name, Action::Put { index, total: Some(total), digest: digest(text), encoding, body: body(text) })
}

fn said(outcome: Outcome) -> Result<outcome::Outcome, outcome::Refusal> {
    Ok(outcome.into())
}

fn refused(refusal: Refusal) -> Result<outcome::Outcome, outcome::Refusal> {
    Err(refusal.into())
}

pub(super) fn chunk(index: u16, total: u16, text: &str) -> Result<outcome::Outcome, outcome::Refusal> {
    said(Outcome::Chunk { index, total, encoding: Encoding::Text, body: body(text) })
}

const ACK: Action = Action::Acknowledge { existing: false };
const ACK_EXISTING: Action = Action::Acknowledge { existing: true };

#[test]
fn chunks_are_delivered_lowest_first_each_once() {
    let mut lab = Lab::new();
    assert_eq!(lab.ask(put("t", 2, 3, "two")), said(Outcome::Stored));
    assert_eq!(lab.ask(put("t", 0, 3, "zero")), said(Outcome::Stored));
    assert_eq!(lab.ask(about("t", Action::Take)), chunk(0, 3, "zero"));
    assert_eq!(lab.ask(about("t", Action::Take)), chunk(2, 3, "two"));
    assert_eq!(lab.ask(about("t", Action::Take)), said(Outcome::Waiting));
    assert_eq!(lab.ask(put("t", 1, 3, "one")), said(Outcome::Stored));
    assert_eq!(lab.ask(about("t", Action::Take)), chunk(1, 3, "one"));
    assert_eq!(lab.ask(about("t", Action::Take)), said(Outcome::Done));
    assert_eq!(lab.ask(about("t", Action::Take)), said(Outcome::Done));
}

#[test]
fn nothing_is_taken_where_nothing_lives() {
    let mut lab = Lab::new();
    assert_eq!(lab.ask(about("t", Action::Take)), said(Outcome::Absent));
    assert_eq!(lab.ask(about("t", Action::Touch)), said(Outcome::Absent));
    assert_eq!(lab.ask(about("t", Action::Discard)), refused(Refusal::Absent));
    assert_eq!(lab.state.stored_bytes(), 0);
}

#[test]
fn a_chunk_may_be_said_again_but_not_otherwise() {
    let mut lab = Lab::new();
    lab.ask(put("t", 0, 2, "zero")).unwrap();
    assert_eq!(lab.ask(put("t", 0, 2, "zero")), said(Outcome::Duplicate));
    assert_eq!(lab.ask(put("t", 0, 2, "other")), refused(Refusal::Conflict));
    let Op { key, ttl_ms, action: Action::Put { index, total, digest, body, .. } } = put("t", 0, 2, "zero")
    else {
        unreachable!("a put is a put")
    };
    let action = Action::Put { index, total, digest, encoding: Encoding::Base64, body };
    assert_eq!(lab.ask(Op { key, ttl_ms, action }), refused(Refusal::Conflict));
    lab.ask(about("t", Action::Take)).unwrap();
    assert_eq!(lab.ask(put("t", 0, 2, "zero")), refused(Refusal::Delivered));
}

#[test]
fn ranges_and_totals_are_checked_before_anything_is_stored() {
    let mut lab = Lab::new();
    for (index, total) in [(0, 0), (1, 1), (0, 2049), (u16::MAX, u16::MAX), (2048, 2048)] {
        assert_eq!(lab.ask(put("t", index, total, "x")), refused(Refusal::OutOfRange), "{index} of {total}");
    }
    assert_eq!(lab.ask(about("t", Action::Open { total: 0 })), refused(Refusal::OutOfRange));
    assert_eq!(lab.ask(about("t", Action::Open { total: 2049 })), refused(Refusal::OutOfRange));
    assert_eq!(lab.state.stored_bytes(), 0);
    assert_eq!(lab.ask(put("t", 2047, 2048, "x")), said(Outcome::Stored));
    assert_eq!(lab.ask(put("t", 0, 2047, "x")), refused(Refusal::TotalMismatch));
    assert_eq!(lab.ask(about("t", Action::Open { total: 3 })), refused(Refusal::TotalMismatch));
}

#[test]
fn a_put_without_total_needs_a_begun_transfer() {
    let mut lab = Lab::new();
    let put = |index| {
        let (encoding, total) = (Encoding::Base64, None);
        about("t", Action::Put { index, total, digest: digest("x"), encoding, body: body("x") })
    };
    assert_eq!(lab.ask(put(0)), refused(Refusal::Absent));
    assert_eq!(lab.ask(about("t", Action::Open { total: 2 })), said(Outcome::Opened { created: true }));
    assert_eq!(lab.ask(about("t", Action::Open { total: 2 })), said(Outcome::Opened { created: false }));
    assert_eq!(lab.ask(put(1)), said(Outcome::Stored));
    assert_eq!(lab.ask(put(2)), refused(Refusal::OutOfRange));
}

#[test]
fn a_completed_transfer_is_freed_by_its_acknowledgement_and_says_done_once_more() {
    let mut lab = Lab::new();
    lab.ask(put("t", 0, 1, "zero")).unwrap();
    lab.ask(about("t", Action::Take)).unwrap();
    assert_eq!(lab.state.counts().bodies, 1);
    assert_eq!(lab.ask(about("t", ACK)), said(Outcome::Acknowledged));
    assert_eq!((lab.state.counts().bodies, lab.state.counts().transfers), (0, 1));
    assert_eq!(lab.ask(put("t", 0, 1, "zero")), refused(Refusal::Delivered));
    assert_eq!(lab.ask(about("t", Action::Take)), said(Outcome::Done));
    assert_eq!(lab.ask(about("t", Action::Take)), said(Outcome::Absent));
    assert!(lab.read(query::Acknowledged(key("t"))));
    assert_eq!(lab.state.counts().transfers, 0);
}

#[test]
fn an_early_acknowledgement_keeps_the_chunks() {
    let mut lab = Lab::new();
    lab.ask(put("t", 1, 2, "one")).unwrap();
    assert_eq!(lab.ask(about("t", ACK)), said(Outcome::Acknowledged));
    assert_eq!(lab.ask(about("t", ACK_EXISTING)), said(Outcome::Acknowledged));
    assert_eq!(lab.ask(about("t", Action::Take)), chunk(1, 2, "one"));
    assert_eq!(lab.ask(put("t", 0, 2, "zero")), said(Outcome::Stored));
    assert_eq!(lab.ask(about("t", Action::Take)), chunk(0, 2, "zero"));
    assert_eq!(lab.ask(about("t", Action::Take)), said(Outcome::Done));
    assert_eq!(lab.ask(about("t", Action::Take)), said(Outcome::Absent));
    assert_eq!(lab.state.counts().bodies, 0);
}

#[test]
fn a_second_transfer_under_the_same_words_begins_unacknowledged() {
    let mut lab = Lab::new();
    lab.ask(put("t", 0, 1, "zero")).unwrap();
    lab.ask(about("t", Action::Take)).unwrap();
    lab.ask(about("t", ACK)).unwrap();
    lab.ask(about("t", Action::Take)).unwrap();
    assert!(lab.read(query::Acknowledged(key("t"))));
    assert_eq!(lab.ask(put("t", 0, 1, "one")), said(Outcome::Stored));
    assert!(!lab.read(query::Acknowledged(key("t"))));
    lab.ask(about("t", Action::Discard)).unwrap();
    lab.ask(about("t", ACK)).unwrap();
    lab.ask(about("t", Action::Open { total: 1 })).unwrap();
    assert!(!lab.read(query::Acknowledged(key("t"))));
    // What is said again to one that is there changes nothing.
    lab.ask(about("t", ACK)).unwrap();
    lab.ask(about("t", Action::Open { total: 1 })).unwrap();
    assert!(lab.read(query::Acknowledged(key("t"))));
}

#[test]
fn an_acknowledgement_is_remembered_where_no_transfer_lives() {
    let mut lab = Lab::new();
    assert_eq!(lab.ask(about("t", ACK_EXISTING)), refused(Refusal::Absent));
    assert!(!lab.read(query::Acknowledged(key("t"))));
    assert_eq!(lab.ask(about("t", ACK)), said(Outcome::Acknowledged));
    let end_ms = lab.now_ms + u64::from(TTL_MS);
    assert!(query::Acknowledged(key("t")).answer(&lab.state, end_ms - 1));
    assert!(!query::Acknowledged(key("t")).answer(&lab.state, end_ms));
}

#[test]
fn a_reader_that_never_takes_frees_everything_by_its_acknowledgement() {
    let mut lab = Lab::new();
    lab.ask(put("t", 0, 2, "zero")).unwrap();
    lab.ask(put("t", 1, 2, "one")).unwrap();
    let (encoding, _, read) = lab.read(query::Chunk(key("t"), 1)).unwrap();
    assert_eq!((encoding, read), (Encoding::Text, body("one")));
    assert_eq!(lab.ask(about("t", ACK_EXISTING)), said(Outcome::Acknowledged));
    assert_eq!(lab.read(query::Chunk(key("t"), 1)), None);
    assert_eq!(lab.state.counts().bodies, 0);
    let view = lab.read(query::Transfer(key("t"))).unwrap();
    assert_eq!((view.received, view.delivered, view.acknowledged), (vec![(0, 1)], 2, true));
    assert_eq!(lab.ask(about("t", Action::Take)), said(Outcome::Done));
    assert_eq!(lab.ask(about("t", Action::Take)), said(Outcome::Absent));
}

#[test]
fn a_discarded_transfer_leaves_nothing() {
    let mut lab = Lab::new();
    lab.ask(put("t", 0, 2, "zero")).unwrap();
    lab.ask(about("t", ACK)).unwrap();
    assert_eq!(lab.ask(about("t", Action::Discard)), said(Outcome::Discarded));
    assert!(!lab.read(query::Acknowledged(key("t"))));
    assert_eq!(lab.state.stored_bytes(), 0);
    assert_eq!(lab.ask(put("t", 0, 3, "again")), said(Outcome::Stored));
}

#[test]
fn equal_chunks_are_stored_once_and_freed_with_the_last() {
    let mut lab = Lab::new();
    lab.ask(put("a", 0, 2, "same")).unwrap();
    lab.ask(put("a", 1, 2, "same")).unwrap();
    lab.ask(put("b", 0, 1, "same")).unwrap();
    assert_eq!((lab.state.counts().chunks, lab.state.counts().bodies), (3, 1));
    lab.ask(about("a", Action::Discard)).unwrap();
    assert_eq!((lab.state.counts().chunks, lab.state.counts().bodies), (1, 1));
    assert_eq!(lab.ask(about("b", Action::Take)), chunk(0, 1, "same"));
    lab.ask(about("b", Action::Discard)).unwrap();
    assert_eq!(lab.state.counts().bodies, 0);
}

#[test]
fn a_stored_body_does_not_pin_the_buffer_it_came_in() {
    let mut lab = Lab::new();
    let buffer = Bytes::from(vec![b'x'; 10_000]);
    let text = buffer.slice(4..8);
    let action = Action::Put {
        index: 0,
        total: Some(1),
        digest: Digest::of(&text),
        encoding: Encoding::Text,
        body: Body::new(text),
    };
    lab.ask(about("t", action)).unwrap();
    assert!(buffer.is_unique());
}

#[test]
fn a_view_tells_what_a_reader_may_want() {
    let mut lab = Lab::new();
    for index in [0, 1, 2, 63, 64, 65, 99] {
        lab.ask(put("t", index, 100, "x")).unwrap();
    }
    lab.ask(about("t", Action::Take)).unwrap();
    let view = lab.read(query::Transfer(key("t"))).unwrap();
    let expected = transfer::View {
        total: 100,
        received: vec![(0, 2), (63, 65), (99, 99)],
        delivered: 1,
        available: true,
        acknowledged: false,
        expires_ms: lab.now_ms + u64::from(TTL_MS),
    };
    assert_eq!(view, expected);
}

#[test]
fn every_touch_renews_and_a_refusal_does_not() {
    let asks: [fn() -> Op; 5] = [
        || put("t", 1, 3, "one"),
        || about("t", Action::Take),
        || about("t", Action::Open { total: 3 }),
        || about("t", ACK),
        || about("t", Action::Touch),
    ];
    for op in asks {
        let mut lab = Lab::new();
        lab.ask(put("t", 0, 3, "zero")).unwrap();
        lab.wait(u64::from(TTL_MS) - 1);
        lab.ask(op()).unwrap();
        lab.wait(u64::from(TTL_MS) - 1);
        lab.ask(put("t", 0, 9, "zero")).unwrap_err();
        assert!(lab.read(query::Transfer(key("t"))).is_some());
        lab.wait(1);
        lab.tick();
        assert_eq!(lab.state.counts().transfers, 0);
    }
}

#[test]
fn a_change_wakes_whoever_waits_once_a_proposal() {
    let mut lab = Lab::new();
    let commands = vec![
        lab.command(put("a", 0, 2, "zero")),
        lab.command(put("b", 0, 2, "zero")),
        lab.command(put("a", 1, 2, "one")),
        lab.command(about("c", Action::Touch)),
    ];
    lab.apply(Vec::new(), commands);
    let wake = |name| Effect::Wake(Domain::Transfer, key(name));
    assert_eq!(lab.effects, vec![wake("a"), wake("b")]);
    lab.ask(about("a", Action::Touch)).unwrap();
    assert_eq!(lab.effects, vec![]);
    lab.wait(u64::from(TTL_MS));
    lab.tick();
    assert_eq!(lab.effects.len(), 2);
}
