//! One connection: its syntax and its heartbeat, and nothing of what the messages mean.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, SpawnHandle, StreamHandler};
use actix_web_actors::ws::{self, WebsocketContext};
use futures_util::Stream;
use tokio::time::Instant;

use super::close::{Code, Reason};
use super::connections::ConnectionEntry;
use super::inbound_queue::{Event, InboundQueue};
use super::outbound_queue::{Frame, Out, OutboundQueue};
use super::quality::Quality;

/// For how long the client may answer our close frame.
const PARTING: Duration = Duration::from_secs(1);
/// A session that comes back is pinged this long after the first message, then after twice that, and so on up to the
/// shortest time between two pings. A line that breaks every few seconds gets on all the same: what is told again on the
/// next connection is at most what came in the second half of this one.
const NEWS: Duration = Duration::from_millis(250);
/// Messages written before the connection looks at what else there is.
const BURST_MAX: usize = 64;

/// The actor of one connection. It lives in the body of the response that upgraded it, so that it runs when the client
/// sends and when there is room to write, and ends with the connection.
pub(super) struct Connection {
    entry: Arc<ConnectionEntry>,
    outbound: OutboundQueue,
    inbound: Option<InboundQueue>,
    quality: Quality,
    ping: Option<Ping>,
    /// When anything was last heard.
    heard: Instant,
    /// The next ping, and when it is due.
    beat: Option<(SpawnHandle, Instant)>,
    /// How soon after a message a session that came back is pinged.
    news: Duration,
    hello_timeout: Duration,
    first: Option<SpawnHandle>,
    ending: Option<Code>,
}

/// The ping under way.
struct Ping {
    id: u64,
    sent: Instant,
    /// The last offset of a room that was written before it.
    written: u64,
}

impl Connection {
    pub(super) fn new(
        entry: Arc<ConnectionEntry>,
        inbound: InboundQueue,
        quality: Quality,
        hello_timeout: Duration,
    ) -> Self {
        let outbound = entry.outbound().clone();
        Self {
            entry,
            outbound,
            inbound: Some(inbound),
            quality,
            ping: None,
            heard: Instant::now(),
            beat: None,
            news: NEWS,
            hello_timeout,
            first: None,
            ending: None,
        }
    }

    /// Has the next ping sent in time: sooner if what it will tell of the messages before it is not known.
    fn heartbeat(&mut self, ctx: &mut WebsocketContext<Self>) {
        let waiting = self.entry.arrivals().is_waiting();
        let interval = if waiting { self.soon() } else { self.quality.interval() };
        self.beat_after(interval, ctx);
    }

    /// After what time a ping is due that tells whether the messages before it arrived.
    fn soon(&self) -> Duration {
        let shortest = self.quality.shortest();
        if self.entry.arrivals().comes_back() { self.news.min(shortest) } else { shortest }
    }

    fn beat_after(&mut self, interval: Duration, ctx: &mut WebsocketContext<Self>) {
        if let Some((beat, _)) = self.beat.take() {
            ctx.cancel_future(beat);
        }
        let beat = ctx.run_later(interval, |connection, ctx| connection.beat(ctx));
        self.beat = Some((beat, Instant::now() + interval));
    }

    fn beat(&mut self, ctx: &mut WebsocketContext<Self>) {
        self.beat = None;
        if self.ending.is_some() {
            return;
        }
        let silent = self.heard.elapsed();
        if let Some(ping) = self.ping.as_ref().filter(|_| !self.entry.is_held_back()) {
            self.entry.metrics().missed();
            if self.heard > ping.sent {
                self.quality.heard();
            }
            if self.quality.missed(silent) {
                return self.outbound.end(Reason::new(Code::AWAY, "no answer to pings"));
            }
        }
        let id: u64 = rand::random();
        let written = self.entry.arrivals().written();
        self.ping = Some(Ping { id, sent: Instant::now(), written });
        ctx.ping(&id.to_be_bytes());
        if self.entry.arrivals().is_waiting() {
            self.news = (self.news * 2).min(self.quality.shortest());
        }
        // One that is not answered is repeated soon.
        self.beat_after(self.quality.again(silent), ctx);
    }

    fn pong(&mut self, payload: &[u8], ctx: &mut WebsocketContext<Self>) {
        let Some(&Ping { id, sent, written }) = self.ping.as_ref() else { return };
        if payload == id.to_be_bytes() {
            let took = sent.elapsed();
            self.ping = None;
            self.entry.arrivals().arrived(written);
            self.quality.answered(took);
            let report = self.quality.report();
            self.entry.metrics().answered(took, report.score);
            self.entry.note_quality(report);
            self.heartbeat(ctx);
        }
    }

