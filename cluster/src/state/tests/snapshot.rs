//! Snapshots, and the golden files of both formats.
//!
//! `cluster/tests/golden/` holds files per format version, as that version wrote them, and those of the versions in `READ` stay
//! readable.
//! When a version is raised, run the tests once with `CONCLAVE_GOLDEN=write`: the new version's files are written
//! next to the old ones. A file that exists is never written over.

use std::path::PathBuf;

use super::super::leader_rules::{Ages, Group, Owner, Shares};
use super::super::slot::{CellId, Slot};
use super::super::snapshot::{self, Error};
use super::super::transfer::Action;
use super::super::{
    codec, device, disk_binding, incarnation, invite_code, mailbox, mailbox_claim, negotiation, placement,
    room, socket, ticket,
};
use super::transfer::{about, put};
use super::*;

/// A proposal with every family in it and some of everything left over.
fn sample() -> Proposal {
    let mut lab = Lab::new();
    let key = Key::derive(Domain::Negotiation, &[b"golden"]);
    let negotiation = |action| Op::Negotiation(negotiation::Op { key, ttl_ms: 180_000, action });
    let (from, kind, payload) = ("alice".to_owned(), mailbox::Kind::IceCandidate, body("{}"));
    let push = mailbox::Action::Push { from, kind, payload, ttl_ms: 30_000 };
    let charge = Charge {
        client: Key::derive(Domain::Client, &[b"golden"]),
        tier: super::super::allowance::Tier::Chunk,
        count: 2,
        limit: 600,
        window_ms: 60_000,
    };
    let register = invite_code::Action::Register { peer: "bob".into(), ttl_ms: 30_000 };
    let (device_id, onion, port) = ("phone".into(), "abc.onion".into(), Some(443));
    let device = device::Action::Register { device_id, onion, port, ttl_ms: 180_000 };
    let commands = vec![
        lab.charged(charge, put("small", 0, 2, "same")),
        lab.command(put("large", 99, 2048, "same")),
        lab.command(about("small", Action::Acknowledge { existing: false })),
        lab.memoed("golden", about("small", Action::Take)),
        lab.memoed("golden", about("small", Action::Take)),
        lab.command(negotiation(negotiation::Action::Create {
            id: 7,
            pin: Some(Key::derive(Domain::Pin, &[b"rose"])),
        })),
        lab.command(negotiation(negotiation::Action::Put {
            role: negotiation::Role::Offer,
            envelope: body("{\"ct\":1}"),
        })),
        lab.command(mailbox::Op { key, action: push.clone() }),
        lab.memoed("drained", mailbox::Op { key, action: mailbox::Action::Drain { bytes_max: 1000 } }),
        lab.command(mailbox::Op { key, action: push }),
        lab.command(Op::Rendezvous(invite_code::Op { key, action: register })),
        lab.command(Op::Device(device::Op { key, action: device })),
        lab.command(Op::NodeIdentity(disk_binding::Op::Enroll { node: 1, storage: 42 })),
        lab.command(Op::Placement(placement::Op::Place { node: 4, peer: "d:4".to_owned() })),
        lab.command(Op::Placement(placement::Op::Place { node: 5, peer: "e:5".to_owned() })),
        lab.charged(charge, Op::Spend),
    ];
    let commands: Vec<_> = commands.into_iter().chain(placed(&mut lab)).collect();
    let floors = vec![(1, 1), (9, 3)];
    Proposal {
        stamp_ms: MORNING_MS,
        rules: rules(),
        floors,
        commands: owned(commands),
        ..Proposal::default()
    }
}

fn rules() -> Rules {
    let ages = Ages { transfer_max_ms: 3_600_000, exchange_max_ms: 3_600_000 };
    Rules { storage_bytes_max: 1 << 40, shares: Some(Shares::of(1 << 40, 20, 40, 10)), ages }
}

