//! What a socket means, whatever its encoding: a session, a mailbox, a room, watches.
//!
//! One task a socket. It takes one message after another, so that a client's requests are carried out in the order in
//! which they came; only what is said (publishes, signals) does not wait for what was said before, but goes to the
//! cluster right behind it. The task does not belong to the connection's actor, and so ends a session properly though
//! the connection broke.

mod credential;
mod heartbeats;
mod lifecycle;
mod mail;
mod room_membership;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use conclave_cluster::state::allowance::{Charge, Tier};
use conclave_cluster::state::command::Op;
use conclave_cluster::state::incarnation::Incarnation;
use conclave_cluster::state::outcome::{Outcome, Refusal};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use tokio::time::{Instant, sleep_until};

use super::Sockets;
use super::backlog::Weight;
use super::close::{Code as Close, Reason};
use super::connections::{ConnectionEntry, Encoding};
use super::inbound_queue::{Message, Weighed};
use super::operations::Code;
use super::outbound_queue::{Frame, OutboundQueue};
use super::room_event_writer::Wire;
use super::upgrade::Ends;
use super::watches::Watches;
use super::{json_session, sigma_flatbuffers};
use crate::access::Credential;
use crate::actors::Watch;
use crate::actors::room::Presence;
use crate::service::endings::Ending;
use crate::service::node_lease::Unsettled;
use crate::service::peer_claim::Claim;
use crate::service::webhooks::Joined;
use crate::service::{self, Caller, Services};
use credential::Warning;
use heartbeats::Heartbeats;
use lifecycle::Identity;
use room_membership::Membership;
pub(super) use room_membership::price;

/// Publishes and signals of one socket that are on their way.
const FLIGHTS_MAX: usize = 32;
/// Signals, or messages of history, that are taken from the replica at a time, and their bytes. They must fit into the
/// second half of the smallest queue that can be configured, with what the room's actor adds when a member meets the
/// others, and in the longest spelling.
const BATCH_MAX: usize = 32;
const BATCH_BYTES_MAX: usize = 96 << 10;
/// Joins and claims of one socket that came to nothing and that the cluster has not heard the end of. With as many, it is
/// asked for no more.
const OWED_MAX: usize = 4;
/// Breaches of the encoding after which a client is no longer listened to.
const VIOLATIONS_MAX: u32 = 10;

/// A client whose allowance is spent is looked at again within these times.
const RENEWAL_MIN: Duration = Duration::from_millis(50);
const RENEWAL_MAX: Duration = Duration::from_secs(1);

/// How a socket came in.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// What it may touch.
    pub(crate) credential: Credential,
    /// Whom allowances count, and on whose account it stores.
    pub(crate) caller: Caller,
    /// Where it comes from.
    pub(crate) from: IpAddr,
    /// The origin of the page that opened it, if one did.
    pub(crate) origin: Option<Box<str>>,
    /// `?room=`.
    pub(crate) room: Option<String>,
    /// `?volatile=1`.
    pub(crate) volatile: bool,
}

/// One socket's session.
pub(super) struct Session {
    pub(super) services: Arc<Services>,
    pub(super) sockets: Sockets,
    pub(super) entry: Arc<ConnectionEntry>,
    pub(super) outbound: OutboundQueue,
    pub(super) context: Context,
    warning: Warning,
    /// Before the identity, since who goes without a word leaves the room first.
    pub(super) room: Option<Entered>,
    pub(super) identity: Option<Identity>,
    pub(super) peer: Option<Held>,
    pub(super) watches: Watches,
    /// What ends a session that was asked for and, as far as is known here, may have begun.
    stray: Option<(Incarnation, Op)>,
    /// Whether the session was resumed, and has entered no room since.
    returns: bool,
    /// Counts what this socket began and could not end yet.
    owed: Arc<()>,
    flights: FuturesOrdered<Flight>,
    violations: u32,
    /// A message that waits until the client's allowance is renewed; nothing after it is read.
    deferred: Option<(Instant, Message)>,
    heartbeats: Heartbeats,
    /// That it waits is counted as long.
    weight: Option<Weight>,
    over: bool,
}

/// Something on its way, and the answer that it will have, if it is answered.
pub(super) type Flight = Pin<Box<dyn Future<Output = Option<Frame>>>>;

/// The mailbox that is pushed here.
pub(super) struct Held {
    /// The peer id.
    pub(super) name: String,
    claim: Claim,
    bell: Watch,
    pushed: u64,
    /// Whether something may wait that was not pushed.
    dirty: bool,
    invite: Option<(String, Instant)>,
}

