//! Frames as bytes. No socket, no clock: bytes in, frames out.
//!
//! `length u32 | crc32c u32 | kind u8 | role u8 | cell u16 | request u64 | header length u32 | header | payload`,
//! big endian. Length and checksum are about all that follows the checksum.

use bytes::{Buf, Bytes, BytesMut};

use super::limits::READ_BYTES;

/// A frame that arrived: a request, or the answer to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What kind of message this is; the caller's and the service's business.
    pub kind: u8,
    /// Which cell it is about; 0 if about none.
    pub cell: u16,
    /// The encoded part.
    pub header: Bytes,
    /// The raw part: a slice of the read buffer, not a copy. Keeping it keeps the buffer.
    pub payload: Bytes,
}

impl Frame {
    /// The payload, to be kept for long. A small one shares the block that it was read into with other frames, and would keep
    /// all of it: it is copied.
    pub fn kept_payload(&self) -> Bytes {
        if self.payload.len() < READ_BYTES {
            Bytes::copy_from_slice(&self.payload)
        } else {
            self.payload.clone()
        }
    }
}

/// A frame to be sent. The parts of the payload go to the socket as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// What kind of message this is.
    pub kind: u8,
    /// Which cell it is about; 0 if about none.
    pub cell: u16,
    /// The encoded part.
    pub header: Vec<u8>,
    /// The raw part, in pieces.
    pub payload: Vec<Bytes>,
}

impl Outgoing {
    /// How many bytes the frame takes of the lane's limit.
    pub fn frame_bytes(&self) -> usize {
        FIXED_BYTES + self.header.len() + self.payload.iter().map(Bytes::len).sum::<usize>()
    }
}

/// What a frame is to the link. The numbers are the wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::FromRepr)]
#[repr(u8)]
pub(super) enum Role {
    /// The first frame each way.
    Hello = 0,
    /// Instead of a greeting: why there is no connection. The kind is the reason.
    Refusal = 1,
    Request = 2,
    Response = 3,
    /// Instead of a response: the handler failed. The kind says how.
    Failure = 4,
    Ping = 5,
    /// Answers a ping; the header is the service's note.
    Pong = 6,
    /// Behind the greeting: the header proves that the sender has the shared secret.
    Proof = 7,
}

/// The kind of a [`Role::Failure`]: the handler panicked.
pub(super) const PANICKED: u8 = 1;
/// The kind of a [`Role::Failure`]: the handler's answer did not fit the lane.
pub(super) const TOO_LARGE: u8 = 2;

/// A frame with its role and request id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) role: Role,
    pub(super) id: u64,
    pub(super) frame: Frame,
}

/// The bytes were not a frame; the connection is beyond repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("frame longer than allowed")]
    TooLong,
    #[error("frame shorter than its parts")]
    TooShort,
    #[error("frame checksum differs")]
    Checksum,
    #[error("unknown frame role")]
    Role,
}

/// Length and checksum.
pub(super) const PREFIX_BYTES: usize = 8;
/// From kind to header length.
const FIXED_BYTES: usize = 16;

/// A frame ready to be written.
pub(super) struct Encoded {
    pub(super) head: [u8; PREFIX_BYTES + FIXED_BYTES],
    pub(super) header: Vec<u8>,
    pub(super) payload: Vec<Bytes>,
}

/// Encodes a frame; the caller has checked [`Outgoing::frame_bytes`] against the lane's limit.
pub(super) fn encode(role: Role, id: u64, frame: Outgoing) -> Encoded {
    let mut head = [0; PREFIX_BYTES + FIXED_BYTES];
    let length = u32::try_from(frame.frame_bytes()).expect("frame limits are far below 4 GiB");
    let header_length = u32::try_from(frame.header.len()).expect("a header is shorter than its frame");
    head[0..4].copy_from_slice(&length.to_be_bytes());
    head[8] = frame.kind;
    head[9] = role as u8;
    head[10..12].copy_from_slice(&frame.cell.to_be_bytes());
    head[12..20].copy_from_slice(&id.to_be_bytes());
    head[20..24].copy_from_slice(&header_length.to_be_bytes());
    let mut sum = crc32c::crc32c(&head[PREFIX_BYTES..]);
    sum = crc32c::crc32c_append(sum, &frame.header);
    for part in &frame.payload {
        sum = crc32c::crc32c_append(sum, part);
    }
    head[4..8].copy_from_slice(&sum.to_be_bytes());
    Encoded { head, header: frame.header, payload: frame.payload }
}

