//! The id under which a request is found again in logs and answers.

use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use uuid::{Builder, Uuid};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The caller's id if it sent a valid one, else a fresh UUIDv7.
pub(crate) fn of(headers: &HeaderMap) -> HeaderValue {
    match headers.get(REQUEST_ID) {
        Some(value) if is_valid(value.as_bytes()) => value.clone(),
        Some(_) | None => {
            let mut text = Uuid::encode_buffer();
            HeaderValue::from_str(fresh().hyphenated().encode_lower(&mut text))
                .expect("a UUID is hexadecimal digits and hyphens")
        }
    }
}

/// A UUIDv7. Its random part is drawn without a system call, unlike `Uuid::now_v7`.
pub(crate) fn fresh() -> Uuid {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Builder::from_unix_timestamp_millis(since.as_millis() as u64, &rand::random()).into_uuid()
}

pub(crate) fn is_valid(id: &[u8]) -> bool {
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
    fn anything_else_is_replaced_by_a_uuid_of_version_7() {
        let long = "x".repeat(129);
        for id in ["", "a b", "a\"b", "<script>", long.as_str()] {
            assert_eq!(given(id).parse::<Uuid>().unwrap().get_version_num(), 7, "{id}");
        }
        assert_ne!(fresh(), fresh());
    }
}
