//! Allowances: how many requests a client has left, exact over the whole cluster.

use serde::{Deserialize, Deserializer, Serialize};

use super::codec::at_most;
use super::context::ApplyContext;
use super::expiry::{ExpiryKey, Lease};
use super::id::Key;
use super::limits::{HOLDERS_MAX, WINDOWS_FULL_RETRY_MS};
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
    /// What sockets say in rooms, enter and claim.
    Socket,
}

impl Tier {
    /// All of them, in their order.
    pub const ALL: [Self; 6] =
        [Self::Create, Self::Lookup, Self::Chunk, Self::Signal, Self::Poll, Self::Socket];
    pub(super) const FIRST: Self = Self::Create;
    pub(super) const LAST: Self = Self::Socket;
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

/// How a command is paid for. The first two are encoded as an `Option<Charge>` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payment {
    /// It costs nothing, as what nodes do by themselves.
    Free,
    /// The client's window is in this cell: it is charged in the same step that carries the command out, or nothing happens.
    Charge(Charge),
    /// By a token: the client's window is in another cell, which was charged before.
    Paid {
        /// When that window ends. From then on, by the clock of this cell's log, the token is worth nothing.
        until_ms: u64,
    },
}

impl Payment {
    /// What is charged in this cell.
    pub fn charge(&self) -> Option<&Charge> {
        match self {
            Self::Charge(charge) => Some(charge),
            Self::Free | Self::Paid { .. } => None,
        }
    }
}

impl From<Option<Charge>> for Payment {
    fn from(charge: Option<Charge>) -> Self {
        charge.map_or(Self::Free, Self::Charge)
    }
}

impl From<Charge> for Payment {
    fn from(charge: Charge) -> Self {
        Self::Charge(charge)
    }
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

/// What a node leased of a client's window.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Leased {
    pub(super) count: u32,
    /// See [`Outcome::Leased`](super::outcome::Outcome::Leased).
    pub(super) holders: Vec<u64>,
}

/// One client's open window in one tier. The fields' order is the snapshot format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Window {
    spent: u32,
    /// The nodes that leased of it, in the order of their first lease.
    #[serde(deserialize_with = "holders")]
    holders: Box<[u64]>,
}

fn holders<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<[u64]>, D::Error> {
    at_most::<_, _, HOLDERS_MAX>(deserializer).map(Vec::into_boxed_slice)
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
        ctx.storage.drop_window(self.holders.len());
    }

    fn restore_parts(&self, ctx: &mut ApplyContext) -> bool {
        ctx.storage.add_window(self.holders.len());
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

    /// Spends as much of a charge as is left, for a node that will use it up elsewhere, and notes the node as a holder. The
    /// first charge opens the window.
    ///
    /// A node is not noted beyond [`HOLDERS_MAX`], nor where open windows take as much as they may. It gets what it leases
    /// all the same: what it does not use is found by nobody, and lost to the client until the window ends.
    pub(super) fn lease(
        &mut self,
        charge: &Charge,
        node: u64,
        ctx: &mut ApplyContext,
    ) -> Result<(Balance, Leased), (Balance, Refusal)> {
        let balance = self.balance(charge, ctx.now_ms);
        let count = charge.count.min(balance.remaining);
        if !self.record(charge, count, ctx) {
            let retry_after_ms = WINDOWS_FULL_RETRY_MS;
            return Err((balance, Refusal::Allowance { retry_after_ms, scope: Scope::Cluster }));
        }
        let at = (charge.client, charge.tier);
        if count > 0 {
            self.note_holder(&at, node, ctx);
        }
        let holders = self.alive(&at, ctx.now_ms).map_or_else(Vec::new, |window| window.holders.to_vec());
        let balance = Balance { remaining: balance.remaining - count, ..balance };
        Ok((balance, Leased { count, holders }))
    }

    /// Ends a client's open windows, whatever was spent of them; how many that were. A token that a node leased of one is
    /// worth what it was.
    pub(super) fn reset(&mut self, client: Key, ctx: &mut ApplyContext) -> u32 {
        let open = |tier: &Tier| self.alive(&(client, *tier), ctx.now_ms).is_some();
        let open: Vec<Tier> = Tier::ALL.into_iter().filter(open).collect();
        open.iter().map(|tier| u32::from(self.free((client, *tier), ctx).is_some())).sum()
    }

    fn note_holder(&mut self, at: &(Key, Tier), node: u64, ctx: &mut ApplyContext) {
        let Some(window) = self.get_mut(at) else { return };
        let known = window.holders.contains(&node);
        if known || window.holders.len() >= HOLDERS_MAX || !ctx.storage.has_window() {
            return;
        }
        window.holders = window.holders.iter().copied().chain([node]).collect();
        ctx.storage.add_holder();
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
                ctx.storage.drop_holders(std::mem::take(&mut window.holders).len());
                let end_ms = window_end(charge, ctx.now_ms);
                window.life.renew(end_ms, Window::EXPIRY(at), ctx);
            }
            None if !ctx.storage.has_window() => return false,
            None => {
                ctx.storage.add_window(0);
                let window = Window { spent: count, holders: Box::default() };
                self.add(at, window, window_end(charge, ctx.now_ms), ctx);
            }
        }
        true
    }
}

fn window_end(charge: &Charge, now_ms: u64) -> u64 {
    now_ms.saturating_add(u64::from(charge.window_ms.max(1)))
}
