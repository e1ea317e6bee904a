//! From bytes to messages, as RFC 6455 has it to the letter.
//!
//! No socket and no clock: bytes go in, messages and control frames come out. actix-http's own codec waits for a whole
//! frame before it looks at the frame's length, so that a client decides how much is buffered; it does not put
//! fragments together, and it looks at text only once it is complete. This one judges each byte as it comes.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::close::{Code, Reason};
use super::json::IdScan;

/// Bytes of a control frame's payload (RFC 6455, section 5.5).
const CONTROL_BYTES_MAX: usize = 125;
/// Bytes of a message beyond its bound that are read and discarded, so that it can be answered instead of ending the
/// connection. After so many the connection is closed with 1009, once the answer is on its way.
const DISCARDED_BYTES_MAX: u64 = 4 << 20;

/// What one connection may send at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Payload bytes of one frame.
    pub frame_bytes_max: usize,
    /// Bytes of one message, however many frames it comes in.
    pub message_bytes_max: usize,
}

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A text message.
    Text(ByteString),
    /// A binary message.
    Binary(Bytes),
    /// A message beyond the bound. It was discarded while it came.
    Oversized {
        /// Whether it was binary.
        binary: bool,
        /// The `id` of the request, if it was one in JSON and said it.
        id: Option<ByteString>,
    },
    /// Answer it with a pong of the same bytes.
    Ping(Bytes),
    /// An answer to a ping, or said unasked.
    Pong(Bytes),
    /// The end, perhaps with a reason.
    Close(Option<Reason>),
}

/// Why the connection must fail, as the code of its close frame.
pub(super) type Breach = Code;

/// Reads one connection.
#[derive(Debug)]
pub(super) struct Reader {
    bounds: Bounds,
    /// What arrived and was not looked at.
    input: BytesMut,
    frame: Option<Frame>,
    message: Option<Message>,
    control: BytesMut,
    frames: u64,
    discarded: u64,
}

/// A frame whose payload is arriving.
#[derive(Debug, Clone, Copy)]
struct Frame {
    last: bool,
    kind: Kind,
    left: u64,
    mask: [u8; 4],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Ping,
    Pong,
    Close,
}

/// A message whose frames are arriving.
#[derive(Debug)]
struct Message {
    text: bool,
    bytes: BytesMut,
    /// So many bytes of a text were found to be UTF-8.
    checked: usize,
    oversized: Option<Oversized>,
}

/// What is kept of a message that is beyond the bound.
#[derive(Debug, Default)]
struct Oversized {
    scan: IdScan,
    bytes: u64,
    reported: bool,
}

impl Message {
    /// The message turned out to be too long: what came of it is looked at for its id and discarded.
    fn discard(&mut self) -> u64 {
        let bytes = std::mem::take(&mut self.bytes);
        let oversized = self.oversized.insert(Oversized::default());
        if self.text {
            oversized.scan.feed(&bytes);
        }
        oversized.bytes = bytes.len() as u64;
        oversized.bytes
    }
}

impl Reader {
    pub(super) fn new(bounds: Bounds) -> Self {
        let (input, control) = (BytesMut::new(), BytesMut::new());
        Self { bounds, input, frame: None, message: None, control, frames: 0, discarded: 0 }
    }

    /// Takes bytes in as they came. Call [`Reader::next`] until it has nothing more before the next ones.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// How many frames have begun since this was last asked, of whatever kind.
    pub(super) fn take_frames(&mut self) -> u64 {
        std::mem::take(&mut self.frames)
    }

    /// How many bytes of oversized messages were discarded since this was last asked.
    pub(super) fn take_discarded(&mut self) -> u64 {
        std::mem::take(&mut self.discarded)
    }

    /// The next thing that is complete. After a breach nothing more may be asked.
    pub(super) fn next(&mut self) -> Result<Option<Incoming>, Breach> {
        loop {
            let frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.begin()? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            let (frame, done) = self.take_payload(frame);
            if let Some(report) = self.too_much()? {
                self.frame = Some(frame);
                return Ok(Some(report));
            }
            if !done {
                self.check_text(false)?;
                self.frame = Some(frame);
                return Ok(None);
            }
            match frame.kind {
                Kind::Data if frame.last => return self.finish().map(Some),
                Kind::Data => self.check_text(false)?,
                Kind::Ping => return Ok(Some(Incoming::Ping(self.control.split().freeze()))),
                Kind::Pong => return Ok(Some(Incoming::Pong(self.control.split().freeze()))),
                Kind::Close => {
                    let payload = self.control.split();
                    return Reason::parse(&payload).map(|reason| Some(Incoming::Close(reason)));
                }
            }
        }
    }

