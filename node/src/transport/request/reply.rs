//! Successful responses.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use bytes::Bytes;

/// Media type of all JSON answers.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// A JSON answer of bytes that are JSON already.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> HttpResponse {
    let mut response = HttpResponse::with_body(status, BoxBody::new(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// 200 with a JSON text known at compile time.
pub(crate) fn fixed(body: &'static str) -> HttpResponse {
    json(StatusCode::OK, Bytes::from_static(body.as_bytes()))
}

/// 200 with a value.
pub(crate) fn ok(body: &serde_json::Value) -> HttpResponse {
    json(StatusCode::OK, body.to_string())
}

/// Appends a JSON string.
pub(crate) fn push_string(body: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(body, text).expect("a string always serializes, and a vector takes all writes");
}
