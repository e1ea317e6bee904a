//! One socket that is taken down: what it enters, what it is told, and that it comes back elsewhere when it is lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Workload;
use super::words::number;
use crate::client::Error;
use crate::proof::Family;
use crate::proof::history::{Answer, Outcome, Wish};
use crate::socket::{Closed, Encoding, Event, Options, Place, Reply, Session, SocketTally};

/// A member of a room, or whoever a mailbox is pushed to.
pub(super) struct Member {
    workload: Arc<Workload>,
    session: Session,
    family: Family,
    key: Arc<str>,
    client: u32,
    /// Where it is asked for.
    next_id: u64,
    /// Whether there is a connection, as far as is known.
    pub(super) open: bool,
    /// Refusals and answers that nobody has waited for yet.
    answers: VecDeque<Told>,
    /// The last place it was told.
    pub(super) heard: u64,
}

/// An answer to one of its operations.
pub(super) enum Told {
    Done(Reply),
    Refused { id: Option<u64>, code: String },
}

/// Numbers of operations begin here; those below are the session's own.
const FIRST_ID: u64 = 1_000;
const ANSWERS_MAX: usize = 1_024;
const BUFFER_BYTES: usize = 8 << 10;

/// Nobody answers any more.
#[derive(Debug)]
pub(super) struct Lost;

impl Member {
    pub(super) fn new(
        workload: &Arc<Workload>,
        family: Family,
        key: &Arc<str>,
        client: u32,
        at: usize,
    ) -> Self {
        let options = Options {
            targets: workload.options.targets.clone(),
            path: workload.options.socket_path.clone(),
            encoding: Encoding::Json,
            volatile: false,
            timeout: Duration::from_secs(3),
            patience: workload.options.audit_patience,
            buffer_bytes: BUFFER_BYTES,
        };
        let room = (family == Family::Room).then(|| key.to_string());
        let session = Session::new(Arc::new(options), Arc::new(SocketTally::default()), at, room);
        Self {
            workload: workload.clone(),
            session,
            family,
            key: key.clone(),
            client,
            next_id: FIRST_ID,
            open: false,
            answers: VecDeque::new(),
            heard: 0,
        }
    }

    /// Enters, or comes back; says whether nothing was missed meanwhile.
    pub(super) async fn enter(&mut self) -> Result<bool, Error> {
        let begun = self.workload.recorder.begin(self.family, &self.key, self.client, Wish::Enter);
        self.answers.clear();
        let opened = self.session.open().await;
        let (epoch, offset) = self.place();
        let outcome = match &opened {
            Ok(recovered) => {
                self.open = true;
                Outcome::Answered(Answer::Entered { epoch, offset, recovered: *recovered })
            }
            Err(error) => Outcome::Refused(error.code().into()),
        };
        if let Ok(false) = opened {
            self.heard = offset;
        }
        self.heard = self.heard.max(offset);
        self.workload.recorder.end(begun, 0, outcome);
        opened
    }

    fn place(&self) -> (Arc<str>, u64) {
        match self.session.place() {
            Some(Place { epoch, offset }) => (epoch.as_ref().into(), *offset),
            None => ("".into(), 0),
        }
    }

    /// Waits for what the server says next, and takes down what is told to everybody.
    pub(super) async fn listen(&mut self) -> Result<(), Closed> {
        match self.session.next().await {
            Ok(Event::Message { offset, epoch, payload }) => {
                let epoch = epoch.unwrap_or_default().as_ref().into();
                self.hear(epoch, offset.unwrap_or_default(), &payload);
            }
            Ok(Event::Signal { seq, payload, .. }) => {
                let inside = payload.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
                self.hear("".into(), seq, inside.unwrap_or_default());
            }
            Ok(Event::Done(reply)) => self.keep(Told::Done(reply)),
            Ok(Event::Refused { id, code, .. }) => self.keep(Told::Refused { id, code }),
            Ok(Event::Unreadable(error)) => self.wrong(&error.to_string()),
            Ok(Event::Drain { .. } | Event::Other) => {}
            Err(closed) => {
                self.open = false;
                return Err(closed);
            }
        }
        Ok(())
    }

    fn hear(&mut self, epoch: Arc<str>, offset: u64, payload: &[u8]) {
        let told = std::str::from_utf8(payload).ok().and_then(number);
        let answer = match told {
            Some(number) => Answer::Placed { epoch, offset, number },
            None => Answer::Wrong(format!("{} bytes that nobody sent", payload.len()).into()),
        };
        self.heard = offset;
        self.note(Wish::Hear, answer);
    }

    fn wrong(&self, what: &str) {
        self.note(Wish::Hear, Answer::Wrong(what.into()));
    }

    fn note(&self, wish: Wish, answer: Answer) {
        let begun = self.workload.recorder.begin(self.family, &self.key, self.client, wish);
        self.workload.recorder.end(begun, 0, Outcome::Answered(answer));
    }

    fn keep(&mut self, told: Told) {
        if self.answers.len() < ANSWERS_MAX {
            self.answers.push_back(told);
        }
    }

    /// Sends an operation with a number of its own.
    pub(super) async fn send(&mut self, text: impl FnOnce(u64) -> String) -> Result<u64, Closed> {
        let id = self.next_id;
        self.next_id += 1;
        self.session.text(text(id)).await?;
        Ok(id)
    }

    /// The answer to an operation, if it has come.
    pub(super) fn answer(&mut self, id: u64) -> Option<Told> {
        let is_it = |told: &Told| match told {
            Told::Done(reply) => reply.id == Some(id),
            Told::Refused { id: refused, .. } => *refused == Some(id),
        };
        let place = self.answers.iter().position(is_it)?;
        self.answers.remove(place)
    }

    /// Waits for the answer to an operation, and listens meanwhile.
    pub(super) async fn answered(&mut self, id: u64, until: Instant) -> Result<Told, Lost> {
        loop {
            if let Some(told) = self.answer(id) {
                return Ok(told);
            }
            match tokio::time::timeout_at(until, self.listen()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(Lost),
            }
        }
    }

    /// That the socket resumes the mailbox of this peer, too.
    pub(super) fn claimed(&mut self) {
        self.session.claimed(self.key.to_string());
    }

    pub(super) async fn close(self) {
        self.session.close().await;
    }
}
