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

use super::backlog::{Backlog, Weight};
use super::bucket::{Throttle, Verdict};
use super::close::{Code, Reason};
use super::json::IdScan;
use super::metrics::Metrics;
use super::operations::Id;
use super::rfc6455::{Incoming, Reader};
use crate::admission::buffers::{Account, Held, Pressure};
use crate::admission::client_identity::Client;
use crate::admission::socket_rates::Flow;

/// Input of which so little is held counts for nothing, and may grow so far while this node has no room.
const TRIFLE: usize = 1 << 10;
/// For how long a connection that holds something may go unread for want of room. It is looked for room so often.
const UNREAD_MAX: Duration = Duration::from_secs(5);
const UNREAD_LOOK: Duration = Duration::from_millis(250);

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

/// A message as it waits.
#[derive(Debug)]
pub(super) struct Weighed {
    pub(super) message: Message,
    pub(super) weight: Weight,
}

impl Message {
    /// The bytes of it that were kept.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::Limited { .. } | Self::Oversized { .. } => 0,
        }
    }
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
    /// A message that went on and on was answered: the connection is over.
    TooBig,
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
    messages: PollSender<Weighed>,
    backlog: Backlog,
    /// What of a message that is not complete is held.
    held: Held,
    metrics: Metrics,
    /// Nothing is read before this is over.
    pause: Option<Pin<Box<Sleep>>>,
    /// Since when there is no room for what it would send, and when it is looked for again.
    unread: Option<(Instant, Pin<Box<Sleep>>)>,
    /// How long a message that goes on and on may yet go unanswered.
    answering: Option<Pin<Box<Sleep>>>,
    over: bool,
}

impl InboundQueue {
    pub(super) fn new(
        payload: Payload,
        reader: Reader,
        throttle: Throttle,
        flow: Option<(Flow, Client)>,
        messages: tokio::sync::mpsc::Sender<Weighed>,
        account: &Account,
        metrics: Metrics,
    ) -> Self {
        Self {
            backlog: Backlog::new(account),
            held: account.hold(),
            unread: None,
            answering: None,
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
        // The bytes of one that is too long were counted as they were discarded.
        let len = message.len();
        let binary = match &message {
            Message::Text(_) | Message::Limited { .. } => false,
            Message::Binary(_) => true,
            Message::Oversized { binary, .. } => *binary,
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
        let weight = self.backlog.weigh(message.len());
        let _ = self.messages.send_item(Weighed { message, weight });
        Event::Heard
    }

    /// Counts what was discarded, against the connection's rate and against its client's.
    fn discard(&mut self, bytes: u64, now: Instant) {
        let mut delay = self.throttle.discard(bytes, now);
        if let Some((flow, client)) = self.flow.as_ref().filter(|_| bytes > 0) {
            delay = delay.max(flow.owe_discarded(*client, bytes, now.into_std()));
        }
        self.pause_for(delay, now);
    }

    /// Ready if more may be read: there is room, or the connection holds nothing worth counting, so that idle ones are heard
    /// though others hold too much. An error if it was kept from going on for too long, since a message that cannot be
    /// completed would hold what it holds.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        let input = self.reader.held();
        self.held.set(if input < TRIFLE { 0 } else { input });
        let holds = input >= TRIFLE || !self.backlog.is_empty();
        if !holds || self.held.account().pressure() == Pressure::Low {
            self.unread = None;
            return Poll::Ready(Ok(()));
        }
        let now = Instant::now();
        let (since, look) =
            self.unread.get_or_insert_with(|| (now, Box::pin(sleep_until(now + UNREAD_LOOK))));
        if now.saturating_duration_since(*since) >= UNREAD_MAX {
            return Poll::Ready(Err(Reason::new(Code::LATER, "no room for what this client sends")));
        }
        while look.as_mut().poll(cx).is_ready() {
            look.as_mut().reset(now + UNREAD_LOOK);
        }
        // Often it is its own messages that are in the way.
        self.backlog.watch(cx);
        Poll::Pending
    }

    /// Ready when nothing waits to be understood, or not for much longer.
    fn poll_answered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Watched first, then looked at.
        self.backlog.watch(cx);
        match &mut self.answering {
            Some(patience) if !self.backlog.is_empty() => patience.as_mut().poll(cx),
            _ => Poll::Ready(()),
        }
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
            if this.answering.is_some() {
                ready!(this.poll_answered(cx));
                this.over = true;
                return Poll::Ready(Some(Event::TooBig));
            }
            if let Err(reason) = ready!(this.poll_room(cx)) {
                this.over = true;
                return Poll::Ready(Some(Event::Breach(reason)));
            }
            ready!(this.backlog.poll_room(cx));
            // An error says that nobody listens any more; then messages are read and dropped until the end.
            let _ = ready!(this.messages.poll_reserve(cx));
            if let Some(pause) = &mut this.pause {
                ready!(pause.as_mut().poll(cx));
                this.pause = None;
            }
            let next = this.reader.next();
            let now = Instant::now();
            let discarded = this.reader.take_discarded();
            this.discard(discarded, now);
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
                Err(Code::TOO_BIG) => {
                    this.answering = Some(Box::pin(sleep_until(now + UNREAD_MAX)));
                    continue;
                }
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

#[cfg(test)]
mod tests;
