//! Slots that wander among cells while clients use them.

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::super::negotiation;
use super::super::super::slot::{CellId, Slot};
use super::super::super::slot_table::Standing;
use super::super::histories::{Step, command, history};
use super::super::*;
use super::{hand_over, second};

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
            let key = command.op.key().or(command.payment.charge().map(|charge| &charge.client));
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
    fn counts(lab: &Lab) -> [usize; 17] {
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
            it.departures,
            it.idempotency_keys,
        ]
    }
}

/// The command as the edge makes it: what it touches lies in one slot. Its charge goes only where it is all there is.
fn in_one_slot(command: Command) -> Command {
    let Some(slot) = command.op.key().map(Key::slot) else {
        let is_charge = matches!(command.op, Op::Spend | Op::Pay | Op::Lease { .. });
        let payment = if is_charge { command.payment } else { Payment::Free };
        return Command { payment, idempotency_key: None, ..command };
    };
    let place = |key: &Key, domain| Key::placed(slot, domain, &[key.as_bytes()]);
    let idempotency_key = command
        .idempotency_key
        .map(|named| IdempotencyKey { key: place(&named.key, Domain::IdempotencyKey), ..named });
    let mut op = command.op;
    if let Op::Negotiation(op) = &mut op
        && let negotiation::Action::Create { pin: Some(pin), .. } = &mut op.action
    {
        *pin = place(pin, Domain::Pin);
    }
    let payment = if command.payment.charge().is_some() { Payment::Free } else { command.payment };
    Command { payment, idempotency_key, op, ..command }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nobody_can_tell_by_an_answer_where_a_slot_is_or_was(
        steps in history(command()),
        moves in prop::collection::vec((any::<Index>(), any::<Index>(), 0_usize..3), 0..60),
        len in 20_usize..2000,
    ) {
        // Slots wander as they like here, whatever a placement says: there is none.
        let is_fit = |command: &Command| !matches!(command.op, Op::Placement(_));
        let placed = |(dt, commands): Step| (dt, commands.into_iter().filter(is_fit).map(in_one_slot).collect());
        let steps: Vec<Step> = steps.into_iter().map(placed).collect();
        let keys = steps.iter().flat_map(|(_, commands)| commands);
        let slots: Vec<Slot> = keys
            .flat_map(|command| {
                let client = command.payment.charge().map(|charge| charge.client);
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
        let sum = counted.fold([0; 17], |sum, it| std::array::from_fn(|kind| sum[kind] + it[kind]));
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
