//! From a request to a socket: the HTTP server lets go of the connection, and with it of its buffers.
//!
//! A request that asks for a WebSocket passes through the same routes and guards as every other; its body is the
//! connection itself. If the answer is 101, what the answer's body yields is written from then on by a task of its own,
//! which keeps nothing in memory while nothing is on its way. Any other answer is written and closes the connection,
//! since the client may have sent frames already (RFC 6455, section 4.1).

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_codec::{Encoder as _, Framed, FramedParts};
use actix_http::body::{BoxBody, MessageBody};
use actix_http::error::PayloadError;
use actix_http::h1::{Codec, Message};
use actix_http::{
    BoxedPayloadStream, ConnectionType, HttpMessage as _, Payload, Request, Response, StatusCode,
};
use actix_service::{Service, ServiceFactory};
use actix_web::dev::ServiceResponse;
use actix_web::rt;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::future::LocalBoxFuture;
use tokio::io::ReadBuf;
use tokio::time::timeout;

use super::connection_permit::Permit;
use super::force_close::Hangup;
use super::metrics::SLOW_CLOSED;
use super::pace::Watch;
use super::stream::{Parts, Stream};
use super::tcp_or_tls::Io;
use crate::admission::buffers::{Part, Pressure};

/// Bytes read at a time.
const PIECE_BYTES: usize = 8 << 10;
/// The same while this node holds more than it should.
const PRESSED_PIECE_BYTES: usize = 1 << 10;
/// Bytes gathered for one write; then the socket is not asked for more until they are gone.
const GATHERED_BYTES_MAX: usize = 32 << 10;
/// For how long a refusal may be on its way.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// After our last word, for so long and so far the peer is listened to: what arrives at a connection that is closed
/// takes back the last word, if the peer has not read it yet.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES_MAX: usize = 1 << 20;

/// Makes an [`Upgrade`] of a copy of the application.
pub(super) struct Upgrades<F>(pub(super) F);

impl<F, B> ServiceFactory<(Request, Framed<Stream, Codec>)> for Upgrades<F>
where
    F: ServiceFactory<Request, Config = (), Response = ServiceResponse<B>>,
    F::Service: 'static,
    F::Future: 'static,
    F::Error: Into<Response<BoxBody>>,
    B: MessageBody + 'static,
{
    type Response = ();
    type Error = actix_web::Error;
    type Config = ();
    type Service = Upgrade<F::Service>;
    type InitError = F::InitError;
    type Future = LocalBoxFuture<'static, Result<Self::Service, F::InitError>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let making = self.0.new_service(());
        Box::pin(async move { Ok(Upgrade(Rc::new(making.await?))) })
    }
}

/// Answers requests that ask for a WebSocket.
pub(super) struct Upgrade<S>(Rc<S>);

impl<S, B> Service<(Request, Framed<Stream, Codec>)> for Upgrade<S>
where
    S: Service<Request, Response = ServiceResponse<B>> + 'static,
    S::Error: Into<Response<BoxBody>>,
    B: MessageBody + 'static,
{
    type Response = ();
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<(), actix_web::Error>>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // An application is always ready; that a call fails is an answer.
        self.0.poll_ready(cx).map(|_| Ok(()))
    }

    fn call(&self, (mut request, framed): (Request, Framed<Stream, Codec>)) -> Self::Future {
        let app = self.0.clone();
        Box::pin(async move {
            let FramedParts { io, mut codec, read_buf, write_buf: mut out, .. } = framed.into_parts();
            let line = Line::new(io, read_buf);
            let hangup = Hangup::default();
            request.extensions_mut().insert(hangup.clone());
            let incoming: BoxedPayloadStream = Box::pin(Incoming(line.clone()));
            *request.payload() = Payload::from(incoming);
            let response = match app.call(request).await {
                Ok(response) => Response::from(response).map_into_boxed_body(),
                Err(error) => error.into(),
            };
            let (mut head, body) = response.into_parts();
            let accepted = head.status() == StatusCode::SWITCHING_PROTOCOLS;
            if !accepted {
                head.head_mut().set_connection_type(ConnectionType::Close);
            }
            codec.encode(Message::Item((head, body.size())), &mut out)?;
            let written = Written { line, body, codec, out, over: false };
            if accepted {
                rt::spawn(written.run(hangup));
            } else {
                // Who does not even take a refusal is not waited for.
                let _ = timeout(REFUSAL_TIMEOUT, written.run(hangup)).await;
            }
            Ok(())
        })
    }
}