/// The room that this is in.
pub(super) struct Entered {
    /// The room's name.
    pub(super) name: Arc<str>,
    membership: Membership,
    pub(super) epoch: u64,
    presence: Presence,
    stay: Joined,
    encoding: Wire,
    /// The last offset that was read, while the member still catches up by itself.
    behind: Option<u64>,
    /// It knows that it lacks something, and begins with the oldest that is left, which may go just now.
    edge: bool,
}

/// What coming into a room amounts to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) epoch: u64,
    /// The last offset given.
    pub(super) offset: u64,
    /// The client is told what comes after this one.
    pub(super) after: u64,
    /// Whether nothing is missing; `None` if nothing was asked for.
    pub(super) recovered: Option<bool>,
}

/// Runs until the connection has ended, and lets the session go.
///
/// What is done now and then is boxed: a socket waits most of its life, and else it would keep room for all of it.
pub(crate) async fn run(ends: Ends, services: Arc<Services>, sockets: Sockets, context: Context) {
    let Ends { mut messages, entry } = ends;
    let outbound = entry.outbound().clone();
    let mut lapses = services.lease.lapses();
    let mut changes = services.auth.changes();
    let warning = Warning::of(&context.credential, services.now_ms());
    let mut session = Session {
        services,
        sockets,
        entry,
        outbound,
        context,
        warning,
        identity: None,
        peer: None,
        room: None,
        watches: Watches::default(),
        stray: None,
        returns: false,
        owed: Arc::default(),
        flights: FuturesOrdered::new(),
        violations: 0,
        deferred: None,
        heartbeats: Heartbeats::default(),
        weight: None,
        over: false,
    };
    loop {
        let expiry = session.expiry();
        let (renewal, overdue) = (session.renewal(), session.overdue());
        let wants_room = !session.over && session.wants_room();
        tokio::select! {
            biased;
            alive = rung(session.identity.as_mut().map(|identity| &mut identity.bell)) => Box::pin(session.looked_up(alive)).await,
            Some(frame) = session.flights.next() => session.say(frame),
            alive = rung(session.peer.as_mut().map(|peer| &mut peer.bell)) => Box::pin(session.mail(alive)).await,
            room = session.outbound.room(), if wants_room => match room {
                true => Box::pin(session.refill()).await,
                false => session.over = true,
            },
            text = session.watches.next(&session.services.registry, &session.services.cluster), if !session.watches.is_empty() => {
                session.say(text.map(Frame::Text));
            }
            () = until(expiry) => session.credential_ends(),
            Ok(()) = changes.changed() => session.judge(),
            Ok(()) = lapses.changed() => Box::pin(session.attach_anew()).await,
            () = session.outbound.abandoned(), if session.deferred.is_some() => session.drop_deferred(),
            () = until(session.deferred.as_ref().map(|(at, _)| *at)) => Box::pin(session.hear_deferred()).await,
            () = until(renewal) => Box::pin(session.renew_invite()).await,
            () = until(overdue) => session.beat(),
            message = messages.recv(), if session.flights.len() < FLIGHTS_MAX && session.deferred.is_none() => match message {
                Some(weighed) => Box::pin(session.take(weighed)).await,
                None => break,
            },
        }
    }
    Box::pin(session.let_go()).await;
}

