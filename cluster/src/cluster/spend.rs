//! Charges of reads: admitted from this node's replica, told to the log in bulk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::clock::Consensus;
use super::limits;
use crate::raft::Replica;
use crate::state::allowance::{Balance, Charge, Tier};
use crate::state::id::Key;

/// What one client read here and the log does not know yet.
struct Spent {
    charge: Charge,
    until_ms: u64,
}

/// Reads that were admitted and not yet charged in the log.
///
/// They ride on the next batch that goes anyway, so polling alone writes nothing. Only a client that used up an
/// eighth of its limit in silence gets a charge of its own, within 250 ms. Hence a client that polls one node
/// alone is held to its limit there; one that spreads its reads over n nodes may exceed it by an eighth of the limit
/// on each of them, and by what it reads between such a charge's leaving and its being applied.
pub(super) struct Spending {
    replica: Arc<Replica>,
    clock: Arc<Consensus>,
    spent: Mutex<BTreeMap<(Key, Tier), Spent>>,
}

impl Spending {
    pub(super) fn new(replica: Arc<Replica>, clock: Arc<Consensus>) -> Self {
        Self { replica, clock, spent: Mutex::default() }
    }

    /// Whether the charge would be admitted as far as this node knows. Never waits for apply: the log decides
    /// exactly, this only keeps a flood from it.
    pub(super) fn admits(&self, charge: &Charge) -> Result<Balance, Balance> {
        let now_ms = self.clock.now_ms();
        let known = self.replica.try_look(|state| state.balance(charge, now_ms.max(state.now_ms())));
        self.admit(charge, known.unwrap_or_else(|| fresh(charge, now_ms)), now_ms)
    }

    /// Takes what was read here and is not in the log yet off a balance.
    fn admit(&self, charge: &Charge, mut balance: Balance, now_ms: u64) -> Result<Balance, Balance> {
        let spent = self.spent.lock().expect("nothing panics while this is held");
        if let Some(spent) = spent.get(&(charge.client, charge.tier)).filter(|spent| spent.until_ms > now_ms)
        {
            balance.remaining = balance.remaining.saturating_sub(spent.charge.count);
            balance.reset_ms = balance.reset_ms.min(spent.until_ms);
        }
        if balance.remaining >= charge.count { Ok(balance) } else { Err(balance) }
    }

    /// Admits a read, or refuses it.
    pub(super) fn charge(&self, charge: Charge) -> Result<Balance, Balance> {
        let now_ms = self.clock.now_ms();
        let known = self.replica.look(|state| state.balance(&charge, now_ms.max(state.now_ms())));
        let mut balance = self.admit(&charge, known, now_ms)?;
        balance.remaining -= charge.count;
        let mut all = self.spent.lock().expect("nothing panics while this is held");
        let key = (charge.client, charge.tier);
        if all.len() >= limits::SPENDERS_MAX && !all.contains_key(&key) {
            // Forgiven: the next nudge, within 250 ms, makes room.
            return Ok(balance);
        }
        let spent = all
            .entry(key)
            .or_insert(Spent { charge: Charge { count: 0, ..charge }, until_ms: balance.reset_ms });
        if spent.until_ms <= now_ms {
            // The window it was spent in is over.
            *spent = Spent { charge: Charge { count: 0, ..charge }, until_ms: balance.reset_ms };
        }
        spent.charge.count = spent.charge.count.saturating_add(charge.count);
        Ok(balance)
    }

    /// Whether some client's reads should not wait for a batch to ride on.
    pub(super) fn is_urgent(&self) -> bool {
        let now_ms = self.clock.now_ms();
        let mut all = self.spent.lock().expect("nothing panics while this is held");
        all.retain(|_, spent| spent.until_ms > now_ms);
        all.len() >= limits::SPENDERS_MAX
            || all.values().any(|spent| u64::from(spent.charge.count) * 8 >= u64::from(spent.charge.limit))
    }

    /// Takes up to `most` clients' charges, to be written.
    pub(super) fn take(&self, most: usize) -> Vec<Charge> {
        let mut all = self.spent.lock().expect("nothing panics while this is held");
        std::iter::from_fn(|| all.pop_first()).take(most).map(|(_, spent)| spent.charge).collect()
    }
}

/// A window nobody has opened yet.
fn fresh(charge: &Charge, now_ms: u64) -> Balance {
    Balance { limit: charge.limit, remaining: charge.limit, reset_ms: now_ms + u64::from(charge.window_ms) }
}
