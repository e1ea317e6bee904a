//! Every order in which the logs may have the commands of two connections that resume one session.

use super::*;

/// One of the two connections: how far its node has got with its commands, and what of them was carried out.
#[derive(Debug, Clone, Copy)]
struct Side {
    connection: u64,
    step: usize,
    /// The connection is lost before this step.
    lost_at: usize,
    /// The node dies while it waits for the answer to this step.
    dies_at: usize,
    /// The client says goodbye, and the session is closed. Else its lease begins.
    closes: bool,
    /// The session notes the room before the room has the member. They are asked for at once, and lie in different cells.
    notes_first: bool,
    generation: Option<Generation>,
    joined: bool,
    claimed: bool,
}

impl Side {
    /// From here on it ends what it began.
    const ENDS: usize = 5;
    const OVER: usize = 8;

    fn new(connection: u64, lost_at: usize) -> Self {
        Self {
            connection,
            step: 0,
            lost_at,
            dies_at: Self::OVER,
            closes: false,
            notes_first: false,
            generation: None,
            joined: false,
            claimed: false,
        }
    }

    fn membership(&self) -> u64 {
        10 * self.connection + 1
    }

    fn claim(&self) -> u64 {
        10 * self.connection + 2
    }

    fn is_joining(&self) -> bool {
        self.step == if self.notes_first { 2 } else { 1 }
    }

    /// The next command, as a node makes them; `None` where there is nothing to end.
    fn op(&self) -> Option<Op> {
        let &Self { connection, .. } = self;
        Some(match self.step {
            0 => resume(connection, true),
            1 | 2 if self.is_joining() => join(self.generation?, self.membership()),
            1 | 2 => socket(SocketAction::Enter { connection, room: Some("lobby".into()) }),
            3 => take(self.generation?, self.claim()),
            4 => socket(SocketAction::Hold { connection, peer: Some("bob".into()) }),
            5 if self.joined => leave(self.membership()),
            6 if self.claimed => release(self.claim()),
            7 if self.closes => close(connection),
            7 => socket(SocketAction::Detach { connection }),
            _ => return None,
        })
    }

    fn heed(&mut self, outcome: &Result<Outcome, Refusal>) {
        let done = outcome.is_ok();
        match self.step {
            0 => self.generation = generation_of(outcome),
            1 | 2 if self.is_joining() => self.joined = done,
            3 => self.claimed = done,
            5 => self.joined = false,
            6 => self.claimed = false,
            _ => {}
        }
        if self.step == self.dies_at {
            self.step = Self::OVER;
            return;
        }
        // Both of what is asked for at once is answered before any of it is ended.
        let refused_both = self.step == 1 && !done;
        self.step = if done || refused_both { self.step + 1 } else { Self::ENDS };
        if self.step < Self::ENDS && self.step >= self.lost_at {
            self.step = Self::ENDS;
        }
        while self.step < Self::OVER && self.op().is_none() {
            self.step += 1;
        }
    }

    fn is_dead(&self) -> bool {
        self.dies_at < Self::OVER
    }
}

/// A state that two sides ask, and the greatest generations that were let in so far: into the room, and to the mailbox.
#[derive(Clone)]
struct World {
    state: State,
    sides: [Side; 2],
    let_in: [Option<Generation>; 2],
}

impl World {
    fn step(&mut self, side: usize, trail: &[(u64, usize)]) {
        let Some(op) = self.sides[side].op() else { return };
        let place = match &op {
            Op::Room(room::Op { action: RoomAction::Join { .. }, .. }) => Some(0),
            Op::Claim(mailbox_claim::Op { action: mailbox_claim::Action::Take { .. }, .. }) => Some(1),
            _ => None,
        };
        let outcome = carry_out(&mut self.state, trail.len() as u64, op);
        if let Some(place) = place.filter(|_| outcome.is_ok()) {
            let generation = self.sides[side].generation;
            assert!(generation >= self.let_in[place], "after another that had the session later: {trail:?}");
            self.let_in[place] = generation;
        }
        self.sides[side].heed(&outcome);
        self.check(trail);
    }

