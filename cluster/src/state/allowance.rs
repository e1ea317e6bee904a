//! Allowances: how many requests a client has left, exact over the whole cluster.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::expiry::{Lease, Thing};
use super::ground::Ground;
use super::id::Key;
use super::limits::WINDOWS_FULL_RETRY_MS;
use super::outcome::{Refusal, Scope};

/// A class of requests that share one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tier {
    /// Whatever makes something new.
    Create,
    /// Guessable names.
    Lookup,
    /// Chunk uploads.
    Chunk,
    /// Signals, offers, answers.
    Signal,
    /// All other reads.
    Poll,
}

/// What a request costs, and under which rule.
///
/// The rule travels with the charge, so that apply needs no configuration and every replica decides alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Derived from the client's address ([`Domain::Client`](super::id::Domain::Client)).
    pub client: Key,
    /// The class of the request.
    pub tier: Tier,
    /// How many requests are charged.
    pub count: u32,
    /// How many a window admits.
    pub limit: u32,
    /// How long a window stays open from the first request on.
    pub window_ms: u32,
}

/// A client's window in one tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// How many the window admits.
    pub limit: u32,
    /// How many are left.
    pub remaining: u32,
    /// When the window ends, in milliseconds since the Unix epoch.
    pub reset_ms: u64,
}

/// One client's open window in one tier. The fields' order is the snapshot format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Window {
    spent: u32,
    /// Ends when the window does.
    lease: Lease,
}

/// All open windows.
#[derive(Debug, Clone, Default)]
pub(super) struct Windows(OrdMap<(Key, Tier), Window>);

impl Windows {
    /// Spends a charge, or refuses it and changes nothing. The first charge opens the window.
    pub(super) fn spend(
        &mut self,
        charge: &Charge,
        ground: &mut Ground,
    ) -> Result<Balance, (Balance, Refusal)> {
        let balance = self.balance(charge, ground.now_ms);
        if charge.count > balance.remaining {
            let retry_after_ms = balance.reset_ms - ground.now_ms;
            return Err((balance, Refusal::Allowance { retry_after_ms, scope: Scope::Client }));
        }
        if !self.record(charge, charge.count, ground) {
            let retry_after_ms = WINDOWS_FULL_RETRY_MS;
            return Err((balance, Refusal::Allowance { retry_after_ms, scope: Scope::Cluster }));
        }
        Ok(Balance { remaining: balance.remaining - charge.count, ..balance })
    }

    /// Spends what is left of a charge that was made already: a read that was answered can't be refused.
    pub(super) fn spend_afterwards(&mut self, charge: &Charge, ground: &mut Ground) -> Balance {
        let balance = self.balance(charge, ground.now_ms);
        let count = charge.count.min(balance.remaining);
        self.record(charge, count, ground);
        Balance { remaining: balance.remaining - count, ..balance }
    }

    /// The window as a charge at `now_ms` would find it.
    pub(super) fn balance(&self, charge: &Charge, now_ms: u64) -> Balance {
        let limit = charge.limit;
        match self.0.get(&(charge.client, charge.tier)).filter(|window| window.lease.alive(now_ms)) {
            Some(window) => Balance {
                limit,
                remaining: limit.saturating_sub(window.spent),
                reset_ms: window.lease.expires_ms,
            },
            None => Balance { limit, remaining: limit, reset_ms: window_end(charge, now_ms) },
        }
    }

    /// Notes that `count` were spent; false if a window must be opened and there are too many.
    fn record(&mut self, charge: &Charge, count: u32, ground: &mut Ground) -> bool {
        if count == 0 {
            return true;
        }
        let at = (charge.client, charge.tier);
        let thing = Thing::Window(charge.client, charge.tier);
        match self.0.get_mut(&at) {
            Some(window) if window.lease.alive(ground.now_ms) => window.spent += count,
            Some(window) => {
                window.spent = count;
                ground.agenda.renew(&mut window.lease, thing, window_end(charge, ground.now_ms));
            }
            None if !ground.storage.has_window() => return false,
            None => {
                ground.storage.add_window();
                let lease = ground.agenda.begin(thing, window_end(charge, ground.now_ms));
                self.0.insert(at, Window { spent: count, lease });
            }
        }
        true
    }

    /// The agenda says that a window is due.
    pub(super) fn lapse(&mut self, client: &Key, tier: Tier, ground: &mut Ground) -> usize {
        match self.0.get_mut(&(*client, tier)) {
            Some(window) if window.lease.alive(ground.now_ms) => {
                ground.agenda.keep(&mut window.lease, Thing::Window(*client, tier));
            }
            _ => {
                if self.0.remove(&(*client, tier)).is_some() {
                    ground.storage.drop_window();
                }
            }
        }
        1
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&(Key, Tier), &Window)> {
        self.0.iter()
    }

    /// Takes a window as a snapshot has it; false if that cannot be.
    pub(super) fn restore(&mut self, client: Key, tier: Tier, window: Window, ground: &mut Ground) -> bool {
        ground.storage.add_window();
        ground.agenda.restore(&window.lease, Thing::Window(client, tier))
            && self.0.insert((client, tier), window).is_none()
    }
}

fn window_end(charge: &Charge, now_ms: u64) -> u64 {
    now_ms.saturating_add(u64::from(charge.window_ms.max(1)))
}
