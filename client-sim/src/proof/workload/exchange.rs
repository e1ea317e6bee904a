//! The calls of `/api/v1/sessions`, taken down.

use std::sync::{Arc, OnceLock};

use hyper::{Method, Uri};

use super::caller::Caller;
use super::words::{Words, digits, number, text, wrong};
use crate::client::{Envelope, Reply, Request};
use crate::proof::Family;
use crate::proof::history::{Answer, Outcome, Side, Wish};

const SESSIONS: &str = "/api/v1/sessions";

/// Opens a session, which is named by the server. Until then it goes by a name of ours.
pub(super) async fn create(caller: &mut Caller, family: Family) -> Option<Arc<str>> {
    let provisional: Arc<str> = format!("unnamed-{}", caller.fresh()).into();
    let mut begun = caller.begin(family, &provisional, Wish::Create);
    let request = Request::post(Uri::from_static(SESSIONS), "{}");
    let named = OnceLock::new();
    let outcome = caller
        .bring(&request, |reply| match id(reply) {
            Some(id) => {
                named.get_or_init(|| id);
                Answer::Done
            }
            None => wrong(reply),
        })
        .await;
    let id: Option<Arc<str>> = named.into_inner();
    if let Some(id) = &id {
        caller.name(&mut begun, id);
    }
    caller.end(begun, outcome);
    caller.close(&provisional);
    id
}

/// Opens a session for what it costs.
pub(super) async fn spend(caller: &mut Caller, family: Family, key: &Arc<str>) -> Outcome {
    let request = Request::post(Uri::from_static(SESSIONS), "{}");
    let read = |reply: &Reply| if id(reply).is_some() { Answer::Done } else { wrong(reply) };
    caller.ask(family, key, Wish::Spend, request, read).await
}

/// Opens a session under a pin, which is the key.
pub(super) async fn acquire(caller: &mut Caller, family: Family, pin: &Arc<str>) -> Outcome {
    let request = Request::post(Uri::from_static(SESSIONS), format!(r#"{{"pin":"{pin}"}}"#));
    let read = |reply: &Reply| match (id(reply), reply.status, Words::of(reply).error()) {
        (Some(id), _, _) => Answer::Session(id),
        (None, 409, "pin_in_use") => Answer::Taken,
        _ => wrong(reply),
    };
    caller.ask(family, pin, Wish::Acquire, request, read).await
}

/// Asks which session a pin stands for.
pub(super) async fn resolve(caller: &mut Caller, family: Family, pin: &Arc<str>) -> Outcome {
    let request = Request::bare(Method::GET, path(&format!("{SESSIONS}/resolve?pin={pin}")));
    let read = |reply: &Reply| match (id(reply), reply.status, Words::of(reply).error()) {
        (Some(id), _, _) => Answer::Session(id),
        (None, 404, "pin_not_found" | "session_expired") => Answer::Nothing,
        _ => wrong(reply),
    };
    caller.ask(family, pin, Wish::Resolve, request, read).await
}

/// Ends a session that was opened under a pin, which is the key.
pub(super) async fn release(
    caller: &mut Caller,
    family: Family,
    pin: &Arc<str>,
    session: Arc<str>,
) -> Outcome {
    let request = Request::bare(Method::DELETE, of(&session, ""));
    caller.ask(family, pin, Wish::Release { session }, request, done).await
}

/// Ends a session, which is the key.
pub(super) async fn delete(caller: &mut Caller, family: Family, session: &Arc<str>) -> Outcome {
    let request = Request::bare(Method::DELETE, of(session, ""));
    caller.ask(family, session, Wish::Delete, request, done).await
}

/// Stores a fresh envelope.
pub(super) async fn put(caller: &mut Caller, family: Family, session: &Arc<str>, side: Side) -> Outcome {
    let value = caller.fresh();
    let envelope =
        Envelope { version: 1, session_id: session.to_string(), nonce: digits(value), ct: text(value) };
    let body = serde_json::to_vec(&envelope).expect("an envelope of strings serializes");
    let request = Request::post(of(session, side.name()), body);
    caller.ask(family, session, Wish::Put { side, value }, request, done).await
}

/// Reads an envelope.
pub(super) async fn get(caller: &mut Caller, family: Family, session: &Arc<str>, side: Side) -> Outcome {
    let request = Request::bare(Method::GET, of(session, side.name()));
    let read = |reply: &Reply| {
        let words = Words::of(reply);
        match (reply.status, words.error(), &words.envelope) {
            (200, "", Some(envelope)) => value(envelope, session).map_or_else(|| wrong(reply), Answer::Value),
            (404, "not_found", _) => Answer::Nothing,
            (410, "session_expired", _) => Answer::Gone,
            _ => wrong(reply),
        }
    };
    caller.ask(family, session, Wish::Get { side }, request, read).await
}

/// Which envelope it is, if every letter is as it was written.
fn value(envelope: &Envelope, session: &str) -> Option<u64> {
    let Envelope { version, session_id, nonce, ct } = envelope;
    number(ct).filter(|value| *version == 1 && session_id == session && *nonce == digits(*value))
}

/// The id in a reply, where it is what the contract says: it becomes part of a path.
fn id(reply: &Reply) -> Option<Arc<str>> {
    let id = Words::of(reply).session_id.filter(|id| uuid::Uuid::parse_str(id).is_ok())?;
    (reply.status == 200).then(|| id.into())
}

fn done(reply: &Reply) -> Answer {
    let words = Words::of(reply);
    match (reply.status, words.status(), words.error()) {
        (200, "ok" | "deleted", "") => Answer::Done,
        (410, _, "session_expired") => Answer::Gone,
        _ => wrong(reply),
    }
}

fn of(session: &str, part: &str) -> Uri {
    let slash = if part.is_empty() { "" } else { "/" };
    path(&format!("{SESSIONS}/{session}{slash}{part}"))
}

fn path(path: &str) -> Uri {
    path.parse().expect("ids and pins are letters, digits and dashes")
}
