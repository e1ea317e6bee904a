//! Slots that go from cell to cell.

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::handoff::{Op as Handoff, Outcome as HandedOff, Refusal as NotHandedOff};
use super::super::limits::SLOT_PART_BYTES_MAX;
use super::super::slot::{CellId, Slot};
use super::super::slot_table::Standing;
use super::super::{incarnation, mailbox, mailbox_claim, room, socket, transfer};
use super::properties::{Step, command, history};
use super::transfer::{about, put};
use super::*;

const ONE: CellId = CellId::FIRST;
const TWO: CellId = CellId::of(2);

/// A cell that was founded later.
fn second() -> Lab {
    let mut cell = Lab::new();
    administer(&mut cell, Handoff::Begin).unwrap();
    cell
}

/// Asks something about slots, as an origin that no history has.
fn administer(cell: &mut Lab, op: Handoff) -> Result<Outcome, Refusal> {
    let command = cell.command(op);
    let id = RequestId { origin: 99, ..command.id };
    cell.carry_out(Command { id, ..command }).outcome
}

fn slot() -> Slot {
    Key::derive(Domain::Transfer, &[b"t"]).slot()
}

/// What a slot holds, in parts of so many bytes.
fn parts(cell: &Lab, slot: Slot, len: usize) -> Vec<Body> {
    let bytes = Bytes::from(cell.state.export(slot));
    let starts = (0..bytes.len()).step_by(len);
    starts.map(|start| Body::new(bytes.slice(start..bytes.len().min(start + len)))).collect()
}

fn import(slot: Slot, epoch: u64, run: u64, parts: &[Body]) -> Vec<Handoff> {
    let ops = parts.iter().enumerate().map(|(part, bytes)| Handoff::Import {
        slot,
        epoch,
        run,
        part: part as u32,
        last: part + 1 == parts.len(),
        bytes: bytes.clone(),
    });
    ops.collect()
}

/// The whole move of a slot.
fn hand_over(slot: Slot, from: &mut Lab, to: &mut Lab, name: CellId, len: usize) {
    let epoch = from.state.slots.get(slot).epoch + 1;
    assert_eq!(administer(from, Handoff::Seal { slot, epoch, to: name }), Ok(HandedOff::Sealed.into()));
    let ops = import(slot, epoch, 1, &parts(from, slot, len));
    let last = ops.len() - 1;
    for (part, op) in ops.into_iter().enumerate() {
        let outcome = if part == last { HandedOff::Imported } else { HandedOff::Taken };
        assert_eq!(administer(to, op), Ok(outcome.into()));
    }
    assert_eq!(administer(from, Handoff::Forget { slot, epoch }), Ok(HandedOff::Forgotten.into()));
}

#[test]
fn a_slot_is_served_by_the_cell_that_holds_it_and_no_other_names_a_wrong_answer() {
    let (mut one, mut two) = (Lab::new(), second());
    one.ask(put("t", 0, 2, "zero")).unwrap();
    assert_eq!(two.ask(about("t", transfer::Action::Take)), Err(Refusal::Moved { to: None }));

    hand_over(slot(), &mut one, &mut two, TWO, SLOT_PART_BYTES_MAX);

    let take = |cell: &mut Lab| cell.ask(about("t", transfer::Action::Take));
    assert_eq!(take(&mut one), Err(Refusal::Moved { to: Some(TWO) }));
    let chunk = Outcome::Transfer(transfer::Outcome::Chunk {
        index: 0,
        total: 2,
        encoding: transfer::Encoding::Text,
        body: body("zero"),
    });
    assert_eq!(take(&mut two), Ok(chunk));
    assert_eq!((one.state.stored_bytes(), one.state.counts().bodies), (0, 0), "nothing is left");
}

#[test]
fn nobody_serves_a_slot_on_its_way() {
    let (mut one, mut two) = (Lab::new(), second());
    one.ask(put("t", 0, 2, "zero")).unwrap();
    one.ask(Handoff::Seal { slot: slot(), epoch: 1, to: TWO }).unwrap();
    assert_eq!(one.ask(put("t", 1, 2, "one")), Err(Refusal::Moved { to: Some(TWO) }));
    let ops = import(slot(), 1, 7, &parts(&one, slot(), 40));
    assert!(ops.len() > 2);
    for op in ops {
        assert_ne!(two.state.slots.get(slot()).standing, Standing::Open);
        two.ask(op).unwrap();
        audit(&two.state);
    }
    two.ask(put("t", 1, 2, "one")).unwrap();
}

