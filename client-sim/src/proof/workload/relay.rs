//! What all of relay's actions have in common.

use hyper::Uri;

use super::caller::Caller;
use super::words::Words;
use crate::client::{Reply, Request};

/// A question that changes nothing, or may be asked once.
pub(super) fn plain(body: String) -> Request {
    Request::post(Uri::from_static("/api/relay"), body)
}

/// A wish with a name, which is said again under it if the answer is lost.
pub(super) fn keyed(caller: &Caller, body: String) -> Request {
    Request { idempotency_key: caller.idempotency_key(), ..plain(body) }
}

/// What a reply says, with its status.
pub(super) fn words(reply: &Reply) -> (u16, Words) {
    (reply.status, Words::of(reply))
}
