//! Devices that are let in, as credentials are judged by them.

use std::collections::HashSet;
use std::sync::Arc;

use conclave_cluster::state::id::Key;

use super::{Auth, Credential, Unverified};

/// Registered devices, by the keys that stand for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    /// Those that are let in.
    pub approved: HashSet<Key>,
    /// Those that wait, or are revoked.
    pub kept_out: HashSet<Key>,
}

impl Auth {
    /// Whether a credential is worth something only while its device is let in.
    pub(super) fn needs_device(&self, credential: &Credential) -> bool {
        self.needs_devices(credential.tenant.as_deref())
    }

    /// Whether devices of an organisation have to be let in; `None`: of those who belong to none.
    pub fn needs_devices(&self, tenant: Option<&str>) -> bool {
        let options = &self.0.options;
        options.require_approved_device || options.tenants.named(tenant).requires_approved_device()
    }

    /// Whether a device of this organisation is registered, has to be let in, and is not.
    pub fn keeps_out(&self, tenant: Option<&str>, device: &Key) -> bool {
        let is_kept_out = || {
            let devices = self.0.devices.load();
            devices.as_ref().is_some_and(|devices| devices.kept_out.contains(device))
        };
        self.needs_devices(tenant) && is_kept_out()
    }

    /// Whether a credential's device is let in, where that matters.
    pub(super) fn judge_device(&self, credential: &Credential) -> Result<(), Unverified> {
        if !credential.needs_device {
            return Ok(());
        }
        match &*self.0.devices.load() {
            None => Err(Unverified::KeysUnavailable),
            Some(devices) if credential.device.is_some_and(|own| devices.approved.contains(&own)) => Ok(()),
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

    /// Takes the devices that are registered.
    pub fn know_devices(&self, devices: Devices) {
        let known = self.0.devices.load();
        if known.as_deref() == Some(&devices) {
            return;
        }
        // Of one that begins to wait nobody need be judged anew.
        let concerns = known.as_ref().is_none_or(|known| known.approved != devices.approved);
        self.0.devices.store(Some(Arc::new(devices)));
        if concerns {
            self.0.changes.send_modify(|count| *count += 1);
        }
    }

    /// Whether anybody's device has to be let in.
    pub fn asks_for_devices(&self) -> bool {
        self.0.options.require_approved_device || self.0.options.tenants.ask_for_devices()
    }

    /// Whether it is known who is let in, as far as that matters.
    pub fn knows_approved(&self) -> bool {
        !self.asks_for_devices() || self.0.devices.load().is_some()
    }
}
