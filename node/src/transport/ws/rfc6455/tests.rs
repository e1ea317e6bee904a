use super::*;

const BOUNDS: Bounds = Bounds { frame_bytes_max: 1000, message_bytes_max: 1500 };

/// A client's frame.
fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut bytes = vec![head];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len => bytes.extend([&[0x80 | 126][..], &(len as u16).to_be_bytes()].concat()),
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    bytes
}

fn read(bytes: &[u8], step: usize) -> Result<Vec<Incoming>, Code> {
    let mut reader = Reader::new(BOUNDS);
    let mut found = Vec::new();
    for some in bytes.chunks(step) {
        reader.feed(some);
        while let Some(incoming) = reader.next()? {
            found.push(incoming);
        }
    }
    Ok(found)
}

fn text(text: &str) -> Incoming {
    Incoming::Text(text.to_owned().into())
}

#[test]
fn it_does_not_matter_how_the_bytes_come() {
    let whole = [
        frame(0x81, "first".as_bytes()),
        frame(0x01, "sec".as_bytes()),
        frame(0x89, b"ping"),
        frame(0x00, "ön".as_bytes()),
        frame(0x80, b"d"),
        frame(0x82, &[7; 300]),
        frame(0x88, &[0x03, 0xe8]),
    ]
    .concat();
    let expected = vec![
        text("first"),
        Incoming::Ping(Bytes::from_static(b"ping")),
        text("secönd"),
        Incoming::Binary(vec![7; 300].into()),
        Incoming::Close(Some(Code::NORMAL.into())),
    ];
    for step in [1, 2, 3, 7, 64, whole.len()] {
        assert_eq!(read(&whole, step), Ok(expected.clone()), "{step} bytes at a time");
    }
}

fn oversized(binary: bool, id: Option<&str>) -> Incoming {
    Incoming::Oversized { binary, id: id.map(|id| id.to_owned().into()) }
}

#[test]
fn a_message_beyond_the_bound_is_discarded_and_named() {
    let long = format!(r#"{{"data":"{}","id":"last"}}"#, "x".repeat(1000));
    let short = frame(0x81, b"after");
    let whole = [frame(0x81, long.as_bytes()), short.clone()].concat();
    for step in [1, 100, whole.len()] {
        assert_eq!(read(&whole, step), Ok(vec![oversized(false, Some("\"last\"")), text("after")]));
    }
    // Each frame is within its bound, and all together are not.
    let (one, two) = long.split_at(900);
    let more = "y".repeat(700);
    let whole = [
        frame(0x01, one.as_bytes()),
        frame(0x89, b"ping"),
        frame(0x00, two.as_bytes()),
        frame(0x80, more.as_bytes()),
        short.clone(),
    ]
    .concat();
    let expected =
        [Incoming::Ping(Bytes::from_static(b"ping")), oversized(false, Some("\"last\"")), text("after")];
    assert_eq!(read(&whole, 64), Ok(expected.to_vec()));
    let whole = [frame(0x82, &[0; 1001]), short].concat();
    assert_eq!(read(&whole, 64), Ok(vec![oversized(true, None), text("after")]));
}

#[test]
fn nothing_is_kept_of_it_and_its_length_has_a_bound() {
    let head = |length: u64| [&[0x82, 0x80 | 127][..], &length.to_be_bytes(), &[0; 4]].concat();
    let mut reader = Reader::new(BOUNDS);
    reader.feed(&head(1 << 40));
    assert_eq!(reader.next(), Ok(None), "answered once it came");
    let part = [0; 1 << 16];
    for _ in 0..DISCARDED_BYTES_MAX / part.len() as u64 {
        reader.feed(&part);
        assert_eq!(reader.next(), Ok(None));
        assert_eq!(reader.take_discarded(), part.len() as u64);
        assert_eq!(reader.message.as_ref().map(|message| message.bytes.capacity()), Some(0));
    }
    reader.feed(&part);
    assert_eq!(reader.next(), Ok(Some(oversized(true, None))));
    assert_eq!(reader.next(), Err(Code::TOO_BIG));
}

#[test]
fn a_length_is_spelled_as_short_as_can_be() {
    let claims = |second: u8, length: &[u8]| read(&[&[0x82, second][..], length].concat(), 1);
    assert_eq!(claims(0x80 | 127, &(1_u64 << 63).to_be_bytes()), Err(Code::PROTOCOL));
    assert_eq!(claims(0x80 | 126, &125_u16.to_be_bytes()), Err(Code::PROTOCOL));
}

#[test]
fn text_fails_at_its_first_wrong_byte() {
    for wrong in [&b"ok\xff"[..], b"\xed\xa0\x80", b"\xf4\x90", b"\xc0\xaf"] {
        let mut bytes = frame(0x01, wrong);
        assert_eq!(read(&bytes, 1), Err(Code::INVALID), "{wrong:?}");
        bytes.truncate(bytes.len() - 1);
        bytes[1] += 5;
        let early = read(&bytes, 1);
        assert!(matches!(early, Err(Code::INVALID) | Ok(_)));
    }
    assert_eq!(read(&frame(0x81, b"\xc3"), 64), Err(Code::INVALID), "half a character at the end");
}

#[test]
fn the_protocol_is_kept_or_the_connection_fails() {
    let mut unmasked = frame(0x81, b"x");
    unmasked[1] &= 0x7f;
    for (bytes, code) in [
        (frame(0xc1, b"x"), Code::PROTOCOL),
        (frame(0x83, b"x"), Code::PROTOCOL),
        (frame(0x09, b"x"), Code::PROTOCOL),
        (frame(0x80, b"x"), Code::PROTOCOL),
        (frame(0x89, &[0; 126]), Code::PROTOCOL),
        ([frame(0x01, b"x"), frame(0x81, b"y")].concat(), Code::PROTOCOL),
        (unmasked, Code::PROTOCOL),
        (frame(0x88, &[3]), Code::PROTOCOL),
        (frame(0x88, &1005_u16.to_be_bytes()), Code::PROTOCOL),
        (frame(0x88, &5000_u16.to_be_bytes()), Code::PROTOCOL),
        (frame(0x88, &[3, 0xe8, 0xff]), Code::INVALID),
    ] {
        assert_eq!(read(&bytes, 64), Err(code), "{bytes:?}");
    }
}
