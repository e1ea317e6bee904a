//! What a server knows a client by, over as many connections as it takes.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conclave_sigma::Frame;
use hyper::HeaderMap;
use tokio::time::Instant;

use super::binary::now_ms;
use super::failed::{Failed, PAUSE};
use super::{Closed, Connection, Encoding, Event, Incoming, Position, Reply, SocketTally, binary, json};
use crate::http::{Error, Fault, Target};

/// How all sessions of a run behave.
#[derive(Debug, Clone)]
pub struct Options {
    /// The nodes.
    pub targets: Vec<Target>,
    /// Where the endpoint is.
    pub path: String,
    /// How frames are written.
    pub encoding: Encoding,
    /// Whether what is published is kept nowhere.
    pub volatile: bool,
    /// For one try to open or resume at one target.
    pub timeout: Duration,
    /// For all tries together.
    pub patience: Duration,
    /// What is read at once, kept for each connection.
    pub buffer_bytes: usize,
}

/// One session.
pub struct Session {
    options: Arc<Options>,
    tally: Arc<SocketTally>,
    at: usize,
    room: Option<String>,
    peer: Option<String>,
    id: Option<String>,
    position: Option<Position>,
    connection: Option<Connection>,
    /// What came while an answer was waited for.
    early: VecDeque<Event>,
    /// What a draining server asked for.
    pause: Duration,
    begun: bool,
}

/// Numbers of operations; those of messages begin behind them.
const HELLO: u64 = 0;
const JOIN: u64 = 1;
const FIRST_MESSAGE: u64 = 16;
/// What may come before the answer to an operation: more than a room's history has by default.
const EARLY_MAX: usize = 65_536;
/// The longest pause that a server is believed.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Refusals that pass.
const PASSING: [&str; 4] = ["overloaded", "no_leader", "shutting_down", "503"];

impl Session {
    /// A session that begins at target `at` modulo their count, in a room or in none; nothing is sent yet.
    pub fn new(options: Arc<Options>, tally: Arc<SocketTally>, at: usize, room: Option<String>) -> Self {
        Self {
            options,
            tally,
            at,
            room,
            peer: None,
            id: None,
            position: None,
            connection: None,
            early: VecDeque::new(),
            pause: Duration::ZERO,
            begun: false,
        }
    }

    /// Whether what is published is kept nowhere.
    pub fn is_volatile(&self) -> bool {
        self.options.volatile
    }

    /// The last position in the room that was given out by [`next`](Self::next), or where it was entered.
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// The session's secret name, once the server gave it one.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The peer id that was claimed, which a resume takes up again, too.
    pub fn claimed(&mut self, peer: String) {
        self.peer = Some(peer);
    }

    /// Opens the session, or takes it up again at the next target; says whether nothing was missed meanwhile.
    pub async fn open(&mut self) -> Result<bool, Error> {
        let give_up = Instant::now() + self.options.patience;
        let mut pause = std::mem::take(&mut self.pause).min(PAUSE_MAX);
        if self.begun {
            self.at += 1;
        }
        loop {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let timeout = self.options.timeout;
            let late = Failed::ForNow { pause: Duration::ZERO, error: Error::Unreachable(Fault::Timeout) };
            let error = match tokio::time::timeout(timeout, self.attempt()).await.unwrap_or(Err(late)) {
                Ok(recovered) => {
                    if self.begun {
                        self.tally.resumed(recovered);
                    }
                    self.begun = true;
                    return Ok(recovered);
                }
                Err(Failed::ForGood(error)) => return Err(error),
                Err(Failed::ForNow { pause: asked, error }) => {
                    pause = asked.min(PAUSE_MAX);
                    error
                }
            };
            if Instant::now() + pause >= give_up {
                return Err(error);
            }
            self.at += 1;
        }
    }

    async fn attempt(&mut self) -> Result<bool, Failed> {
        self.connection = None;
        // What was not given out is sent again.
        self.early.clear();
        let options = self.options.clone();
        let target = &options.targets[self.at % options.targets.len()];
        let opened = Connection::open(target, &self.path(), HeaderMap::new(), options.buffer_bytes).await;
        self.connection = Some(opened.map_err(Failed::from)?);
        self.tally.opened();
        match options.encoding {
            Encoding::Json => self.hello().await,
            Encoding::Flatbuffers => self.connect().await,
        }
    }

