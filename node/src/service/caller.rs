//! Who asks, whichever transport it asks by.

use std::cell::Cell;

use conclave_cluster::Trace;
use conclave_cluster::state::allowance::{Balance, Tier};
use conclave_cluster::state::id::Key;
use conclave_cluster::state::leader_rules::Owner;

/// Who asks: whom allowances count, and on whose account things are stored.
#[derive(Debug, Clone)]
pub struct Caller {
    /// As allowances count it.
    pub client: Key,
    /// On whose account it stores what it stores.
    pub owner: Owner,
    /// What the leader's log lines name the request by.
    pub trace: Option<Trace>,
    spent: Cell<Option<(Tier, Balance)>>,
}

impl Caller {
    /// A caller that has spent nothing yet.
    pub fn new(client: Key, owner: Owner, trace: Option<Trace>) -> Self {
        Self { client, owner, trace, spent: Cell::new(None) }
    }

    /// What was left of the allowance that was last charged for this caller.
    pub fn spent(&self) -> Option<(Tier, Balance)> {
        self.spent.get()
    }

    pub(super) fn note(&self, tier: Tier, balance: Balance) {
        self.spent.set(Some((tier, balance)));
    }
}
