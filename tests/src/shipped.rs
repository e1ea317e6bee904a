//! A client that behaves as the published clients of the SigmaSockets schema do, in all but one thing.
//!
//! What is peculiar to them: they send a heartbeat as soon as they are connected and then every 30 s, and answer each
//! heartbeat with one; they number their messages from 1 on as long as their page lives; they say the number of their own
//! last message when they reconnect; they take any error for the end of the connection; a page that is reloaded has the
//! session id it had before. Those from 1.0.10 on send all of their builder's buffer as Data, zeros first.
//!
//! What is not as they do: when they reconnect they name a session that never was, since they say a place in their
//! builder's buffer for its id, so that no server knows it and they do not come back. This one says its own id.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use conclave_sigma::{Frame, encode};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::http::Api;
use crate::sigma::{Sigma, connect, data, now_ms, reconnect};
use crate::socket::PATIENCE;
use crate::wait::eventually;

/// What has happened to a client so far.
#[derive(Debug, Default, Clone)]
pub struct Told {
    /// Payloads and numbers of the messages it was told, in their order.
    pub messages: Vec<(String, u64)>,
    /// Frames that it sent.
    pub sent: u64,
    /// Frames that it got.
    pub received: u64,
    /// Errors that it got: for it, each is the end.
    pub errors: Vec<u32>,
}

/// What the newer clients' builder has room for beside the payload.
const BUILDER_BYTES: usize = 1024;

/// One page.
pub struct Page {
    told: Arc<Mutex<Told>>,
    words: mpsc::UnboundedSender<Word>,
    line: JoinHandle<()>,
    session: String,
    room: String,
    counter: u64,
    /// Whether it sends all of its builder's buffer.
    padded: bool,
}

enum Word {
    Say(Bytes),
    /// The page is closed, as browsers do it.
    Close,
}

impl Page {
    /// A page that is opened with a session id that it may have had before.
    pub async fn open(api: &Api, room: &str, session: &str) -> Self {
        let told = Arc::default();
        let (words, line) = begin(api, room, connect(session), &told).await;
        let (session, room) = (session.to_owned(), room.to_owned());
        Self { told, words, line, session, room, counter: 0, padded: false }
    }

    /// Such a page with a client from 1.0.10 on.
    pub async fn open_newer(api: &Api, room: &str, session: &str) -> Self {
        Self { padded: true, ..Self::open(api, room, session).await }
    }

    /// Sends a message.
    pub fn say(&mut self, text: &str) {
        self.counter += 1;
        let frame = encode(&data(text.to_owned(), self.counter));
        let unused = if self.padded { BUILDER_BYTES + text.len() - frame.len() } else { 0 };
        let _ = self.words.send(Word::Say([vec![0; unused], frame.to_vec()].concat().into()));
    }

    /// The connection is lost, and the page comes back on this node under its own session id.
    pub async fn come_back(&mut self, api: &Api) {
        self.line.abort();
        let again = reconnect(&self.session, self.counter);
        (self.words, self.line) = begin(api, &self.room, again, &self.told).await;
    }

    /// The page is closed.
    pub async fn close(self) {
        let _ = self.words.send(Word::Close);
        timeout(PATIENCE, self.line).await.expect("the server answers a close").expect("nothing panics");
    }

    /// What has happened so far.
    pub fn told(&self) -> Told {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it was told a message.
    pub async fn hears_text(&self, text: &str) -> Told {
        let what = format!("{text:?} is told");
        eventually(PATIENCE * 2, &what, async || {
            let told = self.told();
            assert!(told.errors.is_empty(), "any error is the end: {:?}", told.errors);
            told.messages.iter().any(|(known, _)| known == text).then_some(told)
        })
        .await
    }
}

async fn begin(
    api: &Api,
    room: &str,
    first: Frame,
    told: &Arc<Mutex<Told>>,
) -> (mpsc::UnboundedSender<Word>, JoinHandle<()>) {
    let mut sigma = Sigma::open(api, room).await;
    sigma.say(&first).await;
    sigma.say(&Frame::Heartbeat { timestamp: now_ms() }).await;
    let (words, queue) = mpsc::unbounded_channel();
    let line = tokio::spawn(live(sigma, queue, told.clone()));
    (words, line)
}

async fn live(mut sigma: Sigma, mut words: mpsc::UnboundedReceiver<Word>, told: Arc<Mutex<Told>>) {
    let note =
        |note: &mut dyn FnMut(&mut Told)| note(&mut told.lock().unwrap_or_else(PoisonError::into_inner));
    note(&mut |told| told.sent += 2);
    let mut heartbeats = tokio::time::interval(Duration::from_secs(30));
    heartbeats.tick().await;
    loop {
        let answer = tokio::select! {
            _ = heartbeats.tick() => Some(encode(&Frame::Heartbeat { timestamp: now_ms() })),
            word = words.recv() => match word {
                Some(Word::Say(frame)) => Some(frame),
                Some(Word::Close) => return sigma.0.close_with(1001).await,
                None => return,
            },
            frame = sigma.next() => {
                note(&mut |told| told.received += 1);
                match frame {
                    Ok(Frame::Heartbeat { .. }) => Some(encode(&Frame::Heartbeat { timestamp: now_ms() })),
                    Ok(Frame::Data { payload, message_id, .. }) => {
                        let text = String::from_utf8_lossy(&payload).into_owned();
                        note(&mut |told| told.messages.push((text.clone(), message_id)));
                        None
                    }
                    Ok(Frame::Error { code, .. }) => return note(&mut |told| told.errors.push(code)),
                    Ok(_) => None,
                    Err(_) => return,
                }
            }
        };
        if let Some(frame) = answer {
            sigma.0.send(frame).await;
            note(&mut |told| told.sent += 1);
        }
    }
}
