//! Rendezvous: invite codes that resolve to peers.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::account::Payer;
use super::expiry::{Lease, Thing};
use super::ground::Ground;
use super::id::{Domain, Key};
use super::outcome;
use super::storage::Load;
use super::weight::Kind;

/// A wish about the invite code under `key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Derived from the invite code ([`Domain::Rendezvous`]).
    pub key: Key,
    /// What is wished.
    pub verb: Verb,
}

/// What can be done to an invite code. New verbs are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
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
    lease: Lease,
    payer: Payer,
}

impl Registration {
    fn load(&self) -> Load {
        Load::of(Kind::Rendezvous, self.peer.len() as u64)
    }
}

/// All invite codes that resolve to a peer.
#[derive(Debug, Clone, Default)]
pub(super) struct Register(OrdMap<Key, Registration>);

impl Register {
    pub(super) fn carry_out(&mut self, ask: Ask, ground: &mut Ground) -> Result<Outcome, outcome::Refusal> {
        let Ask { key, verb } = ask;
        if ground.overdue && self.0.get(&key).is_some_and(|it| !it.lease.alive(ground.now_ms)) {
            self.free(&key, ground);
        }
        match verb {
            Verb::Register { peer, ttl_ms } => self.register(key, &peer, ttl_ms, ground),
            Verb::Withdraw { peer } => {
                if self.0.get(&key).is_some_and(|registration| *registration.peer == *peer) {
                    self.free(&key, ground);
                    ground.wakes.wake(Domain::Rendezvous, key);
                }
                Ok(Outcome::Withdrawn)
            }
        }
    }

    fn register(
        &mut self,
        key: Key,
        peer: &str,
        ttl_ms: u32,
        ground: &mut Ground,
    ) -> Result<Outcome, outcome::Refusal> {
        let expires_ms = ground.after(ttl_ms);
        let thing = Thing::Rendezvous(key);
        match self.0.get_mut(&key) {
            Some(registration) if *registration.peer != *peer => return Err(Refusal::InUse.into()),
            Some(registration) => ground.agenda.renew(&mut registration.lease, thing, expires_ms),
            None => {
                let load = Load::of(Kind::Rendezvous, peer.len() as u64);
                ground.storage.admit(load)?;
                let payer = ground.storage.add(load);
                let lease = ground.agenda.begin(thing, expires_ms);
                self.0.insert(key, Registration { peer: peer.into(), lease, payer });
            }
        }
        ground.wakes.wake(Domain::Rendezvous, key);
        Ok(Outcome::Registered)
    }

    fn free(&mut self, key: &Key, ground: &mut Ground) {
        if let Some(registration) = self.0.remove(key) {
            ground.agenda.end(&registration.lease, Thing::Rendezvous(*key));
            ground.storage.drop(registration.payer, registration.load());
        }
    }

    /// The agenda says that a registration is due.
    pub(super) fn lapse(&mut self, key: &Key, ground: &mut Ground) -> usize {
        match self.0.get_mut(key) {
            Some(registration) if registration.lease.alive(ground.now_ms) => {
                ground.agenda.keep(&mut registration.lease, Thing::Rendezvous(*key));
            }
            _ => self.free(key, ground),
        }
        1
    }

    pub(super) fn peer(&self, key: &Key, now_ms: u64) -> Option<String> {
        let registration = self.0.get(key).filter(|registration| registration.lease.alive(now_ms))?;
        Some(registration.peer.to_string())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Registration)> {
        self.0.iter()
    }

    /// Takes a registration as a snapshot has it; false if that cannot be.
    pub(super) fn restore(&mut self, key: Key, registration: Registration, ground: &mut Ground) -> bool {
        ground.agenda.restore(&registration.lease, Thing::Rendezvous(key))
            && ground.storage.restore(registration.payer, registration.load())
            && self.0.insert(key, registration).is_none()
    }
}
