//! The rules of the state, one story each, and properties over many random histories.
//!
//! All of them go through [`Lab`], which audits the books after every proposal: whatever is counted is counted
//! anew from a snapshot and must come out the same.

mod allowance;
mod audit;
mod codec;
mod expiry;
mod handoff;
mod histories;
mod invite_codes_and_devices;
mod mailbox;
mod model;
mod negotiation;
mod once;
mod properties;
mod reads;
mod registrations;
mod revocations;
mod room;
mod shares;
mod snapshot;
mod socket;
mod storage_quota;
mod takeover;
mod transfer;

use bytes::Bytes;

use super::State;
use super::allowance::{Charge, Payment};
use super::body::Body;
use super::command::{Command, IdempotencyKey, Op, Proposal};
use super::effect::Effect;
use super::generation::Generation;
use super::id::{Digest, Domain, Key, RequestId};
use super::leader_rules::Rules;
use super::outcome::{Answer, Outcome, Refusal};
use super::query::{self, Page, Query};

/// A day in November 2023.
const MORNING_MS: u64 = 1_700_000_000_000;

/// A state with somebody at the edge: numbers the commands and keeps the clock.
struct Lab {
    state: State,
    now_ms: u64,
    seq: u64,
    storage_bytes_max: u64,
    /// The other rules.
    rules: Rules,
    effects: Vec<Effect>,
}

impl Lab {
    fn new() -> Self {
        Self {
            state: State::default(),
            now_ms: MORNING_MS,
            seq: 0,
            storage_bytes_max: u64::MAX,
            rules: Rules::default(),
            effects: Vec::new(),
        }
    }

    /// Lets time pass, unseen by the state until the next proposal.
    fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    fn read<Q: Query>(&self, query: Q) -> Q::Answer {
        query.answer(&self.state, self.now_ms)
    }

    fn ask(&mut self, op: impl Into<Op>) -> Result<Outcome, Refusal> {
        let command = self.command(op);
        self.carry_out(command).outcome
    }

    fn command(&mut self, op: impl Into<Op>) -> Command {
        self.seq += 1;
        Command {
            id: RequestId { origin: 1, seq: self.seq },
            payment: Payment::Free,
            owner: None,
            idempotency_key: None,
            op: op.into(),
        }
    }

    fn charged(&mut self, charge: Charge, op: impl Into<Op>) -> Command {
        Command { payment: charge.into(), ..self.command(op) }
    }

    fn memoed(&mut self, name: &str, op: impl Into<Op>) -> Command {
        let idempotency_key =
            IdempotencyKey { key: Key::derive(Domain::IdempotencyKey, &[name.as_bytes()]), ttl_ms: 120_000 };
        Command { idempotency_key: Some(idempotency_key), ..self.command(op) }
    }

    fn carry_out(&mut self, command: Command) -> Answer {
        self.apply(Vec::new(), vec![command]).remove(0)
    }

    fn bounds(&self) -> Rules {
        Rules { storage_bytes_max: self.storage_bytes_max, ..self.rules }
    }

    fn apply(&mut self, floors: Vec<(u64, u64)>, commands: Vec<Command>) -> Vec<Answer> {
        let stamp_ms = self.now_ms;
        let rules = self.bounds();
        let proposal = Proposal { stamp_ms, rules, floors, commands, ..Proposal::default() };
        let (answers, effects) = self.state.apply(proposal);
        self.effects = effects;
        audit(&self.state);
        answers
    }

    /// A proposal without commands, as a leader makes it when something is due.
    fn tick(&mut self) {
        self.apply(Vec::new(), Vec::new());
    }
}

/// Counts everything anew and compares.
fn audit(state: &State) {
    let restored = reread(state);
    assert_eq!(restored.stored_bytes(), state.stored_bytes(), "stored bytes");
    assert_eq!(restored.ctx.storage.accounts(), state.ctx.storage.accounts(), "accounts");
    assert_eq!(restored.ctx.blobs.refs(), state.ctx.blobs.refs(), "references");
    assert_eq!(restored.ctx.expiry_queue, state.ctx.expiry_queue, "agenda");
    assert_eq!(restored.counts(), state.counts(), "counts");
    assert_eq!(restored.fingerprint(), state.fingerprint(), "fingerprint");
}

/// The state as another node gets it.
fn reread(state: &State) -> State {
    let mut bytes = Vec::new();
    state.write_to(&mut bytes).unwrap();
    State::read_from(&mut bytes.as_slice()).unwrap()
}

fn body(text: &str) -> Body {
    Body::new(Bytes::copy_from_slice(text.as_bytes()))
}

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

macro_rules! ops {
    ($($noun:ident => $variant:ident),*) => {$(
        impl From<super::$noun::Op> for Op {
            fn from(op: super::$noun::Op) -> Self {
                Self::$variant(op)
            }
        }
    )*};
}

ops!(
    transfer => Transfer,
    negotiation => Negotiation,
    mailbox => Mailbox,
    incarnation => Incarnation,
    socket => Socket,
    room => Room,
    mailbox_claim => Claim,
    ticket => Ticket,
    revocation => Revocation,
    registration => Registration,
    audit => Audit,
    handoff => Handoff
);