#[test]
fn a_refusal_is_remembered_although_the_slot_comes_back() {
    let (mut one, mut two) = (Lab::new(), second());
    let early = two.command(put("t", 0, 1, "zero"));
    let refused = two.carry_out(early.clone());
    assert_eq!(refused.outcome, Err(Refusal::Moved { to: None }));
    hand_over(slot(), &mut one, &mut two, TWO, SLOT_PART_BYTES_MAX);
    assert_eq!(two.carry_out(early), refused, "under its id it is carried out nowhere else, so not here");
    assert_eq!(two.state.counts().transfers, 0);
}

#[test]
fn a_client_whose_window_is_elsewhere_is_charged_nothing_here() {
    let (mut one, mut two) = (Lab::new(), second());
    let client = Key::placed(slot(), Domain::Client, &[b"client"]);
    let charge =
        Charge { client, tier: super::super::allowance::Tier::Chunk, count: 1, limit: 9, window_ms: 60_000 };
    let other = (0..)
        .map(|name: u32| name.to_string())
        .find(|name| Key::derive(Domain::Transfer, &[name.as_bytes()]).slot() != slot());
    let other = other.unwrap();
    hand_over(slot(), &mut one, &mut two, TWO, SLOT_PART_BYTES_MAX);
    let command = one.charged(charge, put(&other, 0, 1, "zero"));
    assert_eq!(one.carry_out(command).outcome, Err(Refusal::Moved { to: Some(TWO) }));
    assert_eq!(one.state.counts().transfers, 0, "and it was not carried out");
}

#[test]
fn a_slot_is_sealed_once_an_epoch_and_only_where_it_is() {
    let (mut one, mut two) = (Lab::new(), second());
    let seal = |epoch, to| Handoff::Seal { slot: slot(), epoch, to };
    assert_eq!(two.ask(seal(1, ONE)), Err(NotHandedOff::NotOpen.into()));
    assert_eq!(one.ask(seal(2, TWO)), Err(NotHandedOff::NotOpen.into()));
    assert_eq!(one.ask(seal(1, TWO)), Ok(HandedOff::Sealed.into()));
    assert_eq!(one.ask(seal(1, TWO)), Ok(HandedOff::Sealed.into()), "said again");
    assert_eq!(one.ask(seal(1, CellId::of(3))), Err(NotHandedOff::NotOpen.into()));
    assert_eq!(one.ask(Handoff::Forget { slot: slot(), epoch: 0 }), Ok(HandedOff::Forgotten.into()));
    assert_eq!(one.state.slots.get(slot()).standing, Standing::Sealed(TWO), "another move was meant");
}

#[test]
fn only_a_cell_without_anything_begins_without_slots() {
    let mut cell = Lab::new();
    cell.ask(put("t", 0, 1, "zero")).unwrap();
    assert_eq!(cell.ask(Handoff::Begin), Err(NotHandedOff::NotNew.into()));
    let mut cell = second();
    assert_eq!(cell.ask(Handoff::Begin), Err(NotHandedOff::NotNew.into()));
}

#[test]
fn parts_of_two_movers_are_not_mixed_and_a_mover_may_begin_again() {
    let (mut one, mut two) = (Lab::new(), second());
    one.ask(put("t", 0, 2, "zero")).unwrap();
    one.ask(Handoff::Seal { slot: slot(), epoch: 1, to: TWO }).unwrap();
    let parts = parts(&one, slot(), 64);
    let (mine, theirs) = (import(slot(), 1, 1, &parts), import(slot(), 1, 2, &parts));
    assert_eq!(two.ask(mine[1].clone()), Err(NotHandedOff::OutOfStep.into()));
    assert_eq!(two.ask(mine[0].clone()), Ok(HandedOff::Taken.into()));
    assert_eq!(two.ask(theirs[1].clone()), Err(NotHandedOff::OutOfStep.into()));
    assert_eq!(two.ask(theirs[0].clone()), Ok(HandedOff::Taken.into()));
    assert_eq!(two.ask(mine[1].clone()), Err(NotHandedOff::OutOfStep.into()));
    for op in &theirs[1..] {
        two.ask(op.clone()).unwrap();
    }
    for op in mine {
        assert_eq!(two.ask(op), Ok(HandedOff::Imported.into()), "it was carried out before");
    }
    assert_eq!(two.state.counts().chunks, 1);
}

