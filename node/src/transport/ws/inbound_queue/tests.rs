//! What of a connection is read, when, and what is said of it.

use actix_web::FromRequest as _;
use actix_web::test::TestRequest;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use super::super::bucket::Rates;
use super::super::rfc6455::Bounds;
use super::*;
use crate::admission::buffers::Buffers;
use crate::admission::share;

const MESSAGE_BYTES_MAX: usize = 80 << 10;

/// A binary frame whose payload is nothing but zeros, as far as it came.
fn frame(len: u64, came: usize) -> Vec<u8> {
    let mut bytes = vec![0x82, 0x80 | 127];
    bytes.extend(len.to_be_bytes());
    bytes.resize(bytes.len() + 4 + came, 0);
    bytes
}

fn buffers() -> Buffers {
    Buffers::new(share::Bounds { all: 1 << 20, client: 1 << 19, site: usize::MAX })
}

async fn queue(
    came: Vec<u8>,
    account: &Account,
    flow: Option<(Flow, Client)>,
) -> (InboundQueue, mpsc::Receiver<Weighed>) {
    let (request, mut payload) = TestRequest::default().set_payload(came).to_http_parts();
    let payload = Payload::from_request(&request, &mut payload).await.unwrap();
    let bounds = Bounds { frame_bytes_max: MESSAGE_BYTES_MAX, message_bytes_max: MESSAGE_BYTES_MAX };
    let rates = Rates { messages_per_second: 1000, bytes_per_second: 1 << 30 };
    let throttle = Throttle::new(rates, MESSAGE_BYTES_MAX, Instant::now());
    let (sender, messages) = mpsc::channel(super::super::backlog::MESSAGES_MAX);
    let reader = Reader::new(bounds);
    (InboundQueue::new(payload, reader, throttle, flow, sender, account, Metrics::new()), messages)
}

#[tokio::test(start_paused = true)]
async fn what_is_too_long_is_owed_by_all_sockets_of_the_client() {
    let flow = (Flow::new(64 << 10), Client::V4(1));
    let account = buffers().account(None);
    let came = frame(200 << 10, 200 << 10);
    let (mut queue, mut messages) = queue(came, &account, Some(flow.clone())).await;
    let began = Instant::now();
    assert!(matches!(queue.next().await, Some(Event::Heard)));
    let said = messages.recv().await.unwrap().message;
    assert_eq!(said, Message::Oversized { binary: true, id: None });
    assert!(matches!(queue.next().await, Some(Event::Lost)));
    assert!(began.elapsed() >= Duration::from_secs(2), "it was read again after {:?}", began.elapsed());
    let (flow, client) = flow;
    let owed = flow.owe(client, 64 << 10, Instant::now().into_std());
    assert!(!owed.is_zero(), "another of its sockets waits, too");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_goes_on_and_on_is_answered_before_the_connection_ends() {
    for is_answered in [true, false] {
        let bounds = share::Bounds { all: 64 << 20, client: 64 << 20, site: usize::MAX };
        let account = Buffers::new(bounds).account(None);
        let (mut queue, mut messages) = queue(frame(6 << 20, 5 << 20), &account, None).await;
        assert!(matches!(queue.next().await, Some(Event::Heard)));
        let mut waits = messages.recv().await;
        assert!(futures_util::poll!(queue.next()).is_pending());
        let began = Instant::now();
        waits.take_if(|_| is_answered);
        assert!(matches!(queue.next().await, Some(Event::TooBig)));
        assert_eq!(began.elapsed() < UNREAD_MAX, is_answered);
        assert!(queue.next().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_wait_have_a_bound_in_bytes() {
    let buffers = buffers();
    let account = buffers.account(Some(Client::V4(1)));
    let (mut queue, mut messages) = queue(frame(70_000, 70_000).repeat(4), &account, None).await;
    for _ in 0..2 {
        assert!(matches!(queue.next().await, Some(Event::Heard)));
    }
    assert!(futures_util::poll!(queue.next()).is_pending());
    // The other two have come as well, in one piece, and lie where they came.
    assert!((280_000..290_000).contains(&buffers.bytes()), "{buffers:?}");
    drop(messages.recv().await);
    assert!(matches!(queue.next().await, Some(Event::Heard)));
    drop((queue, messages));
    assert_eq!(buffers.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_room_who_holds_something_is_not_read_and_then_let_go() {
    let buffers = buffers();
    let account = buffers.account(Some(Client::V4(1)));
    let others = account.hold();
    let (mut begun, _messages) = queue(frame(70_000, 20_000), &account, None).await;
    assert!(futures_util::poll!(begun.next()).is_ready(), "there is room, and it ends too early");
    let (mut begun, _messages) = queue(frame(70_000, 20_000), &account, None).await;
    let short = [&[0x82, 0x80 | 10][..], &[0; 14]].concat();
    let (mut idle, _idle) = queue(short, &account, None).await;
    others.set(1 << 19);
    begun.reader.feed(&frame(70_000, 20_000));
    assert!(begun.reader.next().unwrap().is_none());
    assert!(matches!(idle.next().await, Some(Event::Heard)), "who holds nothing is heard");
    let began = Instant::now();
    match begun.next().await {
        Some(Event::Breach(reason)) => assert_eq!(reason.code, Code::LATER),
        event => panic!("{event:?}"),
    }
    assert!(began.elapsed() >= UNREAD_MAX);
}
