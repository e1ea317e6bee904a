//! There is one order in which everything that was answered makes sense, on whatever node it was asked.

use std::time::Duration;

use conclave_cluster::state::outcome::{Outcome, Refusal};
use conclave_cluster::state::transfer;
use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

use super::Violation;
use crate::simulation::history::{Event, Fate, Sight, TransferSight, Wish};
use crate::simulation::workload::{CHUNKS, REGISTERS, TRANSFERS};

/// A verdict takes milliseconds; one that takes this long counts as a violation.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn check(events: &[Event]) -> Result<(), Violation> {
    for register in 0..REGISTERS {
        let about = |event: &&Event| match event.wish {
            Wish::Write { register: it, .. } | Wish::Read { register: it } => it == register,
            _ => false,
        };
        judge::<Register>(&format!("register {register}"), events.iter().filter(about), register_op)?;
    }
    for transfer in 0..TRANSFERS {
        let about = |event: &&Event| match event.wish {
            Wish::Put { transfer: it, .. }
            | Wish::Take { transfer: it }
            | Wish::Acknowledge { transfer: it, .. }
            | Wish::View { transfer: it } => it == transfer,
            _ => false,
        };
        judge::<Transfer>(&format!("transfer {transfer}"), events.iter().filter(about), transfer_op)?;
    }
    Ok(())
}

fn judge<'a, M: Model<Metadata = ()>>(
    what: &str,
    events: impl Iterator<Item = &'a Event>,
    op: impl Fn(&Event) -> Option<M::Op>,
) -> Result<(), Violation> {
    let events: Vec<&Event> = events.filter(|event| op(event).is_some()).collect();
    let operations = |events: &[&Event]| -> Vec<Operation<M>> {
        events
            .iter()
            .filter_map(|event| {
                Some(Operation {
                    client_id: None,
                    call_time: event.asked as i64,
                    return_time: event.answered.min(i64::MAX as u64) as i64,
                    op: op(event)?,
                    metadata: None,
                })
            })
            .collect()
    };
    let verdict = |events: &[&Event]| check_operations_timeout(&operations(events), PATIENCE);
    match verdict(&events) {
        CheckResult::Ok => Ok(()),
        CheckResult::Unknown => {
            Err(Violation::new("linearizable", format!("{what}: no verdict within {PATIENCE:?}")))
        }
        CheckResult::Illegal => {
            let shortest = shortest_illegal(&events, |events| verdict(events) == CheckResult::Illegal);
            let last = shortest.len().saturating_sub(8);
            let what =
                format!("{what}: no order explains the first {} answers, of which the last", shortest.len());
            Err(Violation::shown_by("linearizable", what, shortest[last..].iter().copied()))
        }
    }
}

/// The shortest illegal beginning of a history, by end; what had not ended by then is left open.
fn shortest_illegal<'a>(events: &[&'a Event], illegal: impl Fn(&[&Event]) -> bool) -> Vec<&'a Event> {
    let mut sorted = events.to_vec();
    sorted.sort_by_key(|event| event.answered);
    let (mut legal, mut found) = (0, sorted.len());
    while legal + 1 < found {
        let middle = (legal + found) / 2;
        let cut = sorted[middle - 1].answered;
        let open: Vec<Event> = sorted[middle..]
            .iter()
            .filter(|event| event.asked <= cut && !event.wish.reads())
            .map(|event| Event {
                end: u64::MAX,
                answered: u64::MAX,
                fate: Fate::Unknown,
                ..Event::clone(event)
            })
            .collect();
        let beginning: Vec<&Event> = sorted[..middle].iter().copied().chain(&open).collect();
        if illegal(&beginning) { found = middle } else { legal = middle }
    }
    sorted.truncate(found);
    sorted
}

/// One value.
#[derive(Debug, Clone)]
struct Register;

#[derive(Debug, Clone)]
enum RegisterOp {
    Write(u64),
    Read(Option<u64>),
}

fn register_op(event: &Event) -> Option<RegisterOp> {
    match (&event.wish, &event.fate) {
        (Wish::Write { value, .. }, Fate::Answered(answer)) if answer.outcome.is_ok() => {
            Some(RegisterOp::Write(*value))
        }
        (Wish::Write { value, .. }, Fate::Unknown) => Some(RegisterOp::Write(*value)),
        (Wish::Read { .. }, Fate::Saw(Sight::Value(value))) => Some(RegisterOp::Read(*value)),
        // Refused, or a reader that saw nothing.
        _ => None,
    }
}

impl Model for Register {
    type State = Option<u64>;
    type Op = RegisterOp;
    type Metadata = ();

    fn init() -> Self::State {
        None
    }

    fn step(state: &Self::State, op: &Self::Op) -> (bool, Self::State) {
        match op {
            RegisterOp::Write(value) => (true, Some(*value)),
            RegisterOp::Read(value) => (value == state, *state),
        }
    }
}

/// One transfer, by the words of the contract.
#[derive(Debug, Clone)]
struct Transfer;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct TransferState {
    lives: bool,
    received: u16,
    /// Which variant of each chunk is stored.
    variants: u16,
    delivered: u16,
    acknowledged: bool,
}

/// A wish with its answer, if that is known.
#[derive(Debug, Clone)]
enum TransferOp {
    Asked { wish: Wish, answer: Option<Result<Outcome, Refusal>> },
    Seen(Option<TransferSight>),
}

