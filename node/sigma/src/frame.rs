//! What a frame says.

use bytes::Bytes;

/// One frame, in either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Opens a socket session.
    Connect {
        /// Which one, named by the client.
        session_id: String,
        /// What the client calls its version; empty where it does not say.
        client_version: String,
    },
    /// Ends a socket session for good.
    Disconnect {
        /// Why, for people; empty where it is not said.
        reason: String,
    },
    /// Something for the other members of the room, or from one of them.
    Data {
        /// Opaque. A slice of the decoded frame, which it keeps in memory as a whole: copy what is to be kept long.
        payload: Bytes,
        /// From a client the number by which a repetition is known, from the server the room's offset.
        message_id: u64,
        /// Milliseconds since 1970.
        timestamp: u64,
    },
    /// A sign of life, and the answer to it.
    Heartbeat {
        /// Milliseconds since 1970.
        timestamp: u64,
    },
    /// Takes a socket session up again.
    Reconnect {
        /// Which one.
        session_id: String,
        /// The last of the room's offsets that arrived.
        last_message_id: u64,
    },
    /// What went wrong; only ever sent by the server.
    Error {
        /// As in HTTP: 400, 401, 403, 404, 409, 410, 429.
        code: u32,
        /// For people; empty where there is nothing to say.
        message: String,
    },
}
