//! Frames there and back, frames of other implementations, and frames that break one rule each.
// All of this is test code, helpers outside `#[test]` functions included.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use conclave_sigma::{Frame, Limits, Malformed, decode, decode_within, encode};
use proptest::prelude::*;

fn connect(session_id: &str, client_version: &str) -> Frame {
    Frame::Connect { session_id: session_id.to_owned(), client_version: client_version.to_owned() }
}

fn data(payload: impl Into<Bytes>) -> Frame {
    Frame::Data { payload: payload.into(), message_id: 0, timestamp: 0 }
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let id = || "[A-Za-z0-9_-]{1,128}";
    prop_oneof![
        (id(), "\\PC{0,64}")
            .prop_map(|(session_id, client_version)| Frame::Connect { session_id, client_version }),
        "\\PC{0,256}".prop_map(|reason| Frame::Disconnect { reason }),
        (proptest::collection::vec(any::<u8>(), 0..2048), any::<u64>(), any::<u64>()).prop_map(
            |(payload, message_id, timestamp)| Frame::Data { payload: payload.into(), message_id, timestamp }
        ),
        any::<u64>().prop_map(|timestamp| Frame::Heartbeat { timestamp }),
        (id(), any::<u64>())
            .prop_map(|(session_id, last_message_id)| Frame::Reconnect { session_id, last_message_id }),
        (any::<u32>(), "\\PC{0,256}").prop_map(|(code, message)| Frame::Error { code, message }),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(frame in any_frame()) {
        prop_assert_eq!(decode(&encode(&frame)), Ok(frame));
    }

    /// A frame is read where it lies in a connection's buffer, at any address.
    #[test]
    fn a_frame_decodes_at_any_address(frame in any_frame(), before in 0usize..16) {
        let mut buffer = vec![0xa5; before];
        buffer.extend_from_slice(&encode(&frame));
        prop_assert_eq!(decode(&Bytes::from(buffer).slice(before..)), Ok(frame));
    }

    /// There are clients that send all of their builder's buffer, whose front is zeros.
    #[test]
    fn zeros_before_a_frame_are_passed_over(frame in any_frame(), before in 4usize..1200) {
        let mut buffer = vec![0; before];
        buffer.extend_from_slice(&encode(&frame));
        prop_assert_eq!(decode(&Bytes::from(buffer)), Ok(frame));
    }

    #[test]
    fn a_frame_cut_short_is_never_taken_for_another(frame in any_frame(), at in any::<proptest::sample::Index>()) {
        let whole = encode(&frame);
        let cut = whole.slice(..at.index(whole.len()));
        if let Ok(read) = decode(&cut) {
            // What was cut off was padding.
            prop_assert_eq!(read, frame);
        }
    }
}

#[test]
fn a_payload_is_a_slice_of_its_frame() {
    let whole = encode(&data(vec![7; 1024]));
    let Ok(Frame::Data { payload, .. }) = decode(&whole) else { panic!("data is data") };
    assert!(whole.as_ptr_range().contains(&payload.as_ptr()));
    assert_eq!(payload, vec![7; 1024]);
}

#[test]
fn frames_of_other_implementations_decode() {
    let goldens: [(&[u8], Frame); 14] = [
        (include_bytes!("golden/cpp-connect.bin"), connect("abc", "2")),
        (include_bytes!("golden/cpp-disconnect.bin"), Frame::Disconnect { reason: "done".to_owned() }),
        (
            include_bytes!("golden/cpp-data.bin"),
            Frame::Data { payload: vec![1, 2, 3].into(), message_id: u64::MAX, timestamp: 1_700_000_000_000 },
        ),
        (include_bytes!("golden/cpp-heartbeat.bin"), Frame::Heartbeat { timestamp: 42 }),
        (
            include_bytes!("golden/cpp-reconnect.bin"),
            Frame::Reconnect { session_id: "abc".to_owned(), last_message_id: 9 },
        ),
        (include_bytes!("golden/cpp-error.bin"), Frame::Error { code: 409, message: "in use".to_owned() }),
        (include_bytes!("golden/python-connect.bin"), connect("session_01-AZ", "1.0.0-ü")),
        (include_bytes!("golden/python-connect-without-version.bin"), connect("s", "")),
        (
            include_bytes!("golden/python-disconnect-without-reason.bin"),
            Frame::Disconnect { reason: String::new() },
        ),
        (
            include_bytes!("golden/python-data.bin"),
            Frame::Data {
                payload: (0..=255).collect(),
                message_id: 0x0123_4567_89ab_cdef,
                timestamp: 1_700_000_000_123,
            },
        ),
        (include_bytes!("golden/python-data-of-defaults.bin"), data("")),
        (include_bytes!("golden/python-data-of-forced-defaults.bin"), data("")),
        (
            include_bytes!("golden/python-data-in-its-whole-buffer.bin"),
            Frame::Data { payload: "payload".into(), message_id: 3, timestamp: 1_700_000_000_123 },
        ),
        (
            include_bytes!("golden/python-data-with-fields-of-tomorrow.bin"),
            Frame::Data { payload: "payload".into(), message_id: 6, timestamp: 7 },
        ),
    ];
    for (bytes, frame) in goldens {
        assert_eq!(decode(&Bytes::from_static(bytes)), Ok(frame));
    }
}

/// Little-endian words, as they follow one another in a frame.
struct Words(Vec<u8>);

impl Words {
    fn u8(mut self, words: &[u8]) -> Self {
        self.0.extend_from_slice(words);
        self
    }
    fn u16(mut self, words: &[u16]) -> Self {
        self.0.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        self
    }
    fn u32(mut self, word: u32) -> Self {
        self.0.extend(word.to_le_bytes());
        self
    }
    fn i32(mut self, word: i32) -> Self {
        self.0.extend(word.to_le_bytes());
        self
    }
}

/// A heartbeat by hand: the tables first and their vtables behind them, the way no builder puts them. `kind` and
/// `member` are the two places that say what it is.
fn heartbeat_by_hand(kind: u8, member: u8) -> Bytes {
    let words = Words(Vec::new())
        .u32(4) // 0: the root is at 4
        .i32(4 - 32) // 4: its vtable is at 32
        .u32(8) // 8: data is at 16
        .u8(&[kind, member, 0, 0]) // 12, 13: type and data_type
        .i32(16 - 42) // 16: the heartbeat's vtable is at 42
        .u32(0) // 20: filler
        .u8(&42u64.to_le_bytes()) // 24: timestamp
        .u16(&[10, 12, 8, 9, 4]) // 32: where in the root its three fields are
        .u16(&[6, 16, 8]); // 42: where in the heartbeat its one field is
    words.0.into()
}

#[test]
fn vtables_may_lie_anywhere() {
    assert_eq!(decode(&heartbeat_by_hand(3, 4)), Ok(Frame::Heartbeat { timestamp: 42 }));
}

#[test]
fn what_says_two_things_of_its_type_is_refused() {
    for kind in (0..=255).filter(|kind| *kind != 3) {
        assert_eq!(decode(&heartbeat_by_hand(kind, 4)), Err(Malformed::TypeMismatch));
    }
    assert_eq!(decode(&heartbeat_by_hand(3, 0)), Err(Malformed::Empty));
    for member in 7..=255 {
        assert_eq!(decode(&heartbeat_by_hand(3, member)), Err(Malformed::UnknownType));
    }
}

#[test]
fn a_session_id_is_one_to_128_plain_letters() {
    for id in ["a", "AZaz09_-", &"x".repeat(128)] {
        assert_eq!(decode(&encode(&connect(id, ""))), Ok(connect(id, "")));
    }
    for id in ["", "ä", "a b", "a/b", "a\0", &"x".repeat(129)] {
        assert_eq!(decode(&encode(&connect(id, ""))), Err(Malformed::SessionId));
        let again = Frame::Reconnect { session_id: id.to_owned(), last_message_id: 1 };
        assert_eq!(decode(&encode(&again)), Err(Malformed::SessionId));
    }
}

#[test]
fn texts_and_payloads_have_a_length_at_most() {
    let reason = |chars: usize| Frame::Disconnect { reason: "ü".repeat(chars) };
    let error = |chars: usize| Frame::Error { code: 400, message: "ü".repeat(chars) };
    let longest = [connect("s", &"ü".repeat(64)), reason(256), error(256), data(vec![0; 32 << 10])];
    for frame in longest {
        assert_eq!(decode(&encode(&frame)), Ok(frame));
    }
    let longer = [
        (connect("s", &"ü".repeat(65)), Malformed::ClientVersion),
        (reason(257), Malformed::Reason),
        (error(257), Malformed::ErrorText),
        (data(vec![0; (32 << 10) + 1]), Malformed::Payload),
        (data(vec![0; 64 << 10]), Malformed::TooLarge),
    ];
    for (frame, why) in longer {
        assert_eq!(decode(&encode(&frame)), Err(why));
    }
}

#[test]
fn a_server_may_send_larger_payloads() {
    let frame = data(vec![1; 64 << 10]);
    assert_eq!(decode_within(&encode(&frame), &Limits::FROM_SERVER), Ok(frame));
    let frame = data(vec![1; (64 << 10) + 1]);
    assert_eq!(decode_within(&encode(&frame), &Limits::FROM_SERVER), Err(Malformed::Payload));
}

#[test]
fn a_frame_is_64_kib_at_most_whatever_it_holds() {
    let mut bytes = encode(&data("")).to_vec();
    bytes.resize(64 << 10, 0);
    assert_eq!(decode(&Bytes::from(bytes.clone())), Ok(data("")));
    bytes.push(0);
    assert_eq!(decode(&Bytes::from(bytes)), Err(Malformed::TooLarge));
}

#[test]
fn what_follows_zeros_is_verified_as_strictly() {
    let whole = encode(&connect("abc", "xyz"));
    let behind = |zeros: usize, bytes: &[u8]| {
        let mut buffer = vec![0; zeros];
        buffer.extend_from_slice(bytes);
        decode(&Bytes::from(buffer))
    };
    assert_eq!(behind(500, &whole), Ok(connect("abc", "xyz")));
    for end in 1..whole.len() - 4 {
        assert!(behind(500, &whole[..end]).is_err(), "cut at {end}");
    }
    // Where it does not begin nothing is looked for.
    assert_eq!(behind(500, &[&[1, 0, 0, 0][..], &whole].concat()), Err(Malformed::Broken));
    for zeros in 1..4 {
        assert!(behind(zeros, &whole).is_err(), "{zeros} are not the offset of a root");
    }
    // Zeros count as part of the frame.
    assert_eq!(behind((64 << 10) - whole.len() + 1, &whole), Err(Malformed::TooLarge));
    assert_eq!(behind((64 << 10) - whole.len(), &whole), Ok(connect("abc", "xyz")));
}

#[test]
fn what_is_no_message_is_refused() {
    assert_eq!(decode(&Bytes::new()), Err(Malformed::Broken));
    assert_eq!(decode(&Bytes::from_static(b"GET / HTTP/1.1\r\n")), Err(Malformed::Broken));
    assert_eq!(decode(&Bytes::from(vec![0; 64])), Err(Malformed::Empty));
    let mut not_utf8 = encode(&connect("abc", "xyz")).to_vec();
    let at = not_utf8.windows(3).position(|three| three == b"xyz").unwrap();
    not_utf8[at] = 0xff;
    assert_eq!(decode(&Bytes::from(not_utf8)), Err(Malformed::NotUtf8));
}

#[test]
fn two_texts_in_the_same_bytes_are_too_much() {
    // Both of a Connect's texts are the same long one, as a bomb that unfolds when it is read would have it.
    let long = "a".repeat(40_000);
    let mut bytes = encode(&connect(&long, "b")).to_vec();
    let place = |bytes: &[u8], length: usize| {
        let length = (length as u32).to_le_bytes();
        (0..bytes.len() - 4).step_by(4).find(|at| bytes[*at..*at + 4] == length).unwrap()
    };
    let (here, there) = (place(&bytes, 1), place(&bytes, 40_000));
    let pointer = (0..here)
        .step_by(4)
        .find(|at| *at + u32::from_le_bytes(bytes[*at..*at + 4].try_into().unwrap()) as usize == here)
        .unwrap();
    bytes[pointer..pointer + 4].copy_from_slice(&((there - pointer) as u32).to_le_bytes());
    assert_eq!(decode(&Bytes::from(bytes)), Err(Malformed::TooComplex));
}
