//! Where the head of each request begins and ends, and whether it is written as it must be (RFC 9112).
//!
//! The server behind reads heads leniently: it takes a bare line feed for the end of a line, for one, and where two
//! readers see different ends a request can be smuggled past one of them. So every byte passes here first. Nothing is
//! read that the server reads differently: bodies are followed by the same rules, and what it refuses by itself is left
//! to it. No clock and no socket.

use std::ops::Range;

use super::tap::LARGE;

/// Bytes of a head.
pub(super) const HEAD_BYTES_MAX: usize = 32 << 10;
/// Lines of a head; the server behind takes a few more.
const LINES_MAX: usize = 90;
/// Empty lines between two heads. A client that sends more keeps a connection busy that it does not use.
const EMPTY_LINES_MAX: usize = 16;

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not written as it must be.
    Malformed,
    /// It is longer than any honest one.
    TooLarge,
    /// Its method is a proxy's business, and would have the server take whatever follows for its body, or give back
    /// what came.
    Method,
    /// It took too long to arrive.
    Late,
}

/// What comes after the bytes that may pass.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing.
    Nothing,
    /// The beginning of a head.
    Head,
    /// Nothing of a head yet, only empty lines before one.
    Blank,
    /// Bytes of heads beyond those that may pass now.
    Full,
    /// A head that is refused.
    Refused(Fault),
    /// The rest of a body that is not written as it must be. None of it may pass.
    Broken,
}

/// Follows the bytes of one connection.
#[derive(Debug, Default)]
pub(super) struct Heads {
    place: Place,
    /// How much of a head's beginning was looked at before.
    scanned: usize,
    lines: usize,
    /// Empty lines since the last head.
    empty: usize,
    /// Whether a line of it that is not empty was found.
    begun: bool,
    /// Heads that have passed.
    requests: u64,
    /// What the last one was, if it announced a large body.
    large: Option<Large>,
    /// What the server must not see, in the bytes that were looked at last.
    hidden: Vec<Range<usize>>,
}

/// A head that announces a large body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Large {
    /// Where the head begins, in the bytes that were looked at last.
    pub(super) begin: usize,
    /// Where the body's length stands, there.
    pub(super) length: Range<usize>,
    /// Where the head ends, there.
    pub(super) end: usize,
    /// Whether its sender may wait to be asked for the body (RFC 9110, section 10.1.1).
    pub(super) expects: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// A head is next, or under way.
    #[default]
    Head,
    /// So many bytes of a body are left.
    Body(u64),
    Chunk(Chunk),
    /// Everything else belongs to the last request, or is refused by the server itself.
    Opaque,
    /// Nothing more may pass.
    Broken,
}

/// Where in a chunked body (RFC 9112, section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
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

/// What a head says of the body behind it.
#[derive(Debug, Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
    host: bool,
    expects: bool,
    upgrade: Upgrade,
}

/// What a head says of another protocol (RFC 9110, section 7.8). Where the values stand is counted from the head's start.
#[derive(Debug, Default)]
struct Upgrade {
    /// `websocket`, alone in its line.
    websocket: Vec<Range<usize>>,
    /// Whether it stands among others.
    listed: bool,
    /// `upgrade` in `Connection`.
    connection: Vec<Range<usize>>,
}

/// A head that was read.
struct Head {
    /// What follows.
    place: Place,
    /// Where the body's length stands.
    length: Range<usize>,
    expects: bool,
    hidden: Vec<Range<usize>>,
}

impl Heads {
    /// Which request's body must go on, if one must: they are counted.
    pub(super) fn in_body(&self) -> Option<u64> {
        matches!(self.place, Place::Body(_) | Place::Chunk(_)).then_some(self.requests)
    }

    /// Whether what comes next begins a head.
    pub(super) fn at_head(&self) -> bool {
        self.place == Place::Head
    }

    /// How many heads have passed.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// Which request's body is under way, if it is one that said it would be [large](super::tap::LARGE).
    pub(super) fn in_large_body(&self) -> Option<u64> {
        (self.large.is_some() && matches!(self.place, Place::Body(_))).then_some(self.requests)
    }

    /// Which request's body is under way, if it is one that waits until it is wanted: a large one, or one that does not say
    /// how long it will be.
    pub(super) fn in_held_body(&self) -> Option<u64> {
        let chunked = matches!(self.place, Place::Chunk(_));
        if chunked { Some(self.requests) } else { self.in_large_body() }
    }

    /// The head before a large body. Where it stands is true only of the bytes in which it ended.
    pub(super) fn large(&self) -> Option<&Large> {
        self.large.as_ref()
    }

    /// How much of a body of known length is still to come.
    pub(super) fn left(&self) -> u64 {
        match self.place {
            Place::Body(left) => left,
            Place::Head | Place::Chunk(_) | Place::Opaque | Place::Broken => 0,
        }
    }