/// A connection without its server. Whoever reads and whoever writes are polled by one task.
#[derive(Clone)]
struct Line(Rc<RefCell<Ends>>);

struct Ends {
    io: Io,
    watch: Watch,
    part: Part,
    _permit: Option<Permit>,
    /// What came with the request.
    early: BytesMut,
}

impl Ends {
    /// So many bytes could not be written now.
    fn poll_blocked(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<()>> {
        self.part.set_waiting(bytes);
        ready!(self.watch.poll_blocked(cx, self.part.pressure()));
        metrics::counter!(SLOW_CLOSED).increment(1);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Line {
    fn new(stream: Stream, read: BytesMut) -> Self {
        let Parts { io, held, buffers, permit } = stream.into_parts();
        // Not the server's buffer, which is empty as a rule and large.
        let early = BytesMut::from_iter(read.into_iter().chain(held));
        let (watch, part) = (Watch::default(), buffers.part(permit.as_ref().map(Permit::client)));
        Self(Rc::new(RefCell::new(Ends { io, watch, part, _permit: permit, early })))
    }

    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut ends = self.0.borrow_mut();
        if !ends.early.is_empty() {
            return Poll::Ready(Ok(std::mem::take(&mut ends.early).freeze()));
        }
        let mut scratch = [const { MaybeUninit::uninit() }; PIECE_BYTES];
        let piece = if ends.part.pressure() == Pressure::Low { PIECE_BYTES } else { PRESSED_PIECE_BYTES };
        let mut buffer = ReadBuf::uninit(&mut scratch[..piece]);
        ready!(ends.io.as_mut().poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())))
    }

    /// Writes all there is. An error, too, if the client does not take it.
    fn poll_write(&self, cx: &mut Context<'_>, bytes: &mut BytesMut) -> Poll<io::Result<()>> {
        let mut ends = self.0.borrow_mut();
        let ends = &mut *ends;
        while !bytes.is_empty() {
            match ends.io.as_mut().poll_write(cx, bytes)? {
                Poll::Pending => return ends.poll_blocked(cx, bytes.len()),
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => {
                    ends.watch.wrote(count);
                    bytes.advance(count);
                }
            }
        }
        // Nothing is kept while nothing is on its way.
        *bytes = BytesMut::new();
        match ends.io.as_mut().poll_flush(cx)? {
            Poll::Pending => ends.poll_blocked(cx, 0),
            Poll::Ready(()) => {
                ends.watch.done();
                ends.part.set_waiting(0);
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Says that nothing more will be sent.
    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().io.as_mut().poll_shutdown(cx)
    }

    /// Listens until the peer is done as well.
    async fn listen(&self) -> io::Result<()> {
        let mut heard = 0;
        while heard <= LINGER_BYTES_MAX {
            match poll_fn(|cx| self.poll_read(cx)).await?.len() {
                0 => break,
                count => heard += count,
            }
        }
        Ok(())
    }
}

/// What the client sends, as the body of its request.
struct Incoming(Line);

impl futures_util::Stream for Incoming {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(match ready!(self.0.poll_read(cx)) {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => Some(Ok(bytes)),
            Err(error) => Some(Err(error.into())),
        })
    }
}

/// What goes to the client: the head of the answer, then its body.
struct Written {
    line: Line,
    body: BoxBody,
    codec: Codec,
    out: BytesMut,
    over: bool,
}

impl Written {
    async fn run(mut self, hangup: Hangup) {
        let done = poll_fn(|cx| if hangup.poll(cx) { Poll::Ready(Err(())) } else { self.poll(cx) });
        if done.await.is_ok() {
            let Self { line, body, .. } = self;
            // The socket is over; what is left is good manners, and however they end, so does the connection.
            drop(body);
            let _ = timeout(LINGER, line.listen()).await;
        }
    }

    /// An error says that the connection is broken.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        loop {
            while !self.over && self.out.len() < GATHERED_BYTES_MAX {
                let chunk = match Pin::new(&mut self.body).poll_next(cx) {
                    Poll::Ready(Some(Ok(bytes))) => Some(bytes),
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(())),
                    Poll::Ready(None) => None,
                    Poll::Pending => break,
                };
                self.over = chunk.is_none();
                self.codec.encode(Message::Chunk(chunk), &mut self.out).map_err(drop)?;
            }
            let gathered = !self.out.is_empty();
            ready!(self.line.poll_write(cx, &mut self.out)).map_err(drop)?;
            if self.over {
                return self.line.poll_shutdown(cx).map_err(drop);
            }
            if !gathered {
                return Poll::Pending;
            }
        }
    }
}
