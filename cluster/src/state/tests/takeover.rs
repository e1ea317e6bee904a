//! One session resumed by two connections at once: every order in which the log may have their commands.

use super::super::incarnation::{self, Attachment, Incarnation};
use super::super::room::{self, Action as RoomAction};
use super::super::socket::{self, Action as SocketAction};
use super::super::{mailbox_claim, outcome};
use super::*;

const LEASE_MS: u32 = 300_000;

fn session() -> Key {
    Key::derive(Domain::Socket, &[b"session"])
}

fn lobby() -> Key {
    Key::derive(Domain::Room, &[b"lobby"])
}

fn bob() -> Key {
    Key::derive(Domain::Mailbox, &[b"bob"])
}

fn at(connection: u64) -> Attachment {
    Attachment { incarnation: Incarnation { node: 1, run: 7 }, connection }
}

fn socket(action: SocketAction) -> Op {
    socket::Op { key: session(), action }.into()
}

fn open(connection: u64) -> Op {
    socket(SocketAction::Open { subject: None, at: at(connection), lease_ms: LEASE_MS })
}

fn resume(connection: u64, takes_over: bool) -> Op {
    socket(SocketAction::Resume { subject: None, at: at(connection), lease_ms: LEASE_MS, takes_over })
}

fn join(by: u64, number: u64) -> Op {
    let action = RoomAction::Join { member: session(), by, at: at(number), grace_ms: 10_000 };
    room::Op { key: lobby(), action }.into()
}

fn take(by: Option<u64>, number: u64) -> Op {
    let action = mailbox_claim::Action::Take {
        session: session(),
        by,
        at: at(number),
        lease_ms: LEASE_MS,
        seize: false,
    };
    mailbox_claim::Op { key: bob(), action }.into()
}

fn replaced<T>() -> Result<T, outcome::Refusal> {
    Err(socket::Refusal::Replaced.into())
}

/// An incarnation that lives.
fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.ask(incarnation::Op::Renew { incarnation: at(0).incarnation, ttl_ms: 60_000 }).unwrap();
    lab
}

/// One of the two connections: how far its node has got with its commands, and what of them was carried out.
#[derive(Debug, Clone, Copy)]
struct Side {
    connection: u64,
    step: usize,
    /// The connection is lost before this step.
    lost_at: usize,
    joined: bool,
    claimed: bool,
}

impl Side {
    /// From here on it ends what it began.
    const ENDS: usize = 5;
    const OVER: usize = 8;

    fn new(connection: u64, lost_at: usize) -> Self {
        Self { connection, step: 0, lost_at, joined: false, claimed: false }
    }

    fn membership(&self) -> u64 {
        10 * self.connection + 1
    }

    fn claim(&self) -> u64 {
        10 * self.connection + 2
    }

    /// The next command, as a node makes them; `None` where there is nothing to end.
    fn op(&self) -> Option<Op> {
        let &Self { connection, .. } = self;
        let leave = RoomAction::Leave { member: session(), connection: self.membership() };
        let release = mailbox_claim::Action::Release { session: session(), connection: self.claim() };
        Some(match self.step {
            0 => resume(connection, true),
            1 => join(connection, self.membership()),
            2 => socket(SocketAction::Enter { connection, room: Some("lobby".into()) }),
            3 => take(Some(connection), self.claim()),
            4 => socket(SocketAction::Hold { connection, peer: Some("bob".into()) }),
            5 if self.joined => room::Op { key: lobby(), action: leave }.into(),
            6 if self.claimed => mailbox_claim::Op { key: bob(), action: release }.into(),
            7 => socket(SocketAction::Detach { connection }),
            _ => return None,
        })
    }

    fn heed(&mut self, done: bool) {
        match self.step {
            1 => self.joined = done,
            3 => self.claimed = done,
            5 => self.joined = false,
            6 => self.claimed = false,
            _ => {}
        }
        self.step = if done { self.step + 1 } else { Self::ENDS };
        if self.step < Self::ENDS && self.step >= self.lost_at {
            self.step = Self::ENDS;
        }
    }
}

/// Goes on with either side, and after that with all that may follow.
fn explore(state: &State, sides: [Side; 2], trail: &mut Vec<(u64, usize)>) {
    let mut over = true;
    for turn in 0..sides.len() {
        if sides[turn].step == Side::OVER {
            continue;
        }
        over = false;
        let (mut state, mut sides) = (state.clone(), sides);
        trail.push((sides[turn].connection, sides[turn].step));
        let done = sides[turn].op().is_none_or(|op| carry_out(&mut state, trail.len() as u64, op));
        sides[turn].heed(done);
        check(&state, &sides, trail);
        explore(&state, sides, trail);
        trail.pop();
    }
    if over {
        assert!(state.rooms.members(&lobby()).next().is_none(), "a ghost stays in the room: {trail:?}");
        assert!(state.claims.get(&bob()).is_none(), "a ghost holds the peer id: {trail:?}");
    }
}

