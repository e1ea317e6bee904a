//! Frames to bytes.

use bytes::Bytes;
use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, WIPOffset};

use crate::Frame;
use crate::sigma_sockets_generated::sigma_sockets::{
    ConnectMessage, ConnectMessageArgs, DataMessage, DataMessageArgs, DisconnectMessage,
    DisconnectMessageArgs, ErrorMessage, ErrorMessageArgs, HeartbeatMessage, HeartbeatMessageArgs, Message,
    MessageArgs, MessageData, MessageType, ReconnectMessage, ReconnectMessageArgs,
};

/// What a frame takes beside its texts and payload, so that the builder need not grow.
const OVERHEAD_BYTES: usize = 96;

/// Writes a frame; where it is decoded again within limits, it is the same. Limits are not looked at here: what a server
/// writes has been under them, and a test of a server must be able to break them.
pub fn encode(frame: &Frame) -> Bytes {
    let mut builder = FlatBufferBuilder::with_capacity(OVERHEAD_BYTES + variable_bytes(frame));
    let (type_, data_type, data) = member(&mut builder, frame);
    let message = Message::create(&mut builder, &MessageArgs { type_, data_type, data: Some(data) });
    builder.finish_minimal(message);
    let (buffer, start) = builder.collapse();
    Bytes::from(buffer).slice(start..)
}

fn variable_bytes(frame: &Frame) -> usize {
    match frame {
        Frame::Connect { session_id, client_version } => session_id.len() + client_version.len(),
        Frame::Disconnect { reason } => reason.len(),
        Frame::Data { payload, .. } => payload.len(),
        Frame::Heartbeat { .. } => 0,
        Frame::Reconnect { session_id, .. } => session_id.len(),
        Frame::Error { message, .. } => message.len(),
    }
}

fn member(
    builder: &mut FlatBufferBuilder<'_>,
    frame: &Frame,
) -> (MessageType, MessageData, WIPOffset<UnionWIPOffset>) {
    match frame {
        Frame::Connect { session_id, client_version } => {
            let session_id = Some(builder.create_string(session_id));
            let client_version = Some(builder.create_string(client_version));
            let data = ConnectMessage::create(builder, &ConnectMessageArgs { session_id, client_version });
            (MessageType::Connect, MessageData::Connect, data.as_union_value())
        }
        Frame::Disconnect { reason } => {
            let reason = Some(builder.create_string(reason));
            let data = DisconnectMessage::create(builder, &DisconnectMessageArgs { reason });
            (MessageType::Disconnect, MessageData::Disconnect, data.as_union_value())
        }
        Frame::Data { payload, message_id, timestamp } => {
            let (message_id, timestamp) = (*message_id, *timestamp);
            let payload = Some(builder.create_vector(payload.as_ref()));
            let data = DataMessage::create(builder, &DataMessageArgs { payload, message_id, timestamp });
            (MessageType::Data, MessageData::Data, data.as_union_value())
        }
        Frame::Heartbeat { timestamp } => {
            let data = HeartbeatMessage::create(builder, &HeartbeatMessageArgs { timestamp: *timestamp });
            (MessageType::Heartbeat, MessageData::Heartbeat, data.as_union_value())
        }
        Frame::Reconnect { session_id, last_message_id } => {
            let last_message_id = *last_message_id;
            let session_id = Some(builder.create_string(session_id));
            let data =
                ReconnectMessage::create(builder, &ReconnectMessageArgs { session_id, last_message_id });
            (MessageType::Reconnect, MessageData::Reconnect, data.as_union_value())
        }
        Frame::Error { code, message } => {
            let message = Some(builder.create_string(message));
            let data = ErrorMessage::create(builder, &ErrorMessageArgs { code: *code, message });
            (MessageType::Error, MessageData::Error, data.as_union_value())
        }
    }
}
