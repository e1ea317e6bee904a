//! Socket sessions: what of a socket outlives its connection and its node.

use serde::{Deserialize, Serialize};

use super::connection_lease::Hold;
use super::context::ApplyContext;
use super::expiry::ExpiryKey;
use super::generation::{Departure, Generation};
use super::id::{Domain, Key};
use super::incarnation::{Attachment, Incarnation, Incarnations};
use super::keyed_command::Keyed;
use super::outcome;
use super::storage_quota::Load;
use super::table::{Entry, Stored, Table};
use super::weight::Kind;

/// A command about the socket session under a key, which is derived from the session id ([`Domain::Socket`]).
pub type Op = Keyed<Action>;

/// What can be done to a socket session. New actions are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Begin it. One that is there, detached and of the same subject is begun anew.
    Open {
        /// Who opens it; `None` is an anonymous client.
        subject: Option<Key>,
        /// By which connection.
        at: Attachment,
        /// How long it stays after its connection.
        lease_ms: u32,
    },
    /// Go on with it on this connection.
    Resume {
        /// Who resumes; must be who opened it.
        subject: Option<Key>,
        /// By which connection.
        at: Attachment,
        /// How long it stays after its connection.
        lease_ms: u32,
        /// Whether another connection that lives gives way. A connection whose incarnation lapsed has it again only if
        /// nobody else has it by then.
        takes_over: bool,
    },
    /// Remember the room, for a resume.
    Enter {
        /// The connection that says so.
        connection: u64,
        /// The room's name; `None`: in no room any more.
        room: Option<String>,
    },
    /// Remember the peer id, for a resume.
    Hold {
        /// The connection that says so.
        connection: u64,
        /// The peer id; `None`: holds none any more.
        peer: Option<String>,
    },
    /// The connection is lost: the lease begins. Nothing if another connection took over.
    Detach {
        /// Which one.
        connection: u64,
    },
    /// End it for good. Nothing if another connection took over.
    Close {
        /// The connection that says so.
        connection: u64,
    },
    /// Remember how far the client got in its room. Nothing if another connection took over.
    Mark {
        /// The connection that says so.
        connection: u64,
        /// How far.
        mark: Mark,
    },
}

/// How far a client got in its room, for clients that cannot say it themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Names the room's numbering.
    pub epoch: u64,
    /// Everything up to this offset arrived.
    pub received: u64,
    /// Nothing after this offset was sent; [`u64::MAX`] while more may be.
    pub sent: u64,
    /// The highest number that the client gave a message of its own; 0 if it gave none.
    pub said: u64,
}

/// What happened to a socket session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It begins.
    Opened {
        /// The connection's generation.
        generation: Generation,
    },
    /// It goes on.
    Resumed {
        /// The connection's generation: greater than any before.
        generation: Generation,
        /// The name of the room it was in.
        room: Option<String>,
        /// The peer id it held.
        peer: Option<String>,
    },
    /// So it is.
    Noted,
    /// It is over.
    Closed,
}

/// Why nothing happened to a socket session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Another connection has it, or it is somebody else's.
    InUse,
    /// There is none, or it is somebody else's.
    Unknown,
    /// Another connection took over.
    Replaced,
}

/// A socket session as a reader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Who opened it.
    pub subject: Option<Key>,
    /// The incarnation of its connection, if that lives.
    pub incarnation: Option<Incarnation>,
    /// Its connection, if the incarnation of that lives.
    pub connection: Option<u64>,
    /// Names the numbering of the client's own messages: it begins anew whenever the session is opened.
    pub numbering: u64,
    /// How far the client got in its room, if it is in one and that is known.
    pub mark: Option<Mark>,
}

/// One socket session. The fields' order is the snapshot format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    subject: Option<Key>,
    /// As the client gave it: what is pushed after a resume names the room.
    room: Option<String>,
    /// As the client gave it: signals after a resume are in its name.
    peer: Option<String>,
    /// The connection that opened it.
    numbering: u64,
    mark: Option<Mark>,
    /// That of the connection that has it, or had it last.
    generation: Generation,
}

impl Stored for Session {
    type Key = Key;
    type Life = Hold;
    const EXPIRY: fn(Key) -> ExpiryKey = ExpiryKey::Socket;

    fn load(&self) -> Load {
        let names = [&self.room, &self.peer].into_iter().flatten();
        Load::of(Kind::Socket, names.map(|name| name.len() as u64).sum())
    }
}

impl Session {
    /// Whether this subject opened it.
    pub(super) fn is_of(&self, subject: &Key) -> bool {
        self.subject == Some(*subject)
    }
}