#[test]
fn damaged_parts_are_noticed_and_leave_nothing() {
    let (mut one, mut two) = (Lab::new(), second());
    one.ask(put("t", 0, 2, "zero")).unwrap();
    one.ask(Handoff::Seal { slot: slot(), epoch: 1, to: TWO }).unwrap();
    let whole = one.state.export(slot());
    let deliver = |two: &mut Lab, run, bytes: Vec<u8>| {
        let ops = import(slot(), 1, run, &[Body::new(bytes.into())]);
        two.ask(ops[0].clone())
    };
    for place in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        assert_eq!(deliver(&mut two, 1, damaged), Err(NotHandedOff::Damaged.into()), "byte {place}");
        assert_eq!((two.state.stored_bytes(), two.state.counts().bodies), (0, 0), "byte {place}");
    }
    let elsewhere = Slot::all().find(|other| *other != slot()).unwrap();
    let other = import(elsewhere, 1, 1, &[Body::new(whole.clone().into())]);
    assert_eq!(two.ask(other[0].clone()), Err(NotHandedOff::Damaged.into()), "of another slot");
    assert_eq!(deliver(&mut two, 2, whole), Ok(HandedOff::Imported.into()));
}

#[test]
fn what_is_over_by_the_other_cells_clock_is_over_there() {
    let (mut one, mut two) = (Lab::new(), second());
    one.ask(put("t", 0, 2, "zero")).unwrap();
    two.wait(3_600_000);
    two.tick();
    hand_over(slot(), &mut one, &mut two, TWO, SLOT_PART_BYTES_MAX);
    assert_eq!(two.ask(about("t", transfer::Action::Take)), Ok(Outcome::Transfer(transfer::Outcome::Absent)));
    two.tick();
    assert_eq!(two.state.stored_bytes(), 0);
}

/// The same history for one cell that has all slots, and for three among which they wander.
struct Wandering {
    whole: Lab,
    cells: [Lab; 3],
}

impl Wandering {
    fn new() -> Self {
        Self { whole: Lab::new(), cells: [Lab::new(), second(), second()] }
    }

    fn cell_of(&self, slot: Slot) -> usize {
        let serves = |cell: &Lab| cell.state.slots.get(slot).standing == Standing::Open;
        let mut serving = (0..self.cells.len()).filter(|at| serves(&self.cells[*at]));
        let cell = serving.next().expect("some cell holds each slot");
        assert_eq!(serving.next(), None, "and no other does");
        cell
    }

    /// Has everywhere happen by itself what is due now: a proposal that one cell gets may show it there earlier.
    fn look(&mut self) {
        for lab in self.cells.iter_mut().chain([&mut self.whole]) {
            lab.state.apply(Proposal { stamp_ms: lab.now_ms, rules: lab.bounds(), ..Proposal::default() });
        }
    }

    fn go(&mut self, slot: Slot, to: usize, len: usize) {
        let from = self.cell_of(slot);
        if from == to {
            return;
        }
        self.look();
        let [from, to_cell] = self.cells.get_disjoint_mut([from, to]).unwrap();
        hand_over(slot, from, to_cell, CellId::of(to as u16 + 1), len);
    }

    fn step(&mut self, (dt, commands): Step) {
        for lab in self.cells.iter_mut().chain([&mut self.whole]) {
            lab.wait(dt);
        }
        self.look();
        for command in commands {
            let expected = self.whole.carry_out(command.clone());
            let key = command.op.key().or(command.charge.as_ref().map(|charge| &charge.client));
            match key {
                Some(key) => {
                    let cell = self.cell_of(key.slot());
                    assert_eq!(self.cells[cell].carry_out(command), expected);
                }
                // About a node: every cell is told.
                None => self.cells.iter_mut().for_each(|cell| {
                    assert_eq!(cell.carry_out(command.clone()).outcome, expected.outcome);
                }),
            }
            self.look();
        }
    }

