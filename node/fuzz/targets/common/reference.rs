//! HTTP/1.1 read slowly and strictly, a line at a time (RFC 9112), and what this server must answer. Where the server may
//! do one or the other it says so, and only what must never happen is checked from there on.

/// Empty lines before a head.
const EMPTY_LINES_MAX: usize = 16;
/// Beyond these the server says that a head is too large, wherever its end is.
const HEAD_BYTES_MAX: usize = 30 << 10;
const LINES_MAX: usize = 80;
/// A longer body may be refused unread, which may end the connection.
const BODY_BYTES_MAX: usize = 1000;

/// What a request must be answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// 401: nobody is let in.
    Credential,
    /// 405.
    OtherMethod,
    /// 404.
    Nowhere,
    /// 400, for a path with no normal form.
    NoPath,
    /// 204.
    Options,
    /// Anything but 401, 404 and 405: everybody is let in.
    Open,
}

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With the last request.
    Clean,
    /// In the midst of a head.
    InHead,
    /// In the midst of a body of a request that has its answer or has not.
    InBody,
    /// With a refusal: one more answer of 400, and the connection's end.
    Refused,
    /// With something that is not followed here.
    Beyond,
}

/// What is due for these bytes, in order.
pub fn read(mut rest: &[u8]) -> (Vec<Due>, End) {
    let mut due = Vec::new();
    loop {
        let mut empty = 0;
        while let Some(after) = rest.strip_prefix(b"\r\n") {
            rest = after;
            empty += 1;
            if empty > EMPTY_LINES_MAX {
                return (due, End::Refused);
            }
        }
        if rest.is_empty() {
            return (due, End::Clean);
        }
        let (lines, after) = match head(rest) {
            Ok(Some(head)) => head,
            Ok(None) => return (due, End::InHead),
            Err(end) => return (due, end),
        };
        let request = match request(&lines) {
            Ok(request) => request,
            Err(end) => return (due, end),
        };
        due.push(request.due);
        rest = match request.body {
            Body::Length(length) if length > BODY_BYTES_MAX => return (due, End::InBody),
            Body::Length(length) => match after.get(length..) {
                Some(rest) => rest,
                None => return (due, End::InBody),
            },
            Body::Chunked => match chunked(after) {
                Some(rest) => rest,
                None => return (due, End::InBody),
            },
        };
    }
}

/// The lines of a head, and what follows it.
fn head(bytes: &[u8]) -> Result<Option<(Vec<&[u8]>, &[u8])>, End> {
    let (mut lines, mut rest) = (Vec::new(), bytes);
    loop {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return if bytes.len() > HEAD_BYTES_MAX { Err(End::Beyond) } else { Ok(None) };
        };
        let line = rest[..end].strip_suffix(b"\r").ok_or(End::Refused)?;
        rest = &rest[end + 1..];
        if bytes.len() - rest.len() > HEAD_BYTES_MAX || lines.len() > LINES_MAX {
            return Err(End::Beyond);
        }
        if line.is_empty() {
            return Ok(Some((lines, rest)));
        }
        lines.push(line);
    }
}

enum Body {
    Length(usize),
    Chunked,
}

struct Request {
    due: Due,
    body: Body,
}

fn request(lines: &[&[u8]]) -> Result<Request, End> {
    let parts: Vec<&[u8]> = lines[0].split(|byte| *byte == b' ').collect();
    let [method, target, version] = parts[..] else { return Err(End::Refused) };
    if !is_token(method) || !matches!(version, b"HTTP/1.1" | b"HTTP/1.0") {
        return Err(End::Refused);
    }
    let (mut host, mut length, mut chunked, mut unfollowed) = (0, None, 0, version == b"HTTP/1.0");
    for line in &lines[1..] {
        let colon = line.iter().position(|byte| *byte == b':').ok_or(End::Refused)?;
        let (name, value) = (line[..colon].to_ascii_lowercase(), trimmed(&line[colon + 1..]));
        let is_text = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
        if !is_token(&name) || !value.iter().all(is_text) {
            return Err(End::Refused);
        }
        match &name[..] {
            b"host" => {
                host += 1;
                if value.is_empty() || value.iter().any(|byte| b" \t,@/?#%\\\"".contains(byte)) {
                    return Err(End::Refused);
                }
                unfollowed |= !value.iter().all(u8::is_ascii_alphanumeric);
            }
            b"content-length" => {
                let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
                let value = digits.then(|| std::str::from_utf8(value).ok()?.parse::<u64>().ok()).flatten();
                if length.is_some() || value.is_none() {
                    return Err(End::Refused);
                }
                // What begins with a zero may be ours; see `listener::refusal`.
                let digits = trimmed(&line[colon + 1..]);
                unfollowed |= digits.len() > 1 && digits[0] == b'0';
                length = value;
            }
            b"transfer-encoding" => {
                chunked += 1;
                if chunked > 1 || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(End::Refused);
                }
            }
            // What these do to an answer is another matter.
            b"x-a" | b"content-type" | b"user-agent" => {}
            _ => unfollowed = true,
        }
    }
    if host > 1 || (chunked > 0 && length.is_some()) || (chunked > 0 && version == b"HTTP/1.0") {
        return Err(End::Refused);
    }
    if host == 0 && version == b"HTTP/1.1" {
        return Err(End::Refused);
    }
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-._~%".contains(byte);
    if target[..].first() != Some(&b'/') {
        return Err(if target.contains(&b'/') || target == b"*" { End::Beyond } else { End::Refused });
    }
    if !target.iter().all(u8::is_ascii_graphic) {
        return Err(End::Refused);
    }
    if unfollowed || !target.iter().all(plain) {
        return Err(End::Beyond);
    }
    if !matches!(method, b"GET" | b"HEAD" | b"POST" | b"PUT" | b"DELETE" | b"OPTIONS") {
        return Err(End::Beyond);
    }
    let body = if chunked > 0 { Body::Chunked } else { Body::Length(length.unwrap_or(0) as usize) };
    let target = std::str::from_utf8(target).map_err(|_| End::Beyond)?;
    Ok(Request { due: due(std::str::from_utf8(method).map_err(|_| End::Beyond)?, target), body })
}

