use super::super::negotiation::{Action, Envelope, Op, Outcome, Refusal, Resolved, Role};
use super::super::outcome;
use super::*;

const TTL_MS: u32 = 180_000;

fn key(id: u128) -> Key {
    Key::derive(Domain::Negotiation, &[&id.to_be_bytes()])
}

fn pin(word: &str) -> Key {
    Key::derive(Domain::Pin, &[word.as_bytes()])
}

fn about(id: u128, action: Action) -> Op {
    Op { key: key(id), ttl_ms: TTL_MS, action }
}

fn create(id: u128, word: Option<&str>) -> Op {
    about(id, Action::Create { id, pin: word.map(pin) })
}

fn put(id: u128, role: Role, text: &str) -> Op {
    about(id, Action::Put { role, envelope: body(text) })
}

fn said(outcome: Outcome) -> Result<outcome::Outcome, outcome::Refusal> {
    Ok(outcome.into())
}

fn refused(refusal: Refusal) -> Result<outcome::Outcome, outcome::Refusal> {
    Err(refusal.into())
}

#[test]
fn both_sides_leave_their_envelopes() {
    let mut lab = Lab::new();
    assert_eq!(lab.ask(put(1, Role::Offer, "o")), refused(Refusal::Expired));
    assert_eq!(lab.ask(create(1, None)), said(Outcome::Created));
    let offer = |lab: &Lab| lab.read(query::Envelope(key(1), Role::Offer));
    assert_eq!(offer(&lab), Envelope::Missing);
    assert_eq!(lab.ask(put(1, Role::Offer, "first")), said(Outcome::Stored));
    assert_eq!(lab.ask(put(1, Role::Offer, "second")), said(Outcome::Stored));
    assert_eq!(lab.ask(put(1, Role::Answer, "reply")), said(Outcome::Stored));
    assert_eq!(offer(&lab), Envelope::Present(body("second")));
    assert_eq!(lab.read(query::Envelope(key(1), Role::Answer)), Envelope::Present(body("reply")));
    assert_eq!(lab.ask(about(1, Action::Delete)), said(Outcome::Deleted));
    assert_eq!(offer(&lab), Envelope::Expired);
    assert_eq!(lab.ask(about(1, Action::Delete)), refused(Refusal::Expired));
    assert_eq!(lab.state.stored_bytes(), 0);
}

#[test]
fn a_pin_belongs_to_one_live_exchange() {
    let mut lab = Lab::new();
    let resolved = |lab: &Lab| lab.read(query::Resolve(pin("rose")));
    assert_eq!(resolved(&lab), Resolved::Unknown);
    lab.ask(create(1, Some("rose"))).unwrap();
    assert_eq!(resolved(&lab), Resolved::Live(1));
    assert_eq!(lab.ask(create(2, Some("rose"))), refused(Refusal::PinInUse));
    assert_eq!(lab.ask(put(2, Role::Offer, "o")), refused(Refusal::Expired));
    assert_eq!(lab.ask(create(1, Some("rose"))), said(Outcome::Created));
    lab.ask(about(1, Action::Delete)).unwrap();
    assert_eq!(resolved(&lab), Resolved::Expired);
    assert_eq!(lab.ask(create(2, Some("rose"))), said(Outcome::Created));
    assert_eq!(resolved(&lab), Resolved::Live(2));
}

#[test]
fn a_pin_says_expired_for_one_ttl_and_then_nothing() {
    let mut lab = Lab::new();
    lab.ask(create(1, Some("rose"))).unwrap();
    lab.wait(100_000);
    lab.ask(put(1, Role::Offer, "o")).unwrap();
    lab.wait(u64::from(TTL_MS));
    lab.tick();
    let resolved = |lab: &Lab| lab.read(query::Resolve(pin("rose")));
    assert_eq!(resolved(&lab), Resolved::Expired);
    assert_eq!(lab.effects, vec![Effect::Wake(Domain::Negotiation, key(1))]);
    lab.wait(u64::from(TTL_MS) - 1);
    assert_eq!(resolved(&lab), Resolved::Expired);
    lab.wait(1);
    assert_eq!(resolved(&lab), Resolved::Unknown);
    lab.tick();
    assert_eq!(lab.state.stored_bytes(), 0);
}

#[test]
fn a_deleted_exchange_leaves_its_pin_for_one_ttl() {
    let mut lab = Lab::new();
    lab.ask(create(1, Some("rose"))).unwrap();
    lab.wait(10);
    lab.ask(about(1, Action::Delete)).unwrap();
    let end_ms = lab.now_ms + u64::from(TTL_MS);
    assert_eq!(query::Resolve(pin("rose")).answer(&lab.state, end_ms - 1), Resolved::Expired);
    assert_eq!(query::Resolve(pin("rose")).answer(&lab.state, end_ms), Resolved::Unknown);
}

#[test]
fn an_exchange_that_lost_its_pin_does_not_renew_it() {
    let mut lab = Lab::new();
    lab.ask(create(1, Some("rose"))).unwrap();
    lab.wait(u64::from(TTL_MS));
    lab.ask(create(2, Some("rose"))).unwrap();
    assert_eq!(lab.ask(put(1, Role::Offer, "late")), refused(Refusal::Expired));
    assert_eq!(lab.read(query::Resolve(pin("rose"))), Resolved::Live(2));
}

#[test]
fn only_an_envelope_renews_an_exchange() {
    let mut lab = Lab::new();
    lab.ask(create(1, None)).unwrap();
    lab.wait(u64::from(TTL_MS) - 1);
    lab.ask(create(1, None)).unwrap();
    lab.wait(1);
    assert_eq!(lab.ask(put(1, Role::Offer, "late")), refused(Refusal::Expired));
}