    /// Reads a frame's head (RFC 6455, section 5.2), if all of it is there.
    fn begin(&mut self) -> Result<Option<Frame>, Breach> {
        let &[first, second, ..] = &self.input[..] else { return Ok(None) };
        let (last, reserved, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0f);
        let (masked, short) = (second & 0x80 != 0, usize::from(second & 0x7f));
        // No extension is negotiated that would give the reserved bits a meaning, and a client masks.
        if reserved != 0 || !masked {
            return Err(Code::PROTOCOL);
        }
        let kind = match (opcode, self.message.is_some()) {
            (0x0, true) | (0x1 | 0x2, false) => Kind::Data,
            (0x8, _) => Kind::Close,
            (0x9, _) => Kind::Ping,
            (0xa, _) => Kind::Pong,
            _ => return Err(Code::PROTOCOL),
        };
        if kind != Kind::Data && (!last || short > CONTROL_BYTES_MAX) {
            return Err(Code::PROTOCOL);
        }
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some(length) = self.input.get(2..2 + extended) else { return Ok(None) };
        let length = if extended == 0 {
            short as u64
        } else {
            length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte))
        };
        // The shortest spelling is a must, and the highest bit is not a length's (section 5.2).
        let spelled = match extended {
            0 => true,
            2 => length > 125,
            _ => length > 0xffff && length >> 63 == 0,
        };
        if !spelled {
            return Err(Code::PROTOCOL);
        }
        let Some(mask) = self.input.get(2 + extended..6 + extended) else { return Ok(None) };
        let mask = mask.try_into().expect("four bytes were asked for");
        let _ = self.input.split_to(6 + extended);
        self.frames += 1;
        if kind == Kind::Data {
            let message = self.message.get_or_insert_with(|| {
                let (text, bytes) = (opcode == 0x1, BytesMut::new());
                Message { text, bytes, checked: 0, oversized: None }
            });
            // Judged before a byte of it is waited for.
            let room = self.bounds.message_bytes_max.saturating_sub(message.bytes.len());
            let room = self.bounds.frame_bytes_max.min(room) as u64;
            if message.oversized.is_none() && length > room {
                self.discarded += message.discard();
            }
        }
        Ok(Some(Frame { last, kind, left: length, mask }))
    }

    /// Unmasks what is there of a frame's payload and puts it where it belongs; says whether that was all of it.
    fn take_payload(&mut self, mut frame: Frame) -> (Frame, bool) {
        let there = self.input.len() as u64;
        let mut payload = self.input.split_to(frame.left.min(there) as usize);
        unmask(&mut payload, frame.mask);
        frame.left -= payload.len() as u64;
        frame.mask.rotate_left(payload.len() % 4);
        match (&mut self.message, frame.kind) {
            (Some(Message { text, oversized: Some(oversized), .. }), Kind::Data) => {
                if *text {
                    oversized.scan.feed(&payload);
                }
                oversized.bytes += payload.len() as u64;
                self.discarded += payload.len() as u64;
            }
            // A message that is there at once stays where it lies.
            (Some(message), Kind::Data) if message.bytes.is_empty() => message.bytes = payload,
            (Some(message), Kind::Data) => message.bytes.extend_from_slice(&payload),
            _ => self.control.extend_from_slice(&payload),
        }
        (frame, frame.left == 0)
    }

    /// A message of which so much was discarded already is reported before it ends, and then fails the connection.
    fn too_much(&mut self) -> Result<Option<Incoming>, Breach> {
        let Some(Message { text, oversized: Some(oversized), .. }) = &mut self.message else {
            return Ok(None);
        };
        if oversized.bytes <= DISCARDED_BYTES_MAX {
            return Ok(None);
        }
        if oversized.reported {
            return Err(Code::TOO_BIG);
        }
        oversized.reported = true;
        Ok(Some(Incoming::Oversized { binary: !*text, id: oversized.scan.id() }))
    }

    /// Fails a text at the first byte that can't belong to one (RFC 6455, section 8.1).
    fn check_text(&mut self, whole: bool) -> Result<(), Breach> {
        let checked = |message: &&mut Message| message.text && message.oversized.is_none();
        let Some(message) = self.message.as_mut().filter(checked) else { return Ok(()) };
        match std::str::from_utf8(&message.bytes[message.checked..]) {
            Ok(_) => message.checked = message.bytes.len(),
            Err(error) if error.error_len().is_none() && !whole => message.checked += error.valid_up_to(),
            Err(_) => return Err(Code::INVALID),
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Incoming, Breach> {
        self.check_text(true)?;
        let Some(Message { text, bytes, oversized, .. }) = self.message.take() else {
            return Err(Code::PROTOCOL);
        };
        // Input that shares its buffer with a message would keep the message's bytes from being freed for long.
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if let Some(oversized) = oversized {
            return Ok(Incoming::Oversized { binary: !text, id: oversized.scan.id() });
        }
        let bytes = bytes.freeze();
        if text {
            let text = ByteString::try_from(bytes).map_err(|_| Code::INVALID)?;
            Ok(Incoming::Text(text))
        } else {
            Ok(Incoming::Binary(bytes))
        }
    }
}

/// RFC 6455, section 5.3, eight bytes at a time.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = payload.chunks_exact_mut(8);
    for word in &mut words {
        let masked = u64::from_ne_bytes((&*word).try_into().expect("a chunk has eight bytes"));
        word.copy_from_slice(&(masked ^ wide).to_ne_bytes());
    }
    for (place, byte) in words.into_remainder().iter_mut().enumerate() {
        *byte ^= mask[place % 4];
    }
}

#[cfg(test)]
mod tests {
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
}
