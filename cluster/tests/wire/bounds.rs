//! Nothing grows without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use conclave_cluster::wire::{Error, Lane, Phase};
use futures_util::FutureExt;
use futures_util::future::join_all;

use crate::support::{Node, answer, echo, gated, large, options, pair, request, service, until};

#[tokio::test]
async fn a_request_larger_than_its_lane_is_not_sent() {
    let (one, two) = pair(echo()).await;
    assert_eq!(one.call(&two, Lane::Control, large(1, 1 << 20)).await, Err(Error::TooLarge));
    assert!(one.call(&two, Lane::Control, large(1, (1 << 20) - 100)).await.is_ok());
    assert_eq!(one.call(&two, Lane::Bulk, large(1, 8 << 20)).await, Err(Error::TooLarge));
}

#[tokio::test]
async fn an_answer_larger_than_its_lane_fails_its_call_only() {
    let service =
        service(|_, asked| async move { if asked.kind == 1 { large(1, 2 << 20) } else { answer(asked) } });
    let (one, two) = pair(service).await;
    assert_eq!(one.call(&two, Lane::Control, request(1)).await, Err(Error::TooLarge));
    assert!(one.call(&two, Lane::Control, request(2)).await.is_ok());
}

#[tokio::test]
async fn calls_beyond_the_bound_fail_at_once_and_a_dropped_call_makes_room() {
    let (gate, service) = gated();
    let mut few = options(1);
    few.limits.in_flight_max = 3;
    let one = Node::start(few, echo()).await;
    let two = Node::start(options(2), service).await;
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(Box::pin(one.call(&two, Lane::Control, request(1))));
        assert!(calls.last_mut().unwrap().now_or_never().is_none());
    }
    let beyond = one.call(&two, Lane::Control, request(1)).now_or_never();
    assert_eq!(beyond, Some(Err(Error::QueueFull)));
    assert_eq!(one.health(&two, Lane::Control).in_flight, 3);
    calls.pop();
    assert_eq!(one.health(&two, Lane::Control).in_flight, 2);
    calls.push(Box::pin(one.call(&two, Lane::Control, request(1))));
    gate.add_permits(3);
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    assert_eq!(one.health(&two, Lane::Control).in_flight, 0);
}

#[tokio::test]
async fn a_busy_service_stops_the_reading_then_the_callers() {
    let (gate, stuck) = gated();
    let working = Arc::new(AtomicUsize::new(0));
    let count = working.clone();
    let service = service(move |from, request| {
        count.fetch_add(1, Ordering::Relaxed);
        stuck.serve(from, request)
    });
    let mut narrow = options(2);
    narrow.limits.bulk_frame_bytes_max = 1 << 20;
    narrow.limits.bulk_queue_bytes_max = 3 << 20;
    narrow.limits.keep_alive = Duration::from_secs(30);
    let mut caller = narrow.clone();
    caller.node_id = 1;
    let one = Node::start(caller, echo()).await;
    let two = Node::start(narrow, service).await;

    gate.add_permits(1);
    one.call(&two, Lane::Bulk, request(0)).await.unwrap();
    let mut calls = Vec::new();
    // Everything between the two nodes fills up: the service's room, the sockets' buffers, the caller's queue.
    let full = loop {
        assert!(calls.len() < 100, "the queue has an end");
        let mut call = Box::pin(one.call(&two, Lane::Bulk, large(1, 900_000)));
        match (&mut call).now_or_never() {
            Some(result) => break result,
            None => calls.push(call),
        }
        // The service takes three; the others stay on their way to it.
        until(async || working.load(Ordering::Relaxed) == 1 + calls.len().min(3)).await;
    };
    assert_eq!(full, Err(Error::QueueFull));
    assert!(one.health(&two, Lane::Bulk).queued_bytes <= 3 << 20);
    assert_eq!(working.load(Ordering::Relaxed), 1 + 3, "three requests fit the service's 3 MiB");

    gate.add_permits(calls.len());
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    until(async || one.health(&two, Lane::Bulk).queued_bytes == 0).await;
}

#[tokio::test]
async fn more_connections_than_allowed_are_refused_with_a_reason() {
    let mut lonely = options(3);
    lonely.limits.connections_max = 1;
    let (one, two) = pair(echo()).await;
    let three = Node::start(lonely, echo()).await;
    one.call(&three, Lane::Control, request(1)).await.unwrap();
    let refused = two.call(&three, Lane::Control, request(1)).await;
    assert_eq!(refused, Err(Error::Refused(conclave_cluster::wire::Reason::Busy)));
    one.links.forget(three.id);
    until(async || two.call(&three, Lane::Control, request(1)).await.is_ok()).await;
    assert_eq!(two.health(&three, Lane::Control).phase, Phase::Connected);
}