/// On the account of one client of a network.
fn owned(commands: Vec<Command>) -> Vec<Command> {
    let key = |name: &[u8]| Key::derive(Domain::Client, &[name]);
    let owner = Some(Owner { client: key(b"golden"), group: Some(Group::Network(key(b"golden network"))) });
    commands.into_iter().map(|command| Command { owner, ..command }).collect()
}

/// The same of what sockets brought.
fn sockets() -> Proposal {
    let mut lab = Lab::new();
    let key = |domain| Key::derive(domain, &[b"golden"]);
    let incarnation = incarnation::Incarnation { node: 1, run: 7 };
    let at = incarnation::Attachment { incarnation, connection: 9 };
    let session = key(Domain::Socket);
    let keep = room::Keep { count: 10, bytes: 1000, age_ms: 60_000 };
    let room = |action| room::Op { key: key(Domain::Room), action };
    let socket = |action| socket::Op { key: session, action };
    let claim = mailbox_claim::Action::Take {
        session,
        generation: Some(Generation::first(MORNING_MS)),
        at,
        lease_ms: 300_000,
        seize: false,
    };
    let join = |generation| room::Action::Join { member: session, generation, at, grace_ms: 5_000 };
    let follows = Generation::after(Some(Generation::first(MORNING_MS)), MORNING_MS);
    let cellar = |action| room::Op { key: Key::derive(Domain::Room, &[b"cellar"]), action };
    let publish =
        |text: &str| room::Action::Publish { member: session, message_id: Some(3), data: body(text), keep };
    let ticket = ticket::Action::Issue { grant: body("grant"), ttl_ms: 30_000 };
    let commands = vec![
        lab.command(incarnation::Op::Renew { incarnation, ttl_ms: 10_000 }),
        lab.command(socket(socket::Action::Open {
            subject: Some(key(Domain::Client)),
            at,
            lease_ms: 300_000,
        })),
        lab.command(room(join(Generation::first(MORNING_MS)))),
        lab.command(socket(socket::Action::Enter { connection: 9, room: Some("lobby".into()) })),
        lab.command(room(publish("Jfirst"))),
        lab.command(room(publish("Jfirst"))),
        lab.command(mailbox_claim::Op { key: key(Domain::Mailbox), action: claim }),
        lab.command(socket(socket::Action::Hold { connection: 9, peer: Some("bob".into()) })),
        lab.command(mailbox::Op {
            key: key(Domain::Mailbox),
            action: mailbox::Action::Acknowledge { session, seq: 4 },
        }),
        lab.command(ticket::Op { key: key(Domain::Ticket), action: ticket }),
        lab.command(socket(socket::Action::Resume {
            subject: Some(key(Domain::Client)),
            at,
            lease_ms: 300_000,
            takes_over: true,
        })),
        lab.command(cellar(join(follows))),
        lab.command(cellar(room::Action::Leave { member: session, connection: 9 })),
        lab.command(room(room::Action::Detach { member: session, connection: 9 })),
        lab.command(socket(socket::Action::Detach { connection: 9 })),
    ];
    Proposal { stamp_ms: MORNING_MS, rules: rules(), commands: owned(commands), ..Proposal::default() }
}

/// Each change of the placement.
fn placed(lab: &mut Lab) -> Vec<Command> {
    let (second, third, slot) = (CellId::of(2), CellId::of(3), Slot::try_from(700).unwrap());
    let changes = [
        placement::Change::Open { cell: second, seats: vec![4] },
        placement::Change::Sit { cell: second, seats: vec![(4, "d:5".to_owned())] },
        placement::Change::Enlist { cell: second, stage: placement::Stage::Active },
        placement::Change::Allot(vec![(slot, second)]),
        placement::Change::Open { cell: third, seats: vec![5] },
        placement::Change::Close { cell: third },
    ];
    // The disk and the fronts before are three changes.
    let changes = (3..).zip(changes).map(|(epoch, change)| placement::Op::Change { epoch, change });
    let copy = placement::Op::Copy(placement::Plan { epoch: 1, ..placement::Plan::default() });
    changes.chain([copy]).map(|op| lab.command(Op::Placement(op))).collect()
}

