//! Three nodes of the real thing on loopback, in one process: what is acknowledged anywhere is seen everywhere.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use conclave_cluster::raft::Timing;
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::{Digest, Domain, Key};
use conclave_cluster::state::leader_rules::Rules;
use conclave_cluster::state::limits::SLOT_PART_BYTES_MAX;
use conclave_cluster::state::outcome::Outcome;
use conclave_cluster::state::query;
use conclave_cluster::state::transfer::{self, Action, Encoding};
use conclave_cluster::{Cluster, Draft, Options, World};
use tempfile::TempDir;

struct Three {
    nodes: Vec<Cluster>,
    _dirs: Vec<TempDir>,
}

/// An address that is free and stays so: no connection begins at it, as at 127.0.0.1, and no other test has it.
fn free_address() -> String {
    static GIVEN: AtomicU8 = AtomicU8::new(0);
    let host = format!("127.0.42.{}", GIVEN.fetch_add(1, Ordering::Relaxed) + 1);
    TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().to_string()
}

impl Three {
    async fn start() -> Self {
        let members: BTreeMap<u64, String> = (1..=3).map(|id| (id, free_address())).collect();
        let dirs: Vec<TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
        let starting = members.keys().zip(&dirs).map(|(id, dir)| {
            let options = Options {
                node_id: *id,
                cluster_name: "three".to_owned(),
                listen: members[id].clone(),
                advertise: members[id].clone(),
                members: members.clone(),
                replicas: 3,
                rules: Rules { storage_bytes_max: 1 << 30, ..Rules::default() },
                deadline: Duration::from_secs(10),
                http_url: String::new(),
                admin_url: String::new(),
                timing: Timing::default(),
                slot_part_bytes: SLOT_PART_BYTES_MAX,
                tls: None,
                secrets: None,
                loopback_only: true,
            };
            let world = World::real(dir.path().to_owned(), &options).unwrap();
            Cluster::start(options, world)
        });
        let nodes = futures_util::future::try_join_all(starting).await.unwrap();
        Self { nodes, _dirs: dirs }
    }

    fn leader(&self) -> usize {
        let id = self.nodes.iter().find_map(Cluster::leader).unwrap();
        self.nodes.iter().position(|node| node.node_id() == id).unwrap()
    }
}

fn put(key: Key, index: u16, total: u16, bytes: &'static [u8]) -> Draft {
    let body = Body::new(Bytes::from_static(bytes));
    let action =
        Action::Put { index, total: Some(total), digest: Digest::of(bytes), encoding: Encoding::Text, body };
    Draft::of(Op::Transfer(transfer::Op { key, ttl_ms: 60_000, action }))
}

fn take(key: Key) -> Draft {
    Draft::of(Op::Transfer(transfer::Op { key, ttl_ms: 60_000, action: Action::Take }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_acknowledged_every_node_sees() {
    let three = Three::start().await;
    let key = Key::derive(Domain::Transfer, &[b"pin", b"hash"]);
    for (index, node) in three.nodes.iter().enumerate() {
        let answer = node.propose(put(key, index as u16, 3, b"chunk")).await.unwrap();
        assert_eq!(answer.outcome, Ok(Outcome::Transfer(transfer::Outcome::Stored)));
        for reader in &three.nodes {
            let seen = reader.read_linearizable(query::Transfer(key)).await.unwrap();
            assert_eq!(seen.unwrap().received, [(0, index as u16)]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_is_taken_once_whoever_asks() {
    let three = Three::start().await;
    let key = Key::derive(Domain::Transfer, &[b"pin", b"hash"]);
    for index in 0..30 {
        three.nodes[index % 3].propose(put(key, index as u16, 30, b"chunk")).await.unwrap();
    }
    let takes = (0..60).map(|n| three.nodes[n % 3].propose(take(key)));
    let answers = futures_util::future::try_join_all(takes).await.unwrap();
    let mut taken: Vec<u16> = answers
        .into_iter()
        .filter_map(|answer| match answer.outcome {
            Ok(Outcome::Transfer(transfer::Outcome::Chunk { index, .. })) => Some(index),
            _ => None,
        })
        .collect();
    taken.sort_unstable();
    assert_eq!(taken, (0..30).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_leaves_hands_over_and_nothing_is_lost() {
    let three = Three::start().await;
    let key = Key::derive(Domain::Transfer, &[b"pin", b"hash"]);
    three.nodes[0].propose(put(key, 0, 2, b"before")).await.unwrap();
    let leader = three.leader();
    three.nodes[leader].shutdown().await;
    let other = &three.nodes[(leader + 1) % 3];
    other.propose(put(key, 1, 2, b"after")).await.unwrap();
    let seen = other.read_linearizable(query::Transfer(key)).await.unwrap();
    assert_eq!(seen.unwrap().received, [(0, 1)]);
}
