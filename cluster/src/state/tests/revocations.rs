//! Revocations.

use super::super::limits::REVOCATIONS_MAX;
use super::super::revocation::{Action, Op as RevocationOp, Outcome, Refusal, Revoked};
use super::*;

fn list() -> Key {
    Key::derive(Domain::Revocations, &[])
}

fn about(action: Action) -> RevocationOp {
    RevocationOp { key: list(), action }
}

fn revoke(revoked: Revoked, ttl_s: u32) -> RevocationOp {
    about(Action::Revoke { revoked, ttl_s })
}

fn subject(name: &str) -> Revoked {
    Revoked::Subject(name.to_owned())
}

fn listed(lab: &Lab) -> Vec<Revoked> {
    lab.read(query::Revocations(list())).into_iter().map(|view| view.revoked).collect()
}

#[test]
fn what_is_revoked_is_listed_until_its_time_is_over_or_it_is_lifted() {
    let mut lab = Lab::new();
    let until = |lab: &Lab, s: u64| Ok(Outcome::Revoked { expires_ms: lab.now_ms + s * 1000 }.into());
    assert_eq!(lab.ask(revoke(subject("ann"), 60)), until(&lab, 60));
    assert_eq!(lab.effects, [Effect::Wake(Domain::Revocations, list())]);
    let phone = Revoked::Device { subject: "ann".to_owned(), device: "phone".to_owned() };
    lab.ask(revoke(phone.clone(), 30)).unwrap();
    let [first, second] = &lab.read(query::Revocations(list()))[..] else { panic!("two are listed") };
    assert!(first.since_ms == lab.now_ms && second.since_ms == lab.now_ms);
    lab.wait(30_000);
    assert_eq!(listed(&lab), [subject("ann")]);
    assert_eq!(
        lab.ask(about(Action::Lift { revoked: phone })),
        Ok(Outcome::Lifted { was_revoked: false }.into())
    );
    let lift = about(Action::Lift { revoked: subject("ann") });
    assert_eq!(lab.ask(lift.clone()), Ok(Outcome::Lifted { was_revoked: true }.into()));
    assert_eq!(lab.effects, [Effect::Wake(Domain::Revocations, list())]);
    assert_eq!(lab.ask(lift), Ok(Outcome::Lifted { was_revoked: false }.into()));
    assert_eq!((listed(&lab), lab.state.counts().revocations), (vec![], 0));
}

#[test]
fn what_is_revoked_again_is_so_until_the_time_that_was_said_last() {
    let mut lab = Lab::new();
    for (first, second) in [(60, 30), (30, 60)] {
        lab.ask(revoke(subject("ann"), first)).unwrap();
        lab.ask(revoke(subject("ann"), second)).unwrap();
        lab.wait(u64::from(second) * 1000 - 1);
        lab.tick();
        assert_eq!(listed(&lab), [subject("ann")]);
        lab.wait(1);
        lab.tick();
        assert_eq!((listed(&lab), lab.state.counts().revocations), (vec![], 0));
    }
}

#[test]
fn equal_names_of_different_things_are_not_the_same() {
    let mut lab = Lab::new();
    let device = |subject: &str, device: &str| Revoked::Device {
        subject: subject.to_owned(),
        device: device.to_owned(),
    };
    let all = [Revoked::Token("ann".to_owned()), subject("ann"), device("an", "n"), device("a", "nn")];
    for revoked in all.clone() {
        lab.ask(revoke(revoked, 60)).unwrap();
    }
    assert_eq!(listed(&lab).len(), all.len());
}

#[test]
fn nobody_who_fills_the_store_keeps_a_revocation_out_and_they_have_a_bound() {
    let mut lab = Lab { storage_bytes_max: 0, ..Lab::new() };
    let commands = (0..REVOCATIONS_MAX).map(|n| lab.command(revoke(subject(&n.to_string()), 60))).collect();
    assert!(lab.apply(Vec::new(), commands).iter().all(|answer| answer.outcome.is_ok()));
    assert_eq!(lab.ask(revoke(subject("one more"), 60)), Err(Refusal::Full.into()));
    lab.ask(revoke(subject("7"), 90)).unwrap();
    lab.wait(60_000);
    lab.ask(revoke(subject("one more"), 60)).unwrap();
}
