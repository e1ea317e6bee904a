//! Socket sessions: what of a socket outlives its connection and its node.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::account::Payer;
use super::expiry::Thing;
use super::ground::Ground;
use super::host::{Attachment, Host, Hosts};
use super::id::{Domain, Key};
use super::outcome;
use super::storage::Load;
use super::tether::Tether;
use super::weight::Kind;

/// A wish about the socket session under `key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Derived from the session id ([`Domain::Socket`]).
    pub key: Key,
    /// What is wished.
    pub verb: Verb,
}

/// What can be done to a socket session. New verbs are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// Begin it. One that is there, detached and of the same subject is begun anew.
    Open {
        /// Who opens it; `None` is an anonymous client.
        subject: Option<Key>,
        /// By which connection.
        at: Attachment,
        /// How long it stays after its connection.
        lease_ms: u32,
    },
    /// Go on with it on this connection, whichever held it before.
    Resume {
        /// Who resumes; must be who opened it.
        subject: Option<Key>,
        /// By which connection.
        at: Attachment,
        /// How long it stays after its connection.
        lease_ms: u32,
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
    Opened,
    /// It goes on.
    Resumed {
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Who opened it.
    pub subject: Option<Key>,
    /// The host of its connection, if that lives.
    pub host: Option<Host>,
    /// Its connection, if the host of that lives.
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
    tether: Tether,
    payer: Payer,
}

impl Session {
    fn load(&self) -> Load {
        let names = [&self.room, &self.peer].into_iter().flatten();
        Load::of(Kind::Socket, names.map(|name| name.len() as u64).sum())
    }
}

/// All socket sessions.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions(OrdMap<Key, Session>);

impl Sessions {
    pub(super) fn carry_out(&mut self, ask: Ask, ground: &mut Ground) -> Result<Outcome, outcome::Refusal> {
        let Ask { key, verb } = ask;
        if ground.overdue && self.0.get(&key).is_some_and(|session| !session.tether.alive(ground.now_ms)) {
            self.free(&key, ground);
        }
        match verb {
            Verb::Open { subject, at, lease_ms } => self.open(key, subject, at, lease_ms, ground),
            Verb::Resume { subject, at, lease_ms } => {
                let session = self.0.get_mut(&key).filter(|session| session.subject == subject);
                let Some(session) = session else { return Err(Refusal::Unknown.into()) };
                session.tether.attach(at, lease_ms, Thing::Socket(key), ground);
                ground.wakes.wake(Domain::Socket, key);
                Ok(Outcome::Resumed { room: session.room.clone(), peer: session.peer.clone() })
            }
            Verb::Enter { connection, room } => {
                let session = self.held_by(&key, connection)?;
                let mark = session.mark.filter(|_| session.room == room);
                let renamed = Session { room, mark, ..session.clone() };
                rename(session, renamed, ground)
            }
            Verb::Hold { connection, peer } => {
                let session = self.held_by(&key, connection)?;
                let renamed = Session { peer, ..session.clone() };
                rename(session, renamed, ground)
            }
            Verb::Detach { connection } => {
                if let Ok(session) = self.held_by(&key, connection) {
                    session.tether.detach(Thing::Socket(key), ground);
                    ground.wakes.wake(Domain::Socket, key);
                }
                Ok(Outcome::Noted)
            }
            Verb::Close { connection } => {
                if self.held_by(&key, connection).is_ok() {
                    self.free(&key, ground);
                    ground.wakes.wake(Domain::Socket, key);
                }
                Ok(Outcome::Closed)
            }
            Verb::Mark { connection, mark } => {
                self.held_by(&key, connection)?.mark = Some(mark);
                Ok(Outcome::Noted)
            }
        }
    }

    fn open(
        &mut self,
        key: Key,
        subject: Option<Key>,
        at: Attachment,
        lease_ms: u32,
        ground: &mut Ground,
    ) -> Result<Outcome, outcome::Refusal> {
        let thing = Thing::Socket(key);
        match self.0.get_mut(&key) {
            Some(session) => {
                let taken = session.tether.attachment(&ground.hosts, ground.now_ms).is_some();
                if taken || session.subject != subject {
                    return Err(Refusal::InUse.into());
                }
                session.tether.attach(at, lease_ms, thing, ground);
                let load = session.load();
                (session.room, session.peer) = (None, None);
                (session.numbering, session.mark) = (at.connection, None);
                session.payer = ground.storage.replace(session.payer, load, session.load());
            }
            None => {
                let load = Load::of(Kind::Socket, 0);
                ground.storage.admit(load)?;
                let payer = ground.storage.add(load);
                let tether = Tether::begin(at, lease_ms, thing, ground);
                let numbering = at.connection;
                let (room, peer, mark) = (None, None, None);
                self.0.insert(key, Session { subject, room, peer, numbering, mark, tether, payer });
            }
        }
        ground.wakes.wake(Domain::Socket, key);
        Ok(Outcome::Opened)
    }

    fn held_by(&mut self, key: &Key, connection: u64) -> Result<&mut Session, Refusal> {
        let session = self.0.get_mut(key);
        session.filter(|session| session.tether.is_at(connection)).ok_or(Refusal::Replaced)
    }

    fn free(&mut self, key: &Key, ground: &mut Ground) {
        if let Some(session) = self.0.remove(key) {
            session.tether.end(Thing::Socket(*key), ground);
            ground.storage.drop(session.payer, session.load());
        }
    }

    /// The agenda says that a session is due.
    pub(super) fn lapse(&mut self, key: &Key, ground: &mut Ground) -> usize {
        if let Some(session) = self.0.get_mut(key)
            && !session.tether.lapse(Thing::Socket(*key), ground)
        {
            ground.storage.drop(session.payer, session.load());
            self.0.remove(key);
        }
        1
    }

    pub(super) fn view(&self, key: &Key, hosts: &Hosts, now_ms: u64) -> Option<View> {
        let session = self.0.get(key).filter(|session| session.tether.alive(now_ms))?;
        let at = session.tether.attachment(hosts, now_ms);
        Some(View {
            subject: session.subject,
            host: at.map(|at| at.host),
            connection: at.map(|at| at.connection),
            numbering: session.numbering,
            mark: session.mark,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Session)> {
        self.0.iter()
    }

    /// Takes a session as a snapshot has it; false if that cannot be.
    pub(super) fn restore(&mut self, key: Key, session: Session, ground: &mut Ground) -> bool {
        session.tether.restore(Thing::Socket(key), ground)
            && ground.storage.restore(session.payer, session.load())
            && self.0.insert(key, session).is_none()
    }
}

/// Has a session carry other names, if there is room for them.
fn rename(session: &mut Session, renamed: Session, ground: &mut Ground) -> Result<Outcome, outcome::Refusal> {
    let (old, new) = (session.load(), renamed.load());
    ground.storage.admit_instead(session.payer, &old, new)?;
    let payer = ground.storage.replace(session.payer, old, new);
    *session = Session { payer, ..renamed };
    Ok(Outcome::Noted)
}
