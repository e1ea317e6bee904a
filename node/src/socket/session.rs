//! What a socket means, whatever its encoding: a session, a mailbox, a room, watches.
//!
//! One task a socket. It takes one message after another, so that a client's requests are carried out in the order in
//! which they came; only what is said (publishes, signals) does not wait for what was said before, but goes to the
//! cluster right behind it. The task does not belong to the connection's actor, and so ends a session properly though
//! the connection broke.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use bytes::Bytes;
use conclave_cluster::Draft;
use conclave_cluster::state::allowance::{Charge, Tier};
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Ask;
use conclave_cluster::state::host::Attachment;
use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::mailbox::{self, Kind};
use conclave_cluster::state::outcome::{Outcome, Refusal};
use conclave_cluster::state::{claim, rendezvous, room, socket};
use futures_util::StreamExt as _;
use futures_util::future::join;
use futures_util::stream::FuturesOrdered;
use tokio::time::{Instant, sleep_until};

use super::close::{Code as Close, Reason};
use super::frame::{Code, Position};
use super::inlet::Message;
use super::json;
use super::member::{Ear, Greeting, Tongue};
use super::outbox::{Frame, Outbox};
use super::seats::{Encoding, Seat};
use super::upgrade::Ends;
use super::watches::Watches;
use super::{dialogue, sigma};
use crate::access::Credential;
use crate::access::allowance::millis;
use crate::actors::room::{Note, Presence, onward};
use crate::actors::{Place, Watch};
use crate::http::{Shared, keys};

/// Publishes and signals of one socket that are on their way.
const FLIGHTS_MAX: usize = 32;
/// For how long a member stays in its room whose connection was lost.
const ROOM_GRACE: Duration = Duration::from_secs(10);
/// Signals, or messages of history, that are taken from the replica at a time, and their bytes.
const BATCH_MAX: usize = 64;
const BATCH_BYTES_MAX: usize = 256 << 10;
/// What a lookup of a code that nobody holds costs beside the lookup itself, as over HTTP.
const MISS_SURCHARGE: u32 = 4;
/// Breaches of the encoding after which a client is no longer listened to.
const VIOLATIONS_MAX: u32 = 10;

/// How a socket came in.
#[derive(Debug, Clone)]
pub(super) struct Context {
    /// What it may touch.
    pub(super) credential: Credential,
    /// As allowances count it.
    pub(super) client: Key,
    /// `?room=`.
    pub(super) room: Option<String>,
    /// `?volatile=1`.
    pub(super) volatile: bool,
}

/// One socket's session.
pub(super) struct Session {
    pub(super) shared: web::Data<Shared>,
    pub(super) seat: Arc<Seat>,
    pub(super) outbox: Outbox,
    pub(super) context: Context,
    pub(super) identity: Option<Identity>,
    pub(super) peer: Option<Held>,
    pub(super) room: Option<Entered>,
    pub(super) watches: Watches,
    flights: FuturesOrdered<Flight>,
    violations: u32,
    over: bool,
}

/// Something on its way, and the answer that it will have, if it is answered.
pub(super) type Flight = Pin<Box<dyn Future<Output = Option<Frame>>>>;

/// Who this is.
pub(super) struct Identity {
    pub(super) key: Key,
    pub(super) at: Attachment,
    bell: Watch,
}

/// The mailbox that is pushed here.
pub(super) struct Held {
    /// The peer id, if the client said it on this connection.
    pub(super) name: Option<String>,
    place: Place,
    bell: Watch,
    pushed: u64,
    /// Whether something may wait that was not pushed.
    dirty: bool,
    invite: Option<(String, Instant)>,
}

/// The room that this is in.
pub(super) struct Entered {
    /// The room's name, if the client said it on this connection.
    pub(super) name: Option<Arc<str>>,
    pub(super) key: Key,
    pub(super) epoch: u64,
    presence: Presence,
    tongue: Tongue,
    /// The last offset that was read, while the member still catches up by itself.
    behind: Option<u64>,
}

/// What coming into a room amounts to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) epoch: u64,
    /// The last offset given.
    pub(super) offset: u64,
    /// Whether nothing is missing; `None` if nothing was asked for.
    pub(super) recovered: Option<bool>,
}

