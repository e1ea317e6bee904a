//! What a connection receives, as a stream: messages go to whoever understands them, the rest to the connection.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::web::Payload;
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::Stream;
use tokio::time::Instant;
use tokio_util::sync::PollSender;

use super::bucket::{Throttle, Verdict};
use super::close::{Code, Reason};
use super::metrics::Metrics;
use super::syntax::{Incoming, Reader};

/// Messages that may wait to be understood. When as many do, the connection is not read until one is taken: TCP then
/// slows the client down.
pub(super) const WAITING_MAX: usize = 32;

/// A message as it is handed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// Text.
    Text(ByteString),
    /// Bytes.
    Binary(Bytes),
    /// One that came too soon after the others; it was not kept.
    Limited {
        /// Whether it was binary.
        binary: bool,
    },
}

/// What the connection itself has to act on.
#[derive(Debug)]
pub(super) enum Event {
    /// A message was handed on: the client is alive.
    Heard,
    /// To be answered with a pong.
    Ping(Bytes),
    /// Perhaps the answer to our ping.
    Pong(Bytes),
    /// The client ends the connection.
    Close(Option<Reason>),
    /// The client broke a rule.
    Breach(Reason),
    /// The connection broke.
    Lost,
}

/// The stream.
pub(super) struct Inlet {
    payload: Payload,
    reader: Reader,
    throttle: Throttle,
    messages: PollSender<Message>,
    metrics: Metrics,
    over: bool,
}

impl Inlet {
    pub(super) fn new(
        payload: Payload,
        reader: Reader,
        throttle: Throttle,
        messages: tokio::sync::mpsc::Sender<Message>,
        metrics: Metrics,
    ) -> Self {
        Self { payload, reader, throttle, messages: PollSender::new(messages), metrics, over: false }
    }

    fn hand_on(&mut self, message: Message, len: usize, now: Instant) -> Event {
        let binary = matches!(message, Message::Binary(_));
        self.metrics.received(binary);
        let message = match self.throttle.message(len, now) {
            Verdict::Pass => message,
            Verdict::Refuse => {
                self.metrics.limited();
                Message::Limited { binary }
            }
            Verdict::End => return Event::Breach(Reason::new(Code::POLICY, "too many messages")),
        };
        // There is room, and where nobody listens any more the end is on its way.
        let _ = self.messages.send_item(message);
        Event::Heard
    }
}

impl Stream for Inlet {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        loop {
            // An error says that nobody listens any more; then messages are read and dropped until the end.
            let _ = ready!(this.messages.poll_reserve(cx));
            let next = this.reader.next();
            let now = Instant::now();
            if !this.throttle.frames(this.reader.take_frames(), now) {
                this.over = true;
                return Poll::Ready(Some(Event::Breach(Reason::new(Code::POLICY, "too many frames"))));
            }
            let event = match next {
                Ok(Some(Incoming::Text(text))) => {
                    let len = text.len();
                    this.hand_on(Message::Text(text), len, now)
                }
                Ok(Some(Incoming::Binary(bytes))) => {
                    let len = bytes.len();
                    this.hand_on(Message::Binary(bytes), len, now)
                }
                Ok(Some(Incoming::Ping(payload))) => Event::Ping(payload),
                Ok(Some(Incoming::Pong(payload))) => Event::Pong(payload),
                Ok(Some(Incoming::Close(reason))) => Event::Close(reason),
                Err(code) => Event::Breach(code.into()),
                Ok(None) => match ready!(Pin::new(&mut this.payload).poll_next(cx)) {
                    Some(Ok(bytes)) => {
                        this.reader.feed(&bytes);
                        continue;
                    }
                    Some(Err(_)) | None => Event::Lost,
                },
            };
            this.over = matches!(event, Event::Close(_) | Event::Breach(_) | Event::Lost);
            return Poll::Ready(Some(event));
        }
    }
}
