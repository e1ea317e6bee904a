//! A second reader of the same format, written by hand from FlatBuffers' description of it, which looks before every
//! step whether it stays inside the frame. Slower, more lenient (alignment and closing zeros are not its business), and
//! with nothing in common with the generated code: what decodes must read the same here.

use conclave_sigma::Frame;

/// Reads a frame; `None` where a step leads outside of it, or where a rule on fields is broken.
pub(crate) fn read(frame: &[u8]) -> Option<Frame> {
    // A frame may be all of a builder's buffer, whose front was not needed.
    let unused = frame.iter().take_while(|byte| **byte == 0).count();
    let frame = if unused < 4 { frame } else { &frame[unused..] };
    let root = Table::at(frame, indirect(frame, 0)?)?;
    let kind = root.number::<1>(0)?[0];
    let member = root.number::<1>(1)?[0];
    let data = Table::at(frame, indirect(frame, root.field(2)?)?)?;
    let number = |field| Some(u64::from_le_bytes(data.number(field)?));
    if u16::from(kind) + 1 != u16::from(member) {
        return None;
    }
    match kind {
        0 => Some(Frame::Connect {
            session_id: id(data.bytes(0)?)?,
            client_version: text(data.bytes(1)?, 64)?,
        }),
        1 => Some(Frame::Disconnect { reason: text(data.bytes(0)?, 256)? }),
        2 => {
            let payload = data.bytes(0)?;
            let payload = (payload.len() <= 32 << 10).then(|| payload.to_vec().into())?;
            Some(Frame::Data { payload, message_id: number(1)?, timestamp: number(2)? })
        }
        3 => Some(Frame::Heartbeat { timestamp: number(0)? }),
        4 => Some(Frame::Reconnect { session_id: id(data.bytes(0)?)?, last_message_id: number(1)? }),
        5 => {
            let code = u32::from_le_bytes(data.number(0)?);
            Some(Frame::Error { code, message: text(data.bytes(1)?, 256)? })
        }
        _ => None,
    }
}

struct Table<'a> {
    frame: &'a [u8],
    at: usize,
    vtable: &'a [u8],
}

impl<'a> Table<'a> {
    fn at(frame: &'a [u8], at: usize) -> Option<Self> {
        let back = i64::from(i32::from_le_bytes(array(frame, at)?));
        let start = usize::try_from(i64::try_from(at).ok()? - back).ok()?;
        let length = usize::from(u16::from_le_bytes(array(frame, start)?));
        Some(Self { frame, at, vtable: frame.get(start..start + length)? })
    }

    /// Where a field is, if it is there.
    fn field(&self, field: usize) -> Option<usize> {
        match u16::from_le_bytes(array(self.vtable, 4 + 2 * field)?) {
            0 => None,
            offset => Some(self.at + usize::from(offset)),
        }
    }

    /// A number's bytes; zeros where it is absent.
    fn number<const N: usize>(&self, field: usize) -> Option<[u8; N]> {
        match self.field(field) {
            Some(at) => array(self.frame, at),
            None => Some([0; N]),
        }
    }

    /// A vector's or text's bytes; none where it is absent.
    fn bytes(&self, field: usize) -> Option<&'a [u8]> {
        let Some(at) = self.field(field) else { return Some(&[]) };
        let start = indirect(self.frame, at)?;
        let length = u32::from_le_bytes(array(self.frame, start)?) as usize;
        self.frame.get(start + 4..start + 4 + length)
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The place that an offset points to.
fn indirect(frame: &[u8], at: usize) -> Option<usize> {
    Some(at + u32::from_le_bytes(array(frame, at)?) as usize)
}

fn id(bytes: &[u8]) -> Option<String> {
    let plain =
        bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-'));
    (plain && (1..=128).contains(&bytes.len())).then(|| String::from_utf8(bytes.to_vec()).ok())?
}

fn text(bytes: &[u8], chars_max: usize) -> Option<String> {
    let text = String::from_utf8(bytes.to_vec()).ok()?;
    (text.chars().count() <= chars_max).then_some(text)
}