/// How many bytes the frame at the start of `buffer` takes, its prefix included; `None` if too few to tell.
/// Refuses a length above `bytes_max` before anything is allocated for it.
pub(super) fn frame_length(buffer: &[u8], bytes_max: usize) -> Result<Option<usize>, Malformed> {
    let Some(length) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length > bytes_max {
        return Err(Malformed::TooLong);
    }
    if length < FIXED_BYTES {
        return Err(Malformed::TooShort);
    }
    Ok(Some(PREFIX_BYTES + length))
}

/// Takes the frame at the start of `buffer`, if it is complete.
pub(super) fn decode(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Parsed>, Malformed> {
    let Some(length) = frame_length(buffer, bytes_max)? else { return Ok(None) };
    if buffer.len() < length {
        return Ok(None);
    }
    let mut body = buffer.split_to(length).freeze();
    body.advance(4);
    let sum = body.get_u32();
    if crc32c::crc32c(&body) != sum {
        return Err(Malformed::Checksum);
    }
    let kind = body.get_u8();
    let role = Role::from_repr(body.get_u8()).ok_or(Malformed::Role)?;
    let cell = body.get_u16();
    let id = body.get_u64();
    let header_length = body.get_u32() as usize;
    if header_length > body.len() {
        return Err(Malformed::TooShort);
    }
    let header = body.split_to(header_length);
    Ok(Some(Parsed { role, id, frame: Frame { kind, cell, header, payload: body } }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(encoded: Encoded) -> BytesMut {
        let mut bytes = BytesMut::from(&encoded.head[..]);
        bytes.extend_from_slice(&encoded.header);
        encoded.payload.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }

    fn outgoing() -> Outgoing {
        let payload = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"two")];
        Outgoing { kind: 7, cell: 513, header: b"header".to_vec(), payload }
    }

    #[test]
    fn a_small_payload_that_is_kept_keeps_no_block() {
        for (len, is_copied) in [(0, true), (1, true), (READ_BYTES - 1, true), (READ_BYTES, false)] {
            let block = Bytes::from(vec![7; 2 * READ_BYTES]);
            let payload = block.slice(..len);
            let frame = Frame { kind: 1, cell: 1, header: Bytes::new(), payload };
            let kept = frame.kept_payload();
            assert_eq!(kept, frame.payload);
            drop(frame);
            assert_eq!(block.is_unique(), is_copied, "{len} bytes");
        }
    }

    #[test]
    fn a_frame_arrives_as_it_was_sent() {
        let mut bytes = bytes_of(encode(Role::Request, u64::MAX - 1, outgoing()));
        assert_eq!(bytes.len(), PREFIX_BYTES + outgoing().frame_bytes());
        let parsed = decode(&mut bytes, 1024).unwrap().unwrap();
        assert_eq!((parsed.role, parsed.id), (Role::Request, u64::MAX - 1));
        assert_eq!((parsed.frame.kind, parsed.frame.cell), (7, 513));
        assert_eq!((&parsed.frame.header[..], &parsed.frame.payload[..]), (&b"header"[..], &b"onetwo"[..]));
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_length_above_the_limit_is_refused_from_its_four_bytes_alone() {
        let mut bytes = BytesMut::from(&u32::MAX.to_be_bytes()[..]);
        let capacity = bytes.capacity();
        assert_eq!(decode(&mut bytes, 1024), Err(Malformed::TooLong));
        assert_eq!(bytes.capacity(), capacity);
    }

    proptest! {
        #[test]
        fn every_prefix_waits_for_more(cut in 0usize..1000) {
            let whole = bytes_of(encode(Role::Response, 3, outgoing()));
            let mut part = BytesMut::from(&whole[..cut % whole.len()]);
            prop_assert_eq!(decode(&mut part, 1024), Ok(None));
        }

        #[test]
        fn a_flipped_bit_is_never_taken_for_a_frame(bit in 0usize..10_000) {
            let mut bytes = bytes_of(encode(Role::Response, 3, outgoing()));
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            // A longer length waits for bytes that never come; everything else is found out at once.
            let result = decode(&mut bytes, 1024);
            prop_assert!(matches!(result, Err(_) | Ok(None)), "{result:?}");
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&mut BytesMut::from(&bytes[..]), 4096);
        }
    }
}
