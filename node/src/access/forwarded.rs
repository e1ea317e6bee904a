//! `Forwarded` (RFC 7239): what the nearest proxy says of the request that it handed on.

use actix_web::http::header::{FORWARDED, HeaderMap};

/// What the nearest proxy, whose word is the last, says under this name. Believe it only of a proxy that is trusted.
pub fn nearest(headers: &HeaderMap, name: &str) -> Option<String> {
    let line = headers.get_all(FORWARDED).last()?.to_str().ok()?;
    let last = split(line, b',').pop()?;
    split(last, b';').into_iter().find_map(|pair| {
        let (known, value) = pair.split_once('=')?;
        known.trim().eq_ignore_ascii_case(name).then(|| unquoted(value.trim())).flatten()
    })
}

/// The parts of a text between marks that are not quoted.
fn split(text: &str, mark: u8) -> Vec<&str> {
    let (mut parts, mut begin, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == mark && !quoted => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

/// A token, or a quoted string without what quotes it (RFC 9110, section 5.6.4).
fn unquoted(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix('"') else { return Some(value.to_owned()) };
    let inner = inner.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        text.push(if letter == '\\' { letters.next()? } else { letter });
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn the_nearest_proxys_word_is_the_last() {
        let mut headers = HeaderMap::new();
        assert_eq!(nearest(&headers, "proto"), None);
        for line in [
            "for=1.1.1.1;proto=http",
            "for=2.2.2.2;proto=http, For=\"[::1]:80\" ; Proto=https;host=\"a,b;c\"",
        ] {
            headers.append(FORWARDED, HeaderValue::from_static(line));
        }
        assert_eq!(nearest(&headers, "proto").as_deref(), Some("https"));
        assert_eq!(nearest(&headers, "for").as_deref(), Some("[::1]:80"));
        assert_eq!(nearest(&headers, "host").as_deref(), Some("a,b;c"));
        assert_eq!(nearest(&headers, "by"), None);
    }

    #[test]
    fn what_is_written_badly_says_nothing_or_itself() {
        let of = |line| {
            let mut headers = HeaderMap::new();
            headers.append(FORWARDED, HeaderValue::from_static(line));
            nearest(&headers, "proto")
        };
        assert_eq!(of("proto"), None);
        assert_eq!(of("proto=\"https"), None);
        assert_eq!(of("proto=\"ht\\tps\""), Some("https".to_owned()));
        assert_eq!(of("proto=https,"), None, "the last element is empty");
    }
}
