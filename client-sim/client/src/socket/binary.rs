//! Binary frames.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use conclave_sigma::{Frame, Limits};

use super::{Event, Reply};
use crate::http::Error;

/// Reads a binary frame; any length that a server may send.
pub(super) fn read(bytes: &Bytes) -> Result<Event, Error> {
    let frame = conclave_sigma::decode_within(bytes, &Limits::FROM_SERVER)
        .map_err(|_| Error::Malformed("a frame is not the message it should be"))?;
    match frame {
        // Offsets begin with 1, and 0 is said of what has none.
        Frame::Data { payload, message_id, .. } => {
            Ok(Event::Message { offset: (message_id > 0).then_some(message_id), epoch: None, payload })
        }
        Frame::Heartbeat { .. } => Ok(Event::Done(Reply::default())),
        Frame::Error { code, message: _ } => Ok(Event::Refused {
            id: None,
            status: u16::try_from(code).unwrap_or_default(),
            code: code.to_string(),
        }),
        Frame::Connect { .. } | Frame::Reconnect { .. } | Frame::Disconnect { .. } => Ok(Event::Other),
    }
}

/// This machine's clock, in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
