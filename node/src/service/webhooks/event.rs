//! Events, and how they are encoded.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Serialize, Serializer};
use tokio::time::Instant;
use uuid::Uuid;

use crate::service::inventory::Id;

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A socket's session was opened or resumed here.
    SocketConnected,
    /// Its connection is gone, or the session is over.
    SocketDisconnected,
    /// A socket here entered a room.
    RoomJoined,
    /// It is no longer in that room.
    RoomLeft,
    /// An event stream was opened here.
    StreamOpened,
    /// It ended, or its connection is gone.
    StreamClosed,
    /// A device waits for approval.
    DevicePending,
}

/// The text names no kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an event is socket.connected, socket.disconnected, room.joined, room.left, stream.opened, stream.closed or device.pending"
)]
pub struct UnknownKind;

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::SocketConnected,
        Self::SocketDisconnected,
        Self::RoomJoined,
        Self::RoomLeft,
        Self::StreamOpened,
        Self::StreamClosed,
        Self::DevicePending,
    ];

    /// Its name, as configuration and receivers read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SocketConnected => "socket.connected",
            Self::SocketDisconnected => "socket.disconnected",
            Self::RoomJoined => "room.joined",
            Self::RoomLeft => "room.left",
            Self::StreamOpened => "stream.opened",
            Self::StreamClosed => "stream.closed",
            Self::DevicePending => "device.pending",
        }
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(UnknownKind)
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.name())
    }
}

/// One event. Keys are in it as operators' lists show them; the only names are those of devices, their subjects and
/// organisations, which operators know.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event<'a> {
    /// Unique for each event, and the same in all attempts.
    pub(super) id: Uuid,
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    /// Milliseconds since the Unix epoch, by this machine's clock.
    pub(super) at_ms: u64,
    pub(super) node: u64,
    #[serde(flatten)]
    pub(super) about: About<'a>,
}

/// What an event is about. Whatever is unknown, or does not belong to its kind, is left out.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct About<'a> {
    /// The session of a socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) socket: Option<Digits>,
    /// Tells its connections apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connection: Option<Digits>,
    /// Whether the session, or its membership, existed before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resumed: Option<bool>,
    /// Whether the session, or the membership, can be resumed for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resumable: Option<bool>,
    /// An event stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stream: Option<Digits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) room: Option<Digits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mailbox: Option<Digits>,
    /// Who it is, as a digest of organisation and subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subject_id: Option<Digits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) organisation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<&'a str>,
}

/// Sixteen hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Digits {
    /// The start of the key that something lies under.
    Key(Id),
    /// A random number.
    Number(u64),
}

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => id.fmt(f),
            Self::Number(number) => write!(f, "{number:016x}"),
        }
    }
}

impl Serialize for Digits {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

/// An event as it waits to be delivered. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Spelled {
    pub(super) json: Bytes,
    pub(super) at: Instant,
}

impl Spelled {
    pub(super) fn new(kind: Kind, node: u64, about: About<'_>) -> Self {
        let event = Event { id: Uuid::now_v7(), kind, at_ms: millis(), node, about };
        let json = serde_json::to_vec(&event).expect("names and numbers are JSON");
        Self { json: json.into(), at: Instant::now() }
    }
}

/// Events that are posted together. Its id and bytes stay the same in all attempts.
pub(super) struct Message {
    pub(super) id: String,
    pub(super) body: Bytes,
    pub(super) events: Vec<Spelled>,
}

impl Message {
    pub(super) fn new(events: Vec<Spelled>) -> Self {
        let mut body = br#"{"type":"events","events":["#.to_vec();
        for (place, event) in events.iter().enumerate() {
            if place > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&event.json);
        }
        body.extend_from_slice(b"]}");
        Self { id: format!("msg_{}", Uuid::now_v7().simple()), body: body.into(), events }
    }
}

fn millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since the Unix epoch.
pub(super) fn seconds() -> u64 {
    millis() / 1000
}

#[cfg(test)]
mod tests {
    use conclave_cluster::state::id::{Domain, Key};
    use serde_json::Value;

    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_named() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert_eq!("room.*".parse::<Kind>(), Err(UnknownKind));
    }

    #[test]
    fn a_message_is_json_with_its_events_in_order_and_nothing_that_is_not_known() {
        let room = Key::derive(Domain::Room, &[b"lobby"]);
        let about = About { room: Some(Digits::Key(Id::of(&room))), ..About::default() };
        let events = vec![
            Spelled::new(Kind::RoomJoined, 3, about.clone()),
            Spelled::new(Kind::RoomLeft, 3, About { resumable: Some(false), ..about }),
        ];
        let message = Message::new(events);
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(body["type"], "events");
        let [joined, left] = &body["events"].as_array().unwrap()[..] else { panic!("{body}") };
        assert_eq!((joined["type"].as_str(), joined["node"].as_u64()), (Some("room.joined"), Some(3)));
        assert_eq!(joined["room"], Id::of(&room).to_string());
        assert_eq!(left["resumable"], false);
        let mut keys: Vec<_> = joined.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["atMs", "id", "node", "room", "type"]);
        assert_ne!(joined["id"], left["id"]);
    }
}
