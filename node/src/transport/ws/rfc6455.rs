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

    /// How many bytes are held of what is not complete.
    pub(super) fn held(&self) -> usize {
        let message = self.message.as_ref().map_or(0, |message| message.bytes.capacity());
        self.input.capacity() + message + self.control.capacity()
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
        if self.input.is_empty() {
            // Nothing is kept while nothing is on its way.
            self.input = BytesMut::new();
        }
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
        if let Some(oversized) = oversized {
            return Ok(Incoming::Oversized { binary: !text, id: oversized.scan.id() });
        }
        // It may wait for long, and shall keep no more from being freed than itself: not the piece that it came in, and not
        // the room that its buffer grew by.
        let bytes = Bytes::copy_from_slice(&bytes);
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
mod tests;
