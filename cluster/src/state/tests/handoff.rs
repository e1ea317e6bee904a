//! Slots that go from cell to cell: the rules one by one here, random histories in `wandering`, random failures in `movers`.

mod movers;
mod wandering;

use super::super::handoff::{Op as Handoff, Outcome as HandedOff, Refusal as NotHandedOff};
use super::super::limits::{SLOT_PART_BYTES_MAX, SLOT_PARTS_MAX};
use super::super::slot::{CellId, Slot};
use super::super::slot_table::Standing;
use super::super::{incarnation, room, socket, transfer};
use super::transfer::{about, put};
use super::*;

const ONE: CellId = CellId::FIRST;
const TWO: CellId = CellId::of(2);

/// A cell that was founded later.
fn second() -> Lab {
    let mut cell = Lab::new();
    administer(&mut cell, Handoff::Begin).unwrap();
    cell
}

/// Asks something about slots, as an origin that no history has.
fn administer(cell: &mut Lab, op: Handoff) -> Result<Outcome, Refusal> {
    let command = cell.command(op);
    let id = RequestId { origin: 99, ..command.id };
    cell.carry_out(Command { id, ..command }).outcome
}

fn slot() -> Slot {
    Key::derive(Domain::Transfer, &[b"t"]).slot()
}

/// What a slot holds, in parts of so many bytes.
fn parts(cell: &Lab, slot: Slot, len: usize) -> Vec<Body> {
    let bytes = Bytes::from(cell.state.export(slot));
    let starts = (0..bytes.len()).step_by(len);
    starts.map(|start| Body::new(bytes.slice(start..bytes.len().min(start + len)))).collect()
}

fn import(slot: Slot, epoch: u64, run: u64, parts: &[Body]) -> Vec<Handoff> {
    let ops = parts.iter().enumerate().map(|(part, bytes)| Handoff::Import {
        slot,
        epoch,
        run,
        part: part as u32,
        last: part + 1 == parts.len(),
        bytes: bytes.clone(),
    });
    ops.collect()
}

/// The whole move of a slot.
fn hand_over(slot: Slot, from: &mut Lab, to: &mut Lab, name: CellId, len: usize) {
    let epoch = from.state.slots.get(slot).epoch + 1;
    assert_eq!(administer(from, Handoff::Seal { slot, epoch, to: name }), Ok(HandedOff::Sealed.into()));
    let ops = import(slot, epoch, 1, &parts(from, slot, len));
    let last = ops.len() - 1;
    for (part, op) in ops.into_iter().enumerate() {
        let outcome = if part == last { HandedOff::Imported } else { HandedOff::Taken };
        assert_eq!(administer(to, op), Ok(outcome.into()));
    }
    assert_eq!(administer(from, Handoff::Forget { slot, epoch }), Ok(HandedOff::Forgotten.into()));
}

/// The refusal of a cell that does not hold the slot.
fn moved(epoch: u64, to: Option<CellId>) -> Refusal {
    Refusal::Moved { slot: slot(), epoch, to }
}

#[test]
fn a_slot_is_served_by_the_cell_that_holds_it_and_no_other_names_a_wrong_answer() {
    let (mut one, mut two) = (Lab::new(), second());
    one.ask(put("t", 0, 2, "zero")).unwrap();
    assert_eq!(two.ask(about("t", transfer::Action::Take)), Err(moved(0, None)));

    hand_over(slot(), &mut one, &mut two, TWO, SLOT_PART_BYTES_MAX);

    let take = |cell: &mut Lab| cell.ask(about("t", transfer::Action::Take));
    assert_eq!(take(&mut one), Err(moved(1, Some(TWO))));
    let chunk = Outcome::Transfer(transfer::Outcome::Chunk {
        index: 0,
        total: 2,
        encoding: transfer::Encoding::Text,
        body: body("zero"),
    });
    assert_eq!(take(&mut two), Ok(chunk));
    assert_eq!((one.state.stored_bytes(), one.state.counts().bodies), (0, 0), "nothing is left");
}

