//! What comes in on a connection, and how much of it is handed on.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use super::super::deadline::{Awaited, Deadline};
use super::super::request_framing::{Fault, Rest};
use super::Stream;

/// Bytes that are read at a time while a head is awaited: most requests whole, of a large one not much more than its head.
pub(super) const PIECE_BYTES: usize = 4096;
/// Bytes of a large body that are handed on at a time. The server reads for as long as something comes, into a buffer that
/// it keeps with the connection, before it looks at what it has.
pub(super) const PART_BYTES: usize = 16 << 10;

impl Stream {
    /// Reads and throws away what belongs to nobody.
    fn poll_discarding(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.discarding {
            let left = usize::try_from(self.heads.left()).unwrap_or(usize::MAX);
            match self.io.poll_discard(cx, left)? {
                Poll::Ready(0) => self.given_up = true,
                Poll::Ready(count) => self.heads.skip(count),
                Poll::Pending => {
                    self.expect_body();
                    ready!(self.poll_late(cx));
                }
            }
            self.discarding = !self.given_up && self.heads.left() > 0;
        }
        self.pass_all();
        Poll::Ready(Ok(()))
    }

    /// Waits until the rest of a body is wanted, if it is a large one, and then after each part of it until the server has
    /// looked at that.
    fn poll_wanted(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.heads.in_held_body().is_none() {
            return Poll::Ready(());
        }
        ready!(self.gate.poll_open(cx));
        if self.part >= PART_BYTES {
            self.part = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Nothing is here. The rest of a body has its time from where it is first waited for.
    fn expect_body(&mut self) {
        if self.deadline.is_none() {
            self.deadline = self.heads.in_body().map(Deadline::of_body);
        }
    }

    /// Reads what is there, but only a piece where heads may come.
    fn poll_some(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.heads.in_held_body().is_some() {
            return self.io.as_mut().poll_read(cx, buffer);
        }
        let mut scratch = [MaybeUninit::uninit(); PIECE_BYTES];
        let len = PIECE_BYTES.min(buffer.remaining());
        let mut piece = ReadBuf::uninit(&mut scratch[..len]);
        ready!(self.io.as_mut().poll_read(cx, &mut piece))?;
        buffer.put_slice(piece.filled());
        Poll::Ready(Ok(()))
    }

    /// Reads one piece of what may not pass yet. Nothing is held of a client that has gone.
    fn poll_next_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.held.reserve(PIECE_BYTES);
        tokio_util::io::poll_read_buf(self.io.as_mut(), cx, &mut self.held).map_ok(drop)
    }

    /// Draws the consequences if what is awaited is late.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        ready!(deadline.over.as_mut().poll(cx));
        // A browser opens connections that it may never use, and would take an answer for one to its next request.
        let unused = self.heads.requests() == 0 && self.heads.at_head() && self.held.is_empty();
        match deadline.awaited {
            Awaited::Head if !unused => self.refuse(Fault::Late),
            Awaited::Head | Awaited::Body(_) => {
                self.given_up = true;
                self.deadline = None;
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let handed = this.poll_handed(cx, buffer);
        this.report();
        handed
    }
}

impl Stream {
    /// Hands on what may be.
    fn poll_handed(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self;
        loop {
            if this.cleared > 0 {
                let count = this.cleared.min(buffer.remaining());
                buffer.put_slice(&this.held[..count]);
                this.held.advance(count);
                this.cleared -= count;
                if this.held.is_empty() {
                    // A connection may rest for long, and would keep what its largest head took.
                    this.held = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            if this.refused {
                // The answer closes the connection. Until then nothing more is handed on.
                return match ready!(this.discard(cx)) {
                    0 => Poll::Ready(Ok(())),
                    _ => continue,
                };
            }
            if this.heads.is_over() {
                // What stands behind a request that closes the connection is not looked at (RFC 9112, section 9.6).
                this.behind |= !this.held.is_empty();
                this.held.clear();
                match ready!(this.discard(cx)) {
                    0 => {
                        this.closed.close();
                        return Poll::Ready(Ok(()));
                    }
                    _ => this.behind = true,
                }
                continue;
            }
            if this.discarding {
                ready!(this.poll_discarding(cx))?;
            }
            if this.given_up {
                return Poll::Ready(Ok(()));
            }
            let room = this.room();
            if room == 0 && this.heads.at_head() {
                // Woken when the server has answered and written. A client that goes meanwhile is noticed all the same.
                this.paused = true;
                if !this.held.is_empty() {
                    return Poll::Pending;
                }
                if !this.heads.awaits_answers() {
                    if this.io.is_ended(cx) {
                        this.closed.close();
                    }
                    return Poll::Pending;
                }
                ready!(this.poll_next_piece(cx))?;
                if this.held.is_empty() {
                    this.closed.close();
                    return Poll::Ready(Ok(()));
                }
                this.full = true;
                this.count();
                continue;
            }
            if this.full {
                this.full = false;
                this.look_at_held(room);
                continue;
            }
            if this.held.is_empty() {
                ready!(this.poll_wanted(cx));
                let before = buffer.filled().len();
                let read = this.poll_some(cx, buffer)?;
                this.gate.looked(read.is_ready());
                match read {
                    Poll::Ready(()) => {}
                    Poll::Pending => {
                        this.part = 0;
                        this.expect_body();
                        ready!(this.poll_late(cx));
                        continue;
                    }
                }
                let fresh = &mut buffer.filled_mut()[before..];
                if fresh.is_empty() {
                    this.closed.close();
                    return Poll::Ready(Ok(()));
                }
                this.part += fresh.len();
                let (passed, rest) = this.heads.follow(fresh, room);
                this.heads.hide(fresh);
                if rest == Rest::Nothing {
                    let passed = this.turn_away(fresh).unwrap_or(passed);
                    buffer.set_filled(before + passed);
                    this.handed_bytes += passed;
                    this.pass_all();
                    if passed == 0 {
                        continue;
                    }
                    return Poll::Ready(Ok(()));
                }
                // What may not pass yet is taken back.
                this.held.extend_from_slice(&fresh[passed..]);
                buffer.set_filled(before + passed);
                this.handed_bytes += passed;
                let whole = passed > 0;
                if whole {
                    this.deadline = None;
                }
                this.found(0, rest);
                if whole {
                    return Poll::Ready(Ok(()));
                }
            } else {
                this.held.reserve(PIECE_BYTES);
                match tokio_util::io::poll_read_buf(this.io.as_mut(), cx, &mut this.held) {
                    Poll::Ready(Ok(0)) => {
                        this.closed.close();
                        return Poll::Ready(Ok(()));
                    }
                    Poll::Ready(Ok(_)) => this.look_at_held(room),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        ready!(this.poll_late(cx));
                    }
                }
            }
        }
    }
}
