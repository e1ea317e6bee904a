//! What porcupine searches: right histories pass whatever overlaps and whatever is not known.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::*;
use crate::proof::history::{Side, Wish};

/// A server that does one thing at a time.
trait Server {
    fn answer(&mut self, wish: &Wish) -> Answer;
}

#[derive(Default)]
struct Registers {
    over: bool,
    sides: [Option<u64>; 2],
}

impl Server for Registers {
    fn answer(&mut self, wish: &Wish) -> Answer {
        match wish {
            Wish::Create => Answer::Done,
            _ if self.over => Answer::Gone,
            Wish::Put { side, value } => {
                self.sides[*side as usize] = Some(*value);
                Answer::Done
            }
            Wish::Get { side } => self.sides[*side as usize].map_or(Answer::Nothing, Answer::Value),
            _ => {
                self.over = true;
                Answer::Done
            }
        }
    }
}

#[derive(Default)]
struct Code(Option<u64>);

impl Server for Code {
    fn answer(&mut self, wish: &Wish) -> Answer {
        match (wish, self.0) {
            (Wish::Register { peer }, None) => {
                self.0 = Some(*peer);
                Answer::Done
            }
            (Wish::Register { peer }, Some(holder)) if *peer == holder => Answer::Done,
            (Wish::Register { .. }, Some(_)) => Answer::Taken,
            (_, holder) => holder.map_or(Answer::Nothing, Answer::Peer),
        }
    }
}

#[derive(Default)]
struct Pin {
    holder: Option<Arc<str>>,
    sessions: u64,
}

impl Server for Pin {
    fn answer(&mut self, wish: &Wish) -> Answer {
        match (wish, &self.holder) {
            (Wish::Acquire, None) => {
                self.sessions += 1;
                let session: Arc<str> = format!("session-{}", self.sessions).into();
                self.holder = Some(session.clone());
                Answer::Session(session)
            }
            (Wish::Acquire, Some(_)) => Answer::Taken,
            (Wish::Release { session }, Some(holder)) if session == holder => {
                self.holder = None;
                Answer::Done
            }
            (Wish::Release { .. }, _) => Answer::Gone,
            (_, holder) => holder.clone().map_or(Answer::Nothing, Answer::Session),
        }
    }
}

#[derive(Default)]
struct Mailbox(Vec<u64>);

impl Server for Mailbox {
    fn answer(&mut self, wish: &Wish) -> Answer {
        match wish {
            Wish::Signal { number } => {
                self.0.push(*number);
                Answer::Done
            }
            _ => Answer::Letters(std::mem::take(&mut self.0)),
        }
    }
}

impl Server for State {
    fn answer(&mut self, wish: &Wish) -> Answer {
        let (answer, next) = Transfer::<CHUNKS, true>::carry_out(self, wish);
        *self = next;
        answer
    }
}

fn server(family: Family) -> Box<dyn Server> {
    match family {
        Family::Register => Box::new(Registers::default()),
        Family::Code => Box::new(Code::default()),
        Family::Pin => Box::new(Pin::default()),
        Family::Mailbox => Box::new(Mailbox::default()),
        _ => Box::new(State::default()),
    }
}

/// The `number`th question of a history, chosen by `dice`.
fn wish(family: Family, number: u64, dice: u8) -> Wish {
    let side = if dice & 1 == 0 { Side::Offer } else { Side::Answer };
    let index = u16::from(dice >> 4) % CHUNKS;
    match (family, dice % 8) {
        (Family::Register, _) if number == 0 => Wish::Create,
        (Family::Register, 0) if dice > 240 => Wish::Delete,
        (Family::Register, 0..=3) => Wish::Put { side, value: number },
        (Family::Register, _) => Wish::Get { side },
        (Family::Code, 0..=2) => Wish::Register { peer: u64::from(dice / 8 % 3) },
        (Family::Code, _) => Wish::Lookup,
        (Family::Pin, 0..=2) => Wish::Acquire,
        (Family::Pin, 3 | 4) => Wish::Release { session: format!("session-{}", 1 + dice / 8 % 4).into() },
        (Family::Pin, _) => Wish::Resolve,
        (Family::Mailbox, 0..=4) => Wish::Signal { number },
        (Family::Mailbox, _) => Wish::Poll,
        _ if number == 0 => Wish::Open,
        (_, 0 | 1) => Wish::Send { index, variant: 0 },
        (_, 2) => Wish::Store { index, variant: dice / 128 },
        (_, 3 | 4) => Wish::Receive,
        (_, 5) => Wish::View,
        (_, 6) => Wish::Read { index },
        (_, _) => [Wish::AckStatus, Wish::Ack, Wish::AckStatus, Wish::Finish][usize::from(dice >> 6)].clone(),
    }
}

/// How one operation lay around the moment in which it happened.
#[derive(Debug, Clone, Copy)]
struct Around {
    dice: u8,
    before: u64,
    after: u64,
    /// Its answer was lost, and whether it happened all the same.
    lost: Option<bool>,
}

const STEP: u64 = 1_000;

fn around(overlap: u64, lost: bool) -> impl Strategy<Value = Around> {
    let lost = prop_oneof![
        9 => Just(None),
        u32::from(lost) => any::<bool>().prop_map(Some),
    ];
    (any::<u8>(), 1..=overlap, 1..=overlap, lost).prop_map(|(dice, before, after, lost)| Around {
        dice,
        before,
        after,
        lost,
    })
}

fn histories(overlap: u64, lost: bool) -> impl Strategy<Value = Vec<Around>> {
    prop::collection::vec(around(overlap, lost), 2..40)
}

