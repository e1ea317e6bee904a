//! What a command costs each replica: applied in batches of 64, at 20,000 a second of log time, with a clone of
//! the state taken after each batch as readers have it, and with whatever expires meanwhile.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use conclave_cluster::state::State;
use conclave_cluster::state::allowance::{Charge, Tier};
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::{Command, Op, Proposal};
use conclave_cluster::state::id::{Digest, Domain, Key, RequestId};
use conclave_cluster::state::leader_rules::{Owner, Rules, Shares};
use conclave_cluster::state::{mailbox, transfer};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const BATCH: u64 = 64;
const BATCH_US: u64 = BATCH * 50;
const CHUNKS: u64 = 16;
const TTL_MS: u32 = 2000;

/// A state under load: makes proposals, and knows how to time them alone.
struct Load {
    state: State,
    readers: State,
    now_us: u64,
    seq: u64,
}

impl Load {
    fn new() -> Self {
        Self { state: State::default(), readers: State::default(), now_us: 1_700_000_000_000_000, seq: 1 }
    }

    fn proposal(&mut self, op: impl Fn(u64) -> Op) -> Proposal {
        self.now_us += BATCH_US;
        let floor = self.seq.saturating_sub(4 * BATCH);
        let commands = (0..BATCH).map(|_| {
            let seq = self.seq;
            self.seq += 1;
            let client = Key::derive(Domain::Client, &[&(seq % 256).to_be_bytes()]);
            let charge = Charge { client, tier: Tier::Chunk, count: 1, limit: u32::MAX, window_ms: 60_000 };
            let owner = Some(Owner { client, group: None });
            Command {
                id: RequestId { origin: 1, seq },
                payment: charge.into(),
                owner,
                idempotency_key: None,
                op: op(seq),
            }
        });
        let commands = commands.collect();
        let floors = vec![(1, floor)];
        let shares = Some(Shares::of(u64::MAX, 20, 40, 10));
        let rules = Rules { storage_bytes_max: u64::MAX, shares, ..Rules::default() };
        Proposal { stamp_ms: self.now_us / 1000, rules, floors, commands, ..Proposal::default() }
    }

    fn apply(&mut self, proposal: Proposal) -> Duration {
        let begun = Instant::now();
        let done = self.state.apply(proposal);
        self.readers = self.state.clone();
        let took = begun.elapsed();
        assert!(done.0.iter().all(|answer| answer.outcome.is_ok()));
        took
    }
}

fn put(seq: u64, len: usize) -> Op {
    let mut bytes = vec![7; len];
    bytes[..8].copy_from_slice(&seq.to_be_bytes());
    let key = Key::derive(Domain::Transfer, &[&(seq / CHUNKS).to_be_bytes()]);
    let action = transfer::Action::Put {
        index: (seq % CHUNKS) as u16,
        total: Some(CHUNKS as u16),
        digest: Digest::of(&bytes),
        encoding: transfer::Encoding::Base64,
        body: Body::new(Bytes::from(bytes)),
    };
    Op::Transfer(transfer::Op { key, ttl_ms: TTL_MS, action })
}

fn take(seq: u64) -> Op {
    let key = Key::derive(Domain::Transfer, &[&(seq / CHUNKS).to_be_bytes()]);
    Op::Transfer(transfer::Op { key, ttl_ms: TTL_MS, action: transfer::Action::Take })
}

/// Pushes on even numbers and drains on odd ones, over a thousand mailboxes.
fn signal(seq: u64) -> Op {
    let key = Key::derive(Domain::Mailbox, &[&(seq / 2 % 1000).to_be_bytes()]);
    let action = if seq.is_multiple_of(2) {
        mailbox::Action::Push {
            from: "some-peer-with-a-name".into(),
            kind: mailbox::Kind::IceCandidate,
            payload: Body::new(Bytes::from(vec![b'x'; 300])),
            ttl_ms: 30_000,
        }
    } else {
        mailbox::Action::Drain { bytes_max: 1 << 20 }
    };
    Op::Mailbox(mailbox::Op { key, action })
}

fn apply(c: &mut Criterion) {
    let mut group = c.benchmark_group("apply");
    group.throughput(Throughput::Elements(1));
    for (name, len) in [("put 256 B", 256), ("put 44 kB", 44_000)] {
        let mut load = Load::new();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iters| {
                let batches = iters.div_ceil(BATCH);
                let took: Duration = (0..batches)
                    .map(|_| {
                        let proposal = load.proposal(|seq| put(seq, len));
                        load.apply(proposal)
                    })
                    .sum();
                took.mul_f64(iters as f64 / (batches * BATCH) as f64)
            });
        });
    }
    group.bench_function("take", |bencher| {
        bencher.iter_custom(|iters| {
            let batches = iters.div_ceil(BATCH);
            let mut took = Duration::ZERO;
            let mut load = Load::new();
            for _ in 0..batches {
                let first = load.seq;
                let proposal = load.proposal(|seq| put(seq, 256));
                load.apply(proposal);
                let proposal = load.proposal(|seq| take(first + (seq - first) % BATCH));
                took += load.apply(proposal);
            }
            took.mul_f64(iters as f64 / (batches * BATCH) as f64)
        });
    });
    group.bench_function("signal, push and drain in turn", |bencher| {
        let mut load = Load::new();
        bencher.iter_custom(|iters| {
            let batches = iters.div_ceil(BATCH);
            let took: Duration = (0..batches)
                .map(|_| {
                    let proposal = load.proposal(signal);
                    load.apply(proposal)
                })
                .sum();
            took.mul_f64(iters as f64 / (batches * BATCH) as f64)
        });
    });
    group.finish();
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Elements(BATCH));
    let proposal = Load::new().proposal(|seq| put(seq, 256));
    group.bench_function("encode 64 puts of 256 B", |bencher| bencher.iter(|| proposal.encode()));
    let encoded = proposal.encode();
    let payload = encoded.payload();
    group.bench_function("decode 64 puts of 256 B", |bencher| {
        bencher.iter(|| Proposal::decode(&encoded.header, payload.clone()).expect("encoded just now"));
    });
    group.finish();
}

fn snapshot(c: &mut Criterion) {
    let mut group = c.benchmark_group("snapshot");
    let mut load = Load::new();
    for _ in 0..100 {
        let proposal = load.proposal(|seq| put(seq, 8192));
        load.apply(proposal);
    }
    let mut bytes = Vec::new();
    load.state.write_to(&mut bytes).expect("a vector takes all");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("write 8 KiB chunks", |bencher| {
        bencher.iter(|| load.state.write_to(&mut std::io::sink()).expect("a sink takes all"));
    });
    group.bench_function("read 8 KiB chunks", |bencher| {
        bencher.iter(|| State::read_from(&mut bytes.as_slice()).expect("written just now"));
    });
    group.finish();
}

criterion_group!(benches, apply, codec, snapshot);
criterion_main!(benches);