fn transfer_op(event: &Event) -> Option<TransferOp> {
    match &event.fate {
        Fate::Never => None,
        Fate::Unknown if event.wish.reads() => None,
        Fate::Unknown => Some(TransferOp::Asked { wish: event.wish.clone(), answer: None }),
        Fate::Saw(Sight::Transfer(sight)) => Some(TransferOp::Seen(sight.clone())),
        Fate::Saw(_) => None,
        // For want of storage anything may be refused; nothing is changed by it.
        Fate::Answered(answer) => match &answer.outcome {
            Err(Refusal::StorageFull | Refusal::ShareFull) => None,
            known => Some(TransferOp::Asked { wish: event.wish.clone(), answer: Some(known.clone()) }),
        },
    }
}

const ALL: u16 = (1 << CHUNKS) - 1;

impl TransferState {
    /// What a wish comes to, and what is left behind.
    fn carry_out(mut self, wish: &Wish) -> (Expected, Self) {
        match *wish {
            Wish::Put { index, variant, .. } => {
                let (bit, flag) = (1_u16 << index, u16::from(variant) << index);
                if self.delivered & bit != 0 {
                    return (Expected::Refused(transfer::Refusal::Delivered), self);
                }
                if self.received & bit != 0 {
                    let same = self.variants & bit == flag;
                    let answer = if same {
                        Expected::Done(transfer::Outcome::Duplicate)
                    } else {
                        Expected::Refused(transfer::Refusal::Conflict)
                    };
                    return (answer, self);
                }
                self.lives = true;
                self.received |= bit;
                self.variants = (self.variants & !bit) | flag;
                (Expected::Done(transfer::Outcome::Stored), self)
            }
            Wish::Take { .. } => self.take(),
            Wish::Acknowledge { existing, .. } => {
                if !self.lives {
                    let absent = Expected::Refused(transfer::Refusal::Absent);
                    return (
                        if existing { absent } else { Expected::Done(transfer::Outcome::Acknowledged) },
                        self,
                    );
                }
                self.acknowledged = true;
                if existing && self.received == ALL {
                    self.delivered = ALL;
                }
                (Expected::Done(transfer::Outcome::Acknowledged), self)
            }
            _ => (Expected::Done(transfer::Outcome::Waiting), self),
        }
    }

    fn take(mut self) -> (Expected, Self) {
        if !self.lives {
            return (Expected::Done(transfer::Outcome::Absent), self);
        }
        let waiting = self.received & !self.delivered;
        if waiting != 0 {
            let index = waiting.trailing_zeros() as u16;
            self.delivered |= 1 << index;
            return (Expected::Chunk(index, (self.variants >> index & 1) as u8), self);
        }
        if self.delivered != ALL {
            return (Expected::Done(transfer::Outcome::Waiting), self);
        }
        let rest = if self.acknowledged { Self::default() } else { self };
        (Expected::Done(transfer::Outcome::Done), rest)
    }

    fn looks_like(&self, sight: Option<&TransferSight>) -> bool {
        match sight {
            None => !self.lives,
            Some(sight) => {
                self.lives
                    && sight.received == self.received
                    && sight.delivered == self.delivered.count_ones() as u16
                    && sight.acknowledged == self.acknowledged
            }
        }
    }
}

/// What the model answers.
enum Expected {
    Done(transfer::Outcome),
    Chunk(u16, u8),
    Refused(transfer::Refusal),
}

impl Expected {
    fn is(&self, answer: &Result<Outcome, Refusal>) -> bool {
        match (self, answer) {
            (
                Self::Chunk(index, variant),
                Ok(Outcome::Transfer(transfer::Outcome::Chunk { index: it, body, .. })),
            ) => index == it && body.bytes().last() == Some(variant),
            (Self::Done(outcome), Ok(Outcome::Transfer(it))) => outcome == it,
            (Self::Refused(refusal), Err(Refusal::Transfer(it))) => refusal == it,
            _ => false,
        }
    }
}

impl Model for Transfer {
    type State = TransferState;
    type Op = TransferOp;
    type Metadata = ();

    fn init() -> Self::State {
        TransferState::default()
    }

    fn step(state: &Self::State, op: &Self::Op) -> (bool, Self::State) {
        match op {
            TransferOp::Seen(sight) => (state.looks_like(sight.as_ref()), *state),
            TransferOp::Asked { wish, answer } => {
                let (expected, next) = state.carry_out(wish);
                let fits = answer.as_ref().is_none_or(|answer| expected.is(answer));
                (fits, next)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use conclave_cluster::state::outcome::Answer;

    use super::*;
    use crate::simulation::history::History;

    /// A read that finds nothing, asked before or after the write is answered, by nodes with these times.
    fn write_and_read(read_at: u64, write_answered_at: u64, read_is_first: bool) -> History {
        let mut history = History::default();
        let write = history.begin(3, Wish::Write { register: 0, value: 6 }, None, 0);
        let asks = |history: &mut History| history.begin(1, Wish::Read { register: 0 }, None, read_at);
        let answers = |history: &mut History| {
            let answer = Answer { outcome: Ok(Outcome::Spent), balance: None, replayed: false };
            history.end(write, Fate::Answered(answer), write_answered_at);
        };
        let read = if read_is_first {
            let read = asks(&mut history);
            answers(&mut history);
            read
        } else {
            answers(&mut history);
            asks(&mut history)
        };
        history.end(read, Fate::Saw(Sight::Value(None)), 1000);
        history
    }

    #[test]
    fn what_was_asked_before_an_answer_need_not_see_it_whatever_its_nodes_time() {
        assert!(check(write_and_read(987, 986, true).events()).is_ok());
    }

    #[test]
    fn what_was_asked_after_an_answer_must_see_it_whatever_its_nodes_time() {
        let violation = check(write_and_read(986, 987, false).events()).expect_err("it is stale");
        assert_eq!(violation.invariant, "linearizable");
    }
}
