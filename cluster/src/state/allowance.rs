//! Allowances: how many requests a client has left, exact over the whole cluster.

use serde::{Deserialize, Serialize};

use super::context::ApplyContext;
use super::expiry::{ExpiryKey, Lease};
use super::id::Key;
use super::limits::WINDOWS_FULL_RETRY_MS;
use super::outcome::{Refusal, Scope};
use super::storage_quota::Load;
use super::table::{Life as _, Stored, Table};

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

impl Tier {
    pub(super) const FIRST: Self = Self::Create;
    pub(super) const LAST: Self = Self::Poll;
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
}

/// Open windows are on nobody's account, and counted by themselves.
impl Stored for Window {
    type Key = (Key, Tier);
    /// Ends when the window does.
    type Life = Lease;
    const EXPIRY: fn((Key, Tier)) -> ExpiryKey = |(client, tier)| ExpiryKey::Window(client, tier);

    fn load(&self) -> Load {
        Load::NONE
    }

    fn drop_parts(&self, ctx: &mut ApplyContext) {
        ctx.storage.drop_window();
    }

    fn restore_parts(&self, ctx: &mut ApplyContext) -> bool {
        ctx.storage.add_window();
        true
    }
}

impl Table<Window> {
    /// Spends a charge, or refuses it and changes nothing. The first charge opens the window.
    pub(super) fn spend(
        &mut self,
        charge: &Charge,
        ctx: &mut ApplyContext,
    ) -> Result<Balance, (Balance, Refusal)> {
        let balance = self.balance(charge, ctx.now_ms);
        if charge.count > balance.remaining {
            let retry_after_ms = balance.reset_ms - ctx.now_ms;
            return Err((balance, Refusal::Allowance { retry_after_ms, scope: Scope::Client }));
        }
        if !self.record(charge, charge.count, ctx) {
            let retry_after_ms = WINDOWS_FULL_RETRY_MS;
            return Err((balance, Refusal::Allowance { retry_after_ms, scope: Scope::Cluster }));
        }
        Ok(Balance { remaining: balance.remaining - charge.count, ..balance })
    }

    /// Spends what is left of a charge that was made already: a read that was answered can't be refused.
    pub(super) fn spend_afterwards(&mut self, charge: &Charge, ctx: &mut ApplyContext) -> Balance {
        let balance = self.balance(charge, ctx.now_ms);
        let count = charge.count.min(balance.remaining);
        self.record(charge, count, ctx);
        Balance { remaining: balance.remaining - count, ..balance }
    }

    /// The window as a charge at `now_ms` would find it.
    pub(super) fn balance(&self, charge: &Charge, now_ms: u64) -> Balance {
        let limit = charge.limit;
        match self.alive(&(charge.client, charge.tier), now_ms) {
            Some(window) => Balance {
                limit,
                remaining: limit.saturating_sub(window.spent),
                reset_ms: window.life.expires_ms,
            },
            None => Balance { limit, remaining: limit, reset_ms: window_end(charge, now_ms) },
        }
    }

    /// Notes that `count` were spent; false if a window must be opened and there are too many.
    fn record(&mut self, charge: &Charge, count: u32, ctx: &mut ApplyContext) -> bool {
        if count == 0 {
            return true;
        }
        let at = (charge.client, charge.tier);
        match self.get_mut(&at) {
            Some(window) if window.life.alive(ctx.now_ms) => window.spent += count,
            Some(window) => {
                window.spent = count;
                let end_ms = window_end(charge, ctx.now_ms);
                window.life.renew(end_ms, Window::EXPIRY(at), ctx);
            }
            None if !ctx.storage.has_window() => return false,
            None => {
                ctx.storage.add_window();
                self.add(at, Window { spent: count }, window_end(charge, ctx.now_ms), ctx);
            }
        }
        true
    }
}

fn window_end(charge: &Charge, now_ms: u64) -> u64 {
    now_ms.saturating_add(u64::from(charge.window_ms.max(1)))
}