    /// Goes on behind bytes of a body of known length that nobody looked at.
    pub(super) fn skip(&mut self, count: usize) {
        let left = self.left() - count as u64;
        self.place = if left == 0 { Place::Head } else { Place::Body(left) };
    }

    /// Makes unreadable, in the bytes that were looked at last, what would have the server see another end of a request: that
    /// it is to become a socket, where it is not. Their number stays.
    pub(super) fn hide(&mut self, bytes: &mut [u8]) {
        for range in self.hidden.drain(..) {
            bytes[range].fill(b'-');
        }
    }

    /// How many of these bytes may pass if no more than `heads_max` heads may, and what comes then. What did not pass is
    /// shown again next time, with what follows it, but for empty lines that are reported as [`Rest::Blank`].
    pub(super) fn follow(&mut self, bytes: &[u8], heads_max: u64) -> (usize, Rest) {
        let mut passed = 0;
        let last = self.requests.saturating_add(heads_max);
        self.hidden.clear();
        while passed < bytes.len() {
            let rest = &bytes[passed..];
            match self.place {
                Place::Opaque => return (bytes.len(), Rest::Nothing),
                Place::Broken => return (passed, Rest::Broken),
                Place::Body(left) => {
                    let taken = left.min(rest.len() as u64);
                    passed += taken as usize;
                    self.place = if taken == left { Place::Head } else { Place::Body(left - taken) };
                }
                Place::Chunk(Chunk::Data(left)) => {
                    let taken = left.min(rest.len() as u64);
                    passed += taken as usize;
                    let next = if taken == left { Chunk::DataReturn } else { Chunk::Data(left - taken) };
                    self.place = Place::Chunk(next);
                }
                Place::Chunk(chunk) => {
                    self.place = chunk.after(rest[0]);
                    passed += usize::from(self.place != Place::Broken);
                }
                Place::Head if self.requests == last => return (passed, Rest::Full),
                Place::Head => match self.head(rest, passed) {
                    Ok(Some(len)) => {
                        if let Some(large) = &mut self.large {
                            large.begin += passed;
                            large.length.start += passed;
                            large.length.end += passed;
                            large.end += passed;
                        }
                        passed += len;
                    }
                    // Empty lines before a request mean nothing (RFC 9112, section 2.2), so they are forgotten at once.
                    Ok(None) if !self.begun && self.scanned == rest.len() && rest.ends_with(b"\n") => {
                        self.empty += self.lines;
                        (self.scanned, self.lines) = (0, 0);
                        if self.empty > EMPTY_LINES_MAX {
                            return (passed, Rest::Refused(Fault::Malformed));
                        }
                        return (passed, Rest::Blank);
                    }
                    Ok(None) => return (passed, Rest::Head),
                    Err(fault) => return (passed, Rest::Refused(fault)),
                },
            }
        }
        (passed, Rest::Nothing)
    }

    /// The length of the head at the beginning of `bytes`, if it is whole. `before` is how many bytes were looked at before.
    fn head(&mut self, bytes: &[u8], before: usize) -> Result<Option<usize>, Fault> {
        loop {
            let Some(end) = bytes[self.scanned..].iter().position(|byte| *byte == b'\n') else {
                // The end of the line is looked for only in what comes.
                self.scanned = bytes.len();
                return if bytes.len() > HEAD_BYTES_MAX { Err(Fault::TooLarge) } else { Ok(None) };
            };
            let end = self.scanned + end;
            if end == 0 || bytes[end - 1] != b'\r' {
                return Err(Fault::Malformed);
            }
            if end >= HEAD_BYTES_MAX || self.lines == LINES_MAX {
                return Err(Fault::TooLarge);
            }
            self.scanned = end + 1;
            self.lines += 1;
            let is_empty = end == 1 || bytes[end - 2] == b'\n';
            if !is_empty {
                self.begun = true;
            }
            if !is_empty || !self.begun {
                continue;
            }
            let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(0);
            let Head { place, length, expects, hidden } = body(&bytes[begin..end - 1])?;
            let length = length.start + begin..length.end + begin;
            let at = before + begin;
            self.hidden.extend(hidden.into_iter().map(|range| at + range.start..at + range.end));
            self.large = matches!(place, Place::Body(length) if length >= LARGE as u64).then_some(Large {
                begin,
                length,
                end: end + 1,
                expects,
            });
            self.place = place;
            self.requests += 1;
            (self.scanned, self.lines, self.empty, self.begun) = (0, 0, 0, false);
            return Ok(Some(end + 1));
        }
    }
}