/// Runs until the connection has ended, and lets the session go.
pub(super) async fn run(ends: Ends, shared: web::Data<Shared>, context: Context) {
    let Ends { mut messages, seat } = ends;
    let outbox = seat.outbox().clone();
    let mut lapses = shared.sockets.keeper.lapses();
    let mut changes = shared.options.access.auth.changes();
    let mut session = Session {
        shared,
        seat,
        outbox,
        context,
        identity: None,
        peer: None,
        room: None,
        watches: Watches::default(),
        flights: FuturesOrdered::new(),
        violations: 0,
        over: false,
    };
    loop {
        let expiry = session.expiry();
        let renewal = session.renewal();
        let wants_room = !session.over && session.wants_room();
        tokio::select! {
            biased;
            alive = rung(session.identity.as_mut().map(|identity| &mut identity.bell)) => session.looked_up(alive).await,
            Some(frame) = session.flights.next() => session.say(frame),
            alive = rung(session.peer.as_mut().map(|peer| &mut peer.bell)) => session.mail(alive).await,
            room = session.outbox.room(), if wants_room => match room {
                true => session.refill().await,
                false => session.over = true,
            },
            text = session.watches.next(&session.shared.registry, &session.shared.cluster), if !session.watches.is_empty() => {
                session.say(text.map(Frame::Text));
            }
            () = until(expiry) => session.judge(),
            Ok(()) = changes.changed() => session.judge(),
            Ok(()) = lapses.changed() => session.attach_anew().await,
            () = until(renewal) => session.renew_invite().await,
            message = messages.recv(), if session.flights.len() < FLIGHTS_MAX => match message {
                Some(message) => session.hear(message).await,
                None => break,
            },
        }
    }
    session.let_go().await;
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
    async fn hear(&mut self, message: Message) {
        if self.over {
            return;
        }
        let (encoding, binary) = match message {
            Message::Text(_) | Message::Limited { binary: false } => (Encoding::Json, false),
            Message::Binary(_) | Message::Limited { binary: true } => (Encoding::FlatBuffers, true),
        };
        match self.seat.encoding() {
            Encoding::Undecided => self.seat.decide(encoding),
            decided if decided == encoding => {}
            _ => return self.end(Reason::new(Close(1003), "messages of the other kind were agreed on")),
        }
        match message {
            Message::Text(text) => dialogue::hear(self, &text).await,
            Message::Binary(bytes) => sigma::hear(self, &bytes).await,
            Message::Limited { .. } if binary => self.say(Some(sigma::error(429, "too much at once"))),
            Message::Limited { .. } => self.say(Some(Frame::Text(json::error(&None, Code::RateLimited)))),
        }
    }

    /// Sends an answer or an event.
    pub(super) fn say(&mut self, frame: Option<Frame>) {
        if let Some(frame) = frame
            && !self.outbox.push(frame)
        {
            self.over = true;
        }
    }

    pub(super) fn end(&mut self, reason: Reason) {
        self.over = true;
        self.outbox.end(reason);
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

    /// Waits for everything that is on its way, so that answers keep the order of their questions.
    pub(super) async fn land(&mut self) {
        while let Some(frame) = self.flights.next().await {
            self.say(frame);
        }
    }

    /// Has something carried out. What concerns every kind of wish alike is an error here.
    pub(super) async fn wish(&self, ask: Ask) -> Result<Result<Outcome, Refusal>, Code> {
        settle(self.shared.cluster.propose(Draft { charge: None, memo: None, ask }).await)
    }

    pub(super) fn charge(&self, tier: Tier, count: u32) -> Option<Charge> {
        let tiers = self.shared.options.allowance.as_ref()?;
        Some(tiers.charge(self.context.client, tier, count))
    }
}

/// An answer's outcome, or the error that concerns every kind of wish alike.
pub(super) fn settle(
    answer: Result<conclave_cluster::state::outcome::Answer, conclave_cluster::Error>,
) -> Result<Result<Outcome, Refusal>, Code> {
    match answer?.outcome {
        Err(Refusal::Allowance { .. }) => Err(Code::RateLimited),
        Err(Refusal::StorageFull) => Err(Code::StorageFull),
        Err(Refusal::Stale) => Err(Code::NoLeader),
        outcome => Ok(outcome),
    }
}

/// The session itself.
impl Session {
    fn lease_ms(&self) -> u32 {
        millis(self.shared.sockets.options.lease)
    }

    async fn attachment(&self) -> Result<Attachment, Code> {
        Ok(self.shared.sockets.keeper.attachment(self.seat.connection()).await?)
    }

    /// Begins a session under a secret id. False: it is in use.
    pub(super) async fn open(&mut self, id: &str) -> Result<bool, Code> {
        let (key, at) = (key(id), self.attachment().await?);
        let bell = self.bell(key).await?;
        let subject = self.context.credential.subject;
        let verb = socket::Verb::Open { subject, at, lease_ms: self.lease_ms() };
        match self.wish(Ask::Socket(socket::Ask { key, verb })).await? {
            Ok(Outcome::Socket(socket::Outcome::Opened)) => {
                self.take_place(Identity { key, at, bell }).await?;
                Ok(true)
            }
            Err(Refusal::Socket(socket::Refusal::InUse)) => Ok(false),
            Ok(_) | Err(_) => Err(Code::Internal),
        }
    }

    /// Goes on with a session: the room and the mailbox it had. `None`: there is none, or it is not the client's.
    pub(super) async fn resume(&mut self, id: &str) -> Result<Option<(Option<Key>, Option<Key>)>, Code> {
        let (key, at) = (key(id), self.attachment().await?);
        let bell = self.bell(key).await?;
        let subject = self.context.credential.subject;
        let verb = socket::Verb::Resume { subject, at, lease_ms: self.lease_ms() };
        match self.wish(Ask::Socket(socket::Ask { key, verb })).await? {
            Ok(Outcome::Socket(socket::Outcome::Resumed { room, peer })) => {
                self.take_place(Identity { key, at, bell }).await?;
                Ok(Some((room, peer)))
            }
            Err(Refusal::Socket(socket::Refusal::Unknown)) => Ok(None),
            Ok(_) | Err(_) => Err(Code::Internal),
        }
    }

    async fn bell(&self, key: Key) -> Result<Watch, Code> {
        Ok(self.shared.registry.attend(Place { domain: Domain::Socket, key }).await?)
    }

    async fn take_place(&mut self, identity: Identity) -> Result<(), Code> {
        // From here on this node's replica knows that the session is here, so that a ring for an older change is not
        // taken for another connection's.
        self.shared.cluster.read(|_, _| ()).await?;
        self.seat.note_session(&super::frame::public_name(&identity.key));
        self.identity = Some(identity);
        Ok(())
    }

    /// The session's entry changed: perhaps another connection took it over.
    async fn looked_up(&mut self, alive: bool) {
        let Some(identity) = &mut self.identity else { return };
        let (key, own) = (identity.key, identity.at.connection);
        if !alive {
            match self.shared.registry.attend(Place { domain: Domain::Socket, key }).await {
                Ok(bell) => identity.bell = bell,
                Err(_) => return self.end(Reason::from(Close::LATER)),
            }
        }
        let view = self.shared.cluster.glance(|state, now_ms| state.socket(&key, now_ms));
        if view.and_then(|view| view.connection).is_some_and(|connection| connection != own) {
            self.end(Reason::new(Close::REPLACED, "another connection took the session over"));
        }
    }

    /// This node's lease may have lapsed, and with it all that was attached here.
    async fn attach_anew(&mut self) {
        let Some(Identity { key, at, .. }) = self.identity else { return };
        let (subject, lease_ms) = (self.context.credential.subject, self.lease_ms());
        let verb = socket::Verb::Resume { subject, at, lease_ms };
        let mut asks = vec![Ask::Socket(socket::Ask { key, verb })];
        if let Some(peer) = &self.peer {
            let verb = claim::Verb::Take { session: key, at, lease_ms, seize: false };
            asks.push(Ask::Claim(claim::Ask { key: peer.place.key, verb }));
        }
        if let Some(room) = &self.room {
            let verb = room::Verb::Join { member: key, at, grace_ms: millis(ROOM_GRACE) };
            asks.push(Ask::Room(room::Ask { key: room.key, verb }));
        }
        for ask in asks {
            if !matches!(self.wish(ask).await, Ok(Ok(_))) {
                return self.end(Reason::new(Close::LATER, "the node was cut off"));
            }
        }
    }

    /// Whether the credential is still worth something.
    fn judge(&mut self) {
        let auth = &self.shared.options.access.auth;
        if !auth.holds(&self.context.credential, self.shared.now_ms()) {
            self.end(Reason::new(Close::POLICY, "the credential is over or revoked"));
        }
    }

    fn expiry(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let left_ms = self.context.credential.expires_ms?.saturating_sub(self.shared.now_ms());
        Some(Instant::now() + Duration::from_millis(left_ms))
    }

    /// Ends the session for good.
    pub(super) async fn close(&mut self) -> Result<(), Code> {
        self.leave().await?;
        self.release().await?;
        if let Some(Identity { key, at, .. }) = self.identity.take() {
            let verb = socket::Verb::Close { connection: at.connection };
            let _ = self.wish(Ask::Socket(socket::Ask { key, verb })).await?;
        }
        Ok(())
    }

    /// The connection is gone: the leases begin. A node that goes away ends the lease of all its sockets at once.
    async fn let_go(mut self) {
        self.outbox.abandon();
        let Some(Identity { key, at, .. }) = self.identity.take() else { return };
        if self.shared.is_draining() {
            return;
        }
        let connection = at.connection;
        let mut asks = vec![Ask::Socket(socket::Ask { key, verb: socket::Verb::Detach { connection } })];
        if let Some(peer) = self.peer.take() {
            let verb = claim::Verb::Detach { session: key, connection };
            asks.push(Ask::Claim(claim::Ask { key: peer.place.key, verb }));
        }
        if let Some(room) = self.room.take() {
            let verb = room::Verb::Detach { member: key, connection };
            asks.push(Ask::Room(room::Ask { key: room.key, verb }));
        }
        // What is on its way was proposed; nobody waits for its answer.
        self.flights = FuturesOrdered::new();
        let wishes: Vec<_> = asks.into_iter().map(|ask| self.wish(ask)).collect();
        for outcome in futures_util::future::join_all(wishes).await {
            if outcome.is_err() {
                tracing::debug!("a socket was let go without the cluster hearing of it");
            }
        }
    }
}

/// The mailbox.
impl Session {
    /// Has a peer's signals pushed here. The invite code leads to the peer as long as the socket is here.
    pub(super) async fn claim(&mut self, peer: String, invite: Option<String>) -> Result<(), Code> {
        let credential = &self.context.credential;
        if !credential.may_claim(&peer) {
            return Err(Code::Forbidden);
        }
        let seize = !credential.is_anonymous();
        let place = keys::mailbox(&peer);
        let known = self.peer.as_ref().is_some_and(|held| held.place == place);
        if !known {
            self.take_mailbox(place, seize).await?;
        }
        let Some(held) = &mut self.peer else { return Err(Code::Internal) };
        held.name = Some(peer.clone());
        if let Some(code) = invite {
            if let Err(error) = self.register(&code, &peer).await {
                if !known {
                    self.release().await?;
                }
                return Err(error);
            }
            let next = Instant::now() + self.shared.options.ttl.register / 2;
            if let Some(held) = &mut self.peer {
                held.invite = Some((code, next));
            }
        }
        Ok(())
    }

    /// Claims a mailbox, gives the one before up, and begins to push.
    pub(super) async fn take_mailbox(&mut self, place: Place, seize: bool) -> Result<(), Code> {
        let Some(Identity { key: session, at, .. }) = self.identity else { return Err(Code::Internal) };
        let bell = self.shared.registry.attend(place).await?;
        let verb = claim::Verb::Take { session, at, lease_ms: self.lease_ms(), seize };
        match self.wish(Ask::Claim(claim::Ask { key: place.key, verb })).await? {
            Ok(Outcome::Claim(claim::Outcome::Taken)) => {}
            Err(Refusal::Claim(claim::Refusal::Held)) => return Err(Code::PeerInUse),
            Ok(_) | Err(_) => return Err(Code::Internal),
        }
        self.release().await?;
        let verb = socket::Verb::Hold { connection: at.connection, peer: Some(place.key) };
        self.note(session, verb).await?;
        self.seat.note_peer(true);
        self.peer = Some(Held { name: None, place, bell, pushed: 0, dirty: true, invite: None });
        Ok(())
    }

    async fn release(&mut self) -> Result<(), Code> {
        let (Some(held), Some(identity)) = (self.peer.take(), &self.identity) else { return Ok(()) };
        self.seat.note_peer(false);
        let verb = claim::Verb::Release { session: identity.key, connection: identity.at.connection };
        let _ = self.wish(Ask::Claim(claim::Ask { key: held.place.key, verb })).await?;
        Ok(())
    }

    async fn note(&mut self, key: Key, verb: socket::Verb) -> Result<(), Code> {
        match self.wish(Ask::Socket(socket::Ask { key, verb })).await? {
            Ok(_) => Ok(()),
            Err(_) => {
                self.end(Reason::new(Close::REPLACED, "another connection took the session over"));
                Err(Code::Internal)
            }
        }
    }

    async fn register(&self, code: &str, peer: &str) -> Result<(), Code> {
        let ttl_ms = millis(self.shared.options.ttl.register);
        let verb = rendezvous::Verb::Register { peer: peer.to_owned(), ttl_ms };
        let ask = Ask::Rendezvous(rendezvous::Ask { key: keys::rendezvous(code).key, verb });
        let charge = self.charge(Tier::Create, 1);
        match settle(self.shared.cluster.propose(Draft { charge, memo: None, ask }).await)? {
            Ok(_) => Ok(()),
            Err(Refusal::Rendezvous(rendezvous::Refusal::InUse)) => Err(Code::InviteCodeInUse),
            Err(_) => Err(Code::Internal),
        }
    }

    fn renewal(&self) -> Option<Instant> {
        self.peer.as_ref()?.invite.as_ref().map(|(_, at)| *at).filter(|_| !self.over)
    }

    async fn renew_invite(&mut self) {
        let Some(Held { name: Some(peer), invite: Some((code, _)), .. }) = &self.peer else { return };
        if let Err(code) = self.register(code, peer).await {
            tracing::debug!(why = code.spec().0, "an invite code was not renewed");
        }
        let next = Instant::now() + self.shared.options.ttl.register / 2;
        if let Some((_, at)) = self.peer.as_mut().and_then(|held| held.invite.as_mut()) {
            *at = next;
        }
    }

    /// The peer of an invite code.
    pub(super) async fn look_up(&self, code: &str) -> Result<String, Code> {
        let cluster = &self.shared.cluster;
        if let Some(charge) = self.charge(Tier::Lookup, 1)
            && cluster.charge_read(charge).is_err()
        {
            return Err(Code::RateLimited);
        }
        let key = keys::rendezvous(code).key;
        let peer = cluster.read(|state, now_ms| state.peer(&key, now_ms)).await?;
        if peer.is_none()
            && let Some(charge) = self.charge(Tier::Lookup, MISS_SURCHARGE)
            && let Err(left) = cluster.charge_read(charge)
            && left.remaining > 0
        {
            let _ = cluster.charge_read(Charge { count: left.remaining, ..charge });
        }
        peer.ok_or(Code::PeerNotFound)
    }

    /// Sends a signal from the claimed peer id.
    pub(super) fn signal(
        &self,
        to: &str,
        kind: Kind,
        payload: Bytes,
    ) -> Result<impl Future<Output = Result<u64, Code>> + use<>, Code> {
        let from = self.peer.as_ref().and_then(|held| held.name.clone()).ok_or(Code::NotClaimed)?;
        let ttl_ms = millis(self.shared.options.ttl.signal);
        let verb = mailbox::Verb::Push { from, kind, payload: Body::new(payload), ttl_ms };
        let ask = Ask::Mailbox(mailbox::Ask { key: keys::mailbox(to).key, verb });
        let draft = Draft { charge: self.charge(Tier::Signal, 1), memo: None, ask };
        let cluster = self.shared.cluster.clone();
        Ok(async move {
            match settle(cluster.propose(draft).await)? {
                Ok(Outcome::Mailbox(mailbox::Outcome::Queued { seq })) => Ok(seq),
                Err(Refusal::Mailbox(mailbox::Refusal::Full)) => Err(Code::MailboxFull),
                Ok(_) | Err(_) => Err(Code::Internal),
            }
        })
    }

    /// Everything up to `seq` arrived.
    pub(super) async fn acknowledge(&self, seq: u64) -> Result<(), Code> {
        let (Some(held), Some(identity)) = (&self.peer, &self.identity) else { return Err(Code::NotClaimed) };
        let verb = mailbox::Verb::Acknowledge { session: identity.key, seq };
        match self.wish(Ask::Mailbox(mailbox::Ask { key: held.place.key, verb })).await? {
            Ok(_) => Ok(()),
            Err(Refusal::Mailbox(mailbox::Refusal::NotHeld)) => Err(Code::NotClaimed),
            Err(_) => Err(Code::Internal),
        }
    }

    /// The mailbox changed.
    async fn mail(&mut self, alive: bool) {
        let Some(held) = &mut self.peer else { return };
        held.dirty = true;
        if !alive {
            match self.shared.registry.attend(held.place).await {
                Ok(bell) => held.bell = bell,
                Err(_) => self.end(Reason::from(Close::LATER)),
            }
        }
    }

    fn push_mail(&mut self) {
        let Some(held) = &mut self.peer else { return };
        let (key, after, at) =
            (held.place.key, held.pushed, self.identity.as_ref().map(|it| (it.key, it.at)));
        let (signals, holder) = self.shared.cluster.glance(|state, now_ms| {
            let signals = state.signals(&key, after, BATCH_MAX, BATCH_BYTES_MAX, now_ms);
            (signals, state.holder(&key, now_ms))
        });
        // Nothing is pushed before this node knows that the mailbox is pushed here, and nothing once it is not.
        if holder.map(|(session, at)| (session, at)) != at.map(|(session, at)| (session, Some(at))) {
            held.dirty = false;
            return;
        }
        held.dirty = signals.len() == BATCH_MAX
            || signals.iter().map(|it| it.payload.len()).sum::<usize>() > BATCH_BYTES_MAX / 2;
        for signal in &signals {
            if !self.outbox.push(Frame::Text(json::signal(signal))) {
                self.over = true;
                return;
            }
            held.pushed = signal.seq;
        }
    }
}

/// The room.
impl Session {
    /// Whether there is something to read as soon as the client has taken what waits.
    fn wants_room(&self) -> bool {
        self.peer.as_ref().is_some_and(|held| held.dirty)
            || self.room.as_ref().is_some_and(|room| room.behind.is_some())
    }

    /// The client has room for more.
    async fn refill(&mut self) {
        if self.peer.as_ref().is_some_and(|held| held.dirty) {
            self.push_mail();
        }
        if self.room.as_ref().is_some_and(|room| room.behind.is_some()) {
            self.read_on().await;
        }
    }

    /// Enters a room and leaves the one before. `greet` makes what is said first, now that it is known who is there.
    pub(super) async fn enter(
        &mut self,
        key: Key,
        name: Option<&str>,
        from: Option<Position>,
        greet: impl FnOnce(Entry) -> Greeting,
    ) -> Result<Entry, Code> {
        let Some(Identity { key: member, at, .. }) = self.identity else { return Err(Code::Internal) };
        if self.room.as_ref().is_some_and(|room| room.key != key) {
            self.leave().await?;
        }
        let verb = room::Verb::Join { member, at, grace_ms: millis(ROOM_GRACE) };
        let noted = socket::Verb::Enter { connection: at.connection, room: Some(key) };
        let (joined, noted) = join(
            self.wish(Ask::Room(room::Ask { key, verb })),
            self.wish(Ask::Socket(socket::Ask { key: member, verb: noted })),
        )
        .await;
        let (epoch, offset) = match (joined?, noted?) {
            (Ok(Outcome::Room(room::Outcome::Joined { epoch, offset, .. })), Ok(_)) => (epoch, offset),
            (Err(Refusal::Room(room::Refusal::Full)), _) => return Err(Code::RoomFull),
            (_, Err(_)) => {
                self.end(Reason::new(Close::REPLACED, "another connection took the session over"));
                return Err(Code::Internal);
            }
            (Ok(_) | Err(_), Ok(_)) => return Err(Code::Internal),
        };
        // This node's replica has the membership after this.
        let view = self.shared.cluster.read(|state, now_ms| state.room(&key, now_ms)).await?;
        let complete = |from: &Position| {
            from.epoch == epoch
                && from.offset <= offset
                && view.is_some_and(|view| view.epoch == epoch && view.first <= from.offset + 1)
        };
        let recovered = from.as_ref().map(complete);
        let after = from.filter(complete).map_or(offset, |from| from.offset);
        let entry = Entry { epoch, offset, recovered };
        let tongue = match name {
            _ if self.seat.encoding() == Encoding::FlatBuffers => Tongue::Sigma,
            Some(name) => Tongue::Json(name.into()),
            None => Tongue::Json("".into()),
        };
        // The place before is given up first, or the member would be told twice.
        self.room = None;
        let presence = self.shared.registry.enter(key, member, at.connection)?;
        let ear = Ear::new(self.outbox.clone(), tongue.clone(), greet(entry));
        let live = presence.attach(after, Box::new(ear)).await?;
        self.seat.note_room(true);
        let behind = (!live).then_some(after);
        let name = name.map(Arc::from);
        self.room = Some(Entered { name, key, epoch, presence, tongue, behind });
        Ok(entry)
    }

    /// Leaves the room, if it is in one.
    pub(super) async fn leave(&mut self) -> Result<(), Code> {
        let (Some(room), Some(identity)) = (self.room.take(), &self.identity) else { return Ok(()) };
        self.seat.note_room(false);
        let (member, connection) = (identity.key, identity.at.connection);
        let key = room.key;
        // Before the membership ends, so that this client is not told to come anew.
        drop(room);
        let left = Ask::Room(room::Ask { key, verb: room::Verb::Leave { member, connection } });
        let noted = socket::Verb::Enter { connection, room: None };
        let noted = Ask::Socket(socket::Ask { key: member, verb: noted });
        let (left, noted) = join(self.wish(left), self.wish(noted)).await;
        let (_, _) = (left?, noted?);
        Ok(())
    }

    /// Says something in the room. `data` begins with the byte that says what it is.
    pub(super) fn publish(
        &self,
        data: Bytes,
        message_id: Option<u64>,
    ) -> Result<impl Future<Output = Result<(u64, u64), Code>> + use<>, Code> {
        let (Some(room), Some(identity)) = (&self.room, &self.identity) else { return Err(Code::NotInRoom) };
        let history = self.shared.sockets.options.history;
        let keep = room::Keep {
            count: history.messages_max,
            bytes: history.bytes_max,
            age_ms: millis(history.age_max),
        };
        let verb = room::Verb::Publish { member: identity.key, message_id, data: Body::new(data), keep };
        let ask = Ask::Room(room::Ask { key: room.key, verb });
        let cluster = self.shared.cluster.clone();
        Ok(async move {
            match settle(cluster.propose(Draft { charge: None, memo: None, ask }).await)? {
                Ok(Outcome::Room(room::Outcome::Published { epoch, offset, .. })) => Ok((epoch, offset)),
                Err(Refusal::Room(room::Refusal::NotAMember)) => Err(Code::NotInRoom),
                Ok(_) | Err(_) => Err(Code::Internal),
            }
        })
    }

    /// Says something in the room to whoever is there now.
    pub(super) fn cast(&self, data: Bytes) -> Result<(), Code> {
        let (Some(room), Some(identity)) = (&self.room, &self.identity) else { return Err(Code::NotInRoom) };
        let onward = onward(&room.key, &identity.key, &data);
        if room.presence.cast(data, onward) { Ok(()) } else { Err(Code::Overloaded) }
    }

    /// Who is in the room.
    pub(super) async fn members(&self) -> Result<Vec<Key>, Code> {
        let key = self.room.as_ref().ok_or(Code::NotInRoom)?.key;
        Ok(self.shared.cluster.read(|state, _| state.room_members(&key)).await?)
    }

    /// Reads more of the history that this member lacks, until it meets the others.
    async fn read_on(&mut self) {
        let (Some(room), Some(identity)) = (&mut self.room, &self.identity) else { return };
        let Some(after) = room.behind else { return };
        let key = room.key;
        let (view, messages) = self.shared.cluster.glance(|state, now_ms| {
            let messages = state.room_messages(&key, after, BATCH_MAX, BATCH_BYTES_MAX, now_ms);
            (state.room(&key, now_ms), messages)
        });
        let next = messages.first().map(|message| message.offset).or(view.map(|view| view.last + 1));
        if view.is_none_or(|view| view.epoch != room.epoch) || next != Some(after + 1) {
            // It went out of the history while the client was reading.
            return self.end(Reason::new(Close::LATER, "the room has to be entered anew"));
        }
        let mut read = after;
        for message in messages {
            read = message.offset;
            if message.member == identity.key {
                continue;
            }
            let note = Note::new(room.epoch, crate::actors::room::Event::Message(message));
            if let Some(frame) = room.tongue.spell(&note)
                && !self.outbox.push(frame)
            {
                self.over = true;
                return;
            }
        }
        room.behind = match room.presence.meet(read).await {
            Ok(true) => None,
            Ok(false) => Some(read),
            Err(_) => return self.end(Reason::from(Close::LATER)),
        };
    }
}

/// What a session id names.
fn key(id: &str) -> Key {
    Key::derive(Domain::Socket, &[id.as_bytes()])
}