    /// How much there is of what clients store.
    fn counts(lab: &Lab) -> [usize; 16] {
        let it = lab.state.counts();
        [
            it.transfers,
            it.chunks,
            it.acknowledgements,
            it.negotiations,
            it.mailboxes,
            it.signals,
            it.rendezvous,
            it.devices,
            it.windows,
            it.sockets,
            it.rooms,
            it.room_members,
            it.room_messages,
            it.claims,
            it.tickets,
            it.idempotency_keys,
        ]
    }
}

/// The command as the edge makes it: what it touches lies in one slot. Its charge goes only where it is all there is.
fn in_one_slot(mut command: Command) -> Command {
    // Rooms and claims look at sessions: those go together.
    let together = slot();
    let with_sockets = |key: &mut Key, domain| *key = Key::placed(together, domain, &[key.as_bytes()]);
    match &mut command.op {
        Op::Socket(op) => with_sockets(&mut op.key, Domain::Socket),
        Op::Claim(op) => {
            with_sockets(&mut op.key, Domain::Mailbox);
            let (mailbox_claim::Action::Take { session, .. }
            | mailbox_claim::Action::Detach { session, .. }
            | mailbox_claim::Action::Release { session, .. }) = &mut op.action;
            with_sockets(session, Domain::Socket);
        }
        Op::Mailbox(op) => {
            with_sockets(&mut op.key, Domain::Mailbox);
            if let mailbox::Action::Acknowledge { session, .. } = &mut op.action {
                with_sockets(session, Domain::Socket);
            }
        }
        Op::Room(op) => {
            with_sockets(&mut op.key, Domain::Room);
            let (room::Action::Join { member, .. }
            | room::Action::Detach { member, .. }
            | room::Action::Leave { member, .. }
            | room::Action::Publish { member, .. }) = &mut op.action;
            with_sockets(member, Domain::Socket);
        }
        _ => {}
    }
    let Some(slot) = command.op.key().map(Key::slot) else {
        let charge = command.charge.filter(|_| matches!(command.op, Op::Spend | Op::Pay));
        return Command { charge, idempotency_key: None, ..command };
    };
    let place = |key: &Key, domain| Key::placed(slot, domain, &[key.as_bytes()]);
    let idempotency_key = command
        .idempotency_key
        .map(|named| IdempotencyKey { key: place(&named.key, Domain::IdempotencyKey), ..named });
    let mut op = command.op;
    if let Op::Negotiation(op) = &mut op
        && let super::super::negotiation::Action::Create { pin: Some(pin), .. } = &mut op.action
    {
        *pin = place(pin, Domain::Pin);
    }
    Command { charge: None, idempotency_key, op, ..command }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nobody_can_tell_by_an_answer_where_a_slot_is_or_was(
        steps in history(command()),
        moves in prop::collection::vec((any::<Index>(), any::<Index>(), 0_usize..3), 0..60),
        len in 20_usize..2000,
    ) {
        let placed = |(dt, commands): Step| (dt, commands.into_iter().map(in_one_slot).collect());
        let steps: Vec<Step> = steps.into_iter().map(placed).collect();
        let keys = steps.iter().flat_map(|(_, commands)| commands);
        let slots: Vec<Slot> = keys
            .flat_map(|command| {
                let client = command.charge.as_ref().map(|charge| charge.client);
                command.op.key().copied().into_iter().chain(client)
            })
            .map(|key| key.slot())
            .collect();
        let mut cells = Wandering::new();
        let steps_len = steps.len();
        for (number, step) in steps.into_iter().enumerate() {
            for (when, which, to) in moves.iter().filter(|_| !slots.is_empty()) {
                if when.index(steps_len) == number {
                    cells.go(*which.get(&slots), *to, len);
                }
            }
            cells.step(step);
        }
        let counted = cells.cells.iter().map(Wandering::counts);
        let sum = counted.fold([0; 16], |sum, it| std::array::from_fn(|kind| sum[kind] + it[kind]));
        prop_assert_eq!(sum, Wandering::counts(&cells.whole));
        // All back to one cell, and then everything is freed there as if it had never been away.
        for slot in slots {
            cells.go(slot, 0, len);
        }
        for lab in &cells.cells[1..] {
            prop_assert_eq!(lab.state.stored_bytes(), 0);
        }
        prop_assert_eq!(cells.cells[0].state.stored_bytes(), cells.whole.state.stored_bytes());
    }
}

