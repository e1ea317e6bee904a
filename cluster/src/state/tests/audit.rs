//! The audit log.

use super::super::audit::{Action, Head, ORIGIN, Op as AuditOp, Outcome, View, hash};
use super::super::limits::AUDIT_ENTRIES_MAX;
use super::*;

fn log() -> Key {
    Key::derive(Domain::Audit, &[])
}

fn append(text: &str, keep_s: u32) -> AuditOp {
    AuditOp { key: log(), action: Action::Append { text: text.to_owned(), keep_s } }
}

fn entries(lab: &Lab, after: u64) -> Vec<View> {
    lab.read(query::AuditEntries(log(), Page { after, count_max: usize::MAX, bytes_max: usize::MAX }))
}

#[test]
fn each_entry_s_hash_covers_the_one_before() {
    let mut lab = Lab::new();
    let mut before = ORIGIN;
    assert_eq!(lab.read(query::AuditHead(log())), None);
    for (seq, text) in (1..).zip(["one", "two", "three"]) {
        lab.wait(5);
        before = hash(&before, seq, lab.now_ms, text);
        let head = Head { seq, hash: before };
        assert_eq!(lab.ask(append(text, 60)), Ok(Outcome::Appended(head).into()));
        assert_eq!(lab.read(query::AuditHead(log())), Some(head));
        assert_eq!(lab.effects, [Effect::Wake(Domain::Audit, log())]);
    }
    let all = entries(&lab, 0);
    assert_eq!(all.iter().map(|entry| entry.text.as_str()).collect::<Vec<_>>(), ["one", "two", "three"]);
    assert_eq!((all[0].before, all[1].before, all[2].hash), (ORIGIN, all[0].hash, before));
    assert_eq!(entries(&lab, 2), all[2..]);
}

#[test]
fn entries_end_and_the_head_stays() {
    let mut lab = Lab::new();
    lab.ask(append("short", 1)).unwrap();
    lab.ask(append("long", 60)).unwrap();
    let head = lab.read(query::AuditHead(log()));
    lab.wait(1000);
    assert_eq!(entries(&lab, 0).len(), 1);
    lab.wait(59_000);
    lab.tick();
    assert_eq!((entries(&lab, 0), lab.state.counts().audit_entries), (vec![], 0));
    assert_eq!(lab.read(query::AuditHead(log())), head);
}

#[test]
fn beyond_the_bound_the_oldest_goes_and_a_full_store_keeps_none_out() {
    let mut lab = Lab { storage_bytes_max: 0, ..Lab::new() };
    let commands = (0..=AUDIT_ENTRIES_MAX).map(|n| lab.command(append(&n.to_string(), 60))).collect();
    assert!(lab.apply(Vec::new(), commands).iter().all(|answer| answer.outcome.is_ok()));
    let kept = entries(&lab, 0);
    assert_eq!((kept.len(), kept[0].seq), (AUDIT_ENTRIES_MAX, 2));
    assert_eq!(lab.read(query::AuditHead(log())).map(|head| head.seq), Some(AUDIT_ENTRIES_MAX as u64 + 1));
}
