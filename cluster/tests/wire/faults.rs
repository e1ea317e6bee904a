//! Peers that die, vanish and come back.

use std::sync::Arc;
use std::time::Duration;

use conclave_cluster::wire::{Breaker, Error, Lane, Phase, Tcp};
use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::logs::Logs;
use crate::pipes::Pipes;
use crate::support::{Node, echo, gated, options, pair, request, until};

#[tokio::test]
async fn a_link_finds_a_restarted_peer_again() {
    let (one, two) = pair(echo()).await;
    one.call(&two, Lane::Control, request(1)).await.unwrap();
    let run = one.health(&two, Lane::Control).run;
    two.links.shutdown().await;
    until(async || one.call(&two, Lane::Control, request(1)).await.is_err()).await;

    let again = conclave_cluster::wire::Options { seed: 99, ..options(2) };
    let two = Node::start_on(&two.address, again, echo()).await;
    until(async || one.call(&two, Lane::Control, request(1)).await.is_ok()).await;
    let health = one.health(&two, Lane::Control);
    assert_eq!(health.connects, 2);
    assert_ne!(health.run, run, "another run of the peer is seen as such");
}

#[tokio::test]
async fn a_run_that_ended_is_told_from_one_that_goes_on() {
    let (one, two) = pair(echo()).await;
    let dying = async {
        until(async || one.health(&two, Lane::Control).phase == Phase::Connected).await;
        let run = one.health(&two, Lane::Control).run.unwrap();
        assert!(!one.links.has_ended(two.id, &two.address, run).await, "it listens");
        two.links.shutdown().await;
        run
    };
    let (lost, run) = tokio::join!(one.links.lost(two.id, &two.address), dying);
    assert_eq!(lost, Some(run));
    assert!(one.links.has_ended(two.id, &two.address, run).await, "nobody listens");

    let again = conclave_cluster::wire::Options { seed: 99, ..options(2) };
    let two = Node::start_on(&two.address, again, echo()).await;
    assert!(one.links.has_ended(two.id, &two.address, run).await, "another run listens");
    until(async || one.call(&two, Lane::Control, request(1)).await.is_ok()).await;
    let run = one.health(&two, Lane::Control).run.unwrap();
    assert!(!one.links.has_ended(two.id, &two.address, run).await);
}

#[tokio::test]
async fn a_run_behind_something_that_accepts_and_says_nothing_has_not_ended() {
    let one = Node::start(options(1), echo()).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let [silent_at, closing_at] = [&silent, &closing].map(|it| it.local_addr().unwrap().to_string());
    tokio::spawn(async move {
        while let Ok((stream, _)) = closing.accept().await {
            drop(stream);
        }
    });
    assert!(!one.links.has_ended(2, &silent_at, 7).await, "it may be slow");
    assert!(!one.links.has_ended(2, &closing_at, 7).await, "it may be a proxy");
}

