//! One head, read by the letter (RFC 9112): where its body ends, and what the server behind must not see.

use std::net::Ipv6Addr;
use std::ops::Range;

use super::chunked::Chunk;
use super::{Fault, State};

/// What a head says of the body behind it.
#[derive(Debug, Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
    host: bool,
    expects: bool,
    /// What `Connection` says of the connection's end.
    close: bool,
    keep_alive: bool,
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
pub(super) struct Head {
    /// What follows.
    pub(super) state: State,
    /// Where the body's length stands.
    pub(super) length: Range<usize>,
    pub(super) expects: bool,
    /// Whether it must be the only one that the server knows of until it is answered: the server answers each request in the
    /// manner of the last one that it has read. So would the body of an answer to `HEAD` come, and be taken for the next
    /// answer (RFC 9110, section 9.3.2), or a whole answer in another version.
    pub(super) alone: bool,
    /// Whether the connection is closed after it.
    pub(super) closes: bool,
    pub(super) hidden: Vec<Range<usize>>,
}

/// Reads a head, and what it says of what follows. Its lines all end in CR LF.
pub(super) fn parse(head: &[u8]) -> Result<Head, Fault> {
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
    let Framing { length: length_of, chunked, expects, close, keep_alive, upgrade, .. } = framing;
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
    let state = match length_of {
        _ if is_get && wants_socket => State::Opaque,
        _ if chunked => State::Chunk(Chunk::Size { size: 0, begun: false }),
        Some(length) if length > 0 => State::Body(length),
        Some(_) | None => State::Head,
    };
    // A server may ignore a request for another protocol (RFC 9110, section 7.8). The one behind would take what follows
    // for that protocol's, or at least close the connection.
    let hidden = match state {
        State::Opaque => Vec::new(),
        _ => [upgrade.websocket, upgrade.connection].concat(),
    };
    let closes = close || (old && !keep_alive);
    let alone = closes || old || method == b"HEAD" || state == State::Opaque;
    Ok(Head { state, length: length_at, expects, alone, closes, hidden })
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
        let (name, value) = (&line[..colon], trimmed(&line[colon + 1..]));
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
            if self.host || !is_authority(value) {
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
            // A line with other characters tells the server behind nothing.
            let says = |option: &[u8]| {
                value.is_ascii() && elements(value).any(|one| one.eq_ignore_ascii_case(option))
            };
            self.close |= says(b"close");
            self.keep_alive |= says(b"keep-alive");
        } else if is(b"expect") {
            self.expects = true;
        }
        Ok(None)
    }
}

/// RFC 9110, section 5.6.2.
pub(super) fn is_token(text: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_part)
}

/// RFC 9112, section 3.2: a path, a whole address, or `*` of `OPTIONS`. The form of `CONNECT` is left to its refusal.
fn is_target(method: &[u8], text: &[u8]) -> bool {
    let behind = |scheme: &[u8]| {
        let (start, rest) = text.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let fits = match behind(b"http://").or_else(|| behind(b"https://")) {
        Some(rest) => {
            let authority = rest.split(|byte| b"/?#".contains(byte)).next().unwrap_or_default();
            // What stands before an `@` is no host, and is left out.
            is_authority(authority.rsplit(|byte| *byte == b'@').next().unwrap_or_default())
        }
        None => text.starts_with(b"/") || (method == b"OPTIONS" && text == b"*") || method == b"CONNECT",
    };
    fits && text.iter().all(u8::is_ascii_graphic)
}

/// Whether this is `uri-host [ ":" port ]` (RFC 9110, section 7.2) as two readers take it for the same: a name of letters,
/// digits, `-`, `_` and `~` between dots, of which one may be its end, or an address. Of what a name may have by its grammar
/// (RFC 3986, section 3.2.2), `%41` and `,` among others, no name that can be looked up has anything.
fn is_authority(text: &[u8]) -> bool {
    let (host, port) = match text.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            let address = std::str::from_utf8(&rest[..end]).ok();
            if address.is_none_or(|address| address.parse::<Ipv6Addr>().is_err()) {
                return false;
            }
            (None, &rest[end + 1..])
        }
        None => {
            let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
            (Some(&text[..end]), &text[end..])
        }
    };
    let is_label = |label: &[u8]| {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_~".contains(byte);
        !label.is_empty() && label.iter().all(is_part)
    };
    let is_name =
        |host: &[u8]| host.strip_suffix(b".").unwrap_or(host).split(|byte| *byte == b'.').all(is_label);
    let is_port =
        port.is_empty() || port.strip_prefix(b":").is_some_and(|port| port.iter().all(u8::is_ascii_digit));
    is_port && host.is_none_or(is_name)
}

/// Without the blanks around it (RFC 9110, section 5.6.3). A carriage return alone is none (RFC 9112, section 2.2).
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The elements of a list.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trimmed)
}