async fn rung(bell: Option<&mut Watch>) -> bool {
    match bell {
        Some(bell) => bell.changed().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Taking turns.
impl Session {
    async fn take(&mut self, Weighed { message, weight }: Weighed) {
        self.weight = Some(weight);
        self.hear(message).await;
        self.weigh();
    }

    /// What was heard weighs no more, unless it was deferred.
    fn weigh(&mut self) {
        if self.deferred.is_none() {
            self.weight = None;
        }
    }

    async fn hear(&mut self, message: Message) {
        if self.over {
            return;
        }
        let encoding = match message {
            Message::Text(_) | Message::Limited { .. } | Message::Oversized { binary: false, .. } => {
                Encoding::Json
            }
            Message::Binary(_) | Message::Oversized { binary: true, .. } => Encoding::FlatBuffers,
        };
        match self.entry.encoding() {
            Encoding::Undecided => self.entry.decide(encoding),
            decided if decided == encoding => {}
            _ => return self.end(Reason::new(Close(1003), "another message encoding was negotiated")),
        }
        match message {
            Message::Text(text) => json_session::hear(self, &text).await,
            Message::Binary(bytes) => sigma_flatbuffers::hear(self, bytes).await,
            Message::Oversized { binary: true, .. } => {
                sigma_flatbuffers::breach(self, "the frame is too long")
            }
            Message::Oversized { binary: false, id } => {
                json_session::refuse(self, &id, Code::PayloadTooLarge).await
            }
            Message::Limited { id } => json_session::refuse(self, &id, Code::RateLimited).await,
        }
    }

    /// Keeps a message until the client can pay for it. Clients of the FlatBuffers schema take any error for the end, so that
    /// they are held back in place of being refused.
    pub(super) fn defer(&mut self, message: Message, retry_after_ms: u64) {
        let again = Duration::from_millis(retry_after_ms).clamp(RENEWAL_MIN, RENEWAL_MAX);
        self.entry.hold_back(true);
        self.entry.metrics().delayed();
        self.deferred = Some((Instant::now() + again, message));
    }

    async fn hear_deferred(&mut self) {
        let Some((_, message)) = self.deferred.take() else { return };
        self.entry.hold_back(false);
        self.hear(message).await;
        self.weigh();
    }

    /// What a client said that has gone is still carried out, but not kept until it could be paid for.
    fn drop_deferred(&mut self) {
        self.deferred = None;
        self.over = true;
        self.weigh();
    }

    /// Sends an answer or an event.
    pub(super) fn say(&mut self, frame: Option<Frame>) {
        if let Some(frame) = frame
            && !self.outbound.push(frame)
        {
            self.over = true;
        }
    }

    pub(super) fn end(&mut self, reason: Reason) {
        self.over = true;
        self.outbound.end(reason);
    }

    /// From here on a client of the FlatBuffers schema waits for heartbeats.
    pub(super) fn expect_heartbeats(&mut self) {
        self.heartbeats.begin(Instant::now());
    }

    /// Answers a heartbeat, if an answer is due.
    pub(super) fn answer_heartbeat(&mut self) {
        if self.heartbeats.heard(Instant::now()) {
            self.beat();
        }
    }

    /// When a client that sends heartbeats should hear the next one though none of its own has come.
    fn overdue(&self) -> Option<Instant> {
        if self.over { None } else { self.heartbeats.due(self.sockets.options.ping_interval) }
    }

    /// Sends a heartbeat.
    pub(super) fn beat(&mut self) {
        self.heartbeats.sent(Instant::now());
        let timestamp = self.services.now_ms();
        self.say(Some(sigma_flatbuffers::heartbeat(timestamp)));
    }

    /// The client broke the encoding's rules once more.
    pub(super) fn violation(&mut self) {
        self.violations += 1;
        if self.violations >= VIOLATIONS_MAX {
            self.end(Reason::new(Close::POLICY, "too many violations"));
        }
    }

    /// Lets something go its way, right behind what went before.
    pub(super) fn launch(&mut self, flight: Flight) {
        self.flights.push_back(flight);
    }

    /// Answers now, but not before what was asked before it.
    pub(super) fn answer(&mut self, frame: Frame) {
        if self.flights.is_empty() {
            self.say(Some(frame));
        } else {
            self.launch(Box::pin(std::future::ready(Some(frame))));
        }
    }

    /// Waits for everything that is on its way, so that answers keep the order of their questions.
    pub(super) async fn land(&mut self) {
        while let Some(frame) = self.flights.next().await {
            self.say(frame);
        }
    }

    /// Has something carried out. What concerns every kind of command alike is an error here.
    pub(super) async fn propose(&self, op: Op) -> Result<Result<Outcome, Refusal>, Code> {
        match self.services.change(&self.context.caller, None, None, op).await {
            Ok(outcome) => Ok(Ok(outcome)),
            Err(service::Error::Refused(refusal)) => Ok(Err(refusal)),
            Err(error) => Err(error.into()),
        }
    }

    /// For something that is about to begin, and is ended by `op` if it comes to nothing.
    fn unsettled(&self, incarnation: Incarnation, op: Op) -> Result<Unsettled, Code> {
        // One is the session's own.
        if Arc::strong_count(&self.owed) > OWED_MAX {
            return Err(Code::NoLeader);
        }
        let ending = Ending::new(incarnation, vec![op]).counted(&self.owed);
        Ok(self.services.lease.unsettled(ending))
    }

    /// Pays for a change before it is made, or for a read.
    pub(super) fn pay(&self, tier: Tier, count: u32) -> Result<(), service::Error> {
        self.services.pay(&self.context.caller, tier, count)
    }

    /// The charge of a change that is spent in the step that carries it out.
    pub(super) fn due(&self, tier: Tier, count: u32) -> Result<Option<Charge>, Code> {
        Ok(self.services.admit(&self.context.caller, tier, count)?)
    }
}
