//! The id under which a request is found again in logs and answers.

use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use uuid::{Builder, Uuid};

use crate::otlp::Parent;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The caller's id if it sent a valid one, else that of the trace that the request is a part of, else a fresh UUIDv7.
pub(crate) fn of(headers: &HeaderMap) -> HeaderValue {
    let own = headers.get(REQUEST_ID).filter(|value| is_valid(value.as_bytes()));
    match (own, trace(headers)) {
        (Some(own), _) => own.clone(),
        (None, Some(trace)) => HeaderValue::from_str(trace).expect("hexadecimal digits are a header value"),
        (None, None) => {
            let mut text = Uuid::encode_buffer();
            HeaderValue::from_str(fresh().hyphenated().encode_lower(&mut text))
                .expect("a UUID is hexadecimal digits and hyphens")
        }
    }
}

/// The id of the trace that a request is a part of: 32 lowercase hexadecimal digits, not all of them zero.
pub(crate) fn trace(headers: &HeaderMap) -> Option<&str> {
    caller(headers).map(|[trace, ..]| trace)
}

/// The caller's span in that trace.
pub(crate) fn parent(headers: &HeaderMap) -> Option<Parent> {
    let [trace, span, flags] = caller(headers)?;
    Some(Parent {
        trace: u128::from_str_radix(trace, 16).ok()?,
        span: u64::from_str_radix(span, 16).ok()?,
        flags: u8::from_str_radix(flags, 16).ok()?,
    })
}

/// Trace, span and flags of the caller (W3C Trace Context, section 3.2). Of a version that is not known the same places count.
fn caller(headers: &HeaderMap) -> Option<[&str; 3]> {
    let mut lines = headers.get_all(TRACEPARENT);
    let line = lines.next().filter(|_| lines.next().is_none())?.to_str().ok()?;
    let mut parts = line.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let fits = is_hex(version, 2) && is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2);
    let known = version != "ff" && (version != "00" || parts.next().is_none());
    let means = |part: &str| part.bytes().any(|byte| byte != b'0');
    (fits && known && means(trace) && means(parent)).then_some([trace, parent, flags])
}

/// A UUIDv7. Its random part is drawn without a system call, unlike `Uuid::now_v7`.
pub(crate) fn fresh() -> Uuid {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Builder::from_unix_timestamp_millis(since.as_millis() as u64, &rand::random()).into_uuid()
}

fn is_valid(id: &[u8]) -> bool {
    (1..=128).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(id: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_str(id).unwrap());
        of(&headers).to_str().unwrap().to_owned()
    }

    #[test]
    fn a_valid_id_is_kept() {
        let long = "x".repeat(128);
        for id in ["a", "req-1_2.3", long.as_str()] {
            assert_eq!(given(id), id);
        }
    }

    #[test]
    fn a_request_of_a_trace_is_named_by_it_unless_it_has_a_name() {
        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let of = |parent: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, HeaderValue::from_str(parent).unwrap());
            of(&headers).to_str().unwrap().to_owned()
        };
        let good = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(of(&good), TRACE);
        assert_eq!(of(&format!("cc-{TRACE}-00f067aa0ba902b7-01-more")), TRACE, "of a later version");
        for wrong in [
            format!("{good}-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            TRACE.to_owned(),
        ] {
            assert_eq!(of(&wrong).parse::<Uuid>().unwrap().get_version_num(), 7, "{wrong}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_str(&good).unwrap());
        headers.insert(REQUEST_ID, HeaderValue::from_static("mine"));
        assert_eq!(super::of(&headers), "mine");
        assert_eq!(trace(&headers), Some(TRACE));
        let expected =
            Parent { trace: 0x4bf92f3577b34da6a3ce929d0e0e4736, span: 0x00f067aa0ba902b7, flags: 1 };
        assert_eq!(parent(&headers), Some(expected));
    }

    #[test]
    fn anything_else_is_replaced_by_a_uuid_of_version_7() {
        let long = "x".repeat(129);
        for id in ["", "a b", "a\"b", "<script>", long.as_str()] {
            assert_eq!(given(id).parse::<Uuid>().unwrap().get_version_num(), 7, "{id}");
        }
        assert_ne!(fresh(), fresh());
    }
}