#[tokio::test]
async fn calls_under_way_fail_when_the_peer_dies() {
    let (_gate, service) = gated();
    let (one, two) = pair(service).await;
    let dying = async {
        until(async || one.health(&two, Lane::Control).phase == Phase::Connected).await;
        two.links.shutdown().await;
    };
    let (result, ()) = tokio::join!(one.call(&two, Lane::Control, request(1)), dying);
    assert_eq!(result, Err(Error::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_not_there_is_tried_with_growing_pauses() {
    let pipes = Pipes::default();
    let one = Node::start_in(&pipes, options(1), echo()).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        let result = one.links.call(2, "nowhere", Lane::Control, request(1), Duration::from_secs(1)).await;
        assert!(matches!(result, Err(Error::Unreachable | Error::CircuitOpen)), "{result:?}");
        sleep(Duration::from_millis(10)).await;
    }
    // About six while the pause grows to a second, then one in half a second to a second.
    assert!((30..=70).contains(&pipes.attempts()), "{} attempts", pipes.attempts());
}

#[tokio::test(start_paused = true)]
async fn the_circuit_opens_after_failures_and_closes_after_a_probe() {
    let pipes = Pipes::default();
    let (gate, service) = gated();
    let one = Node::start_in(&pipes, options(1), echo()).await;
    let two = Node::start_in(&pipes, options(2), service).await;
    let patience = Duration::from_millis(100);
    for _ in 0..5 {
        let result = one.call_within(patience, &two, Lane::Control, request(1)).await;
        assert_eq!(result, Err(Error::TimedOut));
    }
    let call = || one.call_within(patience, &two, Lane::Control, request(1));
    assert_eq!(call().now_or_never(), Some(Err(Error::CircuitOpen)), "without any wait");

    // The first probe fails as well, and only one call at a time may probe.
    sleep(Duration::from_secs(1)).await;
    let (probe, other) = tokio::join!(call(), call());
    assert_eq!((probe, other), (Err(Error::TimedOut), Err(Error::CircuitOpen)));

    // One that is given up leaves the next to find out.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(call().now_or_never(), None);
    // Six gave up before, but their handlers took their places at the gate.
    gate.add_permits(100);
    assert!(call().await.is_ok());
    assert_eq!(one.health(&two, Lane::Control).breaker, Breaker::Closed { failures: 0 });
    assert!(call().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_circuit_closes_when_an_unreachable_peer_greets_again() {
    let pipes = Pipes::default();
    let one = Node::start_in(&pipes, options(1), echo()).await;
    let two = Node::start_in(&pipes, options(2), echo()).await;
    pipes.cut(true);
    until(async || one.call(&two, Lane::Control, request(1)).await == Err(Error::CircuitOpen)).await;
    pipes.cut(false);
    let healed = Instant::now();
    until(async || one.call(&two, Lane::Control, request(1)).await.is_ok()).await;
    assert!(healed.elapsed() <= Duration::from_millis(1100), "{:?}", healed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_falls_silent_is_dropped_and_made_anew() {
    let pipes = Pipes::default();
    let one = Node::start_in(&pipes, options(1), echo()).await;
    let two = Node::start_in(&pipes, options(2), echo()).await;
    one.call(&two, Lane::Control, request(1)).await.unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(one.health(&two, Lane::Control).connects, 1, "an idle connection stays");
    pipes.freeze();
    let frozen = Instant::now();
    let result = one.call_within(Duration::from_secs(30), &two, Lane::Control, request(1)).await;
    assert_eq!(result, Err(Error::Closed));
    assert!(frozen.elapsed() <= Duration::from_secs(4), "{:?}", frozen.elapsed());
    until(async || one.call(&two, Lane::Control, request(1)).await.is_ok()).await;
    assert_eq!(one.health(&two, Lane::Control).connects, 2);
}

#[tokio::test(start_paused = true)]
async fn a_silent_dialer_is_dropped_as_well() {
    let pipes = Pipes::default();
    let mut alone = options(2);
    alone.limits.connections_max = 1;
    let one = Node::start_in(&pipes, options(1), echo()).await;
    let two = Node::start_in(&pipes, alone, echo()).await;
    let three = Node::start_in(&pipes, options(3), echo()).await;
    one.call(&two, Lane::Control, request(1)).await.unwrap();
    pipes.cut(true);
    pipes.freeze();
    sleep(Duration::from_secs(5)).await;
    pipes.cut(false);
    drop(one);
    // The only place is free again.
    until(async || three.call(&two, Lane::Control, request(1)).await.is_ok()).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_dialed_whom_nobody_calls() {
    let pipes = Pipes::default();
    let one = Node::start_in(&pipes, options(1), echo()).await;
    let two = Node::start_in(&pipes, options(2), echo()).await;
    pipes.cut(true);
    assert_eq!(one.call(&two, Lane::Control, request(1)).await, Err(Error::Unreachable));
    sleep(Duration::from_secs(70)).await;
    assert_eq!(one.health(&two, Lane::Control).phase, Phase::Unused);
    let attempts = pipes.attempts();
    sleep(Duration::from_secs(1000)).await;
    assert_eq!(pipes.attempts(), attempts);
    pipes.cut(false);
    one.call(&two, Lane::Control, request(1)).await.expect("the call itself makes the attempt");
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_peer_is_told_of_the_lane_that_is_wanted() {
    let pipes = Pipes::default();
    let one = Node::start_in(&pipes, options(1), echo()).await;
    let two = Node::start_in(&pipes, options(2), echo()).await;
    one.call(&two, Lane::Control, request(1)).await.unwrap();
    assert_eq!(one.links.trouble(two.id), None);
    // Connections that are there stay, and none is made any more.
    pipes.cut(true);
    assert_eq!(one.call(&two, Lane::Bulk, request(1)).await, Err(Error::Unreachable));
    let trouble = one.links.trouble(two.id).unwrap();
    assert!(trouble.starts_with("bulk link: "), "{trouble}");
    sleep(Duration::from_secs(70)).await;
    assert_eq!(one.health(&two, Lane::Bulk).phase, Phase::Unused);
    assert_eq!(one.links.trouble(two.id), None, "nobody wants that lane any more");
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_said_to_answer_again_when_it_does_and_not_when_nobody_calls_it() {
    const AGAIN: &str = "peer is no longer given up";
    let (logs, _guard) = Logs::listen();
    let pipes = Pipes::default();
    let one = Node::start_in(&pipes, options(1), echo()).await;
    let two = Node::start_in(&pipes, options(2), echo()).await;
    let three = Node::start_in(&pipes, options(3), echo()).await;
    one.call(&three, Lane::Control, request(1)).await.unwrap();
    assert_eq!(logs.count(AGAIN), 0, "it never was given up");
    pipes.cut(true);
    until(async || one.call(&two, Lane::Control, request(1)).await == Err(Error::CircuitOpen)).await;
    assert_eq!(logs.count("peer does not answer"), 1);
    sleep(Duration::from_secs(70)).await;
    assert_eq!(one.health(&two, Lane::Control).phase, Phase::Unused);
    assert_eq!(logs.count(AGAIN), 0, "nobody called it any more, and it has said nothing");
    pipes.cut(false);
    one.call(&two, Lane::Control, request(1)).await.unwrap();
    one.call(&two, Lane::Control, request(1)).await.unwrap();
    assert_eq!(logs.count(AGAIN), 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_moved_is_found_at_its_new_address() {
    let pipes = Pipes::default();
    let one = Node::start_in(&pipes, options(1), echo()).await;
    let two = Node::start_in(&pipes, options(2), echo()).await;
    let wrong = one.links.call(2, "nowhere", Lane::Control, request(1), Duration::from_secs(1)).await;
    assert_eq!(wrong, Err(Error::Unreachable));
    until(async || one.call(&two, Lane::Control, request(1)).await.is_ok()).await;
    assert_eq!(one.health(&two, Lane::Control).address, two.address);
}

#[tokio::test]
async fn a_forgotten_peer_is_gone_until_called_again() {
    let (one, two) = pair(echo()).await;
    one.call(&two, Lane::Control, request(1)).await.unwrap();
    one.call(&two, Lane::Bulk, request(1)).await.unwrap();
    assert_eq!(one.links.peers().len(), 2);
    one.links.forget(two.id);
    assert!(one.links.peers().is_empty());
    one.call(&two, Lane::Control, request(1)).await.unwrap();
    assert_eq!(one.health(&two, Lane::Control).connects, 1);
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[tokio::test]
async fn shutdown_ends_every_task() {
    let (_gate, service) = gated();
    let (one, two) = pair(service).await;
    let stop = async {
        until(async || one.health(&two, Lane::Bulk).phase == Phase::Connected).await;
        assert!(tasks() > 4);
        one.links.shutdown().await;
        two.links.shutdown().await;
    };
    let (result, ()) = tokio::join!(one.call(&two, Lane::Bulk, request(1)), stop);
    assert_eq!(result, Err(Error::Closed));
    until(async || tasks() == 0).await;
    assert_eq!(one.call(&two, Lane::Bulk, request(1)).await, Err(Error::Closed));
    assert_eq!(one.call(&two, Lane::Control, request(1)).await, Err(Error::Closed));
}

#[tokio::test]
async fn dropping_the_last_handle_ends_every_task() {
    let (one, two) = pair(echo()).await;
    one.call(&two, Lane::Bulk, request(1)).await.unwrap();
    let clone = one.links.clone();
    drop((one, two));
    assert!(tasks() > 0);
    drop(clone);
    until(async || tasks() == 0).await;
}

#[tokio::test]
async fn shutdown_before_any_use_returns() {
    conclave_cluster::wire::Links::new(options(1), Arc::new(Tcp)).shutdown().await;
}