    fn path(&self) -> String {
        let mut path = self.options.path.clone();
        if let (Encoding::Flatbuffers, Some(room)) = (self.options.encoding, &self.room) {
            let _ = write!(path, "?room={room}");
            if self.options.volatile {
                path += "&volatile=1";
            }
        }
        path
    }

    async fn hello(&mut self) -> Result<bool, Failed> {
        let since = match &self.position {
            Some(Position { epoch, offset }) => format!(r#","epoch":{epoch},"offset":{offset}"#),
            None => String::new(),
        };
        let resume = match &self.id {
            Some(id) => format!(r#","resume":{{"session":"{id}"{since}}}"#),
            None => String::new(),
        };
        self.text(format!(r#"{{"op":"hello","id":{HELLO}{resume}}}"#)).await?;
        let welcome = self.answer(Some(HELLO)).await?;
        let lacking = || Failed::ForGood(Error::Malformed("no session in the answer to hello"));
        self.id = Some(welcome.session.ok_or_else(lacking)?);
        let Some(room) = &self.room else { return Ok(!self.begun || welcome.recovered == Some(true)) };
        if welcome.room.as_ref() == Some(room) && welcome.recovered == Some(true) {
            // Where the answer to join was lost, this is the first that is heard of the position.
            if self.position.is_none() {
                self.position = welcome.position;
            }
            return Ok(true);
        }
        let join = format!(r#"{{"op":"join","id":{JOIN},"room":"{room}"{since}}}"#);
        self.text(join).await?;
        let joined = self.answer(Some(JOIN)).await?;
        let recovered = self.position.is_none() || joined.recovered == Some(true);
        if self.position.is_none() || !recovered {
            self.position = joined.position;
            self.forget_what_came_before();
        }
        Ok(recovered)
    }

    /// An earlier try to enter may have succeeded without our learning of it: what was said in the room between it and
    /// this one lies before the position that is ours.
    fn forget_what_came_before(&mut self) {
        let Some(position) = &self.position else { return };
        self.early.retain(|event| match event {
            Event::Message { offset: Some(offset), epoch, .. } => {
                *offset > position.offset || epoch.as_ref() != Some(&position.epoch)
            }
            _ => true,
        });
    }

    async fn connect(&mut self) -> Result<bool, Failed> {
        if let Some(id) = self.id.clone() {
            let last_message_id = self.position.as_ref().map_or(0, |position| position.offset);
            self.binary(&Frame::Reconnect { session_id: id, last_message_id }).await?;
            return match self.heartbeat().await {
                Ok(_) => Ok(true),
                Err(Failed::ForGood(Error::Refused { status: 410, .. })) => {
                    // What was missed is gone; what comes from now on does not depend on it, nor on where this was.
                    self.position = None;
                    self.answer(None).await?;
                    Ok(false)
                }
                Err(Failed::ForGood(error @ Error::Refused { status: 404, .. })) => {
                    // The session is gone. The next try is for another one.
                    self.id = None;
                    Err(Failed::ForNow { pause: Duration::ZERO, error })
                }
                Err(other) => Err(other),
            };
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        self.id = Some(id.clone());
        let client_version = "conclave-sim".to_owned();
        self.binary(&Frame::Connect { session_id: id, client_version }).await?;
        // A success has no answer of its own; that to a heartbeat behind it says as much.
        self.heartbeat().await?;
        Ok(!self.begun)
    }

    async fn heartbeat(&mut self) -> Result<Reply, Failed> {
        self.binary(&Frame::Heartbeat { timestamp: now_ms() }).await?;
        self.answer(None).await
    }

    /// Waits for the answer to one operation and keeps what comes before it.
    async fn answer(&mut self, id: Option<u64>) -> Result<Reply, Failed> {
        loop {
            match self.receive().await? {
                Event::Done(reply) if reply.id == id => return Ok(reply),
                Event::Refused { id: refused, status, code } if refused.is_none() || refused == id => {
                    let passes = PASSING.contains(&code.as_str());
                    let error = Error::Refused { status, code };
                    return Err(if passes {
                        Failed::ForNow { pause: PAUSE, error }
                    } else {
                        Failed::ForGood(error)
                    });
                }
                Event::Unreadable(error) => return Err(Failed::ForGood(error)),
                event @ (Event::Message { .. } | Event::Signal { .. }) => {
                    if self.early.len() >= EARLY_MAX {
                        let error = Error::Malformed("an operation was not answered in time");
                        return Err(Failed::ForGood(error));
                    }
                    self.early.push_back(event);
                }
                Event::Done(_) | Event::Refused { .. } | Event::Drain { .. } | Event::Other => {}
            }
        }
    }

    /// After a reconnect a server of binary frames says again what it does not know to have arrived.
    fn is_known(&self, event: &Event) -> bool {
        let Event::Message { offset: Some(offset), epoch: None, .. } = event else { return false };
        self.position.as_ref().is_some_and(|position| *offset <= position.offset)
    }

    /// Waits for what the server says next. Loses nothing if it is dropped while it waits. After an error the session
    /// can be [opened](Self::open) again.
    pub async fn next(&mut self) -> Result<Event, Closed> {
        let event = loop {
            let event = match self.early.pop_front() {
                Some(event) => event,
                None => self.receive().await?,
            };
            if !self.is_known(&event) {
                break event;
            }
        };
        if let Event::Message { offset: Some(offset), epoch, .. } = &event {
            match (&mut self.position, epoch) {
                (Some(position), Some(epoch)) if position.epoch != *epoch => {
                    *position = Position { epoch: epoch.clone(), offset: *offset };
                }
                (Some(position), _) => position.offset = *offset,
                (none, epoch) => {
                    *none = Some(Position { epoch: epoch.clone().unwrap_or_default(), offset: *offset });
                }
            }
        }
        Ok(event)
    }

    async fn receive(&mut self) -> Result<Event, Closed> {
        let incoming = match &mut self.connection {
            Some(connection) => connection.next().await,
            None => Err(Closed { code: 1006 }),
        };
        let read = match incoming {
            Ok(Incoming::Text(text)) => {
                self.tally.received(text.len());
                json::read(&text)
            }
            Ok(Incoming::Binary(bytes)) => {
                self.tally.received(bytes.len());
                binary::read(&bytes)
            }
            Err(closed) => {
                if self.connection.take().is_some() {
                    self.tally.closed(closed);
                }
                return Err(closed);
            }
        };
        let event = read.unwrap_or_else(Event::Unreadable);
        if let Event::Drain { after } = event {
            self.pause = after;
        }
        Ok(event)
    }

    /// Publishes letters that JSON does not escape, under a number by which a repetition is known. Sent with the next
    /// [`next`](Self::next).
    pub async fn publish(&mut self, number: u64, payload: Vec<u8>) -> Result<(), Closed> {
        self.tally.published();
        self.send_again(number, payload).await
    }

    /// The same message once more, after a resume.
    pub async fn send_again(&mut self, number: u64, payload: Vec<u8>) -> Result<(), Closed> {
        match self.options.encoding {
            Encoding::Json => {
                let mut text = String::with_capacity(payload.len() + 96);
                let id = number + FIRST_MESSAGE;
                let _ = write!(text, r#"{{"op":"publish","id":{id},"messageId":{id},"data":""#);
                text += std::str::from_utf8(&payload).expect("what is published is letters");
                text += if self.options.volatile { r#"","volatile":true}"# } else { r#""}"# };
                self.text(text).await
            }
            Encoding::Flatbuffers => {
                let message_id = number + FIRST_MESSAGE;
                let payload = Bytes::from(payload);
                self.binary(&Frame::Data { payload, message_id, timestamp: now_ms() }).await
            }
        }
    }

    /// Sends a JSON operation with the next [`next`](Self::next).
    pub async fn text(&mut self, text: String) -> Result<(), Closed> {
        self.tally.sent(text.len());
        match &mut self.connection {
            Some(connection) => connection.feed(text).await,
            None => Err(Closed { code: 1006 }),
        }
    }

    async fn binary(&mut self, frame: &Frame) -> Result<(), Closed> {
        let bytes = conclave_sigma::encode(frame);
        self.tally.sent(bytes.len());
        match &mut self.connection {
            Some(connection) => connection.feed(bytes).await,
            None => Err(Closed { code: 1006 }),
        }
    }

    /// Closes the connection; the session goes on until its lease ends.
    pub async fn close(self) {
        if let Some(mut connection) = self.connection {
            connection.close(None).await;
        }
    }
}
