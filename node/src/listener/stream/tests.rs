use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::poll;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpListener;

use super::super::LoadShedder;
use super::super::body_gate::LARGE;
use super::read::{PART_BYTES, PIECE_BYTES};
use super::*;
use crate::admission::share::Bounds;

const NEXT: &str = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";
const WAIT: Duration = Duration::from_secs(20);

/// Whether the server has too much to do.
#[derive(Default)]
struct Load(AtomicBool);

impl LoadShedder for Load {
    fn is_overloaded(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A client, what the server reads of it, and how much there is to do.
async fn pair() -> (TcpStream, Stream, Arc<Load>) {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let load = Arc::<Load>::default();
    let buffers = Buffers::new(Bounds { all: 1 << 20, client: usize::MAX, site: usize::MAX });
    let options = ConnectionOptions { patience: WAIT, shedder: load.clone(), buffers };
    (client, Stream::plain(server, options, None), load)
}

fn post(more: &str) -> (String, String) {
    let body = "b".repeat(3 * LARGE);
    (format!("POST /a HTTP/1.1\r\nhost: a\r\n{more}Content-Length: {}\r\n\r\n", body.len()), body)
}

async fn expect(stream: &mut (impl AsyncRead + Unpin), expected: &str) {
    let mut read = vec![0; expected.len()];
    tokio::time::timeout(WAIT, stream.read_exact(&mut read)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8(read).unwrap(), expected);
}

#[actix_web::test]
async fn a_large_body_comes_when_it_is_wanted() {
    let (mut client, mut stream, _) = pair().await;
    let (head, body) = post("");
    for _ in 0..2 {
        client.write_all(format!("{head}{body}{NEXT}").as_bytes()).await.unwrap();
        let mut read = Vec::new();
        // What came with the head is not taken back.
        while poll!(std::pin::pin!(stream.read_buf(&mut read))).is_ready() || read.is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(read.starts_with(head.as_bytes()) && read.len() <= PIECE_BYTES, "{} bytes", read.len());
        stream.gate().begin();
        stream.gate().open();
        let rest = format!("{}{NEXT}", &body[read.len() - head.len()..]);
        expect(&mut stream, &rest).await;
        // The small request behind it is answered, too.
        stream.gate().begin();
    }
}

#[actix_web::test]
async fn whoever_waits_for_a_body_is_woken_when_it_may_come() {
    let (mut client, mut stream, _) = pair().await;
    let (head, body) = post("");
    client.write_all(head.as_bytes()).await.unwrap();
    expect(&mut stream, &head).await;
    client.write_all(body.as_bytes()).await.unwrap();
    let gate = stream.gate().clone();
    gate.begin();
    tokio::join!(expect(&mut stream, &body), async { gate.open() });
}

#[actix_web::test]
async fn under_pressure_a_large_body_is_thrown_away_and_the_connection_goes_on() {
    let (mut client, mut stream, load) = pair().await;
    load.0.store(true, Ordering::Relaxed);
    let (head, body) = post("");
    let refused = head.replace(&body.len().to_string(), "00000");
    // At once; with the head in two pieces; and with a body that comes late.
    for pieces in [
        vec![format!("{head}{body}{NEXT}")],
        vec![head[..20].to_owned(), format!("{}{body}{NEXT}", &head[20..])],
        vec![head.clone(), format!("{body}{NEXT}")],
    ] {
        for piece in pieces {
            client.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        expect(&mut stream, &format!("{refused}{NEXT}")).await;
    }
    // A small one is not worth it.
    let small = "POST /a HTTP/1.1\r\nhost: a\r\nContent-Length: 2\r\n\r\nok";
    client.write_all(small.as_bytes()).await.unwrap();
    expect(&mut stream, small).await;
}

#[actix_web::test]
async fn a_body_that_waits_to_be_asked_for_is_asked_for() {
    let (mut client, mut stream, load) = pair().await;
    load.0.store(true, Ordering::Relaxed);
    let (head, body) = post("Expect: 100-continue\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    expect(&mut stream, &head).await;
    client.write_all(body.as_bytes()).await.unwrap();
    stream.gate().begin();
    stream.gate().open();
    expect(&mut stream, &body).await;
}

#[actix_web::test]
async fn a_large_body_comes_in_parts() {
    let (mut client, mut stream, _) = pair().await;
    let body = "b".repeat(4 * PART_BYTES);
    let head = format!("POST /a HTTP/1.1\r\nhost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    let sending = async { client.write_all(format!("{head}{body}").as_bytes()).await.unwrap() };
    let gate = stream.gate().clone();
    let (mut read, mut most) = (Vec::new(), 0);
    let reading = async {
        while read.len() < head.len() + body.len() {
            let before = read.len();
            // As the server does: for as long as something comes.
            while let std::task::Poll::Ready(count) = poll!(std::pin::pin!(stream.read_buf(&mut read))) {
                assert!(count.unwrap() > 0);
            }
            most = most.max(read.len() - before);
            gate.begin();
            gate.open();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT, async { tokio::join!(sending, reading) }).await.unwrap();
    assert_eq!(read, format!("{head}{body}").into_bytes());
    // The last read of a part may go beyond it by as much as the buffer has room for.
    assert!(most < 3 * PART_BYTES, "{most} bytes at once");
}

/// What the server reads without waiting.
async fn at_hand(stream: &mut Stream) -> usize {
    let (mut read, mut idle) = (Vec::new(), 0);
    // A socket on loopback has what was sent after some turns of the runtime.
    while idle < 100 {
        let before = read.len();
        let _ = poll!(std::pin::pin!(stream.read_buf(&mut read)));
        idle = if read.len() > before { 0 } else { idle + 1 };
        tokio::task::yield_now().await;
    }
    read.len()
}

#[actix_web::test]
async fn only_some_requests_are_handed_on_before_their_answers_are_written() {
    let (mut client, mut stream, _) = pair().await;
    client.write_all(NEXT.repeat(1000).as_bytes()).await.unwrap();
    let mut handed = at_hand(&mut stream).await / NEXT.len();
    assert_eq!(handed as u64, WAITING_MAX);
    let mut begun = 0;
    while handed < 1000 {
        // One is answered, and its answer written.
        stream.gate().begin();
        begun += 1;
        assert_eq!(at_hand(&mut stream).await, 0, "the answer is not written yet");
        let mut writing = std::pin::pin!(stream.flush());
        assert!(poll!(&mut writing).is_ready());
        handed += at_hand(&mut stream).await / NEXT.len();
        assert!(handed as u64 <= begun + WAITING_MAX);
    }
    assert!(stream.held.len() <= PIECE_BYTES, "{} bytes are held", stream.held.len());
}

#[actix_web::test]
async fn a_request_for_a_head_is_handed_on_alone() {
    let (mut client, mut stream, _) = pair().await;
    let head = NEXT.replace("GET", "HEAD");
    client.write_all(format!("{NEXT}{head}").as_bytes()).await.unwrap();
    assert_eq!(at_hand(&mut stream).await, NEXT.len());
    let gate = stream.gate().clone();
    gate.begin();
    stream.flush().await.unwrap();
    assert_eq!(at_hand(&mut stream).await, 0, "the one before it is not answered");
    gate.answer();
    stream.flush().await.unwrap();
    assert_eq!(at_hand(&mut stream).await, head.len());
    gate.begin();
    client.write_all(NEXT.as_bytes()).await.unwrap();
    assert_eq!(at_hand(&mut stream).await, 0, "it is not answered");
    assert_eq!(stream.held.len(), NEXT.len());
    gate.answer();
    stream.flush().await.unwrap();
    assert_eq!(at_hand(&mut stream).await, NEXT.len());
}

#[actix_web::test]
async fn a_client_that_goes_is_noticed_behind_whatever_it_asked_last() {
    for last in [NEXT.replace("GET", "HEAD"), NEXT.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")] {
        let (mut client, mut stream, _) = pair().await;
        client.write_all(last.as_bytes()).await.unwrap();
        assert_eq!(at_hand(&mut stream).await, last.len());
        stream.gate().begin();
        let closed = stream.closed().clone();
        drop(client);
        tokio::time::timeout(WAIT, stream.read(&mut [0])).await.unwrap().unwrap();
        assert!(closed.is_closed(), "{last}");
    }
}

#[actix_web::test]
async fn what_stands_behind_a_closing_request_is_thrown_away() {
    let (mut client, mut stream, _) = pair().await;
    let last = NEXT.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    client.write_all(format!("{last}{}", NEXT.repeat(300)).as_bytes()).await.unwrap();
    assert_eq!(at_hand(&mut stream).await, last.len());
    stream.gate().begin();
    stream.gate().answer();
    stream.flush().await.unwrap();
    assert_eq!(at_hand(&mut stream).await, 0);
    assert!(stream.held.is_empty() && stream.behind);
    // The answer is not lost to what the client still sends.
    stream.write_all(b"answer").await.unwrap();
    let shutdown = async { stream.shutdown().await.unwrap() };
    let reading = async {
        client.write_all(NEXT.as_bytes()).await.unwrap();
        let mut read = String::new();
        client.read_to_string(&mut read).await.unwrap();
        drop(client);
        read
    };
    assert_eq!(tokio::join!(shutdown, reading).1, "answer");
}

#[actix_web::test]
async fn large_heads_are_handed_on_one_after_the_other() {
    let (mut client, mut stream, _) = pair().await;
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(12 << 10));
    let sending = head.repeat(4);
    tokio::join!(async { client.write_all(sending.as_bytes()).await.unwrap() }, async {
        assert_eq!(at_hand(&mut stream).await, 2 * head.len());
    });
}

#[actix_web::test]
async fn whoever_waits_for_room_is_woken_when_there_is_some() {
    let (mut client, mut stream, _) = pair().await;
    client.write_all(NEXT.repeat(20).as_bytes()).await.unwrap();
    let mut handed = at_hand(&mut stream).await;
    let reading = async {
        while handed < 20 * NEXT.len() {
            let count = std::future::poll_fn(|cx| {
                let mut scratch = [0; 4096];
                let mut buffer = ReadBuf::new(&mut scratch);
                if Pin::new(&mut stream).poll_read(cx, &mut buffer).is_pending() {
                    // As the server: it reads first, then it answers, and writes what it has.
                    stream.gate().begin();
                    assert!(Pin::new(&mut stream).poll_flush(cx).is_ready());
                    return Poll::Pending;
                }
                Poll::Ready(buffer.filled().len())
            });
            handed += count.await;
        }
    };
    tokio::time::timeout(WAIT, reading).await.unwrap();
}

#[actix_web::test]
async fn under_pressure_requests_are_handed_on_one_by_one() {
    let (mut client, mut stream, _) = pair().await;
    let other = stream.options.buffers.part(None);
    other.set_waiting(1 << 20);
    client.write_all(NEXT.repeat(9).as_bytes()).await.unwrap();
    assert_eq!(at_hand(&mut stream).await, NEXT.len());
}

#[actix_web::test]
async fn a_client_that_does_not_take_its_answer_is_counted_and_under_pressure_given_up() {
    let (client, mut stream, _) = pair().await;
    let buffers = stream.options.buffers.clone();
    let answer = vec![b'a'; 300_000];
    let mut blocked = false;
    for _ in 0..1000 {
        blocked = poll!(std::pin::pin!(stream.write(&answer))).is_pending();
        if blocked {
            break;
        }
    }
    assert!(blocked, "the system takes only so much");
    assert_eq!(buffers.bytes(), answer.len());
    let other = buffers.part(None);
    other.set_waiting(2 << 20);
    let error = stream.write(&answer).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    drop((stream, other, client));
    assert_eq!(buffers.bytes(), 0);
}

#[actix_web::test]
async fn empty_lines_do_not_reach_the_server() {
    let (mut client, mut stream, _) = pair().await;
    client.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(at_hand(&mut stream).await, 0, "the server counts an idle connection");
    client.write_all(format!("\r\n{NEXT}\r\n").as_bytes()).await.unwrap();
    assert_eq!(at_hand(&mut stream).await, NEXT.len() + 2);
    assert!(stream.held.is_empty());
}
