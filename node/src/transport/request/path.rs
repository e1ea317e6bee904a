//! The one form of a path in which it is looked up, guarded, limited and counted.
//!
//! Clients and proxies spell one path in many ways (RFC 3986, section 6.2.2). What is decided on one spelling and carried
//! out on another lets a request past its guard, so the normal form is made once, before anything looks at the path.

use std::borrow::Cow;

/// The path has no normal form: a `%` without two hexadecimal digits, or a dot segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Decodes what need not be encoded and spells the rest in upper case (RFC 3986, sections 6.2.2.1 and 6.2.2.2).
///
/// Dot segments are refused instead of removed: no client needs them, and one that a proxy did not resolve is meant to
/// get past it.
pub(crate) fn normal(path: &str) -> Result<Cow<'_, str>, Malformed> {
    let normal = if path.contains('%') { Cow::Owned(decoded(path)?) } else { Cow::Borrowed(path) };
    if normal.split('/').any(|segment| matches!(segment, "." | "..")) { Err(Malformed) } else { Ok(normal) }
}

fn decoded(path: &str) -> Result<String, Malformed> {
    let mut parts = path.split('%');
    let mut normal = String::with_capacity(path.len());
    normal.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.get(..2).ok_or(Malformed)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(Malformed);
        }
        let byte = u8::from_str_radix(digits, 16).map_err(|_| Malformed)?;
        if is_unreserved(byte) {
            normal.push(byte as char);
        } else {
            normal.push('%');
            normal.push_str(&digits.to_ascii_uppercase());
        }
        normal.push_str(&part[2..]);
    }
    Ok(normal)
}

/// What a segment of a normal path means. `None` if that is no text.
pub(crate) fn text(segment: &str) -> Option<String> {
    if !segment.contains('%') {
        return Some(segment.to_owned());
    }
    let mut parts = segment.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

/// RFC 3986, section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_of_a_letter_is_the_letter() {
        for path in ["/api/rela%79", "/%61%70%69/%72%65%6c%61%79", "/api/%72elay", "/api/%72%65%6C%61y"] {
            assert_eq!(normal(path).as_deref(), Ok("/api/relay"), "{path}");
        }
        assert_eq!(normal("/%2d%2E%5f%7E"), Ok("/-._~".into()));
    }

    #[test]
    fn what_means_something_else_decoded_stays_encoded() {
        assert_eq!(normal("/a%2fb%3f%25%37%39").as_deref(), Ok("/a%2Fb%3F%2579"));
        assert_eq!(normal("/rela%2579").as_deref(), Ok("/rela%2579"), "nothing is decoded twice");
        assert!(matches!(normal("/api/relay"), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn a_segment_is_decoded_whole() {
        assert_eq!(text("a%2Fb%40%C3%A9").as_deref(), Some("a/b@é"));
        assert_eq!(text("%FF"), None);
    }

    #[test]
    fn what_has_no_normal_form_is_refused() {
        for path in ["/%", "/%7", "/%zz", "/a%+1", "/%é", "/./api", "/api/..", "/%2e/api", "/api/.%2E/x"] {
            assert_eq!(normal(path), Err(Malformed), "{path}");
        }
    }
}
