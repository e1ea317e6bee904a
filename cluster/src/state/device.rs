//! Devices: registered endpoints of a user, each a lease.

use std::ops::RangeInclusive;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::account::Payer;
use super::context::ApplyContext;
use super::expiry::{Due, ExpiryKey};
use super::id::{Domain, Key};
use super::keyed_command::Keyed;
use super::limits::DEVICES_PER_USER_MAX;
use super::outcome;
use super::storage_quota::Load;
use super::table::{Entry, Stored, Table};
use super::weight::Kind;

/// A command about the devices under a key, which is derived from the user id ([`Domain::Devices`]).
pub type Op = Keyed<Action>;

/// What can be done to a user's devices. New actions are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Add the device, or renew and replace it.
    Register {
        /// The device, without its expiry.
        device_id: String,
        /// Its onion address.
        onion: String,
        /// Its port.
        port: Option<u16>,
        /// How long the lease runs.
        ttl_ms: u32,
    },
}

/// One live device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The user's name for it.
    pub device_id: String,
    /// Its onion address.
    pub onion: String,
    /// Its port.
    pub port: Option<u16>,
    /// When the lease ends, in milliseconds since the Unix epoch.
    pub expires_ms: u64,
}

/// What happened to a user's devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The device is live.
    Registered,
}

/// Why nothing happened to a user's devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The user has as many devices as one may.
    Full,
}

impl Device {
    fn alive(&self, now_ms: u64) -> bool {
        now_ms < self.expires_ms
    }

    fn load(&self) -> Load {
        Load::of(Kind::Device, (self.device_id.len() + self.onion.len()) as u64)
    }
}

/// All users' devices.
#[derive(Debug, Clone, Default)]
pub(super) struct Devices {
    users: Table<User>,
    len: usize,
}

/// A device, and who registered it last. The fields' order is the snapshot format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registered {
    device: Device,
    pub(super) payer: Payer,
}

/// One user's devices by id. They share one entry in the expiry queue.
#[derive(Debug, Clone)]
pub(super) struct User {
    devices: OrdMap<String, Registered>,
}

/// A user is on nobody's account, each device on that of whoever registered it.
impl Stored for User {
    type Key = Key;
    type Life = Due;
    const EXPIRY: fn(Key) -> ExpiryKey = ExpiryKey::Devices;

    fn load(&self) -> Load {
        Load::NONE
    }
}

impl Devices {
    pub(super) fn carry_out(&mut self, op: Op, ctx: &mut ApplyContext) -> Result<Outcome, outcome::Refusal> {
        let Op { key, action: Action::Register { device_id, onion, port, ttl_ms } } = op;
        if ctx.overdue {
            self.free_expired(&key, ctx);
        }
        let device = Device { device_id, onion, port, expires_ms: ctx.after(ttl_ms) };
        let user = self.users.get(&key);
        let load = device.load();
        let known = user.and_then(|user| user.devices.get(&device.device_id));
        let payer = match known {
            Some(known) => {
                let old = known.device.load();
                ctx.storage.admit_instead(known.payer, &old, load)?;
                ctx.storage.replace(known.payer, old, load)
            }
            None => {
                if user.is_some_and(|user| user.devices.len() >= DEVICES_PER_USER_MAX) {
                    return Err(Refusal::Full.into());
                }
                ctx.storage.admit(load)?;
                self.len += 1;
                ctx.storage.add(load)
            }
        };
        self.insert(key, Registered { device, payer }, ctx);
        ctx.wakes.wake(Domain::Devices, key);
        Ok(Outcome::Registered)
    }

    fn insert(&mut self, key: Key, registered: Registered, ctx: &mut ApplyContext) {
        let (id, due_ms) = (registered.device.device_id.clone(), registered.device.expires_ms);
        match self.users.get_mut(&key) {
            Some(user) => {
                user.life.hasten(due_ms, ExpiryKey::Devices(key), ctx);
                user.devices.insert(id, registered);
            }
            None => self.users.add(key, User { devices: OrdMap::unit(id, registered) }, due_ms, ctx),
        }
    }

    /// Drops a user's expired devices, and the user with the last; says how many that were.
    fn free_expired(&mut self, key: &Key, ctx: &mut ApplyContext) -> usize {
        let Some(user) = self.users.get_mut(key) else { return 0 };
        let over = user.devices.values().filter(|known| !known.device.alive(ctx.now_ms));
        let over: Vec<String> = over.map(|known| known.device.device_id.clone()).collect();
        for device_id in &over {
            if let Some(Registered { device, payer }) = user.devices.remove(device_id) {
                ctx.storage.drop(payer, device.load());
                self.len -= 1;
            }
        }
        if user.devices.is_empty() {
            self.users.free(*key, ctx);
        }
        over.len()
    }

    /// The expiry queue says that some device of a user may be due; returns how many things were looked at.
    pub(super) fn on_expiry(&mut self, key: &Key, ctx: &mut ApplyContext) -> usize {
        let freed = self.free_expired(key, ctx);
        if let Some(user) = self.users.get_mut(key)
            && let Some(due_ms) = user.devices.values().map(|known| known.device.expires_ms).min()
        {
            user.life.due_ms = due_ms;
            self.users.expire(*key, ctx);
        }
        freed.max(1)
    }

    /// A user's live devices, by id.
    pub(super) fn of(&self, key: &Key, now_ms: u64) -> Vec<Device> {
        let devices = self.users.get(key).into_iter().flat_map(|user| user.devices.values());
        devices.map(|known| &known.device).filter(|device| device.alive(now_ms)).cloned().collect()
    }

    pub(super) fn users(&self) -> &Table<User> {
        &self.users
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Every user under keys of a range, with the due instant and the devices.
    pub(super) fn under(
        &self,
        keys: &RangeInclusive<Key>,
    ) -> impl Iterator<Item = (&Key, u64, impl Iterator<Item = &Registered>)> {
        self.users.under(keys).map(|(key, user)| (key, user.life.due_ms, user.devices.values()))
    }

    /// Removes the users under keys of a range, with their devices.
    pub(super) fn free_under(&mut self, keys: &RangeInclusive<Key>, ctx: &mut ApplyContext) {
        for key in self.users.names_under(keys) {
            let devices = self.users.free(key, ctx).map(|user| user.devices).unwrap_or_default();
            for Registered { device, payer } in devices.values() {
                ctx.storage.drop(*payer, device.load());
                self.len -= 1;
            }
        }
    }

    /// Takes a user as a snapshot has it; false if that cannot be.
    pub(super) fn restore(
        &mut self,
        key: Key,
        due_ms: u64,
        devices: Vec<Registered>,
        ctx: &mut ApplyContext,
    ) -> bool {
        let sound = (1..=DEVICES_PER_USER_MAX).contains(&devices.len())
            && devices.iter().all(|known| due_ms <= known.device.expires_ms)
            && devices.iter().all(|known| ctx.storage.restore(known.payer, known.device.load()));
        self.len += devices.len();
        let devices = devices.into_iter().map(|known| (known.device.device_id.clone(), known)).collect();
        sound && self.users.restore(key, Entry::of(User { devices }, Due { due_ms }, Payer::NOBODY), ctx)
    }
}
