//! A room's messages, for somebody who listens and is no member.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conclave_cluster::state::query::{self, Page};
use conclave_cluster::state::room::{Message, View};
use serde_json::json;

use super::frame::Frames;
use crate::actors::StateKey;
use crate::service::room_format::{TEXT, public_name};
use crate::service::storage_keys::Namespace;
use crate::transport::request::reply::push_string;

/// Messages of one write.
const COUNT_MAX: usize = 64;
/// Their bytes, unless a single one has more: what a client that does not read costs this node.
const BYTES_MAX: usize = 32 * 1024;

/// Where in a room's history a stream stands.
#[derive(Debug)]
pub(crate) struct Reader {
    name: String,
    target: StateKey,
    asked: Option<Asked>,
    /// `None`: there was no room yet, so that everything is still to come.
    at: Option<Position>,
}

/// An offset, and the numbering it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    epoch: u64,
    offset: u64,
}

/// What the last stream said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// There was no room yet.
    Nothing,
    /// It got that far.
    Until(Position),
    /// Nothing that any stream says: what it belongs to is lost.
    Unknown,
}

impl Reader {
    /// Goes on after the event `last`, if there is one, else with what comes from now on.
    pub(crate) fn new(name: String, within: Namespace, last: Option<&str>) -> Self {
        let target = within.room(&name);
        Self { name, target, asked: last.map(Asked::parse), at: None }
    }

    pub(crate) fn target(&self) -> StateKey {
        self.target
    }

    /// What [`Reader::welcome`] tells of.
    pub(crate) fn room(&self) -> query::Room {
        query::Room(self.target.key)
    }

    /// What [`Reader::read`] tells of.
    pub(crate) fn since(&self) -> query::RoomSince {
        let Position { epoch, offset } = self.at.unwrap_or(Position::BEFORE_ALL);
        let page = Page { after: offset, count_max: COUNT_MAX, bytes_max: BYTES_MAX };
        query::RoomSince(self.target.key, epoch, page)
    }

    /// The first event: where the stream begins, and whether nothing is missing before it.
    pub(crate) fn welcome(&mut self, view: Option<View>, frames: &mut Frames) {
        let now = view.map(|view| Position { epoch: view.epoch, offset: view.last });
        let goes_on = self.asked.take().map(|asked| asked.within(view));
        let recovered = goes_on.map(|place| place.is_some());
        self.at = goes_on.flatten().unwrap_or(now);
        let data = json!({
            "room": self.name,
            "epoch": self.at.map(|at| at.epoch),
            "offset": self.at.map(|at| at.offset),
            "recovered": recovered,
        });
        let id = self.at.unwrap_or(Position::BEFORE_ALL).to_string();
        frames.event("welcome", Some(&id), data.to_string().as_bytes());
    }

    /// Adds what came since. Messages that went before they could be read are told of, never passed over.
    pub(crate) fn read(&mut self, since: Option<(View, Vec<Arc<Message>>)>, frames: &mut Frames) {
        let Some((view, messages)) = since else { return };
        let before = match self.at {
            Some(at) if at.epoch == view.epoch => at.offset,
            // The room was not there, or was forgotten and came back.
            Some(_) | None => 0,
        };
        let other_epoch = self.at.is_some_and(|at| at.epoch != view.epoch);
        if other_epoch || before + 1 < view.first {
            let offset = view.first - 1;
            self.at = Some(Position { epoch: view.epoch, offset });
            let data = json!({ "room": self.name, "epoch": view.epoch, "offset": offset });
            frames.event(
                "lost",
                Some(&Position { epoch: view.epoch, offset }.to_string()),
                data.to_string().as_bytes(),
            );
        }
        for message in messages {
            let at = Position { epoch: view.epoch, offset: message.offset };
            frames.event("message", Some(&at.to_string()), &self.spell(at, &message));
            self.at = Some(at);
        }
    }

