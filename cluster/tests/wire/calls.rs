//! Requests and their answers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use conclave_cluster::wire::{Error, Lane, Outgoing, Phase};
use futures_util::future::join_all;
use tokio::sync::Notify;

use crate::support::{Node, answer, echo, gated, large, options, pair, request, service, until};

#[tokio::test]
async fn a_call_is_answered() {
    let (one, two) = pair(echo()).await;
    let asked = Outgoing { kind: 7, cell: 3, ..request(7) };
    let answer = one.call(&two, Lane::Control, asked).await.unwrap();
    assert_eq!((answer.kind, answer.cell), (7, 3));
    assert_eq!((&answer.header[..], answer.payload.len()), (&b"header"[..], 0));
}

#[tokio::test]
async fn the_service_learns_who_asks() {
    let service = service(|from, request| async move {
        Outgoing { header: from.to_be_bytes().to_vec(), ..answer(request) }
    });
    let (one, two) = pair(service).await;
    for (caller, other) in [(&one, &two), (&two, &one)] {
        let answer = caller.call(other, Lane::Control, request(0)).await.unwrap();
        assert_eq!(answer.header, caller.id.to_be_bytes()[..]);
    }
}

#[tokio::test]
async fn large_bodies_travel_both_ways() {
    let (one, two) = pair(echo()).await;
    for (caller, other) in [(&one, &two), (&two, &one)] {
        let parts = (0..100u8).map(|n| Bytes::from(vec![n; 50_000])).collect::<Vec<_>>();
        let asked = Outgoing { payload: parts.clone(), ..request(9) };
        let answer = caller.call(other, Lane::Bulk, asked).await.unwrap();
        assert!(answer.payload == parts.concat());
    }
}

#[tokio::test]
async fn answers_come_in_any_order() {
    let first_may_go = Arc::new(Notify::new());
    let gate = first_may_go.clone();
    let service = service(move |_, request| {
        let gate = gate.clone();
        async move {
            match request.kind {
                1 => gate.notified().await,
                _ => gate.notify_one(),
            }
            answer(request)
        }
    });
    let (one, two) = pair(service).await;
    let first = one.call(&two, Lane::Control, request(1));
    let second = one.call(&two, Lane::Control, request(2));
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.unwrap().kind, second.unwrap().kind), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_reach_the_service_in_the_order_sent() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = seen.clone();
    let service = service(move |_, request| {
        notes.lock().unwrap().push(request.header.to_vec());
        async { answer(request) }
    });
    let (one, two) = pair(service).await;
    let sent = (0..1000u32).map(|n| n.to_be_bytes().to_vec()).collect::<Vec<_>>();
    one.call(&two, Lane::Bulk, Outgoing { header: sent[0].clone(), ..Outgoing::default() }).await.unwrap();
    let calls = sent[1..].iter().map(|header| {
        let payload = vec![Bytes::from(vec![0; header[3] as usize * 100])];
        one.call(&two, Lane::Bulk, Outgoing { header: header.clone(), payload, ..Outgoing::default() })
    });
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    assert!(*seen.lock().unwrap() == sent);
}

#[tokio::test]
async fn a_stuck_bulk_link_does_not_delay_control() {
    stuck_without_delay(Lane::Bulk, 3_000_000, Lane::Control).await;
}

#[tokio::test]
async fn a_stuck_snapshot_link_does_not_delay_entries() {
    stuck_without_delay(Lane::Snapshot, 150_000, Lane::Bulk).await;
}

/// Twenty calls on one lane wait for an answer, and a hundred on the other do not.
async fn stuck_without_delay(stuck: Lane, bytes: usize, free: Lane) {
    let (gate, gated) = gated();
    let service = service(move |from, request| {
        let waits = (request.kind == 2).then(|| gated.serve(from, request.clone()));
        async move {
            match waits {
                Some(waits) => waits.await,
                None => answer(request),
            }
        }
    });
    let (one, two) = pair(service).await;
    let waiting = join_all((0..20).map(|_| one.call(&two, stuck, large(2, bytes))));
    let passing = async {
        until(async || one.health(&two, stuck).phase == Phase::Connected).await;
        for _ in 0..100 {
            one.call_within(Duration::from_secs(1), &two, free, request(1)).await.unwrap();
        }
        gate.add_permits(20);
    };
    let (waiting, ()) = tokio::join!(waiting, passing);
    assert!(waiting.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_call_without_an_answer_times_out() {
    let (_gate, service) = gated();
    let (one, two) = pair(service).await;
    let result = one.call_within(Duration::from_millis(50), &two, Lane::Control, request(1)).await;
    assert_eq!(result, Err(Error::TimedOut));
    assert_eq!(one.health(&two, Lane::Control).in_flight, 0);
}

#[tokio::test]
async fn a_handler_that_panics_fails_its_call_only() {
    let service = service(|_, request| async {
        assert_ne!(request.kind, 13, "as the test wants");
        answer(request)
    });
    let (one, two) = pair(service).await;
    assert_eq!(one.call(&two, Lane::Control, request(13)).await, Err(Error::Closed));
    assert!(one.call(&two, Lane::Control, request(1)).await.is_ok());
    assert_eq!(one.health(&two, Lane::Control).connects, 1);
}

#[tokio::test]
async fn a_note_and_a_round_trip_come_with_the_keep_alive() {
    let (one, two) = pair(echo()).await;
    one.call(&two, Lane::Control, request(1)).await.unwrap();
    until(async || one.health(&two, Lane::Control).note.is_some()).await;
    let health = one.health(&two, Lane::Control);
    assert_eq!(health.note.unwrap().value, 4711);
    assert!(health.rtt.unwrap() < Duration::from_secs(5));
    assert!(health.run.is_some());
}

#[tokio::test]
async fn a_node_refuses_to_greet_itself() {
    let one = Node::start(options(1), echo()).await;
    let result = one.call(&one, Lane::Control, request(1)).await;
    assert!(matches!(result, Err(Error::Refused(_))), "{result:?}");
}