/// The same of tokens.
fn tokens() -> Proposal {
    let mut lab = Lab::new();
    let charge = Charge {
        client: Key::derive(Domain::Client, &[b"golden"]),
        tier: super::super::allowance::Tier::Signal,
        count: 37,
        limit: 600,
        window_ms: 60_000,
    };
    let until_ms = MORNING_MS + 60_000;
    let commands = vec![
        lab.charged(charge, Op::Lease { node: 3 }),
        lab.charged(charge, Op::Lease { node: 1000 }),
        Command { payment: Payment::Paid { until_ms }, ..lab.command(put("paid", 0, 2, "zero")) },
    ];
    Proposal { stamp_ms: MORNING_MS, rules: rules(), commands: owned(commands), ..Proposal::default() }
}

fn sample_state() -> State {
    state_of(sample())
}

fn state_of(proposal: Proposal) -> State {
    let mut state = State::default();
    let (answers, _) = state.apply(proposal);
    assert!(answers.iter().all(|answer| answer.outcome.is_ok()));
    state
}

fn written(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.write_to(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_snapshot_comes_back_whole() {
    let state = sample_state();
    audit(&state);
    assert_eq!(written(&reread(&state)), written(&state));
    audit(&State::default());
}

/// Notes at each write whether somebody else still holds the bytes.
struct Watching {
    written: Vec<u8>,
    bytes: Bytes,
    alone: Vec<bool>,
}

impl std::io::Write for Watching {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.alone.push(self.bytes.is_unique());
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_written_out_is_the_same_and_is_let_go_of_on_the_way() {
    let mut lab = Lab::new();
    let commands = (0..9).map(|index| lab.command(put("a", index, 9, &format!("chunk {index}")))).collect();
    let state = state_of(Proposal { commands, ..sample() });
    let expected = written(&state);
    let bytes = state.ctx.blobs.iter().next().expect("it has bodies").2.bytes().clone();
    let mut out = Watching { written: Vec::new(), bytes, alone: Vec::new() };
    state.write_out(&mut out).unwrap();
    assert_eq!(out.written, expected);
    assert!(!out.alone[0]);
    let freed = out.alone.iter().position(|alone| *alone).expect("it is let go of");
    assert!(freed < 5, "at write {freed} of {}", out.alone.len());
}

#[test]
fn a_snapshot_of_a_clone_is_not_disturbed() {
    let mut state = sample_state();
    let view = state.clone();
    let before = written(&view);
    state.apply(Proposal { stamp_ms: u64::MAX / 2, ..Proposal::default() });
    assert_ne!(written(&state), before);
    assert_eq!(written(&view), before);
}

#[test]
fn a_body_is_written_once_however_often_it_is_stored() {
    let mut lab = Lab::new();
    let text = "a body that is stored thrice";
    lab.ask(put("a", 0, 2, text)).unwrap();
    lab.ask(put("b", 0, 1, text)).unwrap();
    let take = lab.memoed("mine", about("a", Action::Take));
    lab.carry_out(take);
    lab.apply(vec![(1, 99)], Vec::new());
    let bytes = written(&lab.state);
    let times = bytes.windows(text.len()).filter(|it| *it == text.as_bytes()).count();
    assert_eq!(times, 1);
}

#[test]
fn no_flipped_bit_and_no_missing_byte_goes_unnoticed() {
    let bytes = written(&sample_state());
    for place in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << (place % 8);
        assert!(State::read_from(&mut flipped.as_slice()).is_err(), "byte {place}");
        assert!(State::read_from(&mut &bytes[..place]).is_err(), "cut at {place}");
    }
}

#[test]
fn a_false_checksum_and_a_foreign_file_are_told_apart() {
    let mut bytes = written(&sample_state());
    *bytes.last_mut().unwrap() ^= 1;
    assert!(matches!(State::read_from(&mut bytes.as_slice()), Err(Error::Checksum)));
    bytes[7] += 1;
    assert!(matches!(State::read_from(&mut bytes.as_slice()), Err(Error::Version)));
    assert!(matches!(State::read_from(&mut &bytes[..3]), Err(Error::Io(_))));
}

#[test]
fn reading_stops_where_the_snapshot_ends() {
    let bytes = [written(&sample_state()), b"more".to_vec()].concat();
    let mut rest = bytes.as_slice();
    State::read_from(&mut rest).unwrap();
    assert_eq!(rest, b"more");
}

/// The golden file of a version; written first if it is the newest one's and was asked for.
fn golden(kind: &str, version: u8, newest: (u8, &[u8])) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let path = folder.join(format!("{kind}-v{version}.bin"));
    let asked = std::env::var("CONCLAVE_GOLDEN").is_ok_and(|it| it == "write");
    if asked && version == newest.0 && !path.exists() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&path, newest.1).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn what_an_older_version_wrote_is_refused_by_its_version() {
    for version in 1..*snapshot::READ.start() {
        for kind in ["snapshot", "snapshot-sockets"] {
            let file = golden(kind, version, (snapshot::WRITTEN, &[]));
            assert!(matches!(State::read_from(&mut file.as_slice()), Err(Error::Version)));
        }
    }
    for version in 1..*codec::READ.start() {
        for kind in ["proposal", "proposal-sockets"] {
            let file = golden(kind, version, (codec::WRITTEN, &[]));
            assert_eq!(Proposal::decode(&file[4..], Bytes::new()), Err(codec::Error::Version(version)));
        }
    }
}

#[test]
fn golden_snapshots_stay_readable() {
    snapshot_stays_readable("snapshot", &sample_state());
    snapshot_stays_readable("snapshot-sockets", &state_of(sockets()));
    snapshot_stays_readable("snapshot-tokens", &state_of(tokens()));
}

fn snapshot_stays_readable(kind: &str, state: &State) {
    let bytes = written(state);
    for version in snapshot::READ {
        let file = golden(kind, version, (snapshot::WRITTEN, &bytes));
        let read = State::read_from(&mut file.as_slice()).unwrap();
        assert_eq!(read.counts(), state.counts(), "version {version}");
        assert_eq!(read.stored_bytes(), state.stored_bytes(), "version {version}");
        assert_eq!(read.fingerprint(), state.fingerprint(), "version {version}");
    }
    assert!(golden(kind, snapshot::WRITTEN, (snapshot::WRITTEN, &bytes)) == bytes, "the format changed");
}

#[test]
fn golden_proposals_stay_readable() {
    proposal_stays_readable("proposal", &sample());
    proposal_stays_readable("proposal-sockets", &sockets());
    proposal_stays_readable("proposal-tokens", &tokens());
}

fn proposal_stays_readable(kind: &str, proposal: &Proposal) {
    let encoded = Proposal { version: codec::WRITTEN, ..proposal.clone() }.encode();
    let len = u32::try_from(encoded.header.len()).unwrap().to_le_bytes();
    let bytes = [&len[..], &encoded.header, &encoded.payload()].concat();
    for version in codec::READ {
        let file = golden(kind, version, (codec::WRITTEN, &bytes));
        let (len, rest) = file.split_first_chunk().unwrap();
        let (header, payload) = rest.split_at(u32::from_le_bytes(*len) as usize);
        let read = Proposal::decode(header, Bytes::copy_from_slice(payload)).unwrap();
        assert_eq!(read, Proposal { version, ..proposal.clone() });
    }
    assert!(golden(kind, codec::WRITTEN, (codec::WRITTEN, &bytes)) == bytes, "the format changed");
}
