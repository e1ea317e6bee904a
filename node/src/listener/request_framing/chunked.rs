//! A chunked body, followed byte by byte (RFC 9112, section 7.1).

use super::State;
use super::framing::is_token;

/// Where in a chunked body (RFC 9112, section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    Size {
        size: u64,
        begun: bool,
    },
    Extension {
        size: u64,
    },
    SizeEnd {
        size: u64,
    },
    Data(u64),
    DataReturn,
    DataEnd,
    /// The line after the last chunk: empty, or a trailer (RFC 9112, section 7.1.2).
    Last,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    End,
}

impl Chunk {
    /// Where the next byte leads.
    pub(super) fn after(self, byte: u8) -> State {
        let next = match (self, byte) {
            (Self::Size { size, .. }, byte) if byte.is_ascii_hexdigit() => {
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                let Some(size) = size.checked_mul(16) else { return State::Opaque };
                Self::Size { size: size + u64::from(digit), begun: true }
            }
            (Self::Size { begun: false, .. }, _) => return State::Opaque,
            (Self::Size { size, .. } | Self::Extension { size }, b'\r') => Self::SizeEnd { size },
            (Self::Size { size, .. }, b';' | b' ' | b'\t') => Self::Extension { size },
            (Self::Extension { size }, byte) if byte != b'\n' => Self::Extension { size },
            (Self::SizeEnd { size: 0 }, b'\n') => Self::Last,
            (Self::SizeEnd { size }, b'\n') => Self::Data(size),
            (Self::DataReturn, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::Size { size: 0, begun: false },
            (Self::Last, b'\r') => Self::End,
            (Self::Last | Self::TrailerName, byte) if is_token(&[byte]) => Self::TrailerName,
            (Self::TrailerName, b':') => Self::TrailerValue,
            (Self::TrailerValue, b'\r') => Self::TrailerEnd,
            (Self::TrailerValue, byte) if byte == b'\t' || (byte >= b' ' && byte != 0x7f) => {
                Self::TrailerValue
            }
            (Self::TrailerEnd, b'\n') => Self::Last,
            // The server behind takes anything here for a trailer.
            (Self::Last | Self::TrailerName | Self::TrailerValue | Self::TrailerEnd, _) => {
                return State::Broken;
            }
            (Self::End, b'\n') => return State::Head,
            // The server behind refuses this body, and the connection with it.
            _ => return State::Opaque,
        };
        State::Chunk(next)
    }
}
