//! What queries add to what the nouns say; each noun's own queries are asked in that noun's tests.

use super::super::disk_binding;
use super::super::query::{Acknowledged, Fingerprint, Now, Totals, Transfer, UnlessRemembered};
use super::super::transfer::Action;
use super::transfer::{about, key, put};
use super::*;

#[test]
fn two_queries_are_answered_in_one_look() {
    let mut lab = Lab::new();
    lab.ask(put("t", 0, 1, "zero")).unwrap();
    let (transfer, (acknowledged, now_ms)) = lab.read((Transfer(key("t")), (Acknowledged(key("t")), Now)));
    assert_eq!((transfer.unwrap().total, acknowledged, now_ms), (1, false, lab.now_ms));
    lab.read(());
}

#[test]
fn what_is_remembered_goes_before_what_is_asked() {
    let mut lab = Lab::new();
    lab.ask(put("t", 0, 2, "zero")).unwrap();
    let take = lab.memoed("m", about("t", Action::Take));
    let name = take.idempotency_key.unwrap().key;
    let asked = |lab: &Lab, name| lab.read(UnlessRemembered(name, Transfer(key("t"))));
    assert!(asked(&lab, Some(name)).unwrap().unwrap().available);
    let answer = lab.carry_out(take);
    assert_eq!(asked(&lab, Some(name)), Err(Answer { replayed: true, ..answer }));
    assert!(!asked(&lab, None).unwrap().unwrap().available);
}

#[test]
fn the_salt_is_the_disk_of_the_lowest_node() {
    let mut lab = Lab::new();
    assert_eq!(lab.state.first_disk(), None);
    for (node, storage) in [(2, 20), (3, 30), (1, 10)] {
        lab.ask(Op::NodeIdentity(disk_binding::Op::Enroll { node, storage })).unwrap();
        assert_eq!(lab.state.first_disk(), Some(if node == 1 { 10 } else { 20 }));
    }
}

#[test]
fn totals_and_fingerprint_are_those_of_the_state() {
    let mut lab = Lab::new();
    let empty = lab.read(Fingerprint);
    let put = lab.memoed("m", put("t", 0, 1, "zero"));
    lab.carry_out(put);
    let totals = lab.read(Totals);
    assert_eq!((totals.counts, totals.stored_bytes), (lab.state.counts(), lab.state.stored_bytes()));
    assert!(totals.remembered_bytes > 0 && totals.next_expiry_ms == Some(MORNING_MS + 60_000));
    assert_ne!(lab.read(Fingerprint), empty);
}
