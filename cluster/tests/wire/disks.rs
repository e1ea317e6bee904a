//! Which disk a node id is bound to, and what becomes of a peer that has another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use conclave_cluster::wire::{Error, Frame, Lane, Options, Outgoing, PeerId, Phase, Reason, Service};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::logs::Logs;
use crate::support::{Node, answer, echo, options, request, until};

/// An echo that has every id but its own bound to one disk; 0 stands for none.
#[derive(Default)]
struct Bound(AtomicU64);

impl Service for Bound {
    fn serve(&self, _: PeerId, request: Frame) -> BoxFuture<'static, Outgoing> {
        async move { answer(request) }.boxed()
    }

    fn disk_of(&self, _: PeerId) -> Option<u128> {
        Some(self.0.load(Ordering::Relaxed)).filter(|disk| *disk != 0).map(u128::from)
    }
}

fn bound(disk: u64) -> Arc<Bound> {
    Arc::new(Bound(AtomicU64::new(disk)))
}

fn on(id: u64, disk: u128) -> Options {
    Options { storage: disk, ..options(id) }
}

async fn call(from: &Node, to: &Node) -> Result<(), Error> {
    from.call(to, Lane::Control, request(1)).await.map(drop)
}

#[tokio::test]
async fn a_peer_with_another_disk_is_refused_both_ways_and_each_side_says_whose_it_is() {
    let (logs, _guard) = Logs::listen();
    let node = Node::start(on(1, 10), bound(20)).await;
    let (right, wrong) = (Node::start(on(2, 20), echo()).await, Node::start(on(3, 30), echo()).await);
    for (from, to) in [(&node, &right), (&right, &node)] {
        call(from, to).await.unwrap();
    }
    for _ in 0..3 {
        assert_eq!(call(&wrong, &node).await, Err(Error::Refused(Reason::Reused)));
        assert_eq!(call(&node, &wrong).await, Err(Error::Refused(Reason::Disk)));
    }
    assert_eq!(
        logs.count("its node id is bound to another disk"),
        2,
        "as an acceptor and as a dialer, once each"
    );
    until(async || wrong.links.was_told_reused()).await;
    assert!(!node.links.was_told_reused() && !right.links.was_told_reused());
    until(async || logs.count("peer refused this node") == 1).await;
    assert_eq!(logs.count("it knows this node's id as bound to another disk"), 2);
}

#[tokio::test]
async fn one_that_was_let_in_while_nothing_was_bound_is_sent_away_with_its_next_word() {
    let knows = bound(0);
    let node = Node::start(on(1, 10), knows.clone()).await;
    let other = Node::start(on(2, 20), echo()).await;
    call(&other, &node).await.unwrap();
    call(&node, &other).await.unwrap();

    knows.0.store(21, Ordering::Relaxed);

    assert!(call(&other, &node).await.is_err(), "not one request more is served");
    assert!(call(&node, &other).await.is_err(), "and no answer taken");
    until(async || other.health(&node, Lane::Control).phase == Phase::Waiting(Some(Reason::Reused))).await;
    until(async || node.health(&other, Lane::Control).phase == Phase::Waiting(Some(Reason::Disk))).await;
}

#[tokio::test]
async fn one_that_was_let_in_while_nothing_was_bound_stays_if_it_is_the_right_one() {
    let knows = bound(0);
    let node = Node::start(on(1, 10), knows.clone()).await;
    let other = Node::start(on(2, 20), echo()).await;
    for disk in [0, 20] {
        knows.0.store(disk, Ordering::Relaxed);
        call(&other, &node).await.unwrap();
        call(&node, &other).await.unwrap();
    }
    assert_eq!(
        (other.health(&node, Lane::Control).connects, node.health(&other, Lane::Control).connects),
        (1, 1)
    );
}
