//! Sockets that speak FlatBuffers, as the shipped clients of that schema do.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use conclave_client::socket::Incoming;
use conclave_sigma::{Frame, Limits, decode_within, encode};
use tokio::time::timeout;

use crate::http::Api;
use crate::socket::{PATIENCE, Socket};

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set").as_millis() as u64
}

/// A socket that speaks FlatBuffers.
pub struct Sigma(pub Socket);

/// Between two heartbeats of one that waits for an answer.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(300);

impl Sigma {
    /// Opens a socket to a room; nothing is said yet.
    pub async fn open(api: &Api, room: &str) -> Self {
        Self(Socket::at(api, &format!("/api/v1/socket?room={room}")).await)
    }

    /// One that is connected, and of which the others know.
    pub async fn connected(api: &Api, room: &str, session: &str) -> Self {
        let mut sigma = Self::open(api, room).await;
        sigma.say(&connect(session)).await;
        // No answer is sent; but requests are carried out in their order.
        sigma.say(&Frame::Heartbeat { timestamp: now_ms() }).await;
        assert!(matches!(sigma.hear().await, Frame::Heartbeat { .. }));
        sigma
    }

    /// Sends a frame.
    pub async fn say(&mut self, frame: &Frame) {
        self.0.send(encode(frame)).await;
    }

    /// The next frame.
    pub async fn hear(&mut self) -> Frame {
        timeout(PATIENCE, self.next()).await.expect("a message").expect("it is open")
    }

    /// The next frame, or the code with which the connection ended; waits for ever.
    pub async fn next(&mut self) -> Result<Frame, Option<u16>> {
        loop {
            if let Incoming::Binary(bytes) = self.0.next().await? {
                return Ok(
                    decode_within(&bytes, &Limits::FROM_SERVER).expect("the server's frames are sound")
                );
            }
        }
    }

    /// The next frame that is no heartbeat; waits for ever. Meanwhile pings are answered.
    pub async fn beyond_heartbeats(&mut self) -> Result<Frame, Option<u16>> {
        loop {
            match self.next().await {
                Ok(Frame::Heartbeat { .. }) => {}
                other => return other,
            }
        }
    }

    /// Waits until all that was said before is carried out: heartbeats are answered in their turn, one a second at most.
    pub async fn settled(&mut self) {
        let answered = async {
            loop {
                self.say(&Frame::Heartbeat { timestamp: now_ms() }).await;
                if let Ok(heard) = timeout(HEARTBEAT_EVERY, self.next()).await {
                    return heard.expect("it is open");
                }
            }
        };
        let heard = timeout(PATIENCE, answered).await.expect("a heartbeat is answered");
        assert!(matches!(heard, Frame::Heartbeat { .. }), "{heard:?}");
    }

    /// The next frame that is no heartbeat, which has to be one of data: its payload and number.
    pub async fn data(&mut self) -> (Bytes, u64) {
        loop {
            match self.hear().await {
                Frame::Data { payload, message_id, .. } => return (payload, message_id),
                Frame::Heartbeat { .. } => {}
                other => panic!("{other:?} instead of data"),
            }
        }
    }

    /// Sends what has to be answered with an error of this number.
    pub async fn refused(&mut self, frame: &Frame, expected: u32) {
        self.say(frame).await;
        self.error(expected).await;
    }

    /// The next frame that is no heartbeat, which has to be an error of this number.
    pub async fn error(&mut self, expected: u32) {
        loop {
            match self.hear().await {
                Frame::Error { code, .. } => return assert_eq!(code, expected),
                Frame::Heartbeat { .. } => {}
                other => panic!("{other:?} instead of error {expected}"),
            }
        }
    }
}

/// Opens a session.
pub fn connect(session: &str) -> Frame {
    Frame::Connect { session_id: session.to_owned(), client_version: "test".to_owned() }
}

/// A message, written now.
pub fn data(payload: impl Into<Bytes>, message_id: u64) -> Frame {
    Frame::Data { payload: payload.into(), message_id, timestamp: now_ms() }
}

/// Goes on with a session.
pub fn reconnect(session: &str, last_message_id: u64) -> Frame {
    Frame::Reconnect { session_id: session.to_owned(), last_message_id }
}
