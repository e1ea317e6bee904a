use proptest::prelude::*;

use super::super::body::Body;
use super::super::codec::{Error, READ, WRITTEN, decode_answers, encode_answers};
use super::super::leader_rules::{Ages, Group, Owner, Share, Shares};
use super::super::limits::{COMMANDS_PER_PROPOSAL_MAX, FLOORS_PER_PROPOSAL_MAX, NAME_BYTES_MAX};
use super::super::{invite_code, mailbox};
use super::histories::{command, history};
use super::transfer::put;
use super::*;

fn proposal(commands: Vec<Command>) -> Proposal {
    Proposal {
        stamp_ms: MORNING_MS,
        rules: Rules { storage_bytes_max: 1 << 30, ..Rules::default() },
        floors: vec![(1, 2), (u64::MAX, 3)],
        commands,
        ..Proposal::default()
    }
}

fn recoded(proposal: &Proposal) -> Result<Proposal, Error> {
    let encoded = proposal.encode();
    Proposal::decode(&encoded.header, encoded.payload())
}

fn two_puts() -> Proposal {
    let mut lab = Lab::new();
    proposal(vec![lab.command(put("t", 0, 2, "zero")), lab.command(put("t", 1, 2, "one"))])
}

#[test]
fn bodies_are_not_copied() {
    let encoded = two_puts().encode();
    let payload = encoded.payload();
    let decoded = Proposal::decode(&encoded.header, payload.clone()).unwrap();
    let (second, _) = decoded.commands[1].op.body().unwrap();
    assert_eq!(second.bytes().as_ptr(), payload[4..].as_ptr());
}

#[test]
fn what_is_too_short_or_too_long_or_of_another_version_is_refused() {
    let encoded = two_puts().encode();
    let payload = encoded.payload();
    let decode = |header: &[u8], payload: Bytes| Proposal::decode(header, payload).unwrap_err();
    assert_eq!(decode(&[], payload.clone()), Error::Malformed);
    for version in [READ.start() - 1, READ.end() + 1] {
        let header = [&[version], &encoded.header[1..]].concat();
        assert_eq!(decode(&header, payload.clone()), Error::Version(version));
    }
    assert_eq!(decode(&encoded.header, payload.slice(1..)), Error::Short);
    assert_eq!(decode(&encoded.header, [&payload[..], b"x"].concat().into()), Error::Trailing);
    assert_eq!(decode(&[&encoded.header[..], b"x"].concat(), payload.clone()), Error::Trailing);
    for len in 0..encoded.header.len() {
        assert_eq!(decode(&encoded.header[..len], payload.clone()), Error::Malformed);
    }
}

#[test]
fn limits_hold_before_anything_is_believed() {
    let mut lab = Lab::new();
    let big = Body::new(vec![0; 49_153].into());
    let mut too_big = put("t", 0, 1, "");
    if let super::super::transfer::Action::Put { body, .. } = &mut too_big.action {
        *body = big;
    }
    assert_eq!(recoded(&proposal(vec![lab.command(too_big)])), Err(Error::Limit));

    let action = invite_code::Action::Register { peer: "p".repeat(NAME_BYTES_MAX + 1), ttl_ms: 1 };
    let key = Key::derive(Domain::Rendezvous, &[]);
    let long = lab.command(Op::Rendezvous(invite_code::Op { key, action }));
    assert_eq!(recoded(&proposal(vec![long])), Err(Error::Limit));

    let spends = vec![lab.command(Op::Spend); COMMANDS_PER_PROPOSAL_MAX];
    assert!(recoded(&proposal(spends.clone())).is_ok());
    assert_eq!(recoded(&proposal([&spends[..], &spends[..1]].concat())), Err(Error::Malformed));
    let floors = vec![(1, 1); FLOORS_PER_PROPOSAL_MAX + 1];
    assert_eq!(recoded(&Proposal { floors, ..Proposal::default() }), Err(Error::Malformed));
}

#[test]
fn a_proposal_carries_its_version_to_apply() {
    for version in READ {
        let proposal = Proposal { version, ..two_puts() };
        assert_eq!(proposal.encode().header[0], version);
        assert_eq!(recoded(&proposal).unwrap().version, version);
    }
    assert_eq!(Proposal::default().version, WRITTEN);
}

