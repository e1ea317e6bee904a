//! Rendezvous: invite codes that resolve to peers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::context::ApplyContext;
use super::expiry::{ExpiryKey, Lease};
use super::id::{Domain, Key};
use super::keyed_command::Keyed;
use super::outcome;
use super::storage_quota::Load;
use super::table::{Stored, Table};
use super::weight::Kind;

/// A command about the invite code under a key, which is derived from the invite code ([`Domain::Rendezvous`]).
pub type Op = Keyed<Action>;

/// What can be done to an invite code. New actions are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Let the code resolve to `peer`; the same peer again renews.
    Register {
        /// The peer id that a lookup gives.
        peer: String,
        /// How long the registration lives.
        ttl_ms: u32,
    },
    /// Let it resolve to nobody any more, if it resolves to `peer`.
    Withdraw {
        /// The peer id that it was registered for.
        peer: String,
    },
}

/// What happened to an invite code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It resolves to the peer.
    Registered,
    /// It does not resolve to the peer.
    Withdrawn,
}

/// Why nothing happened to an invite code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Another peer holds it.
    InUse,
}

/// What one invite code resolves to. The fields' order is the snapshot format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registration {
    peer: Arc<str>,
}

impl Stored for Registration {
    type Key = Key;
    type Life = Lease;
    const EXPIRY: fn(Key) -> ExpiryKey = ExpiryKey::Rendezvous;

    fn load(&self) -> Load {
        Load::of(Kind::Rendezvous, self.peer.len() as u64)
    }
}

impl Table<Registration> {
    pub(super) fn carry_out(&mut self, op: Op, ctx: &mut ApplyContext) -> Result<Outcome, outcome::Refusal> {
        let Op { key, action } = op;
        self.free_if_over(key, ctx);
        match action {
            Action::Register { peer, ttl_ms } => {
                let expires_ms = ctx.after(ttl_ms);
                match self.get_mut(&key) {
                    Some(known) if *known.peer != *peer => return Err(Refusal::InUse.into()),
                    Some(known) => {
                        known.life.renew(expires_ms, ExpiryKey::Rendezvous(key), ctx);
                    }
                    None => self.try_add(key, Registration { peer: peer.into() }, expires_ms, ctx)?,
                }
                ctx.wakes.wake(Domain::Rendezvous, key);
                Ok(Outcome::Registered)
            }
            Action::Withdraw { peer } => {
                if self.get(&key).is_some_and(|known| *known.peer == *peer) {
                    self.free(key, ctx);
                    ctx.wakes.wake(Domain::Rendezvous, key);
                }
                Ok(Outcome::Withdrawn)
            }
        }
    }

    pub(super) fn peer(&self, key: &Key, now_ms: u64) -> Option<String> {
        self.alive(key, now_ms).map(|known| known.peer.to_string())
    }
}
