//! One connection of a client: TCP, perhaps under TLS, with an eye on the heads of requests.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::server::TlsStream;

use super::heads::{Fault, Heads, Rest};
use super::refusal;

/// Bytes that are read at a time while a head comes in pieces.
const PIECE_BYTES: usize = 4096;
/// How long a body may take to arrive: longer than whoever reads it waits, so that its answer goes first. The server itself
/// would wait without an end for the rest of a chunked body that nobody reads any more.
const BODY_PATIENCE: Duration = Duration::from_secs(17);
/// After a refusal, for so long and so far a client is listened to that still sends: a connection that is closed with
/// bytes unread takes the answer with it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1 << 20;

pub(super) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection.
///
/// Heads are handed on whole. One that is refused is replaced by a request that only asks to be refused
/// (`refusal`), so that its answer keeps its turn and looks as every other error does.
pub struct Stream {
    io: Io,
    heads: Heads,
    /// What was read and not handed on: first what may be, then the beginning of a head.
    held: BytesMut,
    /// How much of it may be handed on.
    cleared: usize,
    patience: Duration,
    deadline: Option<Deadline>,
    refused: bool,
    /// A body did not come in time; nothing more is read.
    given_up: bool,
    parting: Option<Parting>,
}

/// By when what is awaited must be here.
struct Deadline {
    awaited: Awaited,
    over: Pin<Box<Sleep>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Head,
    /// Of which request.
    Body(u64),
}

impl Deadline {
    fn new(awaited: Awaited, patience: Duration) -> Self {
        Self { awaited, over: Box::pin(sleep_until(Instant::now() + patience)) }
    }
}

struct Parting {
    over: Pin<Box<Sleep>>,
    heard: usize,
}

impl Stream {
    /// `patience` is how long a head may take to arrive.
    pub(super) fn plain(tcp: TcpStream, patience: Duration) -> Self {
        Self::new(Io::Plain(tcp), patience)
    }

    pub(super) fn tls(tls: TlsStream<TcpStream>, patience: Duration) -> Self {
        Self::new(Io::Tls(Box::new(tls)), patience)
    }

    fn new(io: Io, patience: Duration) -> Self {
        Self {
            io,
            heads: Heads::default(),
            held: BytesMut::new(),
            cleared: 0,
            patience,
            deadline: Some(Deadline::new(Awaited::Head, patience)),
            refused: false,
            given_up: false,
            parting: None,
        }
    }

    /// The session, if there is one.
    pub(crate) fn session(&self) -> Option<&rustls::ServerConnection> {
        match &self.io {
            Io::Plain(_) => None,
            Io::Tls(tls) => Some(tls.get_ref().1),
        }
    }

    /// Lets go of the connection: what is under it, and what was read and not handed on.
    pub(super) fn into_parts(self) -> (Io, BytesMut) {
        (self.io, self.held)
    }

    fn refuse(&mut self, fault: Fault) {
        self.refused = true;
        self.deadline = None;
        self.held = BytesMut::from(refusal::request(fault).as_bytes());
        self.cleared = self.held.len();
    }

    /// Takes note of what was found behind the first `cleared` bytes of `held`.
    fn found(&mut self, cleared: usize, rest: Rest) {
        self.cleared = cleared;
        match rest {
            Rest::Nothing => self.expect_body(),
            Rest::Head => {
                // The head that came whole is over with; the next one has its own time.
                let same = self.deadline.as_ref().is_some_and(|one| one.awaited == Awaited::Head);
                if cleared > 0 || !same {
                    self.deadline = Some(Deadline::new(Awaited::Head, self.patience));
                }
            }
            Rest::Refused(fault) => {
                if cleared > 0 {
                    // What is in order goes first.
                    let refusal = refusal::request(fault);
                    self.held.truncate(cleared);
                    self.held.extend_from_slice(refusal.as_bytes());
                    self.cleared = self.held.len();
                    self.refused = true;
                    self.deadline = None;
                } else {
                    self.refuse(fault);
                }
            }
        }
    }

    /// All that was read may pass. If more of a body must come, its time runs from where it was first waited for.
    fn expect_body(&mut self) {
        let awaited = self.heads.in_body().map(Awaited::Body);
        if self.deadline.as_ref().map(|deadline| deadline.awaited) != awaited {
            self.deadline = awaited.map(|awaited| Deadline::new(awaited, BODY_PATIENCE));
        }
    }

    /// Reads and throws away what comes after a refusal.
    fn discard(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let mut scratch = [0; PIECE_BYTES];
        let mut buffer = ReadBuf::new(&mut scratch);
        match ready!(self.io.as_mut().poll_read(cx, &mut buffer)) {
            Ok(()) => Poll::Ready(buffer.filled().len()),
            Err(_) => Poll::Ready(0),
        }
    }

    /// Draws the consequences if what is awaited is late.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        ready!(deadline.over.as_mut().poll(cx));
        match deadline.awaited {
            Awaited::Head => self.refuse(Fault::Late),
            Awaited::Body(_) => {
                self.given_up = true;
                self.deadline = None;
            }
        }
        Poll::Ready(())
    }
}

impl Io {
    pub(super) fn as_mut(&mut self) -> Pin<&mut dyn Both> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp),
            Self::Tls(tls) => Pin::new(tls.as_mut()),
        }
    }
}

pub(super) trait Both: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.cleared > 0 {
                let count = this.cleared.min(buffer.remaining());
                buffer.put_slice(&this.held[..count]);
                this.held.advance(count);
                this.cleared -= count;
                return Poll::Ready(Ok(()));
            }
            if this.refused {
                // The answer closes the connection. Until then nothing more is handed on.
                return match ready!(this.discard(cx)) {
                    0 => Poll::Ready(Ok(())),
                    _ => continue,
                };
            }
            if this.given_up {
                return Poll::Ready(Ok(()));
            }
            if this.held.is_empty() {
                let before = buffer.filled().len();
                match this.io.as_mut().poll_read(cx, buffer)? {
                    Poll::Ready(()) => {}
                    Poll::Pending => {
                        ready!(this.poll_late(cx));
                        continue;
                    }
                }
                let fresh = &buffer.filled()[before..];
                if fresh.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                let (passed, rest) = this.heads.follow(fresh);
                if rest == Rest::Nothing {
                    this.expect_body();
                    return Poll::Ready(Ok(()));
                }
                // What may not pass yet is taken back.
                this.held.extend_from_slice(&fresh[passed..]);
                buffer.set_filled(before + passed);
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
                    Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(_)) => {
                        let (cleared, rest) = this.heads.follow(&this.held);
                        this.found(cleared, rest);
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        ready!(this.poll_late(cx));
                    }
                }
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().io.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().io.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.parting.is_none() {
            ready!(this.io.as_mut().poll_shutdown(cx))?;
            if !this.refused {
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
        self.get_mut().io.as_mut().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(tcp) => tcp.is_write_vectored(),
            Io::Tls(tls) => tls.is_write_vectored(),
        }
    }
}
