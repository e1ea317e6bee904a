//! The body of the response that becomes a socket.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::Error;
use bytes::Bytes;
use futures_util::Stream;

use super::hangup::Hangup;
use super::seats::Seat;

/// Everything that is written to a socket.
///
/// A server ends the TCP connection as soon as the close handshake is over (RFC 6455, section 7.1.1). actix would keep
/// it for a while, because to HTTP the request's body has not ended. So the second hold on the connection is used.
pub(super) struct Body<S> {
    written: Pin<Box<S>>,
    hangup: Option<Hangup>,
    seat: Arc<Seat>,
    over: bool,
}

impl<S> Body<S> {
    pub(super) fn new(written: S, hangup: Option<Hangup>, seat: Arc<Seat>) -> Self {
        Self { written: Box::pin(written), hangup, seat, over: false }
    }
}

impl<S: Stream<Item = Result<Bytes, Error>>> Stream for Body<S> {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.over {
            match self.written.as_mut().poll_next(cx) {
                Poll::Ready(None) => {}
                other => return other,
            }
            self.over = true;
            // The last bytes are in the server's buffer. It writes them when this says that there is no more at the
            // moment, and asks again.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // One that reads slowly has not taken the last bytes yet. The server goes on writing them; the system's own
        // patience with silent peers bounds that.
        if let Some(hangup) = self.hangup.take()
            && !self.seat.outbox().was_slow()
        {
            hangup.finish();
        }
        Poll::Ready(None)
    }
}
