//! Revocations: valid credentials that are no longer accepted.

use serde::{Deserialize, Serialize};

use super::context::ApplyContext;
use super::expiry::{ExpiryKey, Lease};
use super::id::{Domain, Key};
use super::keyed_command::Keyed;
use super::limits::REVOCATIONS_MAX;
use super::outcome;
use super::storage_quota::Load;
use super::table::{Stored, Table};

/// A command about the list under a key ([`Domain::Revocations`]).
pub type Op = Keyed<Action>;

/// What can be done to a list. New actions are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Put a credential on it, or set another time for one that is there.
    Revoke {
        /// What.
        revoked: Revoked,
        /// For how many seconds from now.
        ttl_s: u32,
    },
    /// Take it off again.
    Lift {
        /// What.
        revoked: Revoked,
    },
}

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Revoked {
    /// The token with this id (`jti`).
    Token(String),
    /// All credentials of this subject (`sub`).
    Subject(String),
    /// All credentials of one device of a subject.
    Device {
        /// The subject.
        subject: String,
        /// The device.
        device: String,
    },
}

impl Revoked {
    /// The names as they came.
    pub(super) fn names(&self) -> [Option<&str>; 2] {
        match self {
            Self::Token(name) | Self::Subject(name) => [Some(name), None],
            Self::Device { subject, device } => [Some(subject), Some(device)],
        }
    }

    /// Its key on its list.
    fn key(&self) -> Key {
        match self {
            Self::Token(name) => Key::derive(Domain::Revocations, &[b"token", name.as_bytes()]),
            Self::Subject(name) => Key::derive(Domain::Revocations, &[b"subject", name.as_bytes()]),
            Self::Device { subject, device } => {
                Key::derive(Domain::Revocations, &[b"device", subject.as_bytes(), device.as_bytes()])
            }
        }
    }
}

/// Something on a list, as readers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// What.
    pub revoked: Revoked,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Until when.
    pub expires_ms: u64,
}

/// What happened to a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is on the list.
    Revoked {
        /// Until when, in milliseconds since the Unix epoch.
        expires_ms: u64,
    },
    /// It is no longer on the list.
    Lifted {
        /// Whether it was.
        was_revoked: bool,
    },
}

/// Why nothing happened to a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// There are as many revocations as there may be.
    Full,
}

/// An entry of a list. It is bounded by [`REVOCATIONS_MAX`], and is on nobody's account: a full store must not keep a
/// revocation out. The fields' order is the snapshot format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Revocation {
    revoked: Revoked,
    since_ms: u64,
}

impl Stored for Revocation {
    type Key = (Key, Key);
    type Life = Lease;
    const EXPIRY: fn((Key, Key)) -> ExpiryKey = |(list, revoked)| ExpiryKey::Revocation(list, revoked);

    fn load(&self) -> Load {
        Load::NONE
    }
}

impl Table<Revocation> {
    pub(super) fn carry_out(&mut self, op: Op, ctx: &mut ApplyContext) -> Result<Outcome, outcome::Refusal> {
        let Op { key: list, action } = op;
        match action {
            Action::Revoke { revoked, ttl_s } => {
                let expires_ms = ctx.now_ms.saturating_add(u64::from(ttl_s.max(1)) * 1000);
                let name = (list, revoked.key());
                self.free_if_over(name, ctx);
                if let Some(known) = self.get_mut(&name) {
                    known.life.renew(expires_ms, Revocation::EXPIRY(name), ctx);
                } else if self.len() >= REVOCATIONS_MAX {
                    return Err(Refusal::Full.into());
                } else {
                    self.add(name, Revocation { revoked, since_ms: ctx.now_ms }, expires_ms, ctx);
                }
                ctx.wakes.wake(Domain::Revocations, list);
                Ok(Outcome::Revoked { expires_ms })
            }
            Action::Lift { revoked } => {
                let name = (list, revoked.key());
                let was_revoked = self.alive(&name, ctx.now_ms).is_some();
                if self.free(name, ctx).is_some() {
                    ctx.wakes.wake(Domain::Revocations, list);
                }
                Ok(Outcome::Lifted { was_revoked })
            }
        }
    }

    /// What is on a list.
    pub(super) fn list(&self, list: &Key, now_ms: u64) -> Vec<View> {
        self.under(&(*list..=*list))
            .filter(|(_, entry)| entry.life.expires_ms > now_ms)
            .map(|(_, entry)| View {
                revoked: entry.revoked.clone(),
                since_ms: entry.since_ms,
                expires_ms: entry.life.expires_ms,
            })
            .collect()
    }
}