#[test]
fn nobody_serves_a_slot_on_its_way() {
    let (mut one, mut two) = (Lab::new(), second());
    one.ask(put("t", 0, 2, "zero")).unwrap();
    one.ask(Handoff::Seal { slot: slot(), epoch: 1, to: TWO }).unwrap();
    assert_eq!(one.ask(put("t", 1, 2, "one")), Err(moved(1, Some(TWO))));
    let ops = import(slot(), 1, 7, &parts(&one, slot(), 40));
    assert!(ops.len() > 2);
    for op in ops {
        assert_ne!(two.state.slots.get(slot()).standing, Standing::Open);
        two.ask(op).unwrap();
        audit(&two.state);
    }
    two.ask(put("t", 1, 2, "one")).unwrap();
}

#[test]
fn a_refusal_is_remembered_although_the_slot_comes_back() {
    let (mut one, mut two) = (Lab::new(), second());
    let early = two.command(put("t", 0, 1, "zero"));
    let refused = two.carry_out(early.clone());
    assert_eq!(refused.outcome, Err(moved(0, None)));
    hand_over(slot(), &mut one, &mut two, TWO, SLOT_PART_BYTES_MAX);
    assert_eq!(two.carry_out(early), refused, "under its id it is carried out nowhere else, so not here");
    assert_eq!(two.state.counts().transfers, 0);
}

#[test]
fn a_client_whose_window_is_elsewhere_is_charged_nothing_here() {
    let (mut one, mut two) = (Lab::new(), second());
    let client = Key::placed(slot(), Domain::Client, &[b"client"]);
    let charge =
        Charge { client, tier: super::super::allowance::Tier::Chunk, count: 1, limit: 9, window_ms: 60_000 };
    let other = (0..)
        .map(|name: u32| name.to_string())
        .find(|name| Key::derive(Domain::Transfer, &[name.as_bytes()]).slot() != slot());
    let other = other.unwrap();
    hand_over(slot(), &mut one, &mut two, TWO, SLOT_PART_BYTES_MAX);
    let command = one.charged(charge, put(&other, 0, 1, "zero"));
    assert_eq!(one.carry_out(command).outcome, Err(moved(1, Some(TWO))));
    assert_eq!(one.state.counts().transfers, 0, "and it was not carried out");
}

#[test]
fn a_slot_is_sealed_once_an_epoch_and_only_where_it_is() {
    let (mut one, mut two) = (Lab::new(), second());
    let seal = |epoch, to| Handoff::Seal { slot: slot(), epoch, to };
    assert_eq!(two.ask(seal(1, ONE)), Err(NotHandedOff::NotOpen.into()));
    assert_eq!(one.ask(seal(2, TWO)), Err(NotHandedOff::NotOpen.into()));
    assert_eq!(one.ask(seal(1, TWO)), Ok(HandedOff::Sealed.into()));
    assert_eq!(one.ask(seal(1, TWO)), Ok(HandedOff::Sealed.into()), "said again");
    assert_eq!(one.ask(seal(1, CellId::of(3))), Err(NotHandedOff::NotOpen.into()));
    assert_eq!(one.ask(Handoff::Forget { slot: slot(), epoch: 0 }), Ok(HandedOff::Forgotten.into()));
    assert_eq!(one.state.slots.get(slot()).standing, Standing::Sealed(TWO), "another move was meant");
}

#[test]
fn a_slot_that_was_sealed_for_a_cell_that_is_gone_is_served_again_once() {
    let mut one = Lab::new();
    one.ask(put("t", 0, 2, "zero")).unwrap();
    one.ask(Handoff::Seal { slot: slot(), epoch: 1, to: TWO }).unwrap();
    assert_eq!(one.ask(Handoff::Reopen { slot: slot(), epoch: 2 }), Err(NotHandedOff::NotOpen.into()));
    assert_eq!(one.ask(Handoff::Reopen { slot: slot(), epoch: 1 }), Ok(HandedOff::Reopened.into()));
    assert_eq!(one.ask(Handoff::Reopen { slot: slot(), epoch: 1 }), Err(NotHandedOff::NotOpen.into()));
    assert!(one.ask(about("t", transfer::Action::Take)).is_ok(), "and holds what it held");
    assert_eq!(one.ask(Handoff::Seal { slot: slot(), epoch: 3, to: TWO }), Ok(HandedOff::Sealed.into()));
}