/// What a right server's clients would have taken down.
fn history(family: Family, plan: &[Around]) -> Vec<Operation> {
    let mut server = server(family);
    let (mut unknown, mut told) = (0, Vec::new());
    let operation = |(number, around): (usize, &Around)| {
        let number = number as u64;
        let wish = match wish(family, number, around.dice) {
            // Nobody ends a session of which he was not told.
            Wish::Release { session } if !told.contains(&session) => Wish::Resolve,
            wish => wish,
        };
        // The first makes the thing. Each unknown outcome may double the work of judging.
        let lost = around.lost.filter(|_| number > 0 && unknown < 4);
        unknown += u32::from(lost.is_some());
        let outcome = match lost {
            Some(happens) => {
                if happens {
                    server.answer(&wish);
                }
                Outcome::Unknown("lost".into())
            }
            None => Outcome::Answered(server.answer(&wish)),
        };
        if let (Wish::Acquire, Outcome::Answered(Answer::Session(session))) = (&wish, &outcome) {
            told.push(session.clone());
        }
        // Instants of different operations are never equal.
        let at = 100 * STEP + number * STEP;
        let (start, end) =
            (at - around.before * STEP + 3 * number, at + around.after * STEP + 3 * number + 1);
        let client = number as u32;
        Operation { id: number, family, key: "k".into(), client, target: 0, wish, start, end, outcome }
    };
    plan.iter().enumerate().map(operation).collect()
}

const SEARCHED: [Family; 5] =
    [Family::Register, Family::Code, Family::Pin, Family::Mailbox, Family::Transfer];

fn shared() -> impl Strategy<Value = Family> {
    prop::sample::select(SEARCHED.to_vec())
}

/// Another answer that a server might give to the same question.
fn other(operation: &Operation, dice: u8) -> Option<Answer> {
    let number = u64::from(dice);
    Some(match (&operation.wish, operation.answer()?) {
        (Wish::Get { .. }, Answer::Value(value)) => match value.checked_sub(1) {
            Some(other) if dice & 1 == 0 => Answer::Value(other),
            _ => Answer::Nothing,
        },
        (Wish::Get { .. }, _) => Answer::Value(number),
        (Wish::Lookup, Answer::Peer(peer)) => Answer::Peer(peer + 1),
        (Wish::Lookup, _) => Answer::Peer(0),
        (Wish::Register { .. }, Answer::Done) => Answer::Taken,
        (Wish::Register { .. }, _) => Answer::Done,
        (Wish::Resolve, Answer::Nothing) => Answer::Session("session-1".into()),
        (Wish::Resolve, _) => Answer::Nothing,
        (Wish::Acquire, Answer::Taken) => Answer::Session("session-99".into()),
        (Wish::Acquire, _) => Answer::Taken,
        (Wish::Poll, Answer::Letters(found)) if found.len() > 1 => {
            Answer::Letters(found.iter().rev().copied().collect())
        }
        (Wish::Poll, Answer::Letters(found)) if found.is_empty() => Answer::Letters(vec![number]),
        (Wish::Poll, _) => Answer::Letters(Vec::new()),
        (Wish::Receive, Answer::Chunk { index, variant }) => {
            Answer::Chunk { index: (index + 1) % CHUNKS, variant: *variant }
        }
        (Wish::Receive, _) => Answer::Chunk { index: 0, variant: 0 },
        (Wish::View, Answer::Sight { received, delivered, acknowledged }) => {
            Answer::Sight { received: received ^ 1, delivered: *delivered, acknowledged: *acknowledged }
        }
        (Wish::AckStatus, Answer::Flag(said)) => Answer::Flag(!said),
        _ => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn right_histories_pass_whatever_overlaps(family in shared(), plan in histories(6, true)) {
        let found = key(&history(family, &plan), &Terms::default());
        prop_assert!(found.is_empty(), "{}", found[0].text());
    }

    #[test]
    fn one_wrong_answer_is_found_and_shown_by_a_part_of_the_history(
        family in shared(),
        plan in histories(1, false),
        place in any::<prop::sample::Index>(),
        dice in any::<u8>(),
    ) {
        // Nothing overlaps, so that there is one right answer to each question.
        let plan: Vec<_> = plan.into_iter().map(|it| Around { before: 0, after: 0, ..it }).collect();
        let mut operations = history(family, &plan);
        let place = place.index(operations.len());
        let Some(answer) = other(&operations[place], dice) else { return Ok(()) };
        operations[place].outcome = Outcome::Answered(answer);

        let found = key(&operations, &Terms::default());
        prop_assert_eq!(found.len(), 1);
        let violation = &found[0];
        prop_assert!(violation.operations.len() <= operations.len());
        for shown in &violation.operations {
            prop_assert!(operations.iter().any(|it| it.id == shown.id && it.wish == shown.wish));
        }
        prop_assert!(violation.offender < violation.operations.len());
        // What is shown is wrong for itself.
        prop_assert!(!key(&violation.operations, &Terms::default()).is_empty());
        let svg = violation.svg();
        prop_assert_eq!(svg.matches("<g>").count(), violation.operations.len());
    }
}

#[test]
fn thousands_of_operations_take_seconds() {
    let begun = std::time::Instant::now();
    for round in 0..50_u64 {
        let dice = |number: u64| crate::content::mix(round << 32 | number);
        let around = |number: u64| Around {
            dice: dice(number) as u8,
            before: dice(number) >> 8 & 7,
            after: dice(number) >> 16 & 7,
            lost: (dice(number) >> 24 & 31 == 0).then_some(dice(number) >> 32 & 1 == 0),
        };
        let plan: Vec<Around> = (0..200).map(around).collect();
        for family in SEARCHED {
            let found = key(&history(family, &plan), &Terms::default());
            assert!(found.is_empty(), "{}", found[0].text());
        }
    }
    // 50,000 operations, in a build without optimization on a machine that does other things.
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
}
