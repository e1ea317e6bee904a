//! What a stored thing takes of a node's memory is about what it is counted for.
//!
//! Each kind is stored many times over, and the resident memory of this process looked at before and after. The weights in
//! `state/weight.rs` are chosen by this. To see the figures:
//!
//! ```sh
//! cargo test --release -p conclave-cluster --test memory -- --nocapture
//! ```

#![cfg(target_os = "linux")]

use bytes::Bytes;
use conclave_cluster::state::State;
use conclave_cluster::state::allowance::{Charge, Tier};
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::{Command, IdempotencyKey, Op, Proposal};
use conclave_cluster::state::generation::Generation;
use conclave_cluster::state::id::{Digest, Domain, Key, RequestId};
use conclave_cluster::state::incarnation::{self, Attachment, Incarnation};
use conclave_cluster::state::leader_rules::{Owner, Rules};
use conclave_cluster::state::{
    device, invite_code, mailbox, mailbox_claim, negotiation, room, socket, ticket, transfer,
};

/// As the node has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whole batches of it, and of a twentieth.
const COUNT: u64 = 61_440;
const BATCH: u64 = 64;
const NOW_MS: u64 = 1_700_000_000_000;
const HOST: Incarnation = Incarnation { node: 1, run: 1 };

/// What is stored, under a name; how many clients store it; with an `Idempotency-Key`.
type Case = (&'static str, fn(u64) -> Op, Who);

#[derive(Clone, Copy, PartialEq)]
enum Who {
    One,
    Each,
    Charged,
    Remembered,
}

const CASES: &[Case] = &[
    ("transfer, empty", open, Who::One),
    ("transfer with one chunk of 8 bytes", |n| chunk(n, 0, 1, 8), Who::One),
    ("chunks of 100 bytes, 16 a transfer", |n| chunk(n / 16, n % 16, 16, 100), Who::One),
    ("chunks of 40,000 bytes, 64 a transfer", |n| chunk(n / 64, n % 64, 64, 40_000), Who::One),
    ("acknowledgement", acknowledge, Who::One),
    ("session with a pin", |n| create(n, true), Who::One),
    ("session", |n| create(n, false), Who::One),
    (
        "session with an offer of 600 bytes",
        |n| if n.is_multiple_of(2) { create(n / 2, false) } else { offer(n / 2) },
        Who::One,
    ),
    ("mailbox with one signal", |n| push(n), Who::One),
    ("signals, 16 a mailbox", |n| push(n / 16), Who::One),
    ("invite code", register, Who::One),
    ("device", enlist, Who::One),
    ("ticket", issue, Who::One),
    ("ticket, each of another client", issue, Who::Each),
    ("remembered acknowledgement", acknowledge, Who::Remembered),
    ("socket session in a room", socket_of, Who::One),
    ("room with a member", join, Who::One),
    ("room messages of 100 bytes", publish, Who::One),
    ("claim", take, Who::One),
    ("window", |_| Op::Spend, Who::Charged),
    ("window that a node leased of", |_| Op::Lease { node: 1 }, Who::Charged),
];

/// By how much what is counted may differ from what is taken.
const RATIOS: std::ops::RangeInclusive<f64> = 0.75..=1.25;
#[test]
fn what_is_counted_is_about_what_is_taken() {
    println!("{:<42} {:>9} {:>9} {:>6}", "one of", "counted", "resident", "ratio");
    let mut wrong = Vec::new();
    for (name, op, who) in CASES {
        let (counted, resident) =
            measure(if name.contains("40,000") { COUNT / 20 } else { COUNT }, *op, *who);
        let ratio = counted as f64 / resident as f64;
        println!("{name:<42} {counted:>9} {resident:>9} {ratio:>6.2}");
        if !RATIOS.contains(&ratio) {
            wrong.push(format!("{name}: {counted} bytes are counted, {resident} taken"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What so many of something are counted for, and what they take, each.
fn measure(count: u64, op: fn(u64) -> Op, who: Who) -> (u64, u64) {
    let mut state = State::default();
    let mut seq = 0;
    let renew = Op::Incarnation(incarnation::Op::Renew { incarnation: HOST, ttl_ms: 3_600_000 });
    apply(&mut state, &mut seq, vec![(0, renew)], Who::One);
    // So that what is allocated once is there.
    apply(&mut state, &mut seq, (0..BATCH).map(|n| (n, op(n + COUNT))).collect(), who);
    let (counted, resident) = (state.stored_bytes(), resident());
    for first in (0..count).step_by(BATCH as usize) {
        apply(&mut state, &mut seq, (first..first + BATCH).map(|n| (n, op(n))).collect(), who);
    }
    let (counted, resident) = (state.stored_bytes() - counted, self::resident() - resident);
    // It stays, so that the next one finds no memory that is free already.
    std::mem::forget(state);
    (counted / count, resident / count)
}

fn apply(state: &mut State, seq: &mut u64, asks: Vec<(u64, Op)>, who: Who) {
    let commands = asks.into_iter().map(|(n, op)| {
        *seq += 1;
        let client = Key::derive(Domain::Client, &[&n.to_be_bytes()]);
        let owner =
            Owner { client: if who == Who::Each { client } else { key(Domain::Client, 0) }, group: None };
        let charge = Charge { client, tier: Tier::Poll, count: 1, limit: 9, window_ms: 3_600_000 };
        Command {
            id: RequestId { origin: 1, seq: *seq },
            payment: (who == Who::Charged).then_some(charge).into(),
            owner: Some(owner),
            idempotency_key: (who == Who::Remembered)
                .then(|| IdempotencyKey { key: key(Domain::IdempotencyKey, n), ttl_ms: 3_600_000 }),
            op,
        }
    });
    let commands = commands.collect();
    let rules = Rules { storage_bytes_max: u64::MAX, ..Rules::default() };
    // As from a node that has all its answers but those of this batch.
    let floors = vec![(1, seq.saturating_sub(BATCH))];
    let (answers, _) =
        state.apply(Proposal { stamp_ms: NOW_MS, rules, floors, commands, ..Proposal::default() });
    assert!(answers.iter().all(|answer| answer.outcome.is_ok()), "{answers:?}");
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it says so");
    let kib = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
    kib << 10
}

fn key(domain: Domain, n: u64) -> Key {
    Key::derive(domain, &[&n.to_be_bytes()])
}

fn body(n: u64, len: usize) -> Body {
    let mut bytes = vec![b'x'; len.max(8)];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    bytes.truncate(len.max(1));
    Body::new(Bytes::from(bytes))
}

fn transfer(n: u64, action: transfer::Action) -> Op {
    Op::Transfer(transfer::Op { key: key(Domain::Transfer, n), ttl_ms: 3_600_000, action })
}

fn open(n: u64) -> Op {
    transfer(n, transfer::Action::Open { total: 3 })
}

fn chunk(n: u64, index: u64, total: u16, len: usize) -> Op {
    let body = body(n << 16 | index, len);
    let digest = Digest::of(body.bytes());
    let encoding = transfer::Encoding::Base64;
    transfer(n, transfer::Action::Put { index: index as u16, total: Some(total), digest, encoding, body })
}

fn acknowledge(n: u64) -> Op {
    transfer(n, transfer::Action::Acknowledge { existing: false })
}

fn session(n: u64, action: negotiation::Action) -> Op {
    Op::Negotiation(negotiation::Op { key: key(Domain::Negotiation, n), ttl_ms: 3_600_000, action })
}

fn create(n: u64, pinned: bool) -> Op {
    session(n, negotiation::Action::Create { id: n.into(), pin: pinned.then(|| key(Domain::Pin, n)) })
}

fn offer(n: u64) -> Op {
    session(n, negotiation::Action::Put { role: negotiation::Role::Offer, envelope: body(n, 600) })
}

fn push(n: u64) -> Op {
    let (from, kind, payload) = ("peer-12345678".to_owned(), mailbox::Kind::Ready, body(n, 2));
    let action = mailbox::Action::Push { from, kind, payload, ttl_ms: 3_600_000 };
    Op::Mailbox(mailbox::Op { key: key(Domain::Mailbox, n), action })
}

fn register(n: u64) -> Op {
    let action = invite_code::Action::Register { peer: "peer-12345678".into(), ttl_ms: 3_600_000 };
    Op::Rendezvous(invite_code::Op { key: key(Domain::Rendezvous, n), action })
}

fn enlist(n: u64) -> Op {
    let action = device::Action::Register {
        device_id: "phone".into(),
        onion: "abcdefghijklmnopqrstuvwxyz234567.onion".into(),
        port: Some(443),
        ttl_ms: 3_600_000,
    };
    Op::Device(device::Op { key: key(Domain::Devices, n), action })
}

fn issue(n: u64) -> Op {
    let action = ticket::Action::Issue { grant: body(n, 71), ttl_ms: 3_600_000 };
    Op::Ticket(ticket::Op { key: key(Domain::Ticket, n), action })
}

fn at(n: u64) -> Attachment {
    Attachment { incarnation: HOST, connection: n }
}

fn socket_of(n: u64) -> Op {
    let action = if n.is_multiple_of(2) {
        socket::Action::Open { subject: None, at: at(n / 2), lease_ms: 300_000 }
    } else {
        socket::Action::Enter { connection: n / 2, room: Some("lobby".into()) }
    };
    Op::Socket(socket::Op { key: key(Domain::Socket, n / 2), action })
}

fn join(n: u64) -> Op {
    let action = room::Action::Join {
        member: key(Domain::Socket, u64::MAX),
        generation: Generation::first(1),
        at: at(n),
        grace_ms: 10_000,
    };
    Op::Room(room::Op { key: key(Domain::Room, n), action })
}

fn publish(n: u64) -> Op {
    let member = key(Domain::Socket, u64::MAX);
    let room = key(Domain::Room, n / 64);
    let action = if n.is_multiple_of(64) {
        room::Action::Join { member, generation: Generation::first(1), at: at(n), grace_ms: 10_000 }
    } else {
        let keep = room::Keep { count: 1000, bytes: 1 << 20, age_ms: 3_600_000 };
        room::Action::Publish { member, message_id: Some(n), data: body(n, 100), keep }
    };
    Op::Room(room::Op { key: room, action })
}

fn take(n: u64) -> Op {
    let action = mailbox_claim::Action::Take {
        session: key(Domain::Socket, n),
        generation: None,
        at: at(n),
        lease_ms: 300_000,
        seize: false,
    };
    Op::Claim(mailbox_claim::Op { key: key(Domain::Mailbox, n), action })
}