/// What follows a chunked body that ends well.
fn chunked(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (size, after) = line(rest)?;
        let digits = size.split(|byte| b"; \t".contains(byte)).next()?;
        let size =
            u64::from_str_radix(std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'))?, 16);
        let size = usize::try_from(size.ok()?).ok()?;
        if size == 0 {
            rest = after;
            loop {
                let (trailer, after) = line(rest)?;
                if trailer.is_empty() {
                    return Some(after);
                }
                let colon = trailer.iter().position(|byte| *byte == b':')?;
                if !is_token(&trailer[..colon]) {
                    return None;
                }
                rest = after;
            }
        }
        rest = after.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((bytes[..end].strip_suffix(b"\r").filter(|line| !line.contains(&b'\r'))?, &bytes[end + 1..]))
}

fn is_token(text: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_part)
}

/// What leads somewhere, who may go there, and by what methods. `*` is any one segment. Written down again, so that the
/// server's own table is held against something.
const PATHS: &[(&str, bool, &[&str])] = &[
    ("/health", true, &["GET"]),
    ("/livez", true, &["GET"]),
    ("/readyz", true, &["GET"]),
    ("/api/v1/edition", true, &["GET"]),
    ("/api/v1/csp-reports", true, &["POST"]),
    ("/", true, &["GET"]),
    ("/conclave.js", true, &["GET"]),
    ("/api/relay", false, &["POST"]),
    ("/api/v1/relay", false, &["POST"]),
    ("/api/v1/sessions", false, &["POST"]),
    ("/api/v1/sessions/resolve", false, &["GET"]),
    ("/api/v1/sessions/*", false, &["DELETE"]),
    ("/api/v1/sessions/*/offer", false, &["GET", "POST"]),
    ("/api/v1/sessions/*/answer", false, &["GET", "POST"]),
    ("/api/v1/transfers", false, &["POST"]),
    ("/api/v1/transfers/*", false, &["GET", "DELETE"]),
    ("/api/v1/transfers/*/chunks/*", false, &["GET", "PUT"]),
    ("/api/v1/transfers/*/ack", false, &["POST"]),
    ("/api/v1/devices", false, &["POST"]),
    ("/api/v1/devices/*", false, &["GET"]),
    ("/api/v1/jobs/*", false, &["GET"]),
    ("/api/v1/tickets", false, &["POST"]),
    ("/api/v1/ice", false, &["GET"]),
    ("/api/v1/events", false, &["GET"]),
    ("/api/v1/socket", false, &["GET"]),
    ("/ws", false, &["GET"]),
    ("/api/v1/nodes", false, &["GET"]),
];

fn due(method: &str, target: &str) -> Due {
    let Some(path) = decoded(target) else { return Due::NoPath };
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Due::NoPath;
    }
    let mut segments: Vec<String> = path.split('/').skip(1).map(str::to_owned).collect();
    if segments.len() > 1 && segments.last().is_some_and(String::is_empty) {
        segments.pop();
    }
    if segments[0].eq_ignore_ascii_case("v1") {
        segments.insert(0, "api".to_owned());
    }
    let fits = |pattern: &str| {
        let pattern: Vec<&str> = pattern.split('/').skip(1).collect();
        pattern.len() == segments.len()
            && pattern.iter().zip(&segments).all(|(pattern, segment)| match *pattern {
                "*" => !segment.is_empty() && is_text(segment),
                fixed => fixed.eq_ignore_ascii_case(segment),
            })
    };
    let Some((_, open, methods)) = PATHS.iter().find(|(pattern, ..)| fits(pattern)) else {
        return Due::Nowhere;
    };
    let method = if method == "HEAD" { "GET" } else { method };
    match (method, open) {
        ("OPTIONS", _) => Due::Options,
        (method, _) if !methods.contains(&method) => Due::OtherMethod,
        (_, true) => Due::Open,
        (_, false) => Due::Credential,
    }
}

/// A path with every `%` that need not be there decoded, one byte after the other. `None` if it has no such form.
fn decoded(path: &str) -> Option<String> {
    let (bytes, mut decoded, mut at) = (path.as_bytes(), String::new(), 0);
    while at < bytes.len() {
        if bytes[at] != b'%' {
            decoded.push(bytes[at] as char);
            at += 1;
            continue;
        }
        let digit = |at: usize| (*bytes.get(at)? as char).to_digit(16);
        let byte = (digit(at + 1)? * 16 + digit(at + 2)?) as u8;
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            decoded.push(byte as char);
        } else {
            decoded.push_str(&format!("%{byte:02X}"));
        }
        at += 3;
    }
    Some(decoded)
}

/// Whether a segment, decoded to the end, is text.
fn is_text(segment: &str) -> bool {
    let (mut bytes, mut rest) = (Vec::new(), segment.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(&after[..2]).unwrap_or_default();
            bytes.push(u8::from_str_radix(digits, 16).unwrap_or_default());
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).is_ok()
}

/// Without blanks around it; no other white space is any (RFC 9110, section 5.6.3).
fn trimmed(value: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = value.iter().position(|byte| !is_blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(begin, |last| last + 1);
    &value[begin..end]
}