#[test]
fn a_slot_is_sealed_for_no_cell_but_the_one_where_the_placement_has_it() {
    use super::super::placement::{Change, Op as Placement};

    let mut one = Lab::new();
    one.ask(Op::Placement(Placement::Place { node: 2, peer: "two:1".into() })).unwrap();
    let change = |epoch, change| Op::Placement(Placement::Change { epoch, change });
    one.ask(change(1, Change::Open { cell: TWO, seats: vec![2] })).unwrap();
    let seal = |to| Handoff::Seal { slot: slot(), epoch: 1, to };
    assert_eq!(one.ask(seal(TWO)), Err(NotHandedOff::Unplaced.into()));
    let allot = |epoch, to| change(epoch, Change::Allot(vec![(slot(), to)]));
    one.ask(allot(2, TWO)).unwrap();
    one.ask(allot(3, ONE)).unwrap();
    assert_eq!(one.ask(seal(TWO)), Err(NotHandedOff::Unplaced.into()), "as it was placed before");
    one.ask(allot(4, TWO)).unwrap();
    assert_eq!(one.ask(seal(TWO)), Ok(HandedOff::Sealed.into()));
}

#[test]
fn only_a_cell_without_anything_begins_without_slots() {
    let mut cell = Lab::new();
    cell.ask(put("t", 0, 1, "zero")).unwrap();
    assert_eq!(cell.ask(Handoff::Begin), Err(NotHandedOff::NotNew.into()));
    let mut cell = second();
    assert_eq!(cell.ask(Handoff::Begin), Err(NotHandedOff::NotNew.into()));
}

#[test]
fn parts_of_two_movers_are_not_mixed_and_a_mover_may_begin_again() {
    let (mut one, mut two) = (Lab::new(), second());
    one.ask(put("t", 0, 2, "zero")).unwrap();
    one.ask(Handoff::Seal { slot: slot(), epoch: 1, to: TWO }).unwrap();
    let parts = parts(&one, slot(), 64);
    let (mine, theirs) = (import(slot(), 1, 1, &parts), import(slot(), 1, 2, &parts));
    assert_eq!(two.ask(mine[1].clone()), Err(NotHandedOff::OutOfStep.into()));
    assert_eq!(two.ask(mine[0].clone()), Ok(HandedOff::Taken.into()));
    assert_eq!(two.ask(theirs[1].clone()), Err(NotHandedOff::OutOfStep.into()));
    assert_eq!(two.ask(theirs[0].clone()), Ok(HandedOff::Taken.into()));
    assert_eq!(two.ask(mine[1].clone()), Err(NotHandedOff::OutOfStep.into()));
    for op in &theirs[1..] {
        two.ask(op.clone()).unwrap();
    }
    for op in mine {
        assert_eq!(two.ask(op), Ok(HandedOff::Imported.into()), "it was carried out before");
    }
    assert_eq!(two.state.counts().chunks, 1);
}

#[test]
fn damaged_parts_are_noticed_and_leave_nothing() {
    let (mut one, mut two) = (Lab::new(), second());
    one.ask(put("t", 0, 2, "zero")).unwrap();
    one.ask(Handoff::Seal { slot: slot(), epoch: 1, to: TWO }).unwrap();
    let whole = one.state.export(slot());
    let deliver = |two: &mut Lab, run, bytes: Vec<u8>| {
        let ops = import(slot(), 1, run, &[Body::new(bytes.into())]);
        two.ask(ops[0].clone())
    };
    for place in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        assert_eq!(deliver(&mut two, 1, damaged), Err(NotHandedOff::Damaged.into()), "byte {place}");
        assert_eq!((two.state.stored_bytes(), two.state.counts().bodies), (0, 0), "byte {place}");
    }
    let elsewhere = Slot::all().find(|other| *other != slot()).unwrap();
    let other = import(elsewhere, 1, 1, &[Body::new(whole.clone().into())]);
    assert_eq!(two.ask(other[0].clone()), Err(NotHandedOff::Damaged.into()), "of another slot");
    assert_eq!(deliver(&mut two, 2, whole), Ok(HandedOff::Imported.into()));
}

