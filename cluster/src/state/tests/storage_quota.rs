use super::super::transfer::Action;
use super::super::weight::Kind;
use super::super::{device, invite_code, mailbox};
use super::transfer::{about, chunk, put};
use super::*;

fn full(lab: &mut Lab) {
    lab.storage_bytes_max = lab.state.stored_bytes();
}

#[test]
fn what_is_stored_is_counted_to_the_byte() {
    let mut lab = Lab::new();
    lab.ask(put("t", 0, 2, "four")).unwrap();
    let transfer = Kind::Transfer.bytes() + Kind::Chunk.bytes() + Kind::Body.bytes() + 4;
    assert_eq!(lab.state.stored_bytes(), transfer, "a transfer, a chunk, a body");
    lab.ask(put("t", 1, 2, "four")).unwrap();
    assert_eq!(lab.state.stored_bytes(), transfer + Kind::Chunk.bytes(), "one more chunk, the same body");
    lab.ask(about("u", Action::Acknowledge { existing: false })).unwrap();
    let acknowledged = Kind::Acknowledgement.bytes();
    assert_eq!(lab.state.stored_bytes(), transfer + Kind::Chunk.bytes() + acknowledged);
    lab.ask(about("t", Action::Discard)).unwrap();
    assert_eq!(lab.state.stored_bytes(), acknowledged);
}

#[test]
fn the_bound_is_reached_exactly_and_not_passed() {
    let mut lab = Lab::new();
    lab.storage_bytes_max = Kind::Transfer.bytes() + Kind::Chunk.bytes() + Kind::Body.bytes() + 4;
    assert_eq!(lab.ask(put("t", 0, 2, "five!")), Err(Refusal::StorageFull));
    assert_eq!((lab.state.stored_bytes(), lab.state.counts().transfers), (0, 0));
    assert!(lab.ask(put("t", 0, 2, "four")).is_ok());
    assert_eq!(lab.ask(put("t", 1, 2, "four")), Err(Refusal::StorageFull));
    assert_eq!(lab.ask(about("u", Action::Open { total: 1 })), Err(Refusal::StorageFull));
    assert_eq!(lab.ask(about("u", Action::Acknowledge { existing: false })), Err(Refusal::StorageFull));
}

#[test]
fn every_noun_keeps_to_the_bound() {
    let key = Key::derive(Domain::Mailbox, &[b"x"]);
    let (from, kind, payload) = ("a".to_owned(), mailbox::Kind::Bye, body("p"));
    let asks = [
        Op::Mailbox(mailbox::Op { key, action: mailbox::Action::Push { from, kind, payload, ttl_ms: 1 } }),
        Op::Rendezvous(invite_code::Op {
            key,
            action: invite_code::Action::Register { peer: "p".into(), ttl_ms: 1 },
        }),
        Op::Device(device::Op {
            key,
            action: device::Action::Register {
                device_id: "d".into(),
                onion: "o".into(),
                port: None,
                ttl_ms: 1,
            },
        }),
        Op::Negotiation(super::super::negotiation::Op {
            key,
            ttl_ms: 1,
            action: super::super::negotiation::Action::Create { id: 1, pin: Some(key) },
        }),
    ];
    for op in asks {
        let mut lab = Lab::new();
        lab.ask(op.clone()).unwrap();
        let needed = lab.state.stored_bytes();
        let mut lab = Lab::new();
        lab.storage_bytes_max = needed - 1;
        assert_eq!(lab.ask(op.clone()), Err(Refusal::StorageFull), "{op:?}");
        assert_eq!(lab.state.stored_bytes(), 0);
        lab.storage_bytes_max = needed;
        lab.ask(op).unwrap();
    }
}

#[test]
fn whatever_empties_the_storage_is_heard_when_it_is_full() {
    let mut lab = Lab::new();
    lab.ask(put("t", 0, 1, "zero")).unwrap();
    full(&mut lab);
    assert!(lab.ask(put("t", 0, 1, "zero")).is_ok(), "a duplicate stores nothing");
    let take = lab.memoed("mine", about("t", Action::Take));
    assert_eq!(lab.carry_out(take).outcome, chunk(0, 1, "zero"));
    assert!(lab.ask(about("t", Action::Touch)).is_ok());
    assert!(lab.ask(about("t", Action::Acknowledge { existing: false })).is_ok());
    assert!(lab.ask(about("t", Action::Discard)).is_ok());
}

#[test]
fn a_memo_is_stored_within_the_bound_and_its_refusal_is_not_kept() {
    let mut lab = Lab::new();
    lab.storage_bytes_max = Kind::Transfer.bytes() + Kind::Chunk.bytes() + Kind::Body.bytes() + 4;
    let put_one = lab.memoed("mine", put("t", 0, 1, "four"));
    assert_eq!(lab.carry_out(put_one).outcome, Err(Refusal::StorageFull));
    assert_eq!((lab.state.counts().idempotency_keys, lab.state.stored_bytes()), (0, 0));
    lab.storage_bytes_max += Kind::IdempotencyKey.bytes();
    let put_one = lab.memoed("mine", put("t", 0, 1, "four"));
    assert!(lab.carry_out(put_one).outcome.is_ok());
    assert_eq!(lab.state.stored_bytes(), lab.storage_bytes_max);
}

#[test]
fn drained_signals_stay_counted_while_a_memo_holds_them() {
    let mut lab = Lab::new();
    let key = Key::derive(Domain::Mailbox, &[b"x"]);
    let (from, kind, payload) = ("a".to_owned(), mailbox::Kind::Bye, body("payload"));
    lab.ask(mailbox::Op { key, action: mailbox::Action::Push { from, kind, payload, ttl_ms: 1000 } })
        .unwrap();
    let drain = lab.memoed("mine", mailbox::Op { key, action: mailbox::Action::Drain { bytes_max: 99 } });
    lab.carry_out(drain);
    let idempotency_key = Kind::IdempotencyKey.bytes() + Kind::Signal.bytes() + 8;
    assert_eq!(
        lab.state.stored_bytes(),
        Kind::Mailbox.bytes() + idempotency_key,
        "the head, and the memo with its signal"
    );
}
