//! A transfer by both doors: chunks are stored once, taken once, lowest first, and freed when all is acknowledged.

use porcupine_rs::Operation as Timed;

use super::linearizability::{Of, Sequential, Specification, Ties, asked};
use crate::proof::Terms;
use crate::proof::history::{Answer, Operation, Wish};

/// Chunks of each transfer.
pub(in crate::proof) const CHUNKS: u16 = 8;

/// What a transfer of so many chunks should be. By HTTP the contract leaves the server a choice here and there; where
/// commands are answered by the state itself there is none.
#[derive(Debug, Clone)]
pub struct Transfer<const CHUNKS: u16, const BY_HTTP: bool>;

/// Where one stands. Sets are bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct State {
    lives: bool,
    received: u64,
    /// Of each stored chunk, which of two contents it has.
    variants: u64,
    delivered: u64,
    acknowledged: bool,
    /// That an acknowledgement was said is remembered beyond the transfer, until the next one begins.
    said: bool,
}

impl State {
    fn carry_out(mut self, wish: &Wish, all: u64) -> (Answer, Self) {
        match *wish {
            Wish::Open if self.lives => (Answer::Duplicate, self),
            Wish::Open => (Answer::Done, Self { lives: true, ..Self::default() }),
            Wish::Send { index, variant } => self.put(index, variant),
            Wish::Store { .. } | Wish::Finish if !self.lives => (Answer::Gone, self),
            Wish::Store { index, variant } => self.put(index, variant),
            Wish::Receive => self.take(all),
            Wish::Ack | Wish::Finish => {
                (self.said, self.acknowledged) = (true, self.lives);
                // A reader of the transfers API reads what it likes and never takes: its word ends the reading.
                if *wish == Wish::Finish && self.received == all {
                    self.delivered = all;
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
            return (Answer::Delivered, self);
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

    fn take(mut self, all: u64) -> (Answer, Self) {
        if !self.lives {
            return (Answer::Gone, self);
        }
        let waiting = self.received & !self.delivered;
        if waiting != 0 {
            let index = waiting.trailing_zeros() as u16;
            self.delivered |= 1 << index;
            return (self.chunk(index), self);
        }
        if self.delivered != all {
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
            (Wish::Send { index, .. } | Wish::Store { index, .. }, Answer::Conflict) => {
                self.delivered >> index & 1 == 1
            }
            // Stored and taken: the same bytes may be called what they are, as long as they are there.
            (Wish::Store { index, variant }, Answer::Duplicate) => {
                let same = self.variants >> index & 1 == u64::from(*variant);
                self.delivered >> index & 1 == 1 && (same || self.acknowledged)
            }
            _ => false,
        }
    }
}

impl<const CHUNKS: u16, const BY_HTTP: bool> Sequential for Transfer<CHUNKS, BY_HTTP> {
    type State = State;

    fn carry_out(state: &State, wish: &Wish) -> (Answer, State) {
        state.carry_out(wish, (1 << CHUNKS) - 1)
    }

    fn admits(state: &State, wish: &Wish, answer: &Answer) -> bool {
        BY_HTTP && state.admits(wish, answer)
    }
}

impl<const CHUNKS: u16, const BY_HTTP: bool> Specification for Transfer<CHUNKS, BY_HTTP> {
    type Model = Of<Self>;

    fn timed(operations: Vec<Operation>) -> Vec<Timed<Of<Self>>> {
        asked(&operations)
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
                Some(Answer::Duplicate | Answer::Conflict | Answer::Delivered),
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