impl Table<Session> {
    pub(super) fn carry_out(
        &mut self,
        op: Op,
        departures: &mut Table<Departure>,
        ctx: &mut ApplyContext,
    ) -> Result<Outcome, outcome::Refusal> {
        let Op { key, action } = op;
        if let Some(session) = self.free_if_over(key, ctx) {
            departures.close(key, session.generation, ctx);
        }
        match action {
            Action::Open { subject, at, lease_ms } => {
                let last = departures.last((key, key), ctx.now_ms);
                let generation = self.open(key, subject, (at, lease_ms), last, ctx)?;
                departures.free((key, key), ctx);
                Ok(Outcome::Opened { generation })
            }
            Action::Resume { subject, at, lease_ms, takes_over } => {
                let session = self.get_mut(&key).filter(|session| session.subject == subject);
                let Some(session) = session else { return Err(Refusal::Unknown.into()) };
                let holder = session.life.attachment(&ctx.incarnations, ctx.now_ms);
                if !takes_over && holder.is_some_and(|holder| holder.connection != at.connection) {
                    return Err(Refusal::Replaced.into());
                }
                let generation = Generation::after(Some(session.generation), ctx.now_ms);
                session.generation = generation;
                session.life.attach(at, lease_ms, ExpiryKey::Socket(key), ctx);
                ctx.wakes.wake(Domain::Socket, key);
                Ok(Outcome::Resumed { generation, room: session.room.clone(), peer: session.peer.clone() })
            }
            Action::Enter { connection, room } => {
                let session = Session::clone(self.held_by(&key, connection)?);
                let mark = session.mark.filter(|_| session.room == room);
                self.try_replace(key, Session { room, mark, ..session }, ctx)?;
                Ok(Outcome::Noted)
            }
            Action::Hold { connection, peer } => {
                let session = Session::clone(self.held_by(&key, connection)?);
                self.try_replace(key, Session { peer, ..session }, ctx)?;
                Ok(Outcome::Noted)
            }
            Action::Detach { connection } => {
                if let Ok(session) = self.held_by(&key, connection) {
                    session.life.detach(ExpiryKey::Socket(key), ctx);
                    ctx.wakes.wake(Domain::Socket, key);
                }
                Ok(Outcome::Noted)
            }
            Action::Close { connection } => {
                if self.held_by(&key, connection).is_ok() {
                    if let Some(session) = self.free(key, ctx) {
                        departures.close(key, session.generation, ctx);
                    }
                    ctx.wakes.wake(Domain::Socket, key);
                }
                Ok(Outcome::Closed)
            }
            Action::Mark { connection, mark } => {
                self.held_by(&key, connection)?.mark = Some(mark);
                Ok(Outcome::Noted)
            }
        }
    }

    fn open(
        &mut self,
        key: Key,
        subject: Option<Key>,
        (at, lease_ms): (Attachment, u32),
        last: Option<Generation>,
        ctx: &mut ApplyContext,
    ) -> Result<Generation, outcome::Refusal> {
        let generation =
            Generation::after(self.get(&key).map(|session| session.generation).max(last), ctx.now_ms);
        let fresh =
            Session { subject, room: None, peer: None, numbering: at.connection, mark: None, generation };
        match self.get_mut(&key) {
            Some(session) => {
                let taken = session.life.attachment(&ctx.incarnations, ctx.now_ms).is_some();
                if taken || session.subject != subject {
                    return Err(Refusal::InUse.into());
                }
                session.life.attach(at, lease_ms, ExpiryKey::Socket(key), ctx);
                self.replace(key, fresh, ctx);
            }
            None => self.try_add(key, fresh, (at, lease_ms), ctx)?,
        }
        ctx.wakes.wake(Domain::Socket, key);
        Ok(generation)
    }

    fn held_by(&mut self, key: &Key, connection: u64) -> Result<&mut Entry<Session>, Refusal> {
        let session = self.get_mut(key);
        session.filter(|session| session.life.is_at(connection)).ok_or(Refusal::Replaced)
    }

    /// The expiry queue says that a session is due.
    pub(super) fn on_session_expiry(
        &mut self,
        key: Key,
        departures: &mut Table<Departure>,
        ctx: &mut ApplyContext,
    ) -> usize {
        if let Some(session) = self.expire(key, ctx) {
            departures.close(key, session.generation, ctx);
        }
        1
    }

    pub(super) fn view(&self, key: &Key, incarnations: &Incarnations, now_ms: u64) -> Option<View> {
        let session = self.alive(key, now_ms)?;
        let at = session.life.attachment(incarnations, now_ms);
        Some(View {
            subject: session.subject,
            incarnation: at.map(|at| at.incarnation),
            connection: at.map(|at| at.connection),
            numbering: session.numbering,
            mark: session.mark,
        })
    }
}
