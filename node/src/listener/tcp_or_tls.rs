//! What is under a connection: TCP, or TLS on it.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::rt::net::TcpStream;
use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio_rustls::server::TlsStream;

/// Bytes that are thrown away at a time.
const SCRATCH_BYTES: usize = 64 << 10;

thread_local! {
    /// Where what is thrown away is read to, if it has to be.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

pub(super) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    /// The session, if there is one.
    pub(super) fn session(&self) -> Option<&ServerConnection> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => Some(tls.get_ref().1),
        }
    }

    pub(super) fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    /// Throws away what comes, `max` bytes at most. How many it were; none at the end.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let len = max.min(scratch.len());
            let scratch = &mut scratch[..len];
            match self {
                Self::Plain(tcp) => poll_drop(tcp, cx, scratch),
                Self::Tls(tls) => {
                    let mut buffer = ReadBuf::new(scratch);
                    ready!(Pin::new(tls.as_mut()).poll_read(cx, &mut buffer))?;
                    Poll::Ready(Ok(buffer.filled().len()))
                }
            }
        })
    }

    /// Whether the peer has closed its end and everything it sent was read; if not, the task is woken when something comes.
    /// Nothing is taken.
    pub(super) fn is_ended(&self, cx: &mut Context<'_>) -> bool {
        let tcp = match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        };
        let mut byte = [0; 1];
        matches!(tcp.poll_peek(cx, &mut ReadBuf::new(&mut byte)), Poll::Ready(Ok(0)))
    }

    pub(super) fn as_mut(&mut self) -> Pin<&mut dyn Both> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp),
            Self::Tls(tls) => Pin::new(tls.as_mut()),
        }
    }
}

pub(super) trait Both: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}

/// Takes as many bytes as `scratch` is long out of the system's buffers. Linux does not copy them then (tcp(7), `MSG_TRUNC`).
fn poll_drop(tcp: &TcpStream, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(tcp.poll_read_ready(cx))?;
        match tcp.try_io(Interest::READABLE, || drop_some(tcp, scratch)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

fn drop_some(tcp: &TcpStream, scratch: &mut [u8]) -> io::Result<usize> {
    use rustix::net::{RecvFlags, recv};
    let flags = if cfg!(target_os = "linux") { RecvFlags::TRUNC } else { RecvFlags::empty() };
    let (_, taken) = recv(tcp, scratch, flags)?;
    Ok(taken)
}
