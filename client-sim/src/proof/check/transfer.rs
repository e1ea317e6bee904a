//! A transfer by both doors: chunks are stored once, taken once, lowest first, and freed when all is acknowledged.

use porcupine_rs::{Model, Operation as Timed};

use super::judge::{Judge, Ties, timed};
use crate::proof::Terms;
use crate::proof::history::{Answer, Operation, Wish};

/// Chunks of each transfer.
pub(in crate::proof) const CHUNKS: u16 = 8;
const ALL: u64 = (1 << CHUNKS) - 1;

/// What a transfer should be.
#[derive(Debug, Clone)]
pub(super) struct Transfer;

/// Where one stands. Sets are bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct State {
    lives: bool,
    received: u64,
    /// Of each stored chunk, which of two contents it has.
    variants: u64,
    delivered: u64,
    acknowledged: bool,
    /// That an acknowledgement was said is remembered beyond the transfer, until the next one begins.
    said: bool,
}

/// A wish with its answer, if that is known.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    wish: Wish,
    answer: Option<Answer>,
}

impl State {
    /// What a wish comes to, and what is left behind.
    pub(super) fn carry_out(mut self, wish: &Wish) -> (Answer, Self) {
        match *wish {
            Wish::Open if self.lives => (Answer::Duplicate, self),
            Wish::Open => (Answer::Done, Self { lives: true, ..Self::default() }),
            Wish::Send { index, variant } => self.put(index, variant),
            Wish::Store { .. } | Wish::Finish if !self.lives => (Answer::Gone, self),
            Wish::Store { index, variant } => self.put(index, variant),
            Wish::Receive => self.take(),
            Wish::Ack | Wish::Finish => {
                (self.said, self.acknowledged) = (true, self.lives);
                // A reader of the transfers API reads what it likes and never takes: its word ends the reading.
                if *wish == Wish::Finish && self.received == ALL {
                    self.delivered = ALL;
                }
                (Answer::Done, self)
            }
            Wish::AckStatus => (Answer::Flag(self.said), self),
            Wish::Read { index } => {
                let there = self.lives && self.received >> index & 1 == 1;
                (if there { self.chunk(index) } else { Answer::Gone }, self)
            }
            Wish::View if self.lives => {
                let delivered = self.delivered.count_ones() as u16;
                let acknowledged = self.acknowledged;
                (Answer::Sight { received: self.received, delivered, acknowledged }, self)
            }
            Wish::View => (Answer::Gone, self),
            _ => (Answer::Wrong("not asked of transfers".into()), self),
        }
    }

    fn put(mut self, index: u16, variant: u8) -> (Answer, Self) {
        let (bit, flag) = (1 << index, u64::from(variant) << index);
        if self.delivered & bit != 0 {
            return (Answer::Conflict, self);
        }
        if self.received & bit != 0 {
            let same = self.variants & bit == flag;
            return (if same { Answer::Duplicate } else { Answer::Conflict }, self);
        }
        if !self.lives {
            (self.lives, self.said) = (true, false);
        }
        self.received |= bit;
        self.variants = (self.variants & !bit) | flag;
        (Answer::Done, self)
    }

    fn take(mut self) -> (Answer, Self) {
        if !self.lives {
            return (Answer::Gone, self);
        }
        let waiting = self.received & !self.delivered;
        if waiting != 0 {
            let index = waiting.trailing_zeros() as u16;
            self.delivered |= 1 << index;
            return (self.chunk(index), self);
        }
        if self.delivered != ALL {
            return (Answer::Nothing, self);
        }
        let rest = if self.acknowledged { Self { said: self.said, ..Self::default() } } else { self };
        (Answer::Complete, rest)
    }

    fn chunk(&self, index: u16) -> Answer {
        Answer::Chunk { index, variant: (self.variants >> index & 1) as u8 }
    }

    /// Where the contract leaves the server a choice.
    fn admits(&self, wish: &Wish, answer: &Answer) -> bool {
        match (wish, answer) {
            // Readable until acknowledged: after that it may be freed already.
            (Wish::Read { .. }, Answer::Gone) => self.acknowledged,
            // Stored and taken: the same bytes may be called what they are, as long as they are there.
            (Wish::Store { index, variant }, Answer::Duplicate) => {
                let same = self.variants >> index & 1 == u64::from(*variant);
                self.delivered >> index & 1 == 1 && (same || self.acknowledged)
            }
            _ => false,
        }
    }
}

impl Model for Transfer {
    type State = State;
    type Op = Asked;
    type Metadata = ();

    fn init() -> State {
        State::default()
    }

    fn step(state: &State, Asked { wish, answer }: &Asked) -> (bool, State) {
        let (expected, next) = state.carry_out(wish);
        let fits = |answer: &Answer| *answer == expected || state.admits(wish, answer);
        (answer.as_ref().is_none_or(fits), next)
    }
}

impl Judge for Transfer {
    type Model = Self;

    fn timed(operations: Vec<Operation>) -> Vec<Timed<Self>> {
        let op = |it: &Operation| Asked { wish: it.wish.clone(), answer: it.answer().cloned() };
        operations.iter().map(|operation| timed(operation, op(operation))).collect()
    }

    fn ttl_ms(terms: &Terms) -> u64 {
        terms.ttl.chunk_ms
    }

    fn ties(operation: &Operation) -> Ties {
        let chunk = |index: u16| vec![u64::from(index)];
        match (&operation.wish, operation.answer()) {
            // These say something of one chunk and change nothing.
            (
                Wish::Send { index, .. } | Wish::Store { index, .. },
                Some(Answer::Duplicate | Answer::Conflict),
            ) => Ties { tokens: chunk(*index), alone: true, ..Ties::default() },
            (Wish::Read { index }, _) => Ties { tokens: chunk(*index), alone: true, ..Ties::default() },
            (Wish::Store { .. } | Wish::Finish, Some(Answer::Gone)) => {
                Ties { alone: true, about_all: true, ..Ties::default() }
            }
            (Wish::Send { index, .. } | Wish::Store { index, .. }, _) => {
                Ties { tokens: chunk(*index), ..Ties::default() }
            }
            (Wish::Receive, Some(Answer::Chunk { index, .. })) => {
                Ties { tokens: chunk(*index), ..Ties::default() }
            }
            // What is said of the whole does not hold of a part.
            (Wish::Receive, Some(Answer::Nothing | Answer::Gone)) | (Wish::View | Wish::AckStatus, _) => {
                Ties { alone: true, about_all: true, ..Ties::default() }
            }
            // Whether all is taken decides what becomes of the rest.
            (Wish::Receive, Some(Answer::Complete)) | (Wish::Finish, _) => {
                Ties { needs_all: true, ..Ties::default() }
            }
            _ => Ties::default(),
        }
    }
}
