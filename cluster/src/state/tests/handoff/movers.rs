//! Movers that fail, come late and get in each other's way.

use std::collections::VecDeque;

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::super::handoff::{Op as Handoff, Outcome as HandedOff};
use super::super::super::mailbox;
use super::super::super::slot::{CellId, Slot};
use super::super::super::slot_table::Standing;
use super::super::*;
use super::{import, parts, second};

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
type Mover = VecDeque<(usize, Handoff)>;

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
