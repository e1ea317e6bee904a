//! Bytes to frames.

use bytes::Bytes;
use flatbuffers::{InvalidFlatbuffer, VerifierOptions};

use crate::limits::{
    CLIENT_VERSION_CHARS_MAX, DEPTH_MAX, ERROR_CHARS_MAX, REASON_CHARS_MAX, SESSION_ID_BYTES_MAX,
    SHARED_BYTES_MAX, TABLES_MAX,
};
use crate::sigma_sockets_generated::sigma_sockets::{
    Message, MessageData, MessageType, root_as_message_with_opts,
};
use crate::{Frame, Limits, Malformed};

/// Reads a frame that a client sent. Rules that need a clock are the caller's.
pub fn decode(bytes: &Bytes) -> Result<Frame, Malformed> {
    decode_within(bytes, &Limits::FROM_CLIENT)
}

/// Reads a frame under other limits.
pub fn decode_within(bytes: &Bytes, limits: &Limits) -> Result<Frame, Malformed> {
    if bytes.len() > limits.frame_bytes_max {
        return Err(Malformed::TooLarge);
    }
    let bytes = &message_of(bytes);
    let options = VerifierOptions {
        max_depth: DEPTH_MAX,
        max_tables: TABLES_MAX,
        max_apparent_size: bytes.len() + SHARED_BYTES_MAX,
        ..VerifierOptions::default()
    };
    let message = root_as_message_with_opts(&options, bytes).map_err(|error| why(&error))?;
    read(bytes, &message, limits)
}

/// The message of a frame. Builders fill their buffer from its end, and there are clients that send all of it: zeros, and
/// then the message. No message begins with four of them, since that is the offset of its root; the first other byte is the
/// low one of that offset. What follows from there is the message, or there is none.
fn message_of(frame: &Bytes) -> Bytes {
    let begin = match frame.starts_with(&[0; size_of::<u32>()]) {
        true => frame.iter().position(|byte| *byte != 0).unwrap_or(0),
        false => 0,
    };
    frame.slice(begin..)
}

/// What the verifier found, in fewer words and without its places and lengths.
fn why(error: &InvalidFlatbuffer) -> Malformed {
    match error {
        InvalidFlatbuffer::Utf8Error { .. } => Malformed::NotUtf8,
        InvalidFlatbuffer::TooManyTables
        | InvalidFlatbuffer::ApparentSizeTooLarge
        | InvalidFlatbuffer::DepthLimitReached => Malformed::TooComplex,
        InvalidFlatbuffer::InconsistentUnion { .. } => Malformed::Empty,
        InvalidFlatbuffer::MissingRequiredField { .. }
        | InvalidFlatbuffer::MissingNullTerminator { .. }
        | InvalidFlatbuffer::Unaligned { .. }
        | InvalidFlatbuffer::RangeOutOfBounds { .. }
        | InvalidFlatbuffer::SignedOffsetOutOfBounds { .. } => Malformed::Broken,
    }
}

/// Reads a verified message. The verifier passes members of the union that the schema does not know unseen, so they are
/// refused before anything of them is touched.
fn read(bytes: &Bytes, message: &Message<'_>, limits: &Limits) -> Result<Frame, Malformed> {
    let expect = |kind: MessageType| match message.type_() == kind {
        true => Ok(()),
        false => Err(Malformed::TypeMismatch),
    };
    match message.data_type() {
        MessageData::Connect => {
            expect(MessageType::Connect)?;
            let data = message.data_as_connect().ok_or(Malformed::Empty)?;
            Ok(Frame::Connect {
                session_id: session_id(data.session_id())?,
                client_version: text(
                    data.client_version(),
                    CLIENT_VERSION_CHARS_MAX,
                    Malformed::ClientVersion,
                )?,
            })
        }
        MessageData::Disconnect => {
            expect(MessageType::Disconnect)?;
            let data = message.data_as_disconnect().ok_or(Malformed::Empty)?;
            Ok(Frame::Disconnect { reason: text(data.reason(), REASON_CHARS_MAX, Malformed::Reason)? })
        }
        MessageData::Data => {
            expect(MessageType::Data)?;
            let data = message.data_as_data().ok_or(Malformed::Empty)?;
            // Builders may leave out an empty vector, as they do with every default.
            let payload = data.payload().map_or(&[][..], |payload| payload.bytes());
            if payload.len() > limits.payload_bytes_max {
                return Err(Malformed::Payload);
            }
            Ok(Frame::Data {
                payload: bytes.slice_ref(payload),
                message_id: data.message_id(),
                timestamp: data.timestamp(),
            })
        }
        MessageData::Heartbeat => {
            expect(MessageType::Heartbeat)?;
            let data = message.data_as_heartbeat().ok_or(Malformed::Empty)?;
            Ok(Frame::Heartbeat { timestamp: data.timestamp() })
        }
        MessageData::Reconnect => {
            expect(MessageType::Reconnect)?;
            let data = message.data_as_reconnect().ok_or(Malformed::Empty)?;
            Ok(Frame::Reconnect {
                session_id: session_id(data.session_id())?,
                last_message_id: data.last_message_id(),
            })
        }
        MessageData::Error => {
            expect(MessageType::Error)?;
            let data = message.data_as_error().ok_or(Malformed::Empty)?;
            Ok(Frame::Error {
                code: data.code(),
                message: text(data.message(), ERROR_CHARS_MAX, Malformed::ErrorText)?,
            })
        }
        MessageData::NONE => Err(Malformed::Empty),
        _ => Err(Malformed::UnknownType),
    }
}

fn session_id(id: Option<&str>) -> Result<String, Malformed> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let valid = |id: &&str| (1..=SESSION_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(letter);
    id.filter(valid).map(str::to_owned).ok_or(Malformed::SessionId)
}

/// A text that may be absent, and then is empty.
fn text(text: Option<&str>, chars_max: usize, too_long: Malformed) -> Result<String, Malformed> {
    let text = text.unwrap_or_default();
    match text.chars().nth(chars_max) {
        None => Ok(text.to_owned()),
        Some(_) => Err(too_long),
    }
}
