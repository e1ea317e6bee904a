//! The body of the response that becomes a socket.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::Error;
use bytes::Bytes;
use futures_util::Stream;

use super::connections::ConnectionPermit;

/// Everything that is written to a socket. It is dropped when the last of it has left; until then the socket counts.
pub(super) struct Body<S> {
    written: Pin<Box<S>>,
    _pass: ConnectionPermit,
}

impl<S> Body<S> {
    pub(super) fn new(written: S, pass: ConnectionPermit) -> Self {
        Self { written: Box::pin(written), _pass: pass }
    }
}

impl<S: Stream<Item = Result<Bytes, Error>>> Stream for Body<S> {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.written.as_mut().poll_next(cx)
    }
}
