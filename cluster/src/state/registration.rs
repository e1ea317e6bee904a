//! Registrations: devices that showed a public key, and whether an operator approved them.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::context::ApplyContext;
use super::expiry::{ExpiryKey, Lease};
use super::id::{Digest, Domain, Key};
use super::keyed_command::Keyed;
use super::limits::{LISTED_MAX, REGISTRATIONS_MAX, REGISTRATIONS_PER_SUBJECT_MAX};
use super::outcome;
use super::storage_quota::Load;
use super::table::{Stored, Table};

/// A command about the list under a key ([`Domain::Registrations`]).
pub type Op = Keyed<Action>;

/// What can be done to a list. New actions are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// A device shows its public key. A registered device keeps its standing if the key is the same; with another key it is
    /// pending again, unless it is revoked.
    Register {
        /// Whose device.
        subject: String,
        /// Its name.
        device: String,
        /// Its public key, as it spells it.
        public_key: String,
    },
    /// An operator decides about a device.
    Decide {
        /// Whose device.
        subject: String,
        /// Its name.
        device: String,
        /// How it stands from now on.
        standing: Standing,
    },
    /// Take a device off the list.
    Forget {
        /// Whose device.
        subject: String,
        /// Its name.
        device: String,
    },
    /// Somebody else shows the public key of a device. One that is registered with another key stays as it is.
    Introduce {
        /// Whose device.
        subject: String,
        /// Its name.
        device: String,
        /// Its public key, as it is spelled.
        public_key: String,
    },
    /// An operator decides about a device with the key that he saw. One that is registered with another key stays as it is.
    DecideSeen {
        /// Whose device.
        subject: String,
        /// Its name.
        device: String,
        /// How it stands from now on.
        standing: Standing,
        /// The digest of the public key, as the device spelled it.
        seen: Digest,
    },
}

/// The standing of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Nobody has decided yet.
    Pending,
    /// It is approved.
    Approved,
    /// It is kept out.
    Revoked,
}

impl Action {
    /// Whose device, and its name.
    fn of(&self) -> (&str, &str) {
        match self {
            Self::Register { subject, device, .. }
            | Self::Decide { subject, device, .. }
            | Self::Forget { subject, device }
            | Self::Introduce { subject, device, .. }
            | Self::DecideSeen { subject, device, .. } => (subject, device),
        }
    }

    /// The names as they came.
    pub(super) fn names(&self) -> [Option<&str>; 3] {
        let (subject, device) = self.of();
        let public_key = match self {
            Self::Register { public_key, .. } | Self::Introduce { public_key, .. } => {
                Some(public_key.as_str())
            }
            Self::Decide { .. } | Self::Forget { .. } | Self::DecideSeen { .. } => None,
        };
        [Some(subject), Some(device), public_key]
    }

    /// The device's key on its list: those of one subject lie side by side.
    fn name(&self) -> Key {
        let (subject, device) = self.of();
        let subject = Key::derive(Domain::Registrations, &[b"subject", subject.as_bytes()]);
        let device = Key::derive(Domain::Registrations, &[b"device", device.as_bytes()]);
        let mut name = *subject.as_bytes();
        name[16..].copy_from_slice(&device.as_bytes()[..16]);
        Key::from_bytes(name)
    }
}

/// A device on a list, as readers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Whose device.
    pub subject: String,
    /// Its name.
    pub device: String,
    /// Its public key.
    pub public_key: String,
    /// How it stands.
    pub standing: Standing,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// Where a part of a list begins: behind this place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct After(pub Option<Key>);

/// A part of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The devices.
    pub views: Vec<View>,
    /// Where the next part begins, if there is more.
    pub next: Option<Key>,
}

/// What happened to a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The device is on the list, and stands so.
    Stands(Standing),
    /// It is no longer on the list.
    Forgotten {
        /// Whether it was.
        was_known: bool,
    },
}

/// Why nothing happened to a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// There are as many devices as there may be, or the subject has as many as one may.
    Full,
    /// There is no such device.
    Unknown,
    /// The device is registered with another public key.
    OtherKey,
}

/// A device on a list. It stays until it is forgotten, is bounded by [`REGISTRATIONS_MAX`], and is on nobody's account. The
/// fields' order is the snapshot format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registration {
    view: View,
}