    /// A room's message was written.
    fn wrote(&mut self, offset: u64, ctx: &mut WebsocketContext<Self>) {
        let first = self.entry.arrivals().wrote(offset);
        let soon = self.soon();
        // A ping under way is not given up sooner for it.
        if first && self.ping.is_none() && self.beat.is_some_and(|(_, due)| due > Instant::now() + soon) {
            self.beat_after(soon, ctx);
        }
    }

    /// Something came from the client.
    fn was_heard(&mut self, ctx: &mut WebsocketContext<Self>) {
        self.heard = Instant::now();
        if let Some(first) = self.first.take() {
            ctx.cancel_future(first);
        }
    }

    fn close(&mut self, reason: Reason, ctx: &mut WebsocketContext<Self>) {
        self.ending = Some(reason.code);
        self.entry.note_end(reason.code);
        self.outbound.abandon();
        let Reason { code, text } = reason;
        let description = (!text.is_empty()).then(|| text.to_string());
        ctx.close(Some(ws::CloseReason { code: ws::CloseCode::from(code.0), description }));
    }
}

impl Actor for Connection {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(inbound) = self.inbound.take() {
            ctx.add_stream(inbound);
        }
        ctx.add_stream(Outlet { outbound: self.outbound.clone(), burst: 0 });
        self.first = Some(ctx.run_later(self.hello_timeout, |connection, _| {
            connection.outbound.end(Reason::new(Code::POLICY, "no hello received"));
        }));
        self.heartbeat(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.outbound.abandon();
    }
}

impl StreamHandler<Event> for Connection {
    fn handle(&mut self, event: Event, ctx: &mut Self::Context) {
        match (event, self.ending) {
            // After our close frame only the client's is waited for (RFC 6455, section 7.1.1).
            (Event::Close(_) | Event::Breach(_) | Event::TooBig | Event::Lost, Some(_)) => ctx.stop(),
            (_, Some(_)) => {}
            (Event::Heard, None) => self.was_heard(ctx),
            (Event::Ping(payload), None) => {
                self.heard = Instant::now();
                ctx.pong(&payload);
            }
            (Event::Pong(payload), None) => {
                self.heard = Instant::now();
                self.pong(&payload, ctx);
            }
            (Event::Close(reason), None) => {
                let code = reason.as_ref().map_or(Code::NORMAL, |reason| reason.code);
                // A close without a code is also how clients let go of a connection that they think is broken.
                if reason.is_some() && matches!(code, Code::NORMAL | Code::AWAY) {
                    self.entry.note_parting();
                }
                match reason {
                    Some(Reason { code, .. }) => self.close(code.into(), ctx),
                    None => {
                        self.ending = Some(code);
                        self.entry.note_end(code);
                        ctx.close(None);
                    }
                }
                ctx.stop();
            }
            (Event::Breach(reason), None) => {
                self.close(reason, ctx);
                ctx.stop();
            }
            // Behind the answer, which says which request it was.
            (Event::TooBig, None) => self.outbound.end(Code::TOO_BIG),
            (Event::Lost, None) => ctx.stop(),
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {
        // Whatever ended the stream said so before.
    }
}

impl StreamHandler<Out> for Connection {
    fn handle(&mut self, out: Out, ctx: &mut Self::Context) {
        match out {
            _ if self.ending.is_some() => {}
            Out::Frame(Frame::Text(text)) => {
                self.entry.metrics().sent(false);
                ctx.text(text);
            }
            Out::Frame(Frame::Binary(bytes)) => {
                self.entry.metrics().sent(true);
                ctx.binary(bytes);
            }
            Out::Frame(Frame::Numbered(bytes, offset)) => {
                self.entry.metrics().sent(true);
                ctx.binary(bytes);
                self.wrote(offset, ctx);
            }
            Out::Frame(Frame::Passed(offset)) => self.entry.arrivals().passed(offset),
            Out::End(reason) => {
                self.close(reason, ctx);
                ctx.run_later(PARTING, |_, ctx| ctx.stop());
            }
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {
        // The close frame is on its way; the client's answer is waited for.
    }
}

/// actix-web-actors feeds an actor from its own codec. This one is given nothing to read: see [`InboundQueue`].
impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Connection {
    fn handle(&mut self, _: Result<ws::Message, ws::ProtocolError>, _: &mut Self::Context) {}

    fn finished(&mut self, _: &mut Self::Context) {}
}

/// The outbound as a stream. It pauses after a burst, so that what is written leaves the process before more is taken
/// out of the bounded queue.
struct Outlet {
    outbound: OutboundQueue,
    burst: usize,
}

impl Stream for Outlet {
    type Item = Out;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Out>> {
        let this = self.get_mut();
        if this.burst == BURST_MAX {
            this.burst = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = this.outbound.poll_next(cx);
        this.burst = if next.is_pending() { 0 } else { this.burst + 1 };
        next
    }
}