#[test]
fn what_is_over_by_the_other_cells_clock_is_over_there() {
    let (mut one, mut two) = (Lab::new(), second());
    one.ask(put("t", 0, 2, "zero")).unwrap();
    two.wait(3_600_000);
    two.tick();
    hand_over(slot(), &mut one, &mut two, TWO, SLOT_PART_BYTES_MAX);
    assert_eq!(two.ask(about("t", transfer::Action::Take)), Ok(Outcome::Transfer(transfer::Outcome::Absent)));
    two.tick();
    assert_eq!(two.state.stored_bytes(), 0);
}

#[test]
fn a_connection_is_held_by_its_node_in_the_other_cell_as_well() {
    let (mut one, mut two) = (Lab::new(), second());
    let node = incarnation::Incarnation { node: 1, run: 7 };
    let at = incarnation::Attachment { incarnation: node, connection: 9 };
    let session = Key::derive(Domain::Socket, &[b"s"]);
    let room = Key::derive(Domain::Room, &[b"r"]);
    one.ask(incarnation::Op::Renew { incarnation: node, ttl_ms: 10_000 }).unwrap();
    two.ask(incarnation::Op::Renew { incarnation: node, ttl_ms: 5_000 }).unwrap();
    one.ask(socket::Op {
        key: session,
        action: socket::Action::Open { subject: None, at, lease_ms: 60_000 },
    })
    .unwrap();
    one.ask(room::Op {
        key: room,
        action: room::Action::Join { member: session, generation: Generation::first(1), at, grace_ms: 5_000 },
    })
    .unwrap();
    for slot in [session.slot(), room.slot()] {
        hand_over(slot, &mut one, &mut two, TWO, SLOT_PART_BYTES_MAX);
    }
    two.wait(9_000);
    assert_eq!(two.read(query::RoomNodes(room)), [1], "the later lease counts");
    assert!(two.read(query::Socket(session)).is_some_and(|view| view.connection == Some(9)));
    two.wait(2_000);
    assert_eq!(two.read(query::RoomNodes(room)), [] as [u64; 0]);
}

#[test]
fn a_turn_is_greater_than_all_before_though_the_slot_goes_to_a_cell_whose_clock_is_behind() {
    let (mut one, mut two) = (Lab::new(), second());
    one.wait(30_000);
    let incarnation = incarnation::Incarnation { node: 1, run: 7 };
    for cell in [&mut one, &mut two] {
        cell.ask(incarnation::Op::Renew { incarnation, ttl_ms: 60_000 }).unwrap();
    }
    let session = Key::derive(Domain::Socket, &[b"s"]);
    let begin = |cell: &mut Lab, connection| {
        let at = incarnation::Attachment { incarnation, connection };
        let open = socket::Action::Open { subject: None, at, lease_ms: 60_000 };
        match cell.ask(socket::Op { key: session, action: open }) {
            Ok(Outcome::Socket(socket::Outcome::Opened { generation })) => generation,
            other => panic!("not opened: {other:?}"),
        }
    };
    let before = begin(&mut one, 9);
    one.ask(socket::Op { key: session, action: socket::Action::Close { connection: 9 } }).unwrap();
    hand_over(session.slot(), &mut one, &mut two, TWO, SLOT_PART_BYTES_MAX);
    assert!(two.now_ms < one.now_ms);
    assert!(begin(&mut two, 10) > before);
}

#[test]
fn a_slot_has_only_so_many_parts() {
    let mut cell = second();
    let part = |part| Handoff::Import { slot: slot(), epoch: 1, run: 1, part, last: false, bytes: body("x") };
    let commands = (0..=SLOT_PARTS_MAX).map(|number| cell.command(part(number))).collect();
    let (answers, _) = cell.state.apply(Proposal { stamp_ms: MORNING_MS, commands, ..Proposal::default() });
    let taken = answers.iter().take_while(|answer| answer.outcome == Ok(HandedOff::Taken.into())).count();
    assert_eq!(taken, SLOT_PARTS_MAX as usize);
    assert_eq!(answers[taken].outcome, Err(NotHandedOff::OutOfStep.into()));
    audit(&cell.state);
}
