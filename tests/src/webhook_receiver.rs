//! A receiver of webhooks on this machine: it checks signatures as the libraries of Standard Webhooks do, and answers as a
//! test tells it to.

use std::collections::VecDeque;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::builder::Builder;
use crate::issuer::now;
use crate::scratch::Scratch;
use crate::wait::eventually;

/// For whatever should come.
const PATIENCE: Duration = Duration::from_secs(20);
/// By how much the time of a request may differ from this machine's, as the libraries have it.
const TOLERANCE_SECONDS: u64 = 300;
const SECRET: [u8; 32] = *b"what nodes and their hooks know.";

/// How a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// This status, with nothing.
    Status(u16),
    /// Nothing, while the connection stays open.
    Silence,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// The message's id: the same in all attempts.
    pub id: String,
    /// The body as it came.
    pub body: String,
}

#[derive(Default)]
struct Inbox {
    connections: usize,
    /// The answers to the requests that come first; 200 to all others.
    answers: VecDeque<Answer>,
    received: Vec<Received>,
    /// What was answered with 200.
    taken: Vec<Value>,
}

/// The receiver. It ends when this is dropped.
pub struct WebhookReceiver {
    scratch: Scratch,
    address: SocketAddr,
    inbox: Arc<Mutex<Inbox>>,
    task: JoinHandle<()>,
}

impl WebhookReceiver {
    /// A receiver that gives these answers first, and takes everything from then on.
    pub async fn start(answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let inbox = Inbox { answers: answers.iter().copied().collect(), ..Inbox::default() };
        let inbox = Arc::new(Mutex::new(inbox));
        let shared = inbox.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().expect("nobody panics while holding it").connections += 1;
                tokio::spawn(take(stream, shared.clone()));
            }
        });
        let scratch = Scratch::new();
        let secret = format!("whsec_{}\n", STANDARD.encode(SECRET));
        fs::write(scratch.path().join("secret"), secret).expect("the scratch folder is writable");
        Self { scratch, address, inbox, task }
    }

    /// Has the nodes post here.
    pub fn told_by(&self, builder: Builder) -> Builder {
        builder
            .set("webhooks.urls", &format!("http://{}/hook?token=not-for-logs", self.address))
            .set("webhooks.secret_file", &self.scratch.path().join("secret").display().to_string())
            .set("webhooks.allow_private", "true")
    }

    /// All events that were taken, once there is one that fits.
    pub async fn until(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
        eventually(PATIENCE, what, async || {
            let taken = self.events();
            taken.iter().any(&fits).then_some(taken)
        })
        .await
    }

    /// All events that were taken.
    pub fn events(&self) -> Vec<Value> {
        self.inbox().taken.clone()
    }

    /// All requests, taken or not.
    pub fn received(&self) -> Vec<Received> {
        self.inbox().received.clone()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.inbox().connections
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().expect("nobody panics while holding it")
    }
}

impl Drop for WebhookReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(mut stream: TcpStream, inbox: Arc<Mutex<Inbox>>) {
    // Who goes away in the middle of a request said nothing.
    let Ok((head, body)) = read(&mut stream).await else { return };
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        found.next().unwrap_or_else(|| panic!("no {name} in {head}")).to_owned()
    };
    let id = header("webhook-id");
    verify(&id, &header("webhook-timestamp"), &header("webhook-signature"), body.as_bytes());
    assert_eq!(header("content-type"), "application/json");
    assert!(head.starts_with("POST /hook?token=not-for-logs HTTP/1.1\r\n"), "{head}");
    let answer = {
        let mut inbox = inbox.lock().expect("nobody panics while holding it");
        let answer = inbox.answers.pop_front().unwrap_or(Answer::Status(200));
        if answer == Answer::Status(200) {
            let message: Value = serde_json::from_str(&body).expect("a body is JSON");
            assert_eq!(message["type"], "events");
            inbox.taken.extend(message["events"].as_array().expect("events").clone());
        }
        inbox.received.push(Received { id, body });
        answer
    };
    match answer {
        Answer::Status(status) => {
            let text = format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.write_all(text.as_bytes()).await;
        }
        Answer::Silence => {
            // Until the other side has had enough.
            let _ = stream.read_u8().await;
        }
    }
}

async fn read(stream: &mut TcpStream) -> std::io::Result<(String, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.expect("a length").parse().expect("a number")];
    stream.read_exact(&mut body).await?;
    Ok((head, String::from_utf8(body).expect("a body is text")))
}

/// As <https://www.standardwebhooks.com> has it; panics if it is not so.
fn verify(id: &str, timestamp: &str, signatures: &str, body: &[u8]) {
    let at: u64 = timestamp.parse().expect("a timestamp is seconds");
    assert!(at.abs_diff(now()) < TOLERANCE_SECONDS, "{timestamp}");
    let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &SECRET);
    let fits = signatures.split(' ').filter_map(|signature| signature.strip_prefix("v1,")).any(|tag| {
        let tag = STANDARD.decode(tag).expect("a tag is base64");
        hmac::verify(&key, &signed, &tag).is_ok()
    });
    assert!(fits, "{signatures} does not sign {id} at {timestamp}");
}
