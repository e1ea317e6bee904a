//! The state: a pure function of the log.
//!
//! [`State::apply`] takes a stamped proposal and returns answers and effects. No socket, no clock, no randomness,
//! no hash map is in here; time and ids arrive with the proposal, maps are ordered and persistent, so that a
//! clone is a cheap frozen view for readers and for the snapshot builder.

pub mod allowance;
pub mod body;
pub mod command;
pub mod device;
pub mod effect;
pub mod exchange;
pub mod id;
pub mod limits;
pub mod mailbox;
pub mod member;
pub mod outcome;
pub mod rendezvous;
pub mod transfer;

use body::Body;
use command::Proposal;
use effect::Effect;
use id::{Digest, Key};
use outcome::Answer;

/// Everything the cluster remembers.
#[derive(Debug, Clone, Default)]
pub struct State {}

#[allow(unused_variables, missing_docs)]
impl State {
    /// Carries out a proposal: expires what is due, then each command in order.
    pub fn apply(&mut self, proposal: Proposal) -> (Vec<Answer>, Vec<Effect>) {
        unimplemented!()
    }
    /// The clock of the log: the highest stamp applied so far, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        unimplemented!()
    }
    /// When the next thing may be freed.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        unimplemented!()
    }
    pub fn stored_bytes(&self) -> u64 {
        unimplemented!()
    }
    pub fn counts(&self) -> Counts {
        unimplemented!()
    }
    // Readers: `now_ms` is the reader's clock, at least `self.now_ms()`; what expired by then is not seen.
    pub fn transfer(&self, key: &Key, now_ms: u64) -> Option<transfer::View> {
        unimplemented!()
    }
    pub fn chunk(&self, key: &Key, index: u16, now_ms: u64) -> Option<(transfer::Encoding, Digest, Body)> {
        unimplemented!()
    }
    /// Whether an acknowledgement is remembered under a transfer's key.
    pub fn acknowledged(&self, key: &Key, now_ms: u64) -> bool {
        unimplemented!()
    }
    pub fn envelope(&self, key: &Key, role: exchange::Role, now_ms: u64) -> exchange::Envelope {
        unimplemented!()
    }
    pub fn resolve(&self, pin: &Key, now_ms: u64) -> exchange::Resolved {
        unimplemented!()
    }
    /// How many signals wait in a mailbox.
    pub fn waiting(&self, key: &Key, now_ms: u64) -> usize {
        unimplemented!()
    }
    /// The peer an invite code resolves to.
    pub fn peer(&self, key: &Key, now_ms: u64) -> Option<String> {
        unimplemented!()
    }
    pub fn devices(&self, key: &Key, now_ms: u64) -> Vec<device::Device> {
        unimplemented!()
    }
    /// A client's window as it would be seen by a charge at `now_ms`.
    pub fn balance(&self, charge: &allowance::Charge, now_ms: u64) -> allowance::Balance {
        unimplemented!()
    }
    /// The remembered answer under a caller's own name.
    pub fn memo(&self, key: &Key, now_ms: u64) -> Option<Answer> {
        unimplemented!()
    }
    /// The disk a node id is bound to.
    pub fn member(&self, node: u64) -> Option<u128> {
        unimplemented!()
    }
}

/// How much of everything there is, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub transfers: usize,
    pub chunks: usize,
    pub bodies: usize,
    pub exchanges: usize,
    pub mailboxes: usize,
    pub signals: usize,
    pub rendezvous: usize,
    pub devices: usize,
    pub windows: usize,
    pub memos: usize,
    pub outcomes: usize,
}
