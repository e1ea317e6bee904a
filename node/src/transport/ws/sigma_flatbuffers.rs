//! FlatBuffers: binary messages to requests, answers and events to binary messages. A client's clock is its own affair:
//! its timestamps are never looked at.

use bytes::{BufMut as _, Bytes, BytesMut};
use conclave_cluster::state::allowance::Tier;
use conclave_cluster::state::query::{self, Page};
use conclave_sigma::{Frame as Sigma, Limits, decode_within, encode};

use super::close::{Code as Close, Reason};
use super::inbound_queue::Message;
use super::operations::{Code, Position};
use super::outbound_queue::Frame;
use super::room_progress::{knows_of_loss, resume_after};
use super::session::{Entry, Session, price};
use crate::access::Scope;
use crate::actors::room::{Broadcast, Event};
use crate::service;
use crate::service::room_format::BYTES;

/// An error for the client.
pub(super) fn error(code: u32, message: &str) -> Frame {
    Frame::Binary(encode(&Sigma::Error { code, message: message.to_owned() }))
}

/// A heartbeat for the client.
pub(super) fn heartbeat(timestamp: u64) -> Frame {
    Frame::Binary(encode(&Sigma::Heartbeat { timestamp }))
}

/// What happened in a room; `None` if the schema has no word for it.
pub(super) fn room_event(note: &Broadcast) -> Option<Bytes> {
    let (message_id, timestamp, data) = match &note.event {
        Event::Message(message) => (message.offset, message.at_ms, message.data.bytes()),
        Event::Volatile { data, at_ms, .. } => (0, *at_ms, data),
        Event::Joined(_) | Event::Left(_) => return None,
    };
    // The first byte says what the rest is; here text and bytes are the same.
    let payload = data.slice(1.min(data.len())..);
    Some(encode(&Sigma::Data { payload, message_id, timestamp }))
}

/// Takes one message.
pub(super) async fn hear(session: &mut Session, bytes: Bytes) {
    let frame = match decode_within(&bytes, &Limits::FROM_CLIENT) {
        Ok(frame) => frame,
        Err(malformed) => return breach(session, &malformed.to_string()),
    };
    // Nothing else keeps a payment from being made.
    if let Err(service::Error::Limited { retry_after_ms, .. }) =
        session.pay(Tier::Socket, cost(&frame, session))
    {
        return session.defer(Message::Binary(bytes), retry_after_ms);
    }
    match frame {
        Sigma::Data { payload, message_id, timestamp: _ } => data(session, &payload, message_id),
        Sigma::Heartbeat { timestamp: _ } => session.answer_heartbeat(),
        Sigma::Connect { session_id, .. } => {
            session.land().await;
            match connect(session, &session_id).await {
                Ok(()) => session.expect_heartbeats(),
                Err((code, message)) => session.say(Some(error(code, message))),
            }
        }
        Sigma::Reconnect { session_id, last_message_id } => {
            session.land().await;
            match reconnect(session, &session_id, last_message_id).await {
                Ok(()) => session.expect_heartbeats(),
                Err((code, message)) => session.say(Some(error(code, message))),
            }
        }
        Sigma::Disconnect { .. } => {
            session.land().await;
            if session.close().await.is_err() {
                tracing::debug!("a session could not be ended at once; its lease will");
            }
            session.end(Reason::from(Close::NORMAL));
        }
        Sigma::Error { .. } => breach(session, "only the server says what went wrong"),
    }
}

/// What a frame costs its client.
fn cost(frame: &Sigma, session: &Session) -> u32 {
    match frame {
        Sigma::Data { payload, .. } if session.room.is_some() && !session.context.volatile => {
            price(payload.len())
        }
        Sigma::Connect { .. } | Sigma::Reconnect { .. } => 1,
        Sigma::Data { .. } | Sigma::Heartbeat { .. } | Sigma::Disconnect { .. } | Sigma::Error { .. } => 0,
    }
}

/// The client broke a rule of the schema.
pub(super) fn breach(session: &mut Session, message: &str) {
    session.say(Some(error(400, message)));
    session.violation();
}

