//! One keep-alive connection, driven by the task that uses it.
//!
//! hyper splits a connection into a sender and a driver that is usually spawned. Here both are polled by the caller,
//! which saves two task switches a request; an idle connection is thus not looked at until its next use, where one
//! that the server closed meanwhile shows as an error. Where that matters, a connection can be [`spawned`](Connection::spawned).

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::Response;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper_util::rt::TokioIo;

use super::{Fault, Reply, Request, Stream, Target};

/// The largest reply read; the contract's largest is a poll of a full mailbox.
const REPLY_BYTES_MAX: usize = 16 << 20;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// An open connection to one target.
#[derive(Debug)]
pub struct Connection {
    host: HeaderValue,
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` where a task drives it.
    driver: Option<Driver>,
}

#[derive(Debug)]
struct Driver {
    connection: http1::Connection<TokioIo<Stream>, Full<Bytes>>,
    ended: bool,
}

impl Connection {
    /// Connects.
    pub async fn open(target: &Target) -> Result<Self, Fault> {
        let stream = Stream::open(target).await.map_err(|_| Fault::Connect)?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|_| Fault::Connect)?;
        let driver = Some(Driver { connection, ended: false });
        Ok(Self { host: target.host.clone(), sender, driver })
    }

    /// Has a task drive it from now on, so that it notices at once when the server closes it.
    pub fn spawned(mut self) -> Self {
        if let Some(driver) = self.driver.take() {
            // It ends with the sender or with the connection, and tells the sender so.
            tokio::spawn(driver.connection);
        }
        self
    }

    /// Sends one request and reads the whole reply. After an error the connection is of no more use.
    pub async fn exchange(&mut self, request: &Request) -> Result<Reply, Fault> {
        let (head, body) = self.send(request).await?.into_parts();
        let body = self.drive(collect(body)).await??;
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body, retried: false })
    }

    /// Sends one request and reads the head of the reply.
    pub async fn send(&mut self, request: &Request) -> Result<Response<Incoming>, Fault> {
        let mut head = hyper::Request::new(Full::new(request.body.clone()));
        *head.method_mut() = request.method.clone();
        *head.uri_mut() = request.path.clone();
        let headers = head.headers_mut();
        headers.insert(HOST, self.host.clone());
        if let Some(content_type) = &request.content_type {
            headers.insert(CONTENT_TYPE, content_type.clone());
        }
        if let Some(key) = &request.idempotency_key {
            headers.insert(IDEMPOTENCY_KEY, key.clone());
        }
        if !request.headers.is_empty() {
            headers.extend(request.headers.clone());
        }
        drive(&mut self.driver, self.sender.ready()).await?.map_err(|_| Fault::Closed)?;
        let sent = drive(&mut self.driver, self.sender.try_send_request(head)).await?;
        sent.map_err(|error| if error.message().is_some() { Fault::Closed } else { Fault::Io })
    }

    /// Polls the connection, unless a task does, along with what waits for it, such as more of a body.
    pub async fn drive<T>(&mut self, call: impl Future<Output = T>) -> Result<T, Fault> {
        drive(&mut self.driver, call).await
    }

    /// Whether another request may be sent.
    pub fn reusable(&self) -> bool {
        !self.driver.as_ref().is_some_and(|driver| driver.ended) && !self.sender.is_closed()
    }
}

async fn drive<T>(driver: &mut Option<Driver>, call: impl Future<Output = T>) -> Result<T, Fault> {
    let Some(driver) = driver else { return Ok(call.await) };
    let mut call = pin!(call);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(value) = call.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        driver.advance(cx);
        match call.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending if driver.ended => Poll::Ready(Err(Fault::Io)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

impl Driver {
    fn advance(&mut self, cx: &mut Context<'_>) {
        if !self.ended {
            self.ended = Pin::new(&mut self.connection).poll(cx).is_ready();
        }
    }
}

/// Reads a body to its end; nearly all come in one piece, which is then not copied.
async fn collect(mut body: Incoming) -> Result<Bytes, Fault> {
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Fault::Io)?.into_data() else { continue };
        if first.is_empty() && joined.is_empty() {
            first = data;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut first));
            joined.extend_from_slice(&data);
        }
        if joined.len() > REPLY_BYTES_MAX {
            return Err(Fault::Io);
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}
