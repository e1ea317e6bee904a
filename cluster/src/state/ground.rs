//! The ground all nouns stand on while a proposal is carried out: the clock of the log, the storage bound, the
//! agenda, the bodies, the hosts and the effects gathered so far.

use std::collections::BTreeSet;

use super::bodies::Bodies;
use super::effect::Effect;
use super::expiry::Agenda;
use super::host::Hosts;
use super::id::{Domain, Key};
use super::limits::ENTRY_BYTES;
use super::outcome::Refusal;

#[derive(Debug, Clone, Default)]
pub(super) struct Ground {
    pub(super) now_ms: u64,
    /// Whether more fell due than one proposal may free, so that a thing in a map may be over already. While
    /// this is false whatever is in a map is alive.
    pub(super) overdue: bool,
    pub(super) storage: Storage,
    pub(super) agenda: Agenda,
    pub(super) bodies: Bodies,
    pub(super) hosts: Hosts,
    pub(super) wakes: Wakes,
}

impl Ground {
    /// The instant `ttl_ms` from now, later than now. Saturates, because a stamp may be anything.
    pub(super) fn after(&self, ttl_ms: u32) -> u64 {
        self.now_ms.saturating_add(u64::from(ttl_ms.max(1)))
    }
}

/// What is stored, counted as the storage bound counts it: [`ENTRY_BYTES`] a thing and the bytes it carries.
///
/// Windows, origins with their outcomes, and members are bounded by themselves and not counted: what a client
/// may not avoid storing must not fill up what it may store.
#[derive(Debug, Clone, Default)]
pub(super) struct Storage {
    pub(super) bytes: u64,
    /// The bound of the proposal under way.
    pub(super) bytes_max: u64,
    /// What the command under way will store at its end whatever it comes to (its memo).
    pub(super) reserved: u64,
}

impl Storage {
    /// Whether `growth` more bytes may be stored; asked before anything is changed.
    pub(super) fn admit(&self, growth: u64) -> Result<(), Refusal> {
        let wanted = self.bytes.saturating_add(self.reserved).saturating_add(growth);
        if growth > 0 && wanted > self.bytes_max { Err(Refusal::StorageFull) } else { Ok(()) }
    }

    /// Counts a new thing that carries `bytes`.
    pub(super) fn add_entry(&mut self, bytes: u64) {
        self.bytes += ENTRY_BYTES + bytes;
    }

    /// Counts a thing that carried `bytes` no more.
    pub(super) fn drop_entry(&mut self, bytes: u64) {
        self.bytes -= ENTRY_BYTES + bytes;
    }

    /// Counts other bytes for a thing that stays.
    pub(super) fn replace(&mut self, old: u64, new: u64) {
        self.bytes = self.bytes + new - old;
    }
}

/// The effects of one proposal: each key once, in the order of its first change.
#[derive(Debug, Clone, Default)]
pub(super) struct Wakes {
    seen: BTreeSet<(Domain, Key)>,
    effects: Vec<Effect>,
}

impl Wakes {
    /// Notes that something under `key` changed.
    pub(super) fn wake(&mut self, domain: Domain, key: Key) {
        if self.seen.insert((domain, key)) {
            self.effects.push(Effect::Wake(domain, key));
        }
    }

    /// Hands the effects out and begins anew.
    pub(super) fn take(&mut self) -> Vec<Effect> {
        self.seen.clear();
        std::mem::take(&mut self.effects)
    }
}
