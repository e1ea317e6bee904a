//! Who asks, whichever transport it asks by.

use std::cell::Cell;

use conclave_cluster::Trace;
use conclave_cluster::state::allowance::{Balance, Tier};
use conclave_cluster::state::id::Key;
use conclave_cluster::state::leader_rules::Owner;

use super::storage_keys::Namespace;
use crate::access::Tenant;

/// Who asks: whom allowances count, and on whose account things are stored.
#[derive(Debug, Clone)]
pub struct Caller {
    /// As allowances count it.
    pub client: Key,
    /// On whose account it stores what it stores.
    pub owner: Owner,
    /// The organisation that it belongs to, in whose namespace it names things.
    pub tenant: Tenant,
    /// What the leader's log lines name the request by.
    pub trace: Option<Trace>,
    told: Cell<Option<(Tier, Balance)>>,
    charged: Cell<bool>,
}

impl Caller {
    /// A caller that has spent nothing yet.
    pub fn new(client: Key, owner: Owner, tenant: Tenant, trace: Option<Trace>) -> Self {
        Self { client, owner, tenant, trace, told: Cell::new(None), charged: Cell::new(false) }
    }

    /// Where the names that it uses mean something.
    pub fn namespace(&self) -> Namespace {
        Namespace::of(&self.tenant)
    }

    /// What was left of the allowance that was last looked at for this caller, whether it was charged or not.
    pub fn told(&self) -> Option<(Tier, Balance)> {
        self.told.get()
    }

    /// Whether an allowance was charged for what it asked, or a change was proposed that charges it.
    pub fn is_charged(&self) -> bool {
        self.charged.get()
    }

    pub(super) fn tell(&self, tier: Tier, balance: Balance) {
        self.told.set(Some((tier, balance)));
    }

    /// Takes note of a charge that is spent, or is with its change.
    pub(crate) fn charge(&self) {
        self.charged.set(true);
    }
}
