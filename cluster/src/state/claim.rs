//! Claims: which socket session a mailbox is pushed to.
//!
//! While a claim is attached, what waits in the mailbox goes over that socket and a poll over HTTP finds nothing,
//! so that no signal is delivered by both. When the connection or its node is lost, polls are answered again; the
//! peer id stays the session's for its lease.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::account::Payer;
use super::expiry::Thing;
use super::ground::Ground;
use super::host::{Attachment, Hosts};
use super::id::{Domain, Key};
use super::outcome;
use super::storage::Load;
use super::tether::Tether;
use super::weight::Kind;

/// A wish about the claim on the mailbox under `key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Derived from the peer id ([`Domain::Mailbox`]).
    pub key: Key,
    /// What is wished.
    pub verb: Verb,
}

/// What can be done to a claim. New verbs are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// Have the mailbox pushed to this session.
    Take {
        /// The session's key.
        session: Key,
        /// Its connection.
        at: Attachment,
        /// How long the claim stays after the connection.
        lease_ms: u32,
        /// Whether another session's claim gives way, because who asks proved the right to this peer id.
        seize: bool,
    },
    /// The connection is lost: the lease begins. Nothing if another connection took over.
    Detach {
        /// The session's key.
        session: Key,
        /// Which connection.
        connection: u64,
    },
    /// Give the peer id up. Nothing if another connection took over.
    Release {
        /// The session's key.
        session: Key,
        /// Its connection.
        connection: u64,
    },
}

/// What happened to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It stands.
    Taken,
    /// It does not stand, or not by that connection.
    Released,
}

/// Why nothing happened to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Another session holds the peer id.
    Held,
}

/// One claim. The fields' order is the snapshot format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    session: Key,
    tether: Tether,
    payer: Payer,
}

/// What a claim weighs.
const LOAD: Load = Load::of(Kind::Claim, 0);

/// All claims, by mailbox.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims(OrdMap<Key, Claim>);

impl Claims {
    pub(super) fn carry_out(&mut self, ask: &Ask, ground: &mut Ground) -> Result<Outcome, outcome::Refusal> {
        let key = ask.key;
        match ask.verb {
            Verb::Take { session, at, lease_ms, seize } => {
                self.take(key, session, at, lease_ms, seize, ground)
            }
            Verb::Detach { session, connection } => {
                if let Some(claim) = self.held_by(&key, &session, connection) {
                    claim.tether.detach(Thing::Claim(key), ground);
                    ground.wakes.wake(Domain::Mailbox, key);
                }
                Ok(Outcome::Released)
            }
            Verb::Release { session, connection } => {
                if let Some(claim) = self.held_by(&key, &session, connection) {
                    claim.tether.end(Thing::Claim(key), ground);
                    ground.storage.drop(claim.payer, LOAD);
                    self.0.remove(&key);
                    ground.wakes.wake(Domain::Mailbox, key);
                }
                Ok(Outcome::Released)
            }
        }
    }

    fn take(
        &mut self,
        key: Key,
        session: Key,
        at: Attachment,
        lease_ms: u32,
        seize: bool,
        ground: &mut Ground,
    ) -> Result<Outcome, outcome::Refusal> {
        let thing = Thing::Claim(key);
        match self.0.get_mut(&key) {
            Some(claim) => {
                if claim.session != session && !seize && claim.tether.alive(ground.now_ms) {
                    return Err(Refusal::Held.into());
                }
                if claim.session != session {
                    ground.storage.admit_instead(claim.payer, &LOAD, LOAD)?;
                    claim.payer = ground.storage.replace(claim.payer, LOAD, LOAD);
                }
                claim.session = session;
                claim.tether.attach(at, lease_ms, thing, ground);
            }
            None => {
                ground.storage.admit(LOAD)?;
                let payer = ground.storage.add(LOAD);
                let tether = Tether::begin(at, lease_ms, thing, ground);
                self.0.insert(key, Claim { session, tether, payer });
            }
        }
        ground.wakes.wake(Domain::Mailbox, key);
        Ok(Outcome::Taken)
    }

    fn held_by(&mut self, key: &Key, session: &Key, connection: u64) -> Option<&mut Claim> {
        let claim = self.0.get_mut(key);
        claim.filter(|claim| claim.session == *session && claim.tether.is_at(connection))
    }

    /// The agenda says that a claim is due.
    pub(super) fn lapse(&mut self, key: &Key, ground: &mut Ground) -> usize {
        if let Some(claim) = self.0.get_mut(key) {
            if !claim.tether.lapse(Thing::Claim(*key), ground) {
                ground.storage.drop(claim.payer, LOAD);
                self.0.remove(key);
            }
            // Its node may have been found dead: whoever polls should look again.
            ground.wakes.wake(Domain::Mailbox, *key);
        }
        1
    }

    /// Whether the mailbox is pushed to a socket now.
    pub(super) fn is_attached(&self, key: &Key, hosts: &Hosts, now_ms: u64) -> bool {
        self.0.get(key).is_some_and(|claim| claim.tether.attachment(hosts, now_ms).is_some())
    }

    /// The session that holds the peer id, and the connection its signals go to.
    pub(super) fn holder(&self, key: &Key, hosts: &Hosts, now_ms: u64) -> Option<(Key, Option<Attachment>)> {
        let claim = self.0.get(key).filter(|claim| claim.tether.alive(now_ms))?;
        Some((claim.session, claim.tether.attachment(hosts, now_ms)))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Claim)> {
        self.0.iter()
    }

    /// Takes a claim as a snapshot has it; false if that cannot be.
    pub(super) fn restore(&mut self, key: Key, claim: Claim, ground: &mut Ground) -> bool {
        claim.tether.restore(Thing::Claim(key), ground)
            && ground.storage.restore(claim.payer, LOAD)
            && self.0.insert(key, claim).is_none()
    }
}
