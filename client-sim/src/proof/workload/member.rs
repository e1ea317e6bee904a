//! One socket that is taken down: what it enters, what it is told, and that it comes back elsewhere when it is lost.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Workload;
use super::words::number;
use crate::client::Error;
use crate::proof::Family;
use crate::proof::history::{Answer, Outcome, Wish};
use crate::socket::{Closed, Encoding, Event, Options, Position, Reply, Session, SocketTally};

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
    /// The last place it was told, and what stands there.
    pub(super) heard: u64,
    pub(super) number: u64,
    /// The furthest place that anybody was told who shares this.
    pub(super) furthest: Arc<AtomicU64>,
}

/// An answer to one of its operations.
pub(super) enum Told {
    Done(Reply),
    Refused { id: Option<u64>, code: String },
}

/// What has just happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Something was told.
    Heard,
    /// Nothing was told for a short time.
    Passed,
    /// The connection is given up, and another will be opened.
    Lost,
}

/// What a listener waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Everything was told, and nothing more will be.
    Nothing,
    /// Nothing is lacking, and there will be more.
    Later,
    /// Something is lacking, and there will be more.
    Something,
    /// Something is lacking, and nothing more was said.
    TheRest,
}

/// Whoever has something to say to what a member is told.
pub(super) trait Listener: Send {
    /// Looks at what has just happened, and says what is lacking.
    fn look(&mut self, member: &mut Member, moment: Moment) -> impl Future<Output = Want> + Send;
}

/// How long a listener waits at a time.
pub(super) const PAUSE: Duration = Duration::from_millis(40);
/// Without anything new a listener that lacks something looks elsewhere.
const STALLED: Duration = Duration::from_secs(3);
/// Connections on which it must have been lacking to be lost.
const ROUNDS: u32 = 4;
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
            number: 0,
            furthest: Arc::default(),
        }
    }

    /// Enters, or comes back; says whether it still is who it was and missed nothing.
    pub(super) async fn enter(&mut self) -> Result<bool, Error> {
        let begun = self.workload.recorder.begin(self.family, &self.key, self.client, Wish::Enter);
        self.answers.clear();
        let before = self.session.id().map(str::to_owned);
        let opened = self.session.open().await;
        let (epoch, offset) = self.position();
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
        let same = before.is_none() || before.as_deref() == self.session.id();
        opened.map(|recovered| recovered && same)
    }

    fn position(&self) -> (Arc<str>, u64) {
        match self.session.position() {
            Some(Position { epoch, offset }) => (epoch.as_ref().into(), *offset),
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
            Some(number) => {
                self.number = number;
                Answer::Placed { epoch, offset, number }
            }
            None => Answer::Wrong(format!("{} bytes that nobody sent", payload.len()).into()),
        };
        self.heard = offset;
        // Before it is taken down: who leaves after this moment has to know of it.
        self.furthest.fetch_max(offset, Ordering::SeqCst);
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

    /// Listens until nothing is lacking; then says so, or that it could not.
    ///
    /// What is lacking is lost only if it did not come on several connections, each of which the cluster agreed to: one
    /// node alone may be slow, or cut off.
    pub(super) async fn listen_until(&mut self, listener: &mut impl Listener) -> Outcome {
        let (mut fresh, mut rounds) = (Instant::now(), 0);
        loop {
            let before = self.heard;
            let listened = tokio::time::timeout(PAUSE, self.listen()).await;
            let moment = match listened {
                Ok(Ok(())) if self.heard != before => Moment::Heard,
                _ => Moment::Passed,
            };
            let want = listener.look(self, moment).await;
            if moment == Moment::Heard {
                (fresh, rounds) = (Instant::now(), 0);
            }
            let stalled = match want {
                Want::Nothing => return Outcome::Answered(Answer::Done),
                Want::Later => {
                    rounds = 0;
                    false
                }
                Want::Something => fresh.elapsed() > STALLED,
                Want::TheRest => {
                    if fresh.elapsed() > STALLED && rounds >= ROUNDS && self.open {
                        return Outcome::Answered(Answer::Done);
                    }
                    fresh.elapsed() > STALLED
                }
            };
            if matches!(listened, Ok(Err(_))) || stalled {
                listener.look(self, Moment::Lost).await;
                match self.enter().await {
                    Ok(true) => rounds += 1,
                    Ok(false) if self.family == Family::Room => rounds += 1,
                    // Another session has no right to the mailbox until the first one's lease is over.
                    Ok(false) => return Outcome::Unknown("not resumed".into()),
                    Err(_) if want == Want::TheRest => return Outcome::Unknown("no connection".into()),
                    Err(_) => {}
                }
                fresh = Instant::now();
            }
        }
    }

    pub(super) async fn close(self) {
        self.session.close().await;
    }
}