fn answers(steps: Vec<super::histories::Step>) -> Vec<Answer> {
    let mut lab = Lab::new();
    let apply = |(dt, commands)| {
        lab.wait(dt);
        lab.apply(Vec::new(), commands)
    };
    steps.into_iter().flat_map(apply).collect()
}

proptest! {
    #[test]
    fn a_proposal_comes_back_as_it_went(commands in prop::collection::vec(command(), 0..8)) {
        let proposal = proposal(commands);
        let encoded = proposal.encode();
        prop_assert!(encoded.header.len() + encoded.payload().len() <= proposal.size());
        prop_assert_eq!(recoded(&proposal), Ok(proposal));
    }

    #[test]
    fn a_large_number_is_still_within_the_size(id in any::<(u64, u64)>(), charge in any::<[u32; 3]>(), ttl_ms in any::<u32>()) {
        let charge = super::super::allowance::Charge {
            client: Key::derive(Domain::Client, &[]),
            tier: super::super::allowance::Tier::Poll,
            count: charge[0], limit: charge[1], window_ms: charge[2],
        };
        let idempotency_key = IdempotencyKey { key: charge.client, ttl_ms };
        let op = put("t", 2000, 2047, "x").into();
        let id = RequestId { origin: id.0, seq: id.1 };
        let owner = Some(Owner { client: charge.client, group: Some(Group::Tenant { key: charge.client, percent: u8::MAX }) });
        let command = Command { id, payment: charge.into(), owner, idempotency_key: Some(idempotency_key), op };
        let share = Share { bytes: u64::MAX, keys: u32::MAX, mailboxes: u32::MAX, rooms: u32::MAX };
        let shares = Some(Shares { client: share, network: share, reserve_bytes: u64::MAX, reserve_client_bytes: u64::MAX });
        let ages = Ages { transfer_max_ms: u64::MAX, exchange_max_ms: u64::MAX };
        let rules = Rules { storage_bytes_max: u64::MAX, shares, ages };
        let encoded = Proposal { stamp_ms: u64::MAX, rules, commands: vec![command.clone()], ..Proposal::default() };
        prop_assert!(encoded.encode().header.len() < encoded.size());
    }

    #[test]
    fn answers_come_back_as_they_went(steps in history(command())) {
        let answers = answers(steps);
        let encoded = encode_answers(&answers);
        let size: usize = answers.iter().map(Answer::size).sum();
        prop_assert!(encoded.header.len() + encoded.payload().len() <= size + 16);
        prop_assert_eq!(decode_answers(&encoded.header, encoded.payload()), Ok(answers));
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut header in prop::collection::vec(any::<u8>(), 0..300), payload in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Some(version) = header.first_mut() {
            *version = WRITTEN;
        }
        let _ = Proposal::decode(&header, payload.clone().into());
        let _ = decode_answers(&header, payload.into());
    }

    #[test]
    fn damaged_bytes_never_panic(
        commands in prop::collection::vec(command(), 1..8),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let proposal = proposal(commands);
        let mut encoded = proposal.encode();
        let payload = encoded.payload();
        for (place, byte) in damage {
            let place = place.index(encoded.header.len());
            encoded.header[place] = byte;
        }
        if let Ok(damaged) = Proposal::decode(&encoded.header, payload) {
            let mut state = State::default();
            state.apply(damaged);
            audit(&state);
        }
    }
}

#[test]
fn a_drained_mailbox_at_its_bounds_comes_back() {
    let messages = (0..512).map(|seq| mailbox::Message {
        seq,
        from: "f".repeat(NAME_BYTES_MAX),
        kind: mailbox::Kind::Bye,
        payload: Body::new(vec![7; 8192].into()),
        at_ms: MORNING_MS,
        expires_ms: MORNING_MS,
    });
    let outcome = Ok(mailbox::Outcome::Messages(messages.collect()).into());
    let answers = vec![Answer { outcome, balance: None, replayed: false }];
    let encoded = encode_answers(&answers);
    assert_eq!(decode_answers(&encoded.header, encoded.payload()), Ok(answers));
}
