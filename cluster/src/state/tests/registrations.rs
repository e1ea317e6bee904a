//! Registered devices.

use super::super::limits::REGISTRATIONS_PER_SUBJECT_MAX;
use super::super::registration::{Action, After, Op as RegistrationOp, Outcome, Refusal, Standing, View};
use super::*;

fn list() -> Key {
    Key::derive(Domain::Registrations, &[])
}

fn about(action: Action) -> RegistrationOp {
    RegistrationOp { key: list(), action }
}

fn register(device: &str, public_key: &str) -> RegistrationOp {
    let (subject, device) = ("ann".to_owned(), device.to_owned());
    about(Action::Register { subject, device, public_key: public_key.to_owned() })
}

fn decide(device: &str, standing: Standing) -> RegistrationOp {
    about(Action::Decide { subject: "ann".to_owned(), device: device.to_owned(), standing })
}

fn listed(lab: &Lab) -> Vec<View> {
    lab.read(query::Registrations(list(), After(None))).views
}

fn stands(standing: Standing) -> Result<super::super::outcome::Outcome, super::super::outcome::Refusal> {
    Ok(Outcome::Stands(standing).into())
}

#[test]
fn a_device_waits_is_approved_and_stays_so_with_its_key() {
    let mut lab = Lab::new();
    assert_eq!(lab.ask(register("phone", "key")), stands(Standing::Pending));
    assert_eq!(lab.effects, [Effect::Wake(Domain::Registrations, list())]);
    assert_eq!(lab.ask(decide("phone", Standing::Approved)), stands(Standing::Approved));
    lab.wait(u64::from(u32::MAX));
    assert_eq!(lab.ask(register("phone", "key")), stands(Standing::Approved));
    assert_eq!(
        lab.ask(register("phone", "another")),
        stands(Standing::Pending),
        "another key is another device"
    );
    let [view] = &listed(&lab)[..] else { panic!("one is listed") };
    assert_eq!((view.subject.as_str(), view.public_key.as_str()), ("ann", "another"));
}

#[test]
fn a_revoked_device_stays_so_whatever_key_it_shows_until_it_is_forgotten() {
    let mut lab = Lab::new();
    lab.ask(register("phone", "key")).unwrap();
    lab.ask(decide("phone", Standing::Revoked)).unwrap();
    assert_eq!(lab.ask(register("phone", "another")), stands(Standing::Revoked));
    let forget = about(Action::Forget { subject: "ann".to_owned(), device: "phone".to_owned() });
    assert_eq!(lab.ask(forget.clone()), Ok(Outcome::Forgotten { was_known: true }.into()));
    assert_eq!(lab.ask(forget), Ok(Outcome::Forgotten { was_known: false }.into()));
    assert_eq!(lab.ask(register("phone", "another")), stands(Standing::Pending));
    assert_eq!(lab.ask(decide("desk", Standing::Approved)), Err(Refusal::Unknown.into()));
}

#[test]
fn what_somebody_else_shows_changes_no_device_that_is_registered() {
    let mut lab = Lab::new();
    let introduce = |public_key: &str| {
        let (subject, device) = ("ann".to_owned(), "phone".to_owned());
        about(Action::Introduce { subject, device, public_key: public_key.to_owned() })
    };
    assert_eq!(lab.ask(introduce("key")), stands(Standing::Pending));
    lab.ask(decide("phone", Standing::Approved)).unwrap();
    assert_eq!(lab.ask(introduce("another")), Err(Refusal::OtherKey.into()));
    assert_eq!(lab.ask(introduce("key")), stands(Standing::Approved));
    lab.ask(decide("phone", Standing::Revoked)).unwrap();
    assert_eq!(lab.ask(introduce("another")), Err(Refusal::OtherKey.into()));
    let [view] = &listed(&lab)[..] else { panic!("one is listed") };
    assert_eq!((view.public_key.as_str(), view.standing), ("key", Standing::Revoked));
}

#[test]
fn a_decision_is_about_the_key_that_was_seen() {
    let mut lab = Lab::new();
    lab.ask(register("phone", "seen")).unwrap();
    let approve = |device: &str, key: &str| {
        let (subject, device) = ("ann".to_owned(), device.to_owned());
        let seen = Digest::of(key.as_bytes());
        about(Action::DecideSeen { subject, device, standing: Standing::Approved, seen })
    };
    assert_eq!(lab.ask(approve("desk", "seen")), Err(Refusal::Unknown.into()));
    lab.ask(register("phone", "swapped")).unwrap();
    assert_eq!(lab.ask(approve("phone", "seen")), Err(Refusal::OtherKey.into()));
    assert_eq!(listed(&lab)[0].standing, Standing::Pending);
    assert_eq!(lab.ask(approve("phone", "swapped")), stands(Standing::Approved));
}

#[test]
fn a_subject_has_so_many_devices_and_a_list_comes_in_parts() {
    let mut lab = Lab { storage_bytes_max: 0, ..Lab::new() };
    for n in 0..REGISTRATIONS_PER_SUBJECT_MAX {
        lab.ask(register(&format!("device-{n}"), "key")).unwrap();
    }
    assert_eq!(lab.ask(register("one-more", "key")), Err(Refusal::Full.into()));
    lab.ask(register("device-7", "another")).unwrap();
    for n in 0..5 {
        for m in 0..90 {
            let (subject, device) = (format!("subject-{n}"), format!("device-{m}"));
            lab.ask(about(Action::Register { subject, device, public_key: "key".to_owned() })).unwrap();
        }
    }
    let first = lab.read(query::Registrations(list(), After(None)));
    let rest = lab.read(query::Registrations(list(), After(first.next)));
    assert_eq!((first.views.len() + rest.views.len(), rest.next), (550, None));
}
