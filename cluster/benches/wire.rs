//! How many calls a second two nodes exchange, both on one thread and over real sockets.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conclave_cluster::wire::{Frame, Lane, Links, Options, Outgoing, PeerId, Service, Tcp, Transport};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::runtime::{Builder, Runtime};

/// Answers with the header alone.
struct Acknowledge;

impl Service for Acknowledge {
    fn serve(&self, _: PeerId, request: Frame) -> BoxFuture<'static, Outgoing> {
        async move { Outgoing { header: request.header.to_vec(), ..Outgoing::default() } }.boxed()
    }
}

/// Two nodes: the links of one, the address of the other, and what keeps that alive.
async fn pair() -> (Links, String, Links) {
    let (one, two) = (Options::new(1, "bench", 1), Options::new(2, "bench", 2));
    let listener = Tcp.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (one, two) = (Links::new(one, Arc::new(Tcp)), Links::new(two, Arc::new(Tcp)));
    two.serve(listener, Arc::new(Acknowledge));
    (one, address, two)
}

async fn call_all(links: &Links, address: &str, lane: Lane, count: usize, payload: &[Bytes]) {
    let calls = (0..count).map(|_| {
        let request = Outgoing { header: vec![7; 64], payload: payload.to_vec(), ..Outgoing::default() };
        links.call(2, address, lane, request, Duration::from_secs(10))
    });
    assert!(join_all(calls).await.iter().all(Result::is_ok));
}

fn calls(criterion: &mut Criterion) {
    let runtime: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (links, address, _other) = runtime.block_on(pair());
    let mut group = criterion.benchmark_group("wire");
    for count in [1, 16, 256] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("small calls, {count} at once"), |bencher| {
            bencher.iter(|| runtime.block_on(call_all(&links, &address, Lane::Control, count, &[])));
        });
    }
    let chunks = vec![Bytes::from(vec![1; 44_000]); 10];
    group.throughput(Throughput::Bytes(8 * 440_000));
    group.bench_function("ten chunks of 44 kB a call, 8 at once", |bencher| {
        bencher.iter(|| runtime.block_on(call_all(&links, &address, Lane::Bulk, 8, &chunks)));
    });
    group.finish();
}

criterion_group!(benches, calls);
criterion_main!(benches);
