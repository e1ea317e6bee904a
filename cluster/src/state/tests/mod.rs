//! The rules of the state, one story each, and properties over many random histories.
//!
//! All of them go through [`Lab`], which audits the books after every proposal: whatever is counted is counted
//! anew from a snapshot and must come out the same.

mod allowance;
mod codec;
mod exchange;
mod expiry;
mod mailbox;
mod model;
mod names;
mod once;
mod properties;
mod room;
mod shares;
mod snapshot;
mod socket;
mod storage;
mod transfer;

use bytes::Bytes;

use super::State;
use super::allowance::Charge;
use super::body::Body;
use super::command::{Ask, Command, Memo, Proposal};
use super::effect::Effect;
use super::id::{Digest, Domain, Key, RequestId};
use super::outcome::{Answer, Outcome, Refusal};
use super::rules::Rules;

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

    fn ask(&mut self, ask: impl Into<Ask>) -> Result<Outcome, Refusal> {
        let command = self.command(ask);
        self.carry_out(command).outcome
    }

    fn command(&mut self, ask: impl Into<Ask>) -> Command {
        self.seq += 1;
        Command {
            id: RequestId { origin: 1, seq: self.seq },
            charge: None,
            owner: None,
            memo: None,
            ask: ask.into(),
        }
    }

    fn charged(&mut self, charge: Charge, ask: impl Into<Ask>) -> Command {
        Command { charge: Some(charge), ..self.command(ask) }
    }

    fn memoed(&mut self, name: &str, ask: impl Into<Ask>) -> Command {
        let memo = Memo { key: Key::derive(Domain::Memo, &[name.as_bytes()]), ttl_ms: 120_000 };
        Command { memo: Some(memo), ..self.command(ask) }
    }

    fn carry_out(&mut self, command: Command) -> Answer {
        self.apply(Vec::new(), vec![command]).remove(0)
    }

    fn apply(&mut self, floors: Vec<(u64, u64)>, commands: Vec<Command>) -> Vec<Answer> {
        let stamp_ms = self.now_ms;
        let rules = Rules { storage_bytes_max: self.storage_bytes_max, ..self.rules };
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
    assert_eq!(restored.ground.storage.accounts(), state.ground.storage.accounts(), "accounts");
    assert_eq!(restored.ground.bodies.refs(), state.ground.bodies.refs(), "references");
    assert_eq!(restored.ground.agenda, state.ground.agenda, "agenda");
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

impl From<super::transfer::Ask> for Ask {
    fn from(ask: super::transfer::Ask) -> Self {
        Self::Transfer(ask)
    }
}

impl From<super::exchange::Ask> for Ask {
    fn from(ask: super::exchange::Ask) -> Self {
        Self::Exchange(ask)
    }
}

impl From<super::mailbox::Ask> for Ask {
    fn from(ask: super::mailbox::Ask) -> Self {
        Self::Mailbox(ask)
    }
}

impl From<super::host::Ask> for Ask {
    fn from(ask: super::host::Ask) -> Self {
        Self::Host(ask)
    }
}

impl From<super::socket::Ask> for Ask {
    fn from(ask: super::socket::Ask) -> Self {
        Self::Socket(ask)
    }
}

impl From<super::room::Ask> for Ask {
    fn from(ask: super::room::Ask) -> Self {
        Self::Room(ask)
    }
}

impl From<super::claim::Ask> for Ask {
    fn from(ask: super::claim::Ask) -> Self {
        Self::Claim(ask)
    }
}

impl From<super::ticket::Ask> for Ask {
    fn from(ask: super::ticket::Ask) -> Self {
        Self::Ticket(ask)
    }
}
