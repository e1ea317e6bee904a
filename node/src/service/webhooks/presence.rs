//! Who is connected here, posted when it comes and when it goes. A value stands for each session, membership and event stream;
//! dropping it posts that it is gone.

use conclave_cluster::state::id::{Domain, Key};

use super::Webhooks;
use super::event::{About, Digits, Kind};
use crate::actors::StateKey;
use crate::service::Caller;
use crate::service::inventory::Id;

/// A session of a socket that is connected here.
#[derive(Debug, Default)]
pub struct Connected(Option<Box<Session>>);

/// A room that a socket here is in.
#[derive(Debug, Default)]
pub struct Joined(Option<Box<Membership>>);

/// An event stream that is open here.
#[derive(Debug, Default)]
pub struct OpenStream(Option<Box<EventStream>>);

#[derive(Debug)]
struct EventStream {
    webhooks: Webhooks,
    stream: Digits,
    target: StateKey,
    subject_id: Option<Digits>,
    organisation: Option<String>,
}

#[derive(Debug, Clone)]
struct Session {
    webhooks: Webhooks,
    socket: Digits,
    connection: Digits,
    subject_id: Option<Digits>,
    organisation: Option<String>,
}

#[derive(Debug)]
struct Membership {
    session: Session,
    room: Digits,
}

impl Webhooks {
    /// A session is connected here from now on. `resumed`: it existed before.
    pub fn connected(
        &self,
        caller: &Caller,
        subject: Option<&Key>,
        session: &Key,
        connection: u64,
        resumed: bool,
    ) -> Connected {
        if !self.are_any() {
            return Connected::default();
        }
        let session = Session {
            webhooks: self.clone(),
            socket: Digits::Key(Id::of(session)),
            connection: Digits::Number(connection),
            subject_id: subject.map(|subject| Digits::Key(Id::of(subject))),
            organisation: caller.tenant.name().map(str::to_owned),
        };
        session.tell(Kind::SocketConnected, |about| About { resumed: Some(resumed), ..about });
        Connected(Some(Box::new(session)))
    }

    /// An event stream is open here from now on. `target`: the room or the mailbox that it tells of.
    pub fn stream_opened(&self, caller: &Caller, subject: Option<&Key>, target: StateKey) -> OpenStream {
        if !self.are_any() {
            return OpenStream::default();
        }
        let stream = EventStream {
            webhooks: self.clone(),
            stream: Digits::Number(rand::random()),
            target,
            subject_id: subject.map(|subject| Digits::Key(Id::of(subject))),
            organisation: caller.tenant.name().map(str::to_owned),
        };
        stream.tell(Kind::StreamOpened);
        OpenStream(Some(Box::new(stream)))
    }
}

impl Connected {
    /// It is in a room from now on. `resumed`: it was in it before its connection was lost.
    pub fn joined(&self, room: &Key, resumed: bool) -> Joined {
        let Some(session) = &self.0 else { return Joined::default() };
        let room = Digits::Key(Id::of(room));
        session.tell(Kind::RoomJoined, |about| About { room: Some(room), resumed: Some(resumed), ..about });
        Joined(Some(Box::new(Membership { session: (**session).clone(), room })))
    }

    /// It is no longer connected. `resumable`: it can be resumed for a while.
    pub fn end(&mut self, resumable: bool) {
        if let Some(session) = self.0.take() {
            let tell = |about| About { resumable: Some(resumable), ..about };
            session.tell(Kind::SocketDisconnected, tell);
        }
    }
}

impl Joined {
    /// It is no longer in the room. `resumable`: the membership lasts for a while, for its session to resume.
    pub fn end(&mut self, resumable: bool) {
        if let Some(membership) = self.0.take() {
            let Membership { session, room } = *membership;
            let tell = |about| About { room: Some(room), resumable: Some(resumable), ..about };
            session.tell(Kind::RoomLeft, tell);
        }
    }
}

impl Session {
    fn tell<'a>(&'a self, kind: Kind, more: impl FnOnce(About<'a>) -> About<'a>) {
        let about = About {
            socket: Some(self.socket),
            connection: Some(self.connection),
            subject_id: self.subject_id,
            organisation: self.organisation.as_deref(),
            ..About::default()
        };
        self.webhooks.emit(kind, more(about));
    }
}

impl EventStream {
    fn tell(&self, kind: Kind) {
        let target = Some(Digits::Key(Id::of(&self.target.key)));
        let is_room = self.target.domain == Domain::Room;
        self.webhooks.emit(
            kind,
            About {
                stream: Some(self.stream),
                room: target.filter(|_| is_room),
                mailbox: target.filter(|_| !is_room),
                subject_id: self.subject_id,
                organisation: self.organisation.as_deref(),
                ..About::default()
            },
        );
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            stream.tell(Kind::StreamClosed);
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.end(true);
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.end(true);
    }
}