/// What may happen to a slot that two movers a cell move at random.
#[derive(Debug, Clone)]
enum Event {
    /// A mover of a cell begins, wherever the slot is by what it sees.
    Begin { cell: usize, to: usize },
    /// A mover asks its next step; the message arrives, is lost, or comes late; or arrives and its answer is lost.
    Step { mover: usize, fate: Fate },
    /// A late message arrives.
    Late(Index),
    /// A client says something to the slot.
    Push,
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Arrives,
    Lost,
    Late,
    AnswerLost,
}

fn event() -> impl Strategy<Value = Event> {
    let fate = prop_oneof![
        6 => Just(Fate::Arrives), 1 => Just(Fate::Lost), 1 => Just(Fate::Late), 1 => Just(Fate::AnswerLost),
    ];
    prop_oneof![
        2 => (0_usize..3, 0_usize..3).prop_map(|(cell, to)| Event::Begin { cell, to }),
        12 => (0_usize..6, fate).prop_map(|(mover, fate)| Event::Step { mover, fate }),
        2 => any::<Index>().prop_map(Event::Late),
        3 => Just(Event::Push),
    ]
}

/// A mover: what it has still to ask of whom, in order.
type Mover = std::collections::VecDeque<(usize, Handoff)>;

struct Moving {
    cells: [Lab; 3],
    /// Two a cell, the younger ones last.
    movers: Vec<Mover>,
    late: Vec<(usize, Command)>,
    slot: Slot,
    said: u32,
    runs: u64,
}

impl Moving {
    fn new() -> Self {
        let cells = [Lab::new(), second(), second()];
        let slot = Key::derive(Domain::Mailbox, &[b"m"]).slot();
        Self { cells, movers: vec![Mover::new(); 6], late: Vec::new(), slot, said: 0, runs: 0 }
    }

    /// What is left to do for a cell's leader that wishes the slot elsewhere, by the cell's state.
    fn plan(&mut self, cell: usize, wished: usize) -> Mover {
        let held = self.cells[cell].state.slots.get(self.slot);
        let (epoch, to, mut steps) = match held.standing {
            Standing::Open if wished != cell => {
                let to = CellId::of(wished as u16 + 1);
                let epoch = held.epoch + 1;
                (epoch, wished, Mover::from([(cell, Handoff::Seal { slot: self.slot, epoch, to })]))
            }
            Standing::Sealed(to) => (held.epoch, usize::from(to.number()) - 1, Mover::new()),
            Standing::Open | Standing::Foreign(_) | Standing::Incoming { .. } => return Mover::new(),
        };
        self.runs += 1;
        if steps.is_empty() {
            let parts = parts(&self.cells[cell], self.slot, 100);
            steps.extend(import(self.slot, epoch, self.runs, &parts).into_iter().map(|op| (to, op)));
            steps.push_back((cell, Handoff::Forget { slot: self.slot, epoch }));
        }
        steps
    }

    /// Asks a mover's next step. An answer that it did not expect ends it.
    fn step(&mut self, mover: usize, fate: Fate) {
        let Some((cell, op)) = self.movers[mover].front().cloned() else { return };
        let command = self.cells[cell].command(op.clone());
        match fate {
            // It asks again, under the same id or, as another run, under another one.
            Fate::Lost => return,
            Fate::Late => return self.late.push((cell, command)),
            Fate::AnswerLost => {
                self.cells[cell].carry_out(command.clone());
                return self.late.push((cell, command));
            }
            Fate::Arrives => {}
        }
        self.movers[mover].pop_front();
        match (self.cells[cell].carry_out(command).outcome, op) {
            // The leader looks at its state again: now the slot is sealed, and can be copied.
            (Ok(_), Handoff::Seal { .. }) => self.movers[mover] = self.plan(cell, cell),
            (Ok(Outcome::Handoff(HandedOff::Imported)), Handoff::Import { .. }) => {
                self.movers[mover].retain(|(_, op)| matches!(op, Handoff::Forget { .. }));
            }
            (Ok(_), _) => {}
            (Err(_), _) => self.movers[mover].clear(),
        }
    }

