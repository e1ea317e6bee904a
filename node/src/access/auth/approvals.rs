//! Devices that are let in, as credentials are judged by them.

use std::collections::HashSet;
use std::sync::Arc;

use conclave_cluster::state::id::Key;

use super::{Auth, Credential, Unverified};

impl Auth {
    /// Whether a credential is worth something only while its device is let in.
    pub(super) fn needs_device(&self, credential: &Credential) -> bool {
        let options = &self.0.options;
        let tenant = || options.tenants.named(credential.tenant.as_deref());
        options.require_approved_device || tenant().requires_approved_device()
    }

    /// Whether a credential's device is let in, where that matters.
    pub(super) fn judge_device(&self, credential: &Credential) -> Result<(), Unverified> {
        if !credential.needs_device {
            return Ok(());
        }
        match &*self.0.approved.load() {
            None => Err(Unverified::KeysUnavailable),
            Some(approved) if credential.device.is_some_and(|device| approved.contains(&device)) => Ok(()),
            Some(_) => Err(Unverified::DeviceNotApproved),
        }
    }

    /// Places a credential that names no organisation in the one whose host was asked.
    ///
    /// # Errors
    /// Where credentials say which organisation they are of (`auth.tenant_claim`), one that says none is of none. If the
    /// organisation has its devices let in: a device is one of the organisation that its token names.
    pub fn placed(&self, credential: Credential, tenant: &str) -> Result<Credential, Unverified> {
        if !credential.is_anonymous() && self.0.rules.tenant_claim.is_some() {
            return Err(Unverified::Tenant);
        }
        let asks = || self.tenants().named(Some(tenant)).requires_approved_device();
        if !credential.is_anonymous() && !self.0.options.require_approved_device && asks() {
            return Err(Unverified::DeviceNotApproved);
        }
        Ok(Credential { tenant: Some(tenant.to_owned()), ..credential })
    }

    /// Takes the devices that are let in, by the keys that stand for them.
    pub fn approve(&self, devices: HashSet<Key>) {
        let known = self.0.approved.load();
        if known.as_deref() != Some(&devices) {
            self.0.approved.store(Some(Arc::new(devices)));
            self.0.changes.send_modify(|count| *count += 1);
        }
    }

    /// Whether anybody's device has to be let in.
    pub fn asks_for_devices(&self) -> bool {
        self.0.options.require_approved_device || self.0.options.tenants.ask_for_devices()
    }

    /// Whether it is known who is let in, as far as that matters.
    pub fn knows_approved(&self) -> bool {
        !self.asks_for_devices() || self.0.approved.load().is_some()
    }
}
