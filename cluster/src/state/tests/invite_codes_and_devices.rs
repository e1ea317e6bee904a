//! Invite codes, devices, members.

use super::super::limits::DEVICES_PER_USER_MAX;
use super::super::{device, disk_binding, invite_code};
use super::*;

fn register(code: &str, peer: &str) -> Op {
    let key = Key::derive(Domain::Rendezvous, &[code.as_bytes()]);
    Op::Rendezvous(invite_code::Op {
        key,
        action: invite_code::Action::Register { peer: peer.into(), ttl_ms: 30_000 },
    })
}

fn user() -> Key {
    Key::derive(Domain::Devices, &[b"ann"])
}

fn device(device_id: &str, port: u16, ttl_ms: u32) -> Op {
    let (device_id, onion, port) = (device_id.into(), "abc.onion".into(), Some(port));
    Op::Device(device::Op {
        key: user(),
        action: device::Action::Register { device_id, onion, port, ttl_ms },
    })
}

#[test]
fn an_invite_code_belongs_to_one_peer_at_a_time() {
    let mut lab = Lab::new();
    let key = Key::derive(Domain::Rendezvous, &[b"ABCD1234"]);
    let registered = Ok(invite_code::Outcome::Registered.into());
    assert_eq!(lab.ask(register("ABCD1234", "bob")), registered);
    assert_eq!(lab.read(query::Peer(key)).as_deref(), Some("bob"));
    assert_eq!(lab.ask(register("ABCD1234", "eve")), Err(invite_code::Refusal::InUse.into()));
    lab.wait(29_999);
    assert_eq!(lab.ask(register("ABCD1234", "bob")), registered);
    lab.wait(29_999);
    assert_eq!(lab.read(query::Peer(key)).as_deref(), Some("bob"));
    lab.wait(1);
    assert_eq!(lab.read(query::Peer(key)), None);
    assert_eq!(lab.ask(register("ABCD1234", "eve")), registered);
    assert_eq!(lab.read(query::Peer(key)).as_deref(), Some("eve"));
}

#[test]
fn a_device_is_replaced_by_itself_and_listed_while_it_lives() {
    let mut lab = Lab::new();
    lab.ask(device("phone", 1, 30_000)).unwrap();
    lab.ask(device("laptop", 2, 60_000)).unwrap();
    lab.ask(device("phone", 3, 40_000)).unwrap();
    let listed = |lab: &Lab| -> Vec<(String, Option<u16>)> {
        let devices = lab.read(query::Devices(user()));
        devices.into_iter().map(|device| (device.device_id, device.port)).collect()
    };
    assert_eq!(listed(&lab), [("laptop".into(), Some(2)), ("phone".into(), Some(3))]);
    lab.wait(40_000);
    assert_eq!(listed(&lab), [("laptop".into(), Some(2))]);
    lab.tick();
    assert_eq!(lab.state.counts().devices, 1);
    lab.wait(20_000);
    lab.tick();
    assert_eq!((lab.state.counts().devices, lab.state.stored_bytes()), (0, 0));
}

#[test]
fn a_device_may_shorten_its_own_life() {
    let mut lab = Lab::new();
    lab.ask(device("phone", 1, 60_000)).unwrap();
    lab.ask(device("phone", 1, 30_000)).unwrap();
    assert_eq!(lab.state.next_expiry_ms(), Some(lab.now_ms + 30_000));
    lab.wait(30_000);
    assert_eq!(lab.read(query::Devices(user())), vec![]);
}

#[test]
fn a_user_has_so_many_live_devices_and_no_more() {
    let mut lab = Lab::new();
    let commands = (0..DEVICES_PER_USER_MAX).map(|n| lab.command(device(&n.to_string(), 1, 1000))).collect();
    assert!(lab.apply(Vec::new(), commands).iter().all(|answer| answer.outcome.is_ok()));
    assert_eq!(lab.ask(device("one more", 1, 1000)), Err(device::Refusal::Full.into()));
    lab.ask(device("7", 1, 1000)).unwrap();
    lab.wait(1000);
    lab.ask(device("one more", 1, 1000)).unwrap();
    assert_eq!(lab.read(query::Devices(user())).len(), 1);
}

#[test]
fn a_node_id_is_bound_to_its_disk_for_ever() {
    let mut lab = Lab::new();
    let enroll = |storage| Op::NodeIdentity(disk_binding::Op::Enroll { node: 3, storage });
    assert_eq!(lab.state.member(3), None);
    assert_eq!(lab.ask(enroll(77)), Ok(disk_binding::Outcome::Enrolled.into()));
    assert_eq!(lab.ask(enroll(77)), Ok(disk_binding::Outcome::Enrolled.into()));
    lab.wait(u64::from(u32::MAX));
    assert_eq!(lab.ask(enroll(78)), Err(disk_binding::Refusal::Reused.into()));
    assert_eq!(lab.state.member(3), Some(77));
}