    /// Whoever has the session has the room and the mailbox that it was given.
    fn check(&self, trail: &[(u64, usize)]) {
        let look = (query::Socket(session()), (query::RoomMember(lobby(), session()), query::Holder(bob())));
        let (view, (member, holder)) = look.answer(&self.state, MORNING_MS);
        let connection = view.and_then(|view| view.connection);
        let Some(side) = self.sides.iter().find(|side| Some(side.connection) == connection) else { return };
        if side.joined {
            assert_eq!(member, Some(at(side.membership())), "the member of {}: {trail:?}", side.connection);
        }
        if side.claimed {
            let expected = Some((session(), Some(at(side.claim()))));
            assert_eq!(holder, expected, "the mailbox of {}: {trail:?}", side.connection);
        }
    }

    /// Both are over. What hangs on a node that died ends by the lease of that, and nothing else is left.
    fn check_the_end(mut self, trail: &[(u64, usize)]) {
        if self.sides.iter().any(Side::is_dead) {
            for stamp_ms in [TTL_MS, LEASE_MS].into_iter().scan(MORNING_MS, |now_ms, wait_ms| {
                *now_ms += u64::from(wait_ms);
                Some(*now_ms)
            }) {
                self.state.apply(Proposal { stamp_ms, ..Proposal::default() });
            }
        }
        assert!(self.state.rooms.members(&lobby()).next().is_none(), "a ghost stays in the room: {trail:?}");
        assert!(self.state.claims.get(&bob()).is_none(), "a ghost holds the peer id: {trail:?}");
    }

    /// Goes on with either side, and after that with all that may follow. Returns in how many orders.
    fn explore(self, trail: &mut Vec<(u64, usize)>) -> usize {
        let mut orders = 0;
        for side in 0..self.sides.len() {
            let Side { step, connection, .. } = self.sides[side];
            if step == Side::OVER {
                continue;
            }
            let mut next = self.clone();
            trail.push((connection, step));
            next.step(side, trail);
            orders += next.explore(trail);
            trail.pop();
        }
        if orders == 0 {
            self.check_the_end(trail);
            return 1;
        }
        orders
    }
}

fn carry_out(state: &mut State, seq: u64, op: Op) -> Result<Outcome, Refusal> {
    let id = RequestId { origin: 2, seq };
    let commands = vec![Command { id, payment: Payment::Free, owner: None, idempotency_key: None, op }];
    let rules = Rules { storage_bytes_max: u64::MAX, ..Rules::default() };
    let (mut answers, _) =
        state.apply(Proposal { stamp_ms: MORNING_MS, rules, commands, ..Proposal::default() });
    answers.remove(0).outcome
}

/// All orders of what two sides do with a session that a third one left.
fn explore(sides: [Side; 2]) -> usize {
    let mut lab = lab();
    lab.ask(open(9)).unwrap();
    lab.ask(socket(SocketAction::Detach { connection: 9 })).unwrap();
    World { state: lab.state, sides, let_in: [None; 2] }.explore(&mut Vec::new())
}

/// How a side may go about it.
fn manners(side: Side) -> [Side; 2] {
    [side, Side { closes: true, notes_first: true, ..side }]
}

#[test]
fn one_of_two_has_it_all_and_nothing_stays_in_whatever_order_they_come() {
    let mut orders = 0;
    for (one, other) in (1..=Side::ENDS).flat_map(|one| (1..=Side::ENDS).map(move |other| (one, other))) {
        for one in manners(Side::new(1, one)) {
            for other in manners(Side::new(2, other)) {
                orders += explore([one, other]);
            }
        }
    }
    assert!(orders > 50_000, "{orders}");
}

#[test]
fn a_node_that_dies_with_a_command_under_way_leaves_nothing_for_longer_than_its_lease() {
    for dies_at in 0..Side::OVER {
        for one in manners(Side { dies_at, ..Side::new(1, Side::ENDS) }) {
            for other in manners(Side::new(2, Side::ENDS)) {
                explore([one, other]);
            }
        }
    }
}
