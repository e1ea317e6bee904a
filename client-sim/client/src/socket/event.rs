//! What a server says, whatever the encoding.

use std::time::Duration;

use bytes::Bytes;

use crate::http::Error;

/// One thing that a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message in the room.
    Message {
        /// Its place in the room; `None` for a volatile one.
        offset: Option<u64>,
        /// The room's epoch as it is written, where the encoding has one.
        epoch: Option<Box<str>>,
        /// The bytes, or the JSON string without its quotes.
        payload: Bytes,
    },
    /// A signal in the claimed mailbox.
    Signal {
        /// Its place in the mailbox.
        seq: u64,
        /// Who sent it.
        from: String,
        /// `offer`, `answer`, `ice-candidate`.
        kind: String,
        /// The JSON text of the payload as it arrived.
        payload: Bytes,
    },
    /// An operation was carried out, or a heartbeat answered.
    Done(Reply),
    /// An operation was refused.
    Refused {
        /// Which, where it had a number.
        id: Option<u64>,
        /// As in HTTP; 0 where the encoding has none.
        status: u16,
        /// The contract's code, or its number.
        code: String,
    },
    /// The server is about to close.
    Drain {
        /// When to come back elsewhere.
        after: Duration,
    },
    /// A frame that breaks the contract.
    Unreadable(Error),
    /// Anything else: greetings, presence.
    Other,
}

/// What an answer to an operation holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Which operation, where it had a number.
    pub id: Option<u64>,
    /// The session's secret name.
    pub session: Option<String>,
    /// Whether nothing is missing after a resume.
    pub recovered: Option<bool>,
    /// The room the session is in.
    pub room: Option<String>,
    /// Where in the room.
    pub position: Option<Position>,
}

/// A position in a room's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The epoch, as the JSON text it came as; empty where the encoding has none.
    pub epoch: Box<str>,
    /// The last offset.
    pub offset: u64,
}
