//! Sessions: offers and answers are written over one another and read, and some sessions are ended meanwhile.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hyper::{Method, Uri};
use rand::RngExt as _;
use tokio::time::Instant;

use super::caller::Caller;
use super::keyspace::{Keyspace, Live, Span, Turn};
use super::words::{Words, digits, number, text, wrong};
use super::{AUDIT_PAUSE, Audit};
use crate::client::{Envelope, Reply, Request};
use crate::proof::Family;
use crate::proof::history::{Answer, Outcome, Side, Wish};

/// All sessions of a run.
pub(super) struct Registers {
    live: Keyspace<()>,
    /// Those that were left as they are, to be looked at in the end.
    kept: Mutex<VecDeque<Arc<Live<()>>>>,
}

const SLOTS: usize = 8;
const SPAN: Span = Span { age: Duration::from_secs(20), asked: 120 };
/// Beyond this the oldest are not looked at again.
const KEPT_MAX: usize = 128;
const FAMILY: Family = Family::Register;

impl Registers {
    pub(super) fn new() -> Self {
        Self { live: Keyspace::new(SLOTS, SPAN), kept: Mutex::default() }
    }

    pub(super) async fn step(&self, caller: &mut Caller) {
        match self.live.turn(&mut caller.rng) {
            Turn::Ask(session) => {
                let side = if caller.rng.random() { Side::Offer } else { Side::Answer };
                let outcome = match caller.rng.random_range(0..5) {
                    0 | 1 => self.put(caller, &session.key, side).await,
                    _ => self.get(caller, &session.key, side).await,
                };
                if let Outcome::Unknown(_) = outcome {
                    session.doubtful();
                }
            }
            Turn::Replace(old, place) => {
                if let Some(old) = old {
                    self.leave(caller, old).await;
                }
                if let Some(session) = create(caller).await {
                    place.fill(Live::new(session, ()));
                }
            }
            Turn::Pass => {}
        }
    }

    /// Ends a session, or keeps it to be looked at later.
    async fn leave(&self, caller: &mut Caller, session: Arc<Live<()>>) {
        let closed = if caller.rng.random() {
            let request = Request::bare(Method::DELETE, of(&session.key, ""));
            caller.ask(FAMILY, &session.key, Wish::Delete, request, read_done).await;
            self.get(caller, &session.key, Side::Offer).await;
            Some(session)
        } else {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push_back(session);
            if kept.len() > KEPT_MAX { kept.pop_front() } else { None }
        };
        if let Some(session) = closed {
            caller.workload.recorder.close(&session.key);
        }
    }

    async fn put(&self, caller: &mut Caller, session: &Arc<str>, side: Side) -> Outcome {
        let value = caller.workload.number();
        let envelope =
            Envelope { version: 1, session_id: session.to_string(), nonce: digits(value), ct: text(value) };
        let body = serde_json::to_vec(&envelope).expect("an envelope of strings serializes");
        let request = Request::post(of(session, side.name()), body);
        caller.ask(FAMILY, session, Wish::Put { side, value }, request, read_done).await
    }

    async fn get(&self, caller: &mut Caller, session: &Arc<str>, side: Side) -> Outcome {
        let request = Request::bare(Method::GET, of(session, side.name()));
        let read = |reply: &Reply| read_envelope(reply, session);
        caller.ask(FAMILY, session, Wish::Get { side }, request, read).await
    }

    /// Everything that may be looked at again.
    pub(super) fn all(&self) -> Vec<Arc<Live<()>>> {
        let mut all = self.live.all();
        all.extend(self.kept.lock().unwrap_or_else(PoisonError::into_inner).drain(..));
        all
    }

    /// Reads both sides on every node.
    pub(super) async fn audit(
        &self,
        caller: &mut Caller,
        session: &Live<()>,
        give_up: Instant,
        audit: &mut Audit,
    ) {
        audit.things += 1;
        for target in 0..caller.workload.options.targets.len() {
            for side in [Side::Offer, Side::Answer] {
                loop {
                    caller.turn_to(target);
                    match self.get(caller, &session.key, side).await {
                        Outcome::Answered(_) => audit.answers += 1,
                        Outcome::Refused(_) | Outcome::Unknown(_) if Instant::now() < give_up => {
                            tokio::time::sleep(AUDIT_PAUSE).await;
                            continue;
                        }
                        Outcome::Refused(_) | Outcome::Unknown(_) => audit.unanswered += 1,
                    }
                    break;
                }
            }
        }
        caller.workload.recorder.close(&session.key);
    }
}

/// Opens a session. Until it has a name of the server's it goes by one of ours.
async fn create(caller: &mut Caller) -> Option<Arc<str>> {
    let provisional: Arc<str> = format!("unnamed-{}", caller.workload.number()).into();
    let mut begun = caller.begin(FAMILY, &provisional, Wish::Create);
    let request = Request::post(Uri::from_static("/api/v1/sessions"), "{}");
    let named = OnceLock::new();
    let outcome = caller
        .bring(&request, |reply| {
            // It becomes part of a path, so it must be what the contract says.
            let id = Words::of(reply).session_id.filter(|id| uuid::Uuid::parse_str(id).is_ok());
            match id {
                Some(id) if reply.status == 200 => {
                    named.get_or_init(|| id);
                    Answer::Done
                }
                _ => wrong(reply),
            }
        })
        .await;
    let id: Option<Arc<str>> = named.into_inner().map(|id: String| id.into());
    if let Some(id) = &id {
        caller.workload.recorder.name(&mut begun, id);
    }
    caller.end(begun, outcome);
    caller.workload.recorder.close(&provisional);
    id
}

fn of(session: &str, part: &str) -> Uri {
    let slash = if part.is_empty() { "" } else { "/" };
    format!("/api/v1/sessions/{session}{slash}{part}")
        .parse()
        .expect("ids are checked before they become a path")
}

fn read_done(reply: &Reply) -> Answer {
    let words = Words::of(reply);
    match (reply.status, words.status(), words.error()) {
        (200, "ok" | "deleted", "") => Answer::Done,
        (410, _, "session_expired") => Answer::Gone,
        _ => wrong(reply),
    }
}

fn read_envelope(reply: &Reply, session: &str) -> Answer {
    let words = Words::of(reply);
    match (reply.status, words.error(), &words.envelope) {
        (200, "", Some(Envelope { version: 1, session_id, nonce, ct })) => match number(ct) {
            Some(number) if *nonce == digits(number) && session_id == session => Answer::Value(number),
            _ => wrong(reply),
        },
        (404, "not_found", _) => Answer::Nothing,
        (410, "session_expired", _) => Answer::Gone,
        _ => wrong(reply),
    }
}
