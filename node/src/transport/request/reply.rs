//! Successful responses.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use bytes::Bytes;
use serde::Serialize;

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

/// A JSON answer.
pub(crate) fn answer(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    json(status, serde_json::to_vec(body).expect("an answer is made of texts and numbers"))
}

/// 200 with a value.
pub(crate) fn ok(body: &impl Serialize) -> HttpResponse {
    answer(StatusCode::OK, body)
}

/// Appends a JSON string.
pub(crate) fn push_string(body: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(body, text).expect("a string always serializes, and a vector takes all writes");
}
