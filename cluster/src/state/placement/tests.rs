//! The placement changes as it was decided, and only then.

use super::*;

fn placed(placement: &Placement) -> Vec<u64> {
    placement.fronts.keys().copied().collect()
}

#[test]
fn a_cluster_begins_with_its_fronts_once() {
    let mut placement = Placement::default();
    let found = |node| Op::Found { fronts: vec![(node, "a:1".to_owned())] };
    placement.carry_out(found(4)).unwrap();
    placement.carry_out(found(5)).unwrap();
    assert_eq!(placed(&placement), [4]);
    placement.carry_out(Op::Withdraw { node: 4 }).unwrap();
    placement.carry_out(found(4)).unwrap();
    assert_eq!(placed(&placement), [0; 0], "what was withdrawn does not come back by itself");
}

#[test]
fn fronts_are_bounded_and_an_address_may_change_at_the_bound() {
    let mut placement = Placement::default();
    let place = |node: usize, peer: &str| Op::Place { node: node as u64, peer: peer.to_owned() };
    for node in 0..FRONTS_MAX {
        placement.carry_out(place(node, "a:1")).unwrap();
    }
    assert_eq!(placement.carry_out(place(FRONTS_MAX, "a:1")), Err(Refusal::Full.into()));
    assert_eq!(placement.carry_out(place(0, "b:2")), Ok(Outcome::Placed));
    assert_eq!(placement.fronts.get(&0).map(String::as_str), Some("b:2"));
}

const SECOND: CellId = CellId::of(2);

/// A change that was decided by what there is now.
fn change(placement: &mut Placement, change: Change) -> Result<Outcome, outcome::Refusal> {
    let epoch = placement.epoch();
    placement.carry_out(Op::Change { epoch, change })
}

#[test]
fn fronts_become_a_cell_that_is_given_slots_and_closed_when_it_has_none() {
    let mut placement = Placement::default();
    for node in [4, 5, 6, 7] {
        placement.carry_out(Op::Place { node, peer: format!("n{node}:1") }).unwrap();
    }
    let outdated = Err(Refusal::Outdated.into());
    let open = |cell, seats: &[u64]| Change::Open { cell, seats: seats.to_vec() };
    for wrong in [open(CellId::of(3), &[4, 5, 6]), open(SECOND, &[4, 5, 9]), open(SECOND, &[])] {
        assert_eq!(change(&mut placement, wrong), outdated);
    }
    change(&mut placement, open(SECOND, &[4, 5, 6])).unwrap();
    assert_eq!((placed(&placement), placement.has(5)), (vec![7], true));
    let slot = Slot::try_from(9).unwrap();
    assert_eq!(change(&mut placement, Change::Allot(vec![(slot, CellId::of(3))])), outdated);
    change(&mut placement, Change::Allot(vec![(slot, SECOND)])).unwrap();
    assert_eq!(placement.plan(BTreeMap::new()).cell_of(slot), SECOND);
    assert_eq!(change(&mut placement, Change::Close { cell: SECOND }), outdated);
    change(&mut placement, Change::Allot(vec![(slot, CellId::FIRST)])).unwrap();
    change(&mut placement, Change::Close { cell: SECOND }).unwrap();
    assert!(!placement.has(5));
    placement.carry_out(Op::Place { node: 8, peer: "h:1".to_owned() }).unwrap();
    assert_eq!(change(&mut placement, open(SECOND, &[8])), outdated, "a number is not used again");
    change(&mut placement, open(CellId::of(3), &[8])).unwrap();
}

#[test]
fn what_was_decided_by_an_earlier_placement_does_not_happen() {
    let mut placement = Placement::default();
    placement.carry_out(Op::Place { node: 4, peer: "a:1".to_owned() }).unwrap();
    let late = Op::Change { epoch: 0, change: Change::Open { cell: SECOND, seats: vec![4] } };
    assert_eq!(placement.carry_out(late), Err(Refusal::Outdated.into()));
    assert_eq!(placed(&placement), [4]);
}

#[test]
fn who_sits_in_a_cell_is_no_front_and_who_sits_no_more_is_gone() {
    let mut placement = Placement::default();
    placement.carry_out(Op::Place { node: 4, peer: "a:1".to_owned() }).unwrap();
    let sit = |seats: &[u64]| Change::Sit {
        cell: CellId::FIRST,
        seats: seats.iter().map(|node| (*node, "a:1".to_owned())).collect(),
    };
    change(&mut placement, sit(&[1, 2, 4])).unwrap();
    assert_eq!(placed(&placement), [0; 0]);
    change(&mut placement, sit(&[1, 4])).unwrap();
    assert!(!placement.has(2) && placement.has(4));
}

#[test]
fn a_copy_is_taken_if_it_is_newer() {
    let mut first = Placement::default();
    first.carry_out(Op::Place { node: 4, peer: "a:1".to_owned() }).unwrap();
    let before = first.plan(BTreeMap::new());
    first.carry_out(Op::Withdraw { node: 4 }).unwrap();
    let mut copy = Placement::default();
    copy.carry_out(Op::Copy(first.plan(BTreeMap::new()))).unwrap();
    copy.carry_out(Op::Copy(before)).unwrap();
    assert_eq!(copy.plan(BTreeMap::new()), first.plan(BTreeMap::new()));
}