    fn push(&mut self) {
        let key = Key::derive(Domain::Mailbox, &[b"m"]);
        let action = mailbox::Action::Push {
            from: "a".into(),
            kind: mailbox::Kind::Offer,
            payload: body(&self.said.to_string()),
            ttl_ms: 1_000_000,
        };
        for cell in &mut self.cells {
            if cell.ask(mailbox::Op { key, action: action.clone() }).is_ok() {
                self.said += 1;
                return;
            }
        }
    }

    fn serving(&self) -> Vec<usize> {
        let open = |at: &usize| self.cells[*at].state.slots.get(self.slot).standing == Standing::Open;
        (0..self.cells.len()).filter(open).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_lost_late_or_said_twice_a_slot_has_one_owner_and_loses_nothing(
        events in prop::collection::vec(event(), 0..250),
    ) {
        let mut it = Moving::new();
        for event in events {
            match event {
                Event::Begin { cell, to } => {
                    let plan = it.plan(cell, to);
                    let mover = if it.movers[2 * cell].is_empty() { 2 * cell } else { 2 * cell + 1 };
                    it.movers[mover] = plan;
                }
                Event::Step { mover, fate } => it.step(mover, fate),
                Event::Late(which) => {
                    if !it.late.is_empty() {
                        let (cell, command) = it.late.swap_remove(which.index(it.late.len()));
                        it.cells[cell].carry_out(command);
                    }
                }
                Event::Push => it.push(),
            }
            prop_assert!(it.serving().len() <= 1);
        }
        // Whoever leads looks at its state until nothing is under way.
        for _ in 0..20 {
            for cell in 0..3 {
                it.movers[cell] = it.plan(cell, cell);
                while !it.movers[cell].is_empty() {
                    it.step(cell, Fate::Arrives);
                }
            }
        }
        let &[owner] = &it.serving()[..] else { panic!("{:?} serve the slot", it.serving()) };
        let drain = mailbox::Action::Drain { bytes_max: u32::MAX };
        let drained = it.cells[owner].ask(mailbox::Op { key: Key::derive(Domain::Mailbox, &[b"m"]), action: drain });
        let Ok(Outcome::Mailbox(mailbox::Outcome::Messages(messages))) = drained else { panic!("{drained:?}") };
        let heard: Vec<_> = messages.iter().map(|message| message.payload.clone()).collect();
        let said: Vec<_> = (0..it.said).map(|number| body(&number.to_string())).collect();
        prop_assert_eq!(heard, said);
    }
}

#[test]
fn a_connection_is_held_by_its_node_in_the_other_cell_as_well() {
    let (mut one, mut two) = (Lab::new(), second());
    let node = incarnation::Incarnation { node: 1, run: 7 };
    let at = incarnation::Attachment { incarnation: node, connection: 9 };
    let session = Key::derive(Domain::Socket, &[b"s"]);
    let room = Key::derive(Domain::Room, &[b"r"]);
    one.ask(incarnation::Op::Renew { incarnation: node, ttl_ms: 10_000 }).unwrap();
    two.ask(incarnation::Op::Renew { incarnation: node, ttl_ms: 5_000 }).unwrap();
    one.ask(socket::Op {
        key: session,
        action: socket::Action::Open { subject: None, at, lease_ms: 60_000 },
    })
    .unwrap();
    one.ask(room::Op {
        key: room,
        action: room::Action::Join { member: session, by: 9, at, grace_ms: 5_000 },
    })
    .unwrap();
    for slot in [session.slot(), room.slot()] {
        hand_over(slot, &mut one, &mut two, TWO, SLOT_PART_BYTES_MAX);
    }
    two.wait(9_000);
    assert_eq!(two.read(query::RoomNodes(room)), [1], "the later lease counts");
    assert!(two.read(query::Socket(session)).is_some_and(|view| view.connection == Some(9)));
    two.wait(2_000);
    assert_eq!(two.read(query::RoomNodes(room)), [] as [u64; 0]);
}
