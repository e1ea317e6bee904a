//! What hangs on a connection, for those invariants that look after it: sessions, peer ids, members of rooms.

use conclave_cluster::state::generation::Generation;
use conclave_cluster::state::incarnation::Attachment;

use crate::simulation::history::{Command, Event, Fate, Sight, Tie};
use crate::simulation::workload::{PEERS, ROOMS, SESSIONS};

/// One thing, who took it when, and where it was seen.
pub(super) struct Hold<'a> {
    pub(super) what: String,
    /// The room, if it is a member of one.
    pub(super) room: Option<u8>,
    pub(super) takes: Vec<Take<'a>>,
    /// By which connection it was given up, or nothing was.
    pub(super) ends: Vec<(u64, &'a Event)>,
    pub(super) sights: Vec<(Tie, &'a Event)>,
}

/// A command that hangs it on a connection.
#[derive(Clone, Copy)]
pub(super) struct Take<'a> {
    pub(super) at: Attachment,
    pub(super) event: &'a Event,
    /// For whom.
    pub(super) owner: u64,
    /// Whether it is refused while somebody else's connection has it.
    pub(super) gently: bool,
    /// Which session it is for, and the generation of the connection in that, as far as it is known.
    pub(super) generation: Option<(u8, Generation)>,
}

/// What an event is to a thing.
enum Part<'a> {
    Take(Take<'a>),
    End(u64),
    Sight(Tie),
}

impl<'a> Hold<'a> {
    /// All that there are.
    pub(super) fn all(events: &'a [Event]) -> Vec<Self> {
        let sessions =
            (0..SESSIONS).map(|it| Self::of(format!("session {it}"), events, |event| session(it, event)));
        let peers = (0..PEERS).map(|it| Self::of(format!("peer id {it}"), events, |event| peer(it, event)));
        let pairs = (0..ROOMS).flat_map(|room| (0..SESSIONS).map(move |session| (room, session)));
        let members = pairs.map(|(room, session)| {
            let what = format!("session {session} in room {room}");
            Self { room: Some(room), ..Self::of(what, events, |event| member(room, session, event)) }
        });
        sessions.chain(peers).chain(members).collect()
    }

    fn of(what: String, events: &'a [Event], part: impl Fn(&'a Event) -> Option<Part<'a>>) -> Self {
        let mut this = Self { what, room: None, takes: Vec::new(), ends: Vec::new(), sights: Vec::new() };
        for event in events {
            match part(event) {
                Some(Part::Take(take)) => this.takes.push(take),
                Some(Part::End(connection)) => this.ends.push((connection, event)),
                Some(Part::Sight(tie)) => this.sights.push((tie, event)),
                None => {}
            }
        }
        this
    }

    /// Whether anything may have ended a take, from it until a later event, but that event.
    pub(super) fn may_have_ended(&self, take: &Take<'_>, until: &Event) -> bool {
        let between = |event: &Event| {
            event.may_count()
                && take.event.asked < event.answered
                && event.asked < until.answered
                && event.asked != until.asked
                && event.asked != take.event.asked
        };
        self.takes.iter().any(|other| between(other.event))
            || self.ends.iter().any(|(connection, event)| *connection == take.at.connection && between(event))
    }

    /// What surely ended a take before a later event.
    pub(super) fn ended_by(&self, take: &Take<'_>, until: &Event) -> Option<&'a Event> {
        let between =
            |event: &Event| event.outcome().is_some() && take.event.precedes(event) && event.precedes(until);
        let takes = self.takes.iter().map(|other| other.event);
        let ends = self.ends.iter().filter(|(connection, _)| *connection == take.at.connection);
        takes.chain(ends.map(|(_, event)| *event)).find(|event| between(event))
    }
}

fn session(session: u8, event: &Event) -> Option<Part<'_>> {
    match (&event.command, &event.fate) {
        // Whoever opens a session is somebody new, whoever resumes it is who had it.
        (Command::Attach { session: it, at, resume }, _) if *it == session => {
            let generation = event.fate.generation().map(|generation| (session, generation));
            Some(Part::Take(Take { at: *at, event, owner: at.connection, gently: !resume, generation }))
        }
        (Command::Detach { session: it, connection }, _) if *it == session => Some(Part::End(*connection)),
        (Command::Locate { session: it }, Fate::Saw(Sight::Tie(tie))) if *it == session => {
            Some(Part::Sight(*tie))
        }
        _ => None,
    }
}

fn peer(peer: u8, event: &Event) -> Option<Part<'_>> {
    match (&event.command, &event.fate) {
        (Command::Claim { peer: it, session, generation, at, seize }, _) if *it == peer => {
            let generation = Some((*session, *generation));
            Some(Part::Take(Take { at: *at, event, owner: u64::from(*session), gently: !seize, generation }))
        }
        (Command::Release { peer: it, connection, .. }, _) if *it == peer => Some(Part::End(*connection)),
        (Command::Holder { peer: it }, Fate::Saw(Sight::Tie(tie))) if *it == peer => Some(Part::Sight(*tie)),
        _ => None,
    }
}

fn member(room: u8, session: u8, event: &Event) -> Option<Part<'_>> {
    match (&event.command, &event.fate) {
        (Command::Join { room: entered, session: it, generation, at }, _)
            if (*entered, *it) == (room, session) =>
        {
            let generation = Some((session, *generation));
            Some(Part::Take(Take { at: *at, event, owner: 0, gently: false, generation }))
        }
        (Command::Leave { room: left, session: it, connection }, _) if (*left, *it) == (room, session) => {
            Some(Part::End(*connection))
        }
        (Command::Hear { room: it, .. }, Fate::Saw(Sight::Room(Some(sight)))) if *it == room => {
            let is_in = sight.members.contains(&session);
            Some(Part::Sight(if is_in { Tie::Somewhere } else { Tie::Gone }))
        }
        _ => None,
    }
}
