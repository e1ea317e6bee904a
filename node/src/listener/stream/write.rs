//! What goes out on a connection, and how it ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Stream;

/// After a refusal, for so long and so far a client is listened to that still sends: a connection that is closed with
/// bytes unread takes the answer with it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1 << 20;

/// How long a client is still listened to, and how much it has said.
pub(super) struct Parting {
    over: Pin<Box<Sleep>>,
    heard: usize,
}

impl Stream {
    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = written {
            self.watch.wrote(count);
        }
        written
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.io.as_mut().poll_write(cx, bytes) {
            Poll::Pending => this.poll_blocked(cx, bytes.len()).map(Err),
            written => this.wrote(written),
        }
    }

    /// The server calls this when it has written all it has, and each time before it reads.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.io.as_mut().poll_flush(cx)? {
            Poll::Pending => this.poll_blocked(cx, 0).map(Err),
            Poll::Ready(()) => {
                this.settle(cx);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.parting.is_none() {
            ready!(this.io.as_mut().poll_shutdown(cx))?;
            // What the client sent behind its last request may still be on its way.
            let behind = this.heads.is_over()
                && (this.behind || matches!(this.discard(cx), Poll::Ready(count) if count > 0));
            if !this.refused && !behind {
                return Poll::Ready(Ok(()));
            }
            this.parting = Some(Parting { over: Box::pin(sleep_until(Instant::now() + LINGER)), heard: 0 });
        }
        loop {
            let heard = this.discard(cx);
            let Some(parting) = &mut this.parting else { return Poll::Ready(Ok(())) };
            match heard {
                Poll::Ready(0) => return Poll::Ready(Ok(())),
                Poll::Ready(count) => {
                    parting.heard += count;
                    if parting.heard > LINGER_BYTES_MAX {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Pending => return parting.over.as_mut().poll(cx).map(Ok),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.io.as_mut().poll_write_vectored(cx, slices) {
            Poll::Pending => {
                let bytes = slices.iter().map(|slice| slice.len()).sum();
                this.poll_blocked(cx, bytes).map(Err)
            }
            written => this.wrote(written),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
