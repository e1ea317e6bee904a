//! What a connection receives, as a stream: messages go to whoever understands them, the rest to the connection.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::web::Payload;
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::PollSender;

use super::bucket::{Throttle, Verdict};
use super::close::{Code, Reason};
use super::json::IdScan;
use super::metrics::Metrics;
use super::operations::Id;
use super::rfc6455::{Incoming, Reader};
use crate::admission::client_identity::Client;
use crate::admission::socket_rates::Flow;

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
    /// A text that came too soon after the others; it was not kept.
    Limited {
        /// The `id` of the request.
        id: Id,
    },
    /// One beyond the bound; it was not kept.
    Oversized {
        /// Whether it was binary.
        binary: bool,
        /// The `id` of the request, if it was one in JSON.
        id: Id,
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
pub(super) struct InboundQueue {
    payload: Payload,
    reader: Reader,
    throttle: Throttle,
    /// What all sockets of the client may send together.
    flow: Option<(Flow, Client)>,
    messages: PollSender<Message>,
    metrics: Metrics,
    /// Nothing is read before this is over.
    pause: Option<Pin<Box<Sleep>>>,
    over: bool,
}

impl InboundQueue {
    pub(super) fn new(
        payload: Payload,
        reader: Reader,
        throttle: Throttle,
        flow: Option<(Flow, Client)>,
        messages: tokio::sync::mpsc::Sender<Message>,
        metrics: Metrics,
    ) -> Self {
        Self {
            payload,
            reader,
            throttle,
            flow,
            messages: PollSender::new(messages),
            metrics,
            pause: None,
            over: false,
        }
    }

    /// Hands a message on, or what is said in its place. Clients that speak JSON know from `rate_limited` and its id what
    /// to send again. Those of the FlatBuffers schema take any error for the end; they are not refused but slowed down: the
    /// connection is not read for a while.
    fn hand_on(&mut self, message: Message, now: Instant) -> Event {
        let (binary, len) = match &message {
            Message::Text(text) => (false, text.len()),
            Message::Binary(bytes) => (true, bytes.len()),
            // Its bytes were counted as they were discarded.
            Message::Oversized { binary, .. } => (*binary, 0),
            Message::Limited { .. } => (false, 0),
        };
        self.metrics.received(binary);
        let flow = self.flow.as_ref();
        let mut delay = flow.map_or(Duration::ZERO, |(flow, client)| flow.owe(*client, len, now.into_std()));
        let message = if binary {
            delay = delay.max(self.throttle.delay(len, now));
            message
        } else {
            match self.throttle.message(len, now) {
                Verdict::ConnectionPermit => message,
                Verdict::Refuse => {
                    self.metrics.limited();
                    Message::Limited { id: id_of(message) }
                }
                Verdict::End => return Event::Breach(Reason::new(Code::POLICY, "too many messages")),
            }
        };
        if !delay.is_zero() {
            self.metrics.delayed();
        }
        self.pause_for(delay, now);
        // There is room, and where nobody listens any more the end is on its way.
        let _ = self.messages.send_item(message);
        Event::Heard
    }

    fn pause_for(&mut self, delay: Duration, now: Instant) {
        let until = now + delay;
        if !delay.is_zero() && self.pause.as_ref().is_none_or(|pause| pause.deadline() < until) {
            self.pause = Some(Box::pin(sleep_until(until)));
        }
    }
}

/// The id of a request that is not read any further.
fn id_of(message: Message) -> Id {
    match message {
        Message::Text(text) => {
            let mut scan = IdScan::default();
            scan.feed(text.as_bytes());
            scan.id()
        }
        Message::Oversized { id, .. } | Message::Limited { id } => id,
        Message::Binary(_) => None,
    }
}

impl Stream for InboundQueue {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        loop {
            // An error says that nobody listens any more; then messages are read and dropped until the end.
            let _ = ready!(this.messages.poll_reserve(cx));
            if let Some(pause) = &mut this.pause {
                ready!(pause.as_mut().poll(cx));
                this.pause = None;
            }
            let next = this.reader.next();
            let now = Instant::now();
            let discarded = this.reader.take_discarded();
            let delay = this.throttle.discard(discarded, now);
            this.pause_for(delay, now);
            if !this.throttle.frames(this.reader.take_frames(), now) {
                this.over = true;
                return Poll::Ready(Some(Event::Breach(Reason::new(Code::POLICY, "too many frames"))));
            }
            let event = match next {
                Ok(Some(Incoming::Text(text))) => this.hand_on(Message::Text(text), now),
                Ok(Some(Incoming::Binary(bytes))) => this.hand_on(Message::Binary(bytes), now),
                Ok(Some(Incoming::Oversized { binary, id })) => {
                    this.hand_on(Message::Oversized { binary, id }, now)
                }
                Ok(Some(Incoming::Ping(payload))) => Event::Ping(payload),
                Ok(Some(Incoming::Pong(payload))) => Event::Pong(payload),
                Ok(Some(Incoming::Close(reason))) => Event::Close(reason),
                Err(code) => Event::Breach(code.into()),
                // A message that takes long to come is a sign of life, though nothing of it is kept.
                Ok(None) if discarded > 0 => Event::Heard,
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
