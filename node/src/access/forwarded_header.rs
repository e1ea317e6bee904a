//! `Forwarded` (RFC 7239): what proxies say of the request that they handed on.

use std::net::IpAddr;

use actix_web::http::header::{FORWARDED, HeaderMap};

use super::client;

/// What the nearest proxy, whose word is the last, says under this name. Believe it only of a proxy that is trusted.
pub fn nearest(headers: &HeaderMap, name: &str) -> Option<String> {
    let line = headers.get_all(FORWARDED).last()?.to_str().ok()?;
    said(split(line, b',').pop()?, name)
}

/// For whom each proxy handed it on, the nearest one first: `None` where one does not tell, or tells a name of its own
/// (section 6.3). How far they are to be believed is for [`client::address`] to say.
pub fn hops(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(FORWARDED).rev().map(|line| String::from_utf8_lossy(line.as_bytes()));
    lines.flat_map(|line| {
        let elements = split(&line, b',').into_iter().rev().filter(|element| !element.trim().is_empty());
        let hops: Vec<_> =
            elements.map(|element| said(element, "for").as_deref().and_then(client::hop)).collect();
        hops
    })
}

/// What an element says under this name.
fn said(element: &str, name: &str) -> Option<String> {
    split(element, b';').into_iter().find_map(|pair| {
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
    fn each_hop_is_an_address_or_unknown() {
        let mut headers = HeaderMap::new();
        for line in [
            &b"for=192.0.2.60;proto=http;by=203.0.113.43"[..],
            b"For=\"[2001:db8:cafe::17]:4711\", for=\"192.0.2.43:47011\";host=\"a,b\",",
            b"for=unknown, for=_hidden, for=\"192.0.2.9:_port\", by=10.0.0.1, for=\"\xff\", for=198.51.100.1",
        ] {
            headers.append(FORWARDED, HeaderValue::from_bytes(line).unwrap());
        }
        let address = |text: &str| Some(text.parse().unwrap());
        let expected = [
            address("198.51.100.1"),
            None,
            None,
            address("192.0.2.9"),
            None,
            None,
            address("192.0.2.43"),
            address("2001:db8:cafe::17"),
            address("192.0.2.60"),
        ];
        assert_eq!(hops(&headers).collect::<Vec<_>>(), expected);
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