    /// As a socket would be sent it.
    fn spell(&self, at: Position, message: &Message) -> Vec<u8> {
        let mut body = br#"{"room":"#.to_vec();
        push_string(&mut body, &self.name);
        let (epoch, offset, from, when) = (at.epoch, at.offset, public_name(&message.member), message.at_ms);
        body.extend(format!(r#","epoch":{epoch},"offset":{offset},"from":"{from}","at":{when},"#).bytes());
        match message.data.bytes().split_first() {
            Some((&TEXT, text)) => {
                body.extend_from_slice(br#""data":"#);
                body.extend_from_slice(text);
            }
            Some((_, bytes)) => {
                body.extend(format!(r#""base64":"{}""#, STANDARD.encode(bytes)).bytes());
            }
            None => body.extend_from_slice(br#""data":null"#),
        }
        body.push(b'}');
        body
    }
}

impl Asked {
    fn parse(text: &str) -> Self {
        match Position::parse(text) {
            Some(Position::BEFORE_ALL) => Self::Nothing,
            Some(position) => Self::Until(position),
            None => Self::Unknown,
        }
    }

    /// Where a stream goes on so that nothing is missing, if that can be: `Some(None)` before everything.
    fn within(self, view: Option<View>) -> Option<Option<Position>> {
        match (self, view) {
            (Self::Nothing, None) => Some(None),
            (Self::Nothing, Some(view)) => {
                (view.first <= 1).then_some(Some(Position { epoch: view.epoch, offset: 0 }))
            }
            (Self::Until(asked), Some(view)) => {
                let there = asked.epoch == view.epoch && asked.offset <= view.last;
                (there && asked.offset + 1 >= view.first).then_some(Some(asked))
            }
            (Self::Until(_), None) | (Self::Unknown, _) => None,
        }
    }
}

impl Position {
    /// Of a stream of a room that is not there yet. A numbering is named by when it began, so that none is called so.
    const BEFORE_ALL: Self = Self { epoch: 0, offset: 0 };

    fn parse(text: &str) -> Option<Self> {
        let (epoch, offset) = text.split_once(':')?;
        Some(Self { epoch: epoch.parse().ok()?, offset: offset.parse().ok()? })
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.epoch, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use conclave_cluster::state::State;
    use conclave_cluster::state::allowance::Payment;
    use conclave_cluster::state::body::Body;
    use conclave_cluster::state::command::{Command, Op, Proposal};
    use conclave_cluster::state::generation::Generation;
    use conclave_cluster::state::id::{Domain, Key, RequestId};
    use conclave_cluster::state::incarnation::{self, Attachment, Incarnation};
    use conclave_cluster::state::leader_rules::Rules;
    use conclave_cluster::state::query::Query as _;
    use conclave_cluster::state::room::{self, Action, Keep};

    use super::*;

    const INCARNATION: Incarnation = Incarnation { node: 1, run: 1 };

    /// A state with one member in the room.
    struct Room {
        state: State,
        seq: u64,
        now_ms: u64,
    }

    impl Room {
        fn new() -> Self {
            let mut room = Self { state: State::default(), seq: 0, now_ms: 1_000 };
            room.ask(Op::Incarnation(incarnation::Op::Renew { incarnation: INCARNATION, ttl_ms: 1_000_000 }));
            room
        }

        fn ask(&mut self, op: Op) {
            self.seq += 1;
            let id = RequestId { origin: 1, seq: self.seq };
            let commands =
                vec![Command { id, payment: Payment::Free, owner: None, idempotency_key: None, op }];
            let rules = Rules { storage_bytes_max: 1 << 30, ..Rules::default() };
            let proposal = Proposal { stamp_ms: self.now_ms, rules, commands, ..Proposal::default() };
            let (answers, _) = self.state.apply(proposal);
            assert!(answers[0].outcome.is_ok(), "{answers:?}");
        }

        fn join(&mut self) {
            let at = Attachment { incarnation: INCARNATION, connection: 1 };
            let generation = Generation::first(1);
            self.action(Action::Join { member: member(), generation, at, grace_ms: 1_000 });
        }

        fn say(&mut self, data: &'static [u8], count: u32) {
            let keep = Keep { count, bytes: 1 << 20, age_ms: 60_000 };
            self.action(Action::Publish {
                member: member(),
                message_id: None,
                data: Body::new(data.into()),
                keep,
            });
        }

        fn action(&mut self, action: Action) {
            self.ask(Op::Room(room::Op { key: Namespace::default().room("lobby").key, action }));
        }

        fn epoch(&self) -> u64 {
            query::Room(Namespace::default().room("lobby").key)
                .answer(&self.state, self.now_ms)
                .unwrap()
                .epoch
        }

        fn read(&self, reader: &mut Reader) -> String {
            let mut frames = Frames::default();
            reader.read(reader.since().answer(&self.state, self.now_ms), &mut frames);
            text(frames)
        }

        fn welcome(&self, reader: &mut Reader) -> String {
            let mut frames = Frames::default();
            reader.welcome(reader.room().answer(&self.state, self.now_ms), &mut frames);
            text(frames)
        }
    }

    fn text(frames: Frames) -> String {
        String::from_utf8(frames.into_bytes().to_vec()).unwrap()
    }

    fn member() -> Key {
        Key::derive(Domain::Socket, &[b"member"])
    }

    fn reader(last: Option<&str>) -> Reader {
        Reader::new("lobby".into(), Namespace::default(), last)
    }

    #[test]
    fn a_stream_begins_now_and_says_everything_after() {
        let mut room = Room::new();
        room.join();
        room.say(b"J\"before\"", 10);
        let mut reader = reader(None);
        assert!(room.welcome(&mut reader).contains("\"recovered\":null"));
        assert_eq!(room.read(&mut reader), "");
        room.say(b"J{\"x\": 1}", 10);
        room.say(b"B\x00\xff", 10);
        let said = room.read(&mut reader);
        assert!(!said.contains("before") && said.contains(r#""data":{"x": 1}"#), "{said}");
        assert!(said.contains(r#""base64":"AP8=""#) && said.contains(&public_name(&member())), "{said}");
        assert_eq!(room.read(&mut reader), "");
    }

    #[test]
    fn a_stream_goes_on_where_the_last_one_ended() {
        let mut room = Room::new();
        room.join();
        room.say(b"J1", 10);
        let epoch = room.epoch();
        room.say(b"J2", 10);
        room.say(b"J3", 10);
        let mut reader = reader(Some(&format!("{epoch}:1")));
        assert!(room.welcome(&mut reader).contains("\"recovered\":true"));
        let said = room.read(&mut reader);
        assert!(
            said.contains("\"data\":2") && said.contains("\"data\":3") && !said.contains("\"data\":1"),
            "{said}"
        );
        assert!(said.contains(&format!("id: {epoch}:3\n")), "{said}");
    }

    #[test]
    fn what_is_lost_is_told() {
        let mut room = Room::new();
        room.join();
        for _ in 0..5 {
            room.say(b"J1", 2);
        }
        let epoch = room.epoch();
        for last in
            [format!("{epoch}:1"), format!("{}:4", epoch + 1), format!("{epoch}:9"), "nonsense".into()]
        {
            let mut reader = reader(Some(&last));
            assert!(room.welcome(&mut reader).contains("\"recovered\":false"), "{last}");
        }
        // One that fell behind while it was open.
        let mut slow = reader(None);
        room.welcome(&mut slow);
        for _ in 0..5 {
            room.say(b"J2", 2);
        }
        let said = room.read(&mut slow);
        assert!(said.starts_with("event: lost\n") && said.matches("event: message").count() == 2, "{said}");
    }

    #[test]
    fn a_stream_that_was_there_before_the_room_goes_on_before_its_first_message() {
        let mut room = Room::new();
        assert!(room.welcome(&mut reader(None)).contains("id: 0:0\n"));
        let mut early = reader(Some("0:0"));
        let welcome = room.welcome(&mut early);
        assert!(welcome.contains("id: 0:0\n") && welcome.contains("\"recovered\":true"), "{welcome}");
        assert_eq!(room.read(&mut early), "");
        room.join();
        room.say(b"J\"first\"", 2);
        room.say(b"J\"second\"", 2);
        assert!(room.read(&mut early).contains("first"));
        let mut early = reader(Some("0:0"));
        let welcome = room.welcome(&mut early);
        let id = format!("id: {}:0\n", room.epoch());
        assert!(welcome.contains(&id) && welcome.contains("\"recovered\":true"), "{welcome}");
        let said = room.read(&mut early);
        assert!(said.contains("first") && said.contains("second"), "{said}");
        // Once the first is gone, that is said.
        room.say(b"J\"third\"", 2);
        let mut late = reader(Some("0:0"));
        assert!(room.welcome(&mut late).contains("\"recovered\":false"));
        assert_eq!(room.read(&mut late), "");
    }

    #[test]
    fn a_room_that_begins_later_is_heard_from_its_first_message() {
        let mut room = Room::new();
        let mut reader = reader(None);
        room.welcome(&mut reader);
        assert_eq!(room.read(&mut reader), "");
        room.join();
        room.say(b"J\"first\"", 10);
        assert!(room.read(&mut reader).contains("first"));
    }
}