fn carry_out(state: &mut State, seq: u64, op: Op) -> bool {
    let id = RequestId { origin: 2, seq };
    let commands = vec![Command { id, payment: Payment::Free, owner: None, idempotency_key: None, op }];
    let rules = Rules { storage_bytes_max: u64::MAX, ..Rules::default() };
    let (answers, _) = state.apply(Proposal { stamp_ms: MORNING_MS, rules, commands, ..Proposal::default() });
    answers[0].outcome.is_ok()
}

/// Whoever has the session has the room and the mailbox that it was given.
fn check(state: &State, sides: &[Side; 2], trail: &[(u64, usize)]) {
    let look = (query::Socket(session()), (query::RoomMember(lobby(), session()), query::Holder(bob())));
    let (view, (member, holder)) = look.answer(state, MORNING_MS);
    let connection = view.and_then(|view| view.connection);
    let Some(side) = sides.iter().find(|side| Some(side.connection) == connection) else { return };
    if side.joined {
        assert_eq!(member, Some(at(side.membership())), "the member of {}: {trail:?}", side.connection);
    }
    if side.claimed {
        let expected = Some((session(), Some(at(side.claim()))));
        assert_eq!(holder, expected, "the mailbox of {}: {trail:?}", side.connection);
    }
}

#[test]
fn one_of_two_has_it_all_and_nothing_stays_in_whatever_order_they_come() {
    let mut lab = lab();
    lab.ask(open(9)).unwrap();
    lab.ask(socket(SocketAction::Detach { connection: 9 })).unwrap();
    for (one, other) in (1..=Side::ENDS).flat_map(|one| (1..=Side::ENDS).map(move |other| (one, other))) {
        explore(&lab.state, [Side::new(1, one), Side::new(2, other)], &mut Vec::new());
    }
}

#[test]
fn what_a_connection_asks_for_that_lost_its_session_is_refused() {
    let mut lab = lab();
    assert_eq!(lab.ask(join(1, 11)), replaced(), "there is no session yet");
    lab.ask(open(1)).unwrap();
    lab.ask(join(1, 11)).unwrap();
    lab.ask(take(Some(1), 12)).unwrap();
    lab.ask(resume(2, true)).unwrap();
    lab.ask(join(2, 21)).unwrap();
    lab.ask(take(Some(2), 22)).unwrap();
    assert_eq!((lab.ask(join(1, 13)), lab.ask(take(Some(1), 14))), (replaced(), replaced()));
    assert_eq!(lab.read(query::RoomMember(lobby(), session())), Some(at(21)));
    assert_eq!(lab.read(query::Holder(bob())), Some((session(), Some(at(22)))));
    lab.ask(socket(SocketAction::Close { connection: 2 })).unwrap();
    assert_eq!((lab.ask(join(2, 23)), lab.ask(take(Some(2), 24))), (replaced(), replaced()));
}

#[test]
fn the_session_of_an_event_stream_is_its_claim() {
    let mut lab = lab();
    lab.ask(take(None, 12)).unwrap();
    assert_eq!(lab.read(query::Holder(bob())), Some((session(), Some(at(12)))));
}

#[test]
fn a_connection_whose_node_was_cut_off_takes_nothing_back_that_went_on_elsewhere() {
    let other = Attachment { incarnation: Incarnation { node: 2, run: 8 }, connection: 2 };
    let renew = |incarnation| incarnation::Op::Renew { incarnation, ttl_ms: 60_000 };
    let mut lab = lab();
    lab.ask(open(1)).unwrap();
    lab.wait(60_000);
    lab.ask(renew(at(0).incarnation)).unwrap();
    assert_eq!(lab.ask(join(1, 11)), replaced(), "it lapsed");
    lab.ask(resume(1, false)).unwrap();
    lab.ask(join(1, 11)).unwrap();
    lab.wait(60_000);
    lab.ask(renew(other.incarnation)).unwrap();
    let elsewhere = SocketAction::Resume { subject: None, at: other, lease_ms: LEASE_MS, takes_over: true };
    lab.ask(socket(elsewhere)).unwrap();
    lab.ask(renew(at(0).incarnation)).unwrap();
    assert_eq!((lab.ask(resume(1, false)), lab.ask(join(1, 11))), (replaced(), replaced()));
    assert_eq!(lab.read(query::Socket(session())).unwrap().connection, Some(2));
    lab.ask(socket(SocketAction::Detach { connection: 2 })).unwrap();
    assert!(lab.ask(resume(1, false)).is_ok(), "nobody else has it");
}
