//! The body of an admin request.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, PayloadConfig};
use actix_web::{FromRequest, HttpRequest};
use conclave_cluster::state::limits::PAYLOAD_BYTES_MAX;
use tokio::time::timeout;

use super::error::Error;
use super::unread::Unread;
use crate::listener::{BODY_ARRIVAL_MAX, BodyGate, Refusal};

/// Bytes of a body; the longest request is far shorter.
pub(super) const BYTES_MAX: usize = 4096;
/// Bytes of a body that has content to pass on: the longest content, and the longest names beside it with all their letters
/// escaped.
pub(super) const CONTENT_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 8 * 1024;

/// What bounds the bodies of an app.
pub(super) fn bound() -> PayloadConfig {
    PayloadConfig::new(BYTES_MAX)
}

/// What bounds those that have content.
pub(super) fn content_bound() -> PayloadConfig {
    PayloadConfig::new(CONTENT_BYTES_MAX)
}

/// A body that came whole and in time. What did not is refused in the format of all errors.
pub(super) struct Body(Bytes);

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl FromRequest for Body {
    type Error = actix_web::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, actix_web::Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = Bytes::from_request(request, payload);
        // A large one waits until it is wanted.
        if let Some(gate) = request.conn_data::<BodyGate>() {
            gate.open();
        }
        Box::pin(async move {
            let Ok(read) = timeout(BODY_ARRIVAL_MAX, bytes).await else {
                return Err(Unread(Refusal::Late).into());
            };
            let failed = |error: actix_web::Error| match error.as_response_error().status_code() {
                StatusCode::PAYLOAD_TOO_LARGE => Error::TooLarge,
                _ => Error::Json("it did not come whole"),
            };
            Ok(Self(read.map_err(failed)?))
        })
    }
}