impl Stored for Registration {
    type Key = (Key, Key);
    type Life = Lease;
    const EXPIRY: fn((Key, Key)) -> ExpiryKey = |(list, device)| ExpiryKey::Registration(list, device);

    fn load(&self) -> Load {
        Load::NONE
    }
}

impl Table<Registration> {
    pub(super) fn carry_out(&mut self, op: Op, ctx: &mut ApplyContext) -> Result<Outcome, outcome::Refusal> {
        let Op { key: list, action } = op;
        let name = (list, action.name());
        let outcome = match action {
            Action::Register { subject, device, public_key } => {
                match self.get(&name).map(|known| &known.view) {
                    Some(known) if known.public_key == public_key || known.standing == Standing::Revoked => {
                        return Ok(Outcome::Stands(known.standing));
                    }
                    Some(_) => {}
                    None if self.is_full_for(&name) => return Err(Refusal::Full.into()),
                    None => {}
                }
                self.wait(name, (subject, device, public_key), ctx)
            }
            Action::Introduce { subject, device, public_key } => {
                match self.get(&name).map(|known| &known.view) {
                    Some(known) if known.public_key == public_key => {
                        return Ok(Outcome::Stands(known.standing));
                    }
                    Some(_) => return Err(Refusal::OtherKey.into()),
                    None if self.is_full_for(&name) => return Err(Refusal::Full.into()),
                    None => self.wait(name, (subject, device, public_key), ctx),
                }
            }
            Action::Decide { standing, .. } => self.decide(name, standing, None, ctx)?,
            Action::DecideSeen { standing, seen, .. } => self.decide(name, standing, Some(seen), ctx)?,
            Action::Forget { .. } => Outcome::Forgotten { was_known: self.free(name, ctx).is_some() },
        };
        ctx.wakes.wake(Domain::Registrations, list);
        Ok(outcome)
    }

    /// A device waits until somebody decides about it.
    fn wait(
        &mut self,
        name: (Key, Key),
        (subject, device, public_key): (String, String, String),
        ctx: &mut ApplyContext,
    ) -> Outcome {
        let standing = Standing::Pending;
        self.put(name, View { subject, device, public_key, standing, since_ms: ctx.now_ms }, ctx);
        Outcome::Stands(standing)
    }

    /// Decides about a device, if it has the key that was `seen`.
    fn decide(
        &mut self,
        name: (Key, Key),
        standing: Standing,
        seen: Option<Digest>,
        ctx: &mut ApplyContext,
    ) -> Result<Outcome, Refusal> {
        let known = &self.get(&name).ok_or(Refusal::Unknown)?.view;
        if seen.is_some_and(|seen| seen != Digest::of(known.public_key.as_bytes())) {
            return Err(Refusal::OtherKey);
        }
        let view = View { standing, since_ms: ctx.now_ms, ..known.clone() };
        self.put(name, view, ctx);
        Ok(Outcome::Stands(standing))
    }

    fn put(&mut self, name: (Key, Key), view: View, ctx: &mut ApplyContext) {
        match self.get_mut(&name) {
            Some(known) => known.view = view,
            None => self.add(name, Registration { view }, u64::MAX, ctx),
        }
    }

    /// Whether there is no room for another device, or for another one of the same subject.
    fn is_full_for(&self, (list, device): &(Key, Key)) -> bool {
        let beside = |rest| {
            let mut name = *device.as_bytes();
            name[16..].fill(rest);
            (*list, Key::from_bytes(name))
        };
        let of_subject = self.named(beside(u8::MIN)..=beside(u8::MAX));
        self.len() >= REGISTRATIONS_MAX || of_subject.count() >= REGISTRATIONS_PER_SUBJECT_MAX
    }

    /// A part of a list, by subject.
    pub(super) fn list(&self, list: &Key, After(after): After) -> List {
        let from = match after {
            Some(after) => Bound::Excluded((*list, after)),
            None => Bound::Included((*list, Key::FIRST)),
        };
        let mut behind = self.named((from, Bound::Included((*list, Key::LAST))));
        let page: Vec<_> = behind.by_ref().take(LISTED_MAX).collect();
        let last = page.last().map(|((_, name), _)| *name);
        let next = last.filter(|_| behind.next().is_some());
        List { views: page.into_iter().map(|(_, entry)| entry.view.clone()).collect(), next }
    }
}
