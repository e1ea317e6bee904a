//! Where the head of each request begins and ends, and whether it is written as it must be (RFC 9112).
//!
//! The server behind reads heads leniently: it takes a bare line feed for the end of a line, for one, and where two
//! readers see different ends a request can be smuggled past one of them. So every byte passes here first. Nothing is
//! read that the server reads differently: bodies are followed by the same rules, and what it refuses by itself is left
//! to it. No clock and no socket.

mod chunked;
mod framing;

use std::ops::Range;

use super::body_gate::LARGE;
use chunked::Chunk;
use framing::Head;

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
pub(super) struct RequestFraming {
    state: State,
    /// How much of a head's beginning was looked at before.
    scanned: usize,
    lines: usize,
    /// Empty lines since the last head.
    empty: usize,
    /// Whether a line of it that is not empty was found.
    begun: bool,
    /// Heads that have passed.
    requests: u64,
    /// The length of the longest of them.
    longest: usize,
    /// Those of them whose answers have begun.
    answered: u64,
    /// No other may pass before the last one is answered.
    alone: bool,
    /// The next one may not pass before those before it are.
    deferred: bool,
    /// The last one closes the connection.
    closes: bool,
    /// What the last one was, if it announced a large body.
    large: Option<Large>,
    /// What the server must not see, in the bytes that were looked at last.
    hidden: Vec<Range<usize>>,
}

/// A head that announces a large body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Large {
    /// Where the body's length stands, in the bytes that were looked at last.
    pub(super) length: Range<usize>,
    /// Where the head ends, there.
    pub(super) end: usize,
    /// Whether its sender may wait to be asked for the body (RFC 9110, section 10.1.1).
    pub(super) expects: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
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

impl RequestFraming {
    /// Which request's body must go on, if one must: they are counted.
    pub(super) fn in_body(&self) -> Option<u64> {
        matches!(self.state, State::Body(_) | State::Chunk(_)).then_some(self.requests)
    }

    /// Whether what comes next begins a head.
    pub(super) fn at_head(&self) -> bool {
        self.state == State::Head
    }

    /// How many heads have passed.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// Which request's body is under way, if it is one that said it would be [large](super::body_gate::LARGE).
    pub(super) fn in_large_body(&self) -> Option<u64> {
        (self.large.is_some() && matches!(self.state, State::Body(_))).then_some(self.requests)
    }

    /// Which request's body is under way, if it is one that waits until it is wanted: a large one, or one that does not say
    /// how long it will be.
    pub(super) fn in_held_body(&self) -> Option<u64> {
        let chunked = matches!(self.state, State::Chunk(_));
        if chunked { Some(self.requests) } else { self.in_large_body() }
    }

    /// The head before a large body. Where it stands is true only of the bytes in which it ended.
    pub(super) fn large(&self) -> Option<&Large> {
        self.large.as_ref()
    }

    /// Takes note of how many requests were answered.
    pub(super) fn answered(&mut self, requests: u64) {
        self.answered = requests;
    }

    /// Whether no head may pass before those that have passed are answered.
    pub(super) fn awaits_answers(&self) -> bool {
        self.requests > self.answered && (self.alone || self.deferred)
    }

    /// Whether nothing more may pass, since the last request, which is here, closes the connection (RFC 9112, section 9.6).
    pub(super) fn is_over(&self) -> bool {
        self.closes && self.at_head()
    }

    /// The length of the longest head that has passed.
    pub(super) fn longest_head(&self) -> usize {
        self.longest
    }

    /// How much of a body of known length is still to come.
    pub(super) fn left(&self) -> u64 {
        match self.state {
            State::Body(left) => left,
            State::Head | State::Chunk(_) | State::Opaque | State::Broken => 0,
        }
    }

    /// Goes on behind bytes of a body of known length that nobody looked at.
    pub(super) fn skip(&mut self, count: usize) {
        let left = self.left() - count as u64;
        self.state = if left == 0 { State::Head } else { State::Body(left) };
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
            match self.state {
                State::Opaque => return (bytes.len(), Rest::Nothing),
                State::Broken => return (passed, Rest::Broken),
                State::Body(left) => {
                    let taken = left.min(rest.len() as u64);
                    passed += taken as usize;
                    self.state = if taken == left { State::Head } else { State::Body(left - taken) };
                }
                State::Chunk(Chunk::Data(left)) => {
                    let taken = left.min(rest.len() as u64);
                    passed += taken as usize;
                    let next = if taken == left { Chunk::DataReturn } else { Chunk::Data(left - taken) };
                    self.state = State::Chunk(next);
                }
                State::Chunk(chunk) => {
                    self.state = chunk.after(rest[0]);
                    passed += usize::from(self.state != State::Broken);
                }
                State::Head if self.requests == last || self.closes || self.awaits_answers() => {
                    return (passed, Rest::Full);
                }
                State::Head => match self.head(rest, passed) {
                    Ok(Some(_)) if self.deferred => return (passed, Rest::Full),
                    Ok(Some(len)) => {
                        if let Some(large) = &mut self.large {
                            large.length.start += passed;
                            large.length.end += passed;
                            large.end += passed;
                        }
                        self.longest = self.longest.max(len);
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

    /// The length of the head at the beginning of `bytes`, if it is whole; it did not pass if it is deferred. `before` is how
    /// many bytes were looked at before.
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
            let Head { state, length, expects, alone, closes, hidden } =
                framing::parse(&bytes[begin..end - 1])?;
            (self.scanned, self.lines, self.begun) = (0, 0, false);
            self.deferred = alone && self.requests > self.answered;
            if self.deferred {
                return Ok(Some(end + 1));
            }
            let length = length.start + begin..length.end + begin;
            let at = before + begin;
            self.hidden.extend(hidden.into_iter().map(|range| at + range.start..at + range.end));
            self.large = matches!(state, State::Body(length) if length >= LARGE as u64).then_some(Large {
                length,
                end: end + 1,
                expects,
            });
            (self.state, self.alone, self.closes) = (state, alone, closes);
            self.requests += 1;
            self.empty = 0;
            return Ok(Some(end + 1));
        }
    }
}

#[cfg(test)]
mod tests;