/// Why something was not done, as the schema's clients know it.
type Refused = (u32, &'static str);

async fn connect(session: &mut Session, id: &str) -> Result<(), Refused> {
    if session.identity.is_some() {
        return Err((409, "this connection has a session"));
    }
    admitted(session)?;
    let room = room(session)?;
    match session.open(id).await {
        Ok(true) => {}
        Ok(false) => return Err((409, "the session is in use")),
        Err(code) => return Err(refused(code)),
    }
    if let Some(room) = room {
        let greet = |_: Entry| -> super::room_event_writer::Greeting { Box::new(|_| Vec::new()) };
        let entry = session.enter(&room, None, greet).await.map_err(refused)?;
        session.follow(&entry, 0).await.map_err(refused)?;
    }
    Ok(())
}

async fn reconnect(session: &mut Session, id: &str, last: u64) -> Result<(), Refused> {
    if session.identity.is_some() {
        return Err((409, "this connection has a session"));
    }
    admitted(session)?;
    let named = room(session)?;
    let Some((remembered, _)) = session.resume(id).await.map_err(refused)? else {
        return Err((404, "there is no such session"));
    };
    let may_join = |room: &String| session.context.credential.may_join(room);
    let Some(room) = named.or(remembered.clone().filter(may_join)) else { return Ok(()) };
    let mark = session.identity.as_ref().and_then(|identity| identity.mark);
    let mark = mark.filter(|_| remembered.as_ref() == Some(&room));
    let (key, member) = (
        session.context.caller.namespace().room(&room).key,
        session.identity.as_ref().map(|identity| identity.key),
    );
    // Looked through only where it matters.
    let unknown = mark.filter(|mark| mark.said == 0 && last > mark.received);
    let (after, count_max) = unknown.map_or((0, 0), |mark| (mark.received, usize::MAX));
    let messages = query::RoomMessages(key, Page { after, count_max, bytes_max: usize::MAX });
    let seen = session.services.cluster.read_linearizable((query::Room(key), messages)).await;
    let (view, messages) = seen.map_err(|error| refused(error.into()))?;
    let spoke = messages.iter().any(|message| Some(message.member) == member);
    let room_last = view.map_or(0, |view| view.last);
    let from = match &mark {
        Some(mark) => Position { epoch: mark.epoch, offset: resume_after(mark, last, room_last, spoke) },
        // It was in no room, or in another one. The schema has no word for the epoch: the number is taken for one of the
        // present numbering.
        None => Position { epoch: view.map_or(0, |view| view.epoch), offset: last },
    };
    let knows = mark.as_ref().is_some_and(knows_of_loss);
    let greet = |entry: Entry| -> super::room_event_writer::Greeting {
        Box::new(move |_| match entry.recovered {
            Some(false) if !knows => vec![error(410, "what was missed is in the history no more")],
            Some(_) | None => Vec::new(),
        })
    };
    session.entry.arrivals().resume();
    let entry = session.enter(&room, Some(from), greet).await.map_err(refused)?;
    session.follow(&entry, mark.map_or(0, |mark| mark.said)).await.map_err(refused)
}

fn admitted(session: &Session) -> Result<(), Refused> {
    if session.context.credential.may(Scope::Socket) { Ok(()) } else { Err((403, "not granted")) }
}

/// The room of the URL, if the client may enter it.
fn room(session: &Session) -> Result<Option<String>, Refused> {
    match &session.context.room {
        Some(room) if !session.context.credential.may_join(room) => Err((403, "not granted")),
        room => Ok(room.clone()),
    }
}

fn data(session: &mut Session, payload: &Bytes, message_id: u64) {
    if session.identity.is_none() {
        return session.say(Some(error(401, "not connected")));
    }
    if session.room.is_none() {
        return session.say(Some(error(403, "in no room")));
    }
    let mut data = BytesMut::with_capacity(payload.len() + 1);
    data.put_u8(BYTES);
    data.put_slice(payload);
    let data = data.freeze();
    if session.context.volatile {
        if let Err(code) = session.cast(data) {
            let (code, message) = refused(code);
            session.say(Some(error(code, message)));
        }
        return;
    }
    session.entry.arrivals().said(message_id);
    // A client that does not number its messages leaves the field out, which reads as 0.
    match session.publish(data, (message_id != 0).then_some(message_id), None) {
        Ok(published) => session.launch(Box::pin(async move {
            let (code, message) = refused(published.await.err()?);
            Some(error(code, message))
        })),
        Err(code) => {
            let (code, message) = refused(code);
            session.say(Some(error(code, message)));
        }
    }
}

fn refused(code: Code) -> Refused {
    let (_, message) = code.spec();
    let status = match code {
        Code::Unauthorized => 401,
        Code::Forbidden | Code::NotInRoom | Code::RoomFull => 403,
        Code::RateLimited => 429,
        Code::StorageFull | Code::ShareFull | Code::TenantShareFull => 507,
        Code::Overloaded | Code::NoLeader | Code::KeysUnavailable | Code::ShuttingDown => 503,
        _ => 500,
    };
    (status, message)
}