/// Reads a head, and what it says of what follows. Its lines all end in CR LF.
fn body(head: &[u8]) -> Result<Head, Fault> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request = lines.next().unwrap_or_default();
    let (method, old) = match request.split(|byte| *byte == b' ').collect::<Vec<_>>()[..] {
        [method, target, b"HTTP/1.1"] if is_token(method) && is_target(method, target) => (method, false),
        [method, target, b"HTTP/1.0"] if is_token(method) && is_target(method, target) => (method, true),
        _ => return Err(Fault::Malformed),
    };
    if matches!(method, b"CONNECT" | b"TRACE") {
        return Err(Fault::Method);
    }
    let at = |part: &[u8]| {
        let begin = part.as_ptr() as usize - head.as_ptr() as usize;
        begin..begin + part.len()
    };
    let (mut framing, mut length_at) = (Framing::default(), 0..0);
    for line in lines.filter(|line| !line.is_empty()) {
        if let Some(length) = framing.read(line, old, at)? {
            length_at = at(length);
        }
    }
    if !old && !framing.host {
        return Err(Fault::Malformed);
    }
    let Framing { length: length_of, chunked, expects, upgrade, .. } = framing;
    if chunked && length_of.is_some() {
        return Err(Fault::Malformed);
    }
    let has_body = chunked || length_of.is_some_and(|length| length > 0);
    let is_get = method == b"GET" && !old;
    let wants_socket = !upgrade.websocket.is_empty() && !upgrade.connection.is_empty();
    // A handshake says so once, and has no body: nothing else could be read in one way only.
    if is_get && (upgrade.listed || upgrade.websocket.len() > 1 || (wants_socket && has_body)) {
        return Err(Fault::Malformed);
    }
    let place = match length_of {
        _ if is_get && wants_socket => Place::Opaque,
        _ if chunked => Place::Chunk(Chunk::Size { size: 0, begun: false }),
        Some(length) if length > 0 => Place::Body(length),
        Some(_) | None => Place::Head,
    };
    // A server may pass over the wish for another protocol (RFC 9110, section 7.8). The one behind would take what follows
    // for that protocol's, or at least close the connection.
    let hidden = match place {
        Place::Opaque => Vec::new(),
        _ => [upgrade.websocket, upgrade.connection].concat(),
    };
    Ok(Head { place, length: length_at, expects, hidden })
}

impl Framing {
    /// Reads a line, and returns the length of the body as it stands in it, if it does. `at` says where a part of the line
    /// stands.
    fn read<'a>(
        &mut self,
        line: &'a [u8],
        old: bool,
        at: impl Fn(&[u8]) -> Range<usize>,
    ) -> Result<Option<&'a [u8]>, Fault> {
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Fault::Malformed)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // A line that begins with a blank would go on with the one before (obs-fold): a blank is no part of a name.
        if !is_token(name) || value.iter().any(|byte| *byte != b'\t' && (*byte < b' ' || *byte == 0x7f)) {
            return Err(Fault::Malformed);
        }
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        if is(b"content-length") {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let length =
                std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
            // Twice, it is refused even if both say the same.
            if self.length.is_some() || length.is_none() {
                return Err(Fault::Malformed);
            }
            self.length = length;
            return Ok(Some(value));
        } else if is(b"transfer-encoding") {
            if old || self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Fault::Malformed);
            }
            self.chunked = true;
        } else if is(b"host") {
            if self.host {
                return Err(Fault::Malformed);
            }
            self.host = true;
        } else if is(b"upgrade") {
            if value.eq_ignore_ascii_case(b"websocket") {
                self.upgrade.websocket.push(at(value));
            } else {
                self.upgrade.listed |= elements(value).any(|one| one.eq_ignore_ascii_case(b"websocket"));
            }
        } else if is(b"connection") {
            let upgrades = elements(value).filter(|one| one.eq_ignore_ascii_case(b"upgrade"));
            self.upgrade.connection.extend(upgrades.map(at));
        } else if is(b"expect") {
            self.expects = true;
        }
        Ok(None)
    }
}

impl Chunk {
    /// Where the next byte leads.
    fn after(self, byte: u8) -> Place {
        let next = match (self, byte) {
            (Self::Size { size, .. }, byte) if byte.is_ascii_hexdigit() => {
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                let Some(size) = size.checked_mul(16) else { return Place::Opaque };
                Self::Size { size: size + u64::from(digit), begun: true }
            }
            (Self::Size { begun: false, .. }, _) => return Place::Opaque,
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
                return Place::Broken;
            }
            (Self::End, b'\n') => return Place::Head,
            // The server behind refuses this body, and the connection with it.
            _ => return Place::Opaque,
        };
        Place::Chunk(next)
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_part)
}

/// RFC 9112, section 3.2: a path, a whole address, or `*` of `OPTIONS`. The form of `CONNECT` is left to its refusal.
fn is_target(method: &[u8], text: &[u8]) -> bool {
    let scheme =
        |scheme: &[u8]| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let fits = text.starts_with(b"/")
        || scheme(b"http://")
        || scheme(b"https://")
        || (method == b"OPTIONS" && text == b"*")
        || method == b"CONNECT";
    fits && text.iter().all(u8::is_ascii_graphic)
}

/// The elements of a list.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests;
