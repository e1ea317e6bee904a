//! Devices: registered endpoints of a user, each a lease.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::account::Payer;
use super::expiry::Thing;
use super::ground::Ground;
use super::id::{Domain, Key};
use super::limits::DEVICES_PER_USER_MAX;
use super::outcome;
use super::storage::Load;
use super::weight::Kind;

/// A wish about the devices under `key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Derived from the user id ([`Domain::Devices`]).
    pub key: Key,
    /// What is wished.
    pub verb: Verb,
}

/// What can be done to a user's devices. New verbs are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
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
    users: OrdMap<Key, User>,
    len: usize,
}

/// A device, and who registered it last. The fields' order is the snapshot format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registered {
    device: Device,
    payer: Payer,
}

/// One user's devices by id. They share one entry in the agenda.
#[derive(Debug, Clone)]
struct User {
    devices: OrdMap<String, Registered>,
    due_ms: u64,
}

impl Devices {
    pub(super) fn carry_out(&mut self, ask: Ask, ground: &mut Ground) -> Result<Outcome, outcome::Refusal> {
        let Ask { key, verb: Verb::Register { device_id, onion, port, ttl_ms } } = ask;
        if ground.overdue {
            self.free_expired(&key, ground);
        }
        let device = Device { device_id, onion, port, expires_ms: ground.after(ttl_ms) };
        let user = self.users.get(&key);
        let load = device.load();
        let known = user.and_then(|user| user.devices.get(&device.device_id));
        let payer = match known {
            Some(known) => {
                let old = known.device.load();
                ground.storage.admit_instead(known.payer, &old, load)?;
                ground.storage.replace(known.payer, old, load)
            }
            None => {
                if user.is_some_and(|user| user.devices.len() >= DEVICES_PER_USER_MAX) {
                    return Err(Refusal::Full.into());
                }
                ground.storage.admit(load)?;
                self.len += 1;
                ground.storage.add(load)
            }
        };
        self.insert(key, Registered { device, payer }, ground);
        ground.wakes.wake(Domain::Devices, key);
        Ok(Outcome::Registered)
    }

    fn insert(&mut self, key: Key, registered: Registered, ground: &mut Ground) {
        let (id, due_ms) = (registered.device.device_id.clone(), registered.device.expires_ms);
        match self.users.get_mut(&key) {
            Some(user) => {
                if due_ms < user.due_ms {
                    ground.agenda.strike(user.due_ms, Thing::Devices(key));
                    ground.agenda.enter(due_ms, Thing::Devices(key));
                    user.due_ms = due_ms;
                }
                user.devices.insert(id, registered);
            }
            None => {
                ground.agenda.enter(due_ms, Thing::Devices(key));
                let devices = OrdMap::unit(id, registered);
                self.users.insert(key, User { devices, due_ms });
            }
        }
    }

    /// Drops a user's expired devices, and the user with the last; says how many that were.
    fn free_expired(&mut self, key: &Key, ground: &mut Ground) -> usize {
        let Some(user) = self.users.get_mut(key) else { return 0 };
        let over = user.devices.values().filter(|known| !known.device.alive(ground.now_ms));
        let over: Vec<String> = over.map(|known| known.device.device_id.clone()).collect();
        for device_id in &over {
            if let Some(Registered { device, payer }) = user.devices.remove(device_id) {
                ground.storage.drop(payer, device.load());
                self.len -= 1;
            }
        }
        if user.devices.is_empty() {
            ground.agenda.strike(user.due_ms, Thing::Devices(*key));
            self.users.remove(key);
        }
        over.len()
    }

    /// The agenda says that some device of a user may be due; returns how many things were looked at.
    pub(super) fn lapse(&mut self, key: &Key, ground: &mut Ground) -> usize {
        let freed = self.free_expired(key, ground);
        if let Some(user) = self.users.get_mut(key)
            && let Some(due_ms) = user.devices.values().map(|known| known.device.expires_ms).min()
        {
            user.due_ms = due_ms;
            ground.agenda.enter(due_ms, Thing::Devices(*key));
        }
        freed.max(1)
    }

    /// A user's live devices, by id.
    pub(super) fn of(&self, key: &Key, now_ms: u64) -> Vec<Device> {
        let devices = self.users.get(key).into_iter().flat_map(|user| user.devices.values());
        devices.map(|known| &known.device).filter(|device| device.alive(now_ms)).cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Every user with the due instant and the devices.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, u64, impl Iterator<Item = &Registered>)> {
        self.users.iter().map(|(key, user)| (key, user.due_ms, user.devices.values()))
    }

    /// Takes a user as a snapshot has it; false if that cannot be.
    pub(super) fn restore(
        &mut self,
        key: Key,
        due_ms: u64,
        devices: Vec<Registered>,
        ground: &mut Ground,
    ) -> bool {
        let sound = (1..=DEVICES_PER_USER_MAX).contains(&devices.len())
            && devices.iter().all(|known| due_ms <= known.device.expires_ms)
            && ground.agenda.enter(due_ms, Thing::Devices(key))
            && devices.iter().all(|known| ground.storage.restore(known.payer, known.device.load()));
        self.len += devices.len();
        let user = User {
            devices: devices.into_iter().map(|known| (known.device.device_id.clone(), known)).collect(),
            due_ms,
        };
        sound && self.users.insert(key, user).is_none()
    }
}
