//! One keep-alive connection, driven by the task that uses it.
//!
//! hyper splits a connection into a sender and a driver that is usually spawned. Here both are polled by the caller,
//! which saves two task switches a request; an idle connection is thus not looked at until its next use, where one
//! that the server closed meanwhile shows as an error.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER};
use hyper_util::rt::TokioIo;

use super::{Fault, Reply, Request, Stream, Target};

/// The largest reply read; the contract's largest is a poll of a full mailbox.
const REPLY_BYTES_MAX: usize = 16 << 20;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An open connection to one target.
pub struct Connection {
    host: HeaderValue,
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Driver,
}

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
        let driver = Driver { connection, ended: false };
        Ok(Self { host: target.host.clone(), sender, driver })
    }

    /// Sends one request and reads the whole reply. After an error the connection is of no more use.
    pub async fn exchange(&mut self, request: &Request) -> Result<Reply, Fault> {
        let mut head = hyper::Request::new(Full::new(request.body.clone()));
        *head.method_mut() = request.method.clone();
        *head.uri_mut() = request.path.clone();
        let headers = head.headers_mut();
        headers.insert(HOST, self.host.clone());
        if !request.body.is_empty() {
            headers.insert(CONTENT_TYPE, JSON);
        }
        if let Some(key) = &request.idempotency_key {
            headers.insert(IDEMPOTENCY_KEY, key.clone());
        }
        self.driver.drive(self.sender.ready()).await?.map_err(|_| Fault::Io)?;
        let response = self.driver.drive(self.sender.send_request(head)).await?.map_err(|_| Fault::Io)?;
        let (head, body) = response.into_parts();
        let body = self.driver.drive(collect(body)).await??;
        let seconds = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Reply {
            status: head.status.as_u16(),
            body,
            retry_after: seconds.map(Duration::from_secs),
            retried: false,
        })
    }

    /// Whether another request may be sent.
    pub fn reusable(&self) -> bool {
        !self.driver.ended && !self.sender.is_closed()
    }
}

impl Driver {
    /// Polls the connection along with what waits for it.
    async fn drive<T>(&mut self, call: impl Future<Output = T>) -> Result<T, Fault> {
        let mut call = pin!(call);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(value) = call.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            self.advance(cx);
            match call.as_mut().poll(cx) {
                Poll::Ready(value) => Poll::Ready(Ok(value)),
                Poll::Pending if self.ended => Poll::Ready(Err(Fault::Io)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

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
