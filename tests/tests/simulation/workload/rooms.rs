//! Rooms: sessions that come, say something, listen and go.

use bytes::Bytes;
use conclave_cluster::Error;
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::generation::Generation;
use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::incarnation::Attachment;
use conclave_cluster::state::query::{self, Page};
use conclave_cluster::state::room::{self, Keep};

use super::sockets::{SESSIONS, session_key};
use super::{FOREVER_MS, Reader, lasting};
use crate::simulation::history::{RoomSight, Said, Sight, number};
use crate::simulation::plan::Plan;

/// Rooms in use. One forgets soon how much was said, one hardly anything, one what was said a while ago.
pub(crate) const ROOMS: u8 = 3;

/// How much of what was said in a room stays.
pub(crate) fn keep(plan: &Plan, room: u8) -> Keep {
    let all = Keep { count: 10_000, bytes: 1 << 20, age_ms: FOREVER_MS };
    match room {
        0 => Keep { count: plan.room_messages, ..all },
        1 => all,
        _ => Keep { age_ms: plan.room_age_ms, ..all },
    }
}

/// Has a session be a member.
pub(super) fn join(room: u8, session: u8, generation: Generation, at: Attachment, grace_ms: u32) -> Op {
    about(room, room::Action::Join { member: session_key(session), generation, at, grace_ms })
}

/// Has a session be a member no more.
pub(super) fn leave(room: u8, session: u8, connection: u64) -> Op {
    about(room, room::Action::Leave { member: session_key(session), connection })
}

/// Says a number, which is also the message's name if it has one.
pub(super) fn publish(plan: &Plan, room: u8, session: u8, value: u64, named: bool) -> Op {
    let action = room::Action::Publish {
        member: session_key(session),
        message_id: named.then_some(value),
        data: Body::new(Bytes::copy_from_slice(&value.to_be_bytes())),
        keep: keep(plan, room),
    };
    about(room, action)
}

fn about(room: u8, action: room::Action) -> Op {
    Op::Room(room::Op { key: lasting(Domain::Room, room), action })
}

/// What a listener hears that has heard everything up to an offset.
pub(super) async fn hear(room: u8, after: u64, reader: Reader<'_>) -> Result<Sight, Error> {
    let key = lasting(Domain::Room, room);
    let sessions: Vec<_> = (0..SESSIONS).map(session_key).collect();
    let session = |key: &Key| sessions.iter().position(|it| it == key).map_or(u8::MAX, |number| number as u8);
    let page = Page { after, count_max: usize::MAX, bytes_max: usize::MAX };
    let look = (query::Room(key), (query::RoomMessages(key, page), query::RoomMembers(key)));
    let (view, (messages, members)) = reader.read(look).await?;
    let said = messages.iter().map(|message| Said {
        offset: message.offset,
        session: session(&message.member),
        value: number(message.data.bytes()),
        at_ms: message.at_ms,
    });
    Ok(Sight::Room(view.map(|view| RoomSight {
        epoch: view.epoch,
        first: view.first,
        last: view.last,
        said: said.collect(),
        members: members.iter().map(session).collect(),
    })))
}
