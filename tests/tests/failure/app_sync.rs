//! The shipped app, which never asks twice, syncs while the leader is killed at a node that neither device uses.

use conclave_tests::app::{App, Pace};
use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::relay::Pair;
use conclave_tests::wait::eventually;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const KILLS: usize = 5;
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_error_is_seen_though_the_leader_dies_elsewhere_five_times() {
    // With everything as it comes: the app is no guest with privileges.
    let mut cluster = Cluster::builder().start().await;
    let third = cluster.leader().await;
    let (one, other) = cluster.two_followers().await;

    // A small vault and a larger one at the shipped pace, and large ones without a pause, one after the other, until all
    // the deaths are over.
    let device = |pace| (App::new(one.clone(), pace), App::new(other.clone(), pace));
    let (over, is_over) = watch::channel(false);
    let syncs = [
        tokio::spawn(sync(device(Pace::Shipped), KIB, is_over.clone())),
        tokio::spawn(sync(device(Pace::Shipped), MIB, is_over.clone())),
        tokio::spawn(sync(device(Pace::Hurried), 40 * MIB, is_over)),
    ];
    for _ in 0..KILLS {
        lead(&cluster, third).await;
        assert_undisturbed(&syncs);
        cluster.kill(third).await;
        assert_ne!(cluster.leader().await, third, "the others elect one of them");
        cluster.restart(third);
        cluster.wait_ready_at(third).await;
    }
    over.send_replace(true);
    for sync in syncs {
        assert!(sync.await.expect("no error is seen") > 0, "something was synced");
    }
}

/// Has a node lead, in good order.
async fn lead(cluster: &Cluster, id: u64) {
    eventually(READY, &format!("node {id} leads"), async || {
        let leader = cluster.leader().await;
        if leader == id {
            return Some(());
        }
        let admin = cluster.node(leader).admin.to_string();
        cluster.command(&["cluster", "transfer-leader", &id.to_string(), "--url", &admin]).await;
        None
    })
    .await;
}

/// Nobody has given up yet.
fn assert_undisturbed(syncs: &[JoinHandle<usize>]) {
    assert!(syncs.iter().all(|sync| !sync.is_finished()), "a device saw an error");
}

/// Syncs a vault of so many bytes to and fro until it is over, at least once, and returns how often.
async fn sync((mut from, mut to): (App, App), bytes: usize, over: watch::Receiver<bool>) -> usize {
    for turn in 1.. {
        let mut vault = vec![0; bytes];
        StdRng::seed_from_u64(turn as u64).fill(&mut vault[..]);
        let pair = Pair::fresh();
        let ((), received) = tokio::join!(from.send(&pair, &vault), to.receive(&pair));
        assert!(received == vault, "what arrives is what was sent");
        if *over.borrow() {
            return turn;
        }
        std::mem::swap(&mut from, &mut to);
    }
    unreachable!("it is over some time")
}
