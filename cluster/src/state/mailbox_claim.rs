//! Claims: which socket session a mailbox is pushed to.
//!
//! While a claim is attached, what waits in the mailbox goes over that socket and a poll over HTTP finds nothing,
//! so that no signal is delivered by both. When the connection or its node is lost, polls are answered again; the
//! peer id stays the session's for its lease.

use serde::{Deserialize, Serialize};

use super::connection_lease::Hold;
use super::context::ApplyContext;
use super::expiry::ExpiryKey;
use super::generation::{Departure, Generation};
use super::id::{Domain, Key};
use super::incarnation::{Attachment, Incarnations};
use super::keyed_command::Keyed;
use super::outcome;
use super::storage_quota::Load;
use super::table::{Entry, Life as _, Stored, Table};
use super::weight::Kind;

/// A command about the claim on the mailbox under a key, which is derived from the peer id ([`Domain::Mailbox`]).
pub type Op = Keyed<Action>;

/// What can be done to a claim. New actions are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Have the mailbox pushed to this session. Refused as the session's own matters are
    /// ([`socket::Refusal::Replaced`](super::socket::Refusal::Replaced)) if a later connection of the session was here.
    Take {
        /// The session's key.
        session: Key,
        /// That of the connection that asks; `None`: an event stream, whose session is nothing but this claim.
        generation: Option<Generation>,
        /// Where it is pushed; the number is the claim's own.
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
        /// The claim's number.
        connection: u64,
    },
    /// Give the peer id up. Nothing if another connection took over.
    Release {
        /// The session's key.
        session: Key,
        /// The claim's number.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    session: Key,
    /// That of the connection by which it stands.
    generation: Option<Generation>,
}

impl Stored for Claim {
    type Key = Key;
    type Life = Hold;
    const EXPIRY: fn(Key) -> ExpiryKey = ExpiryKey::Claim;

    fn load(&self) -> Load {
        Load::of(Kind::Claim, 0)
    }
}

impl Claim {
    fn depart(self, key: Key, departures: &mut Table<Departure>, ctx: &mut ApplyContext) {
        if let Some(generation) = self.generation {
            departures.leave((key, self.session), generation, ctx);
        }
    }
}

impl Table<Claim> {
    pub(super) fn carry_out(
        &mut self,
        op: &Op,
        departures: &mut Table<Departure>,
        ctx: &mut ApplyContext,
    ) -> Result<Outcome, outcome::Refusal> {
        let key = op.key;
        match op.action {
            Action::Take { session, generation, at, lease_ms, seize } => {
                let (claim, before) = (Claim { session, generation }, self.get(&key).map(|known| **known));
                let here =
                    before.filter(|before| before.session == session).and_then(|before| before.generation);
                generation.map_or(Ok(()), |generation| {
                    departures.admit((key, session), generation, here, ctx.now_ms)
                })?;
                let taken = self.take(key, claim, (at, lease_ms), seize, ctx)?;
                departures.free((key, session), ctx);
                if let Some(before) = before.filter(|before| before.session != session) {
                    before.depart(key, departures, ctx);
                }
                Ok(taken)
            }
            Action::Detach { session, connection } => {
                if let Some(claim) = self.held_by(&key, &session, connection) {
                    claim.life.detach(ExpiryKey::Claim(key), ctx);
                    ctx.wakes.wake(Domain::Mailbox, key);
                }
                Ok(Outcome::Released)
            }
            Action::Release { session, connection } => {
                if self.held_by(&key, &session, connection).is_some() {
                    if let Some(claim) = self.free(key, ctx) {
                        claim.depart(key, departures, ctx);
                    }
                    ctx.wakes.wake(Domain::Mailbox, key);
                }
                Ok(Outcome::Released)
            }
        }
    }

    fn take(
        &mut self,
        key: Key,
        claim: Claim,
        (at, lease_ms): (Attachment, u32),
        seize: bool,
        ctx: &mut ApplyContext,
    ) -> Result<Outcome, outcome::Refusal> {
        match self.get(&key) {
            Some(known) if known.session != claim.session => {
                if !seize && known.life.alive(ctx.now_ms) {
                    return Err(Refusal::Held.into());
                }
                self.try_replace(key, claim, ctx)?;
            }
            Some(_) => {}
            None => self.try_add(key, claim, (at, lease_ms), ctx)?,
        }
        if let Some(known) = self.get_mut(&key) {
            known.generation = claim.generation;
            known.life.attach(at, lease_ms, ExpiryKey::Claim(key), ctx);
        }
        ctx.wakes.wake(Domain::Mailbox, key);
        Ok(Outcome::Taken)
    }

    fn held_by(&mut self, key: &Key, session: &Key, connection: u64) -> Option<&mut Entry<Claim>> {
        let claim = self.get_mut(key);
        claim.filter(|claim| claim.session == *session && claim.life.is_at(connection))
    }

    /// The expiry queue says that a claim is due.
    pub(super) fn on_claim_expiry(
        &mut self,
        key: Key,
        departures: &mut Table<Departure>,
        ctx: &mut ApplyContext,
    ) -> usize {
        // Its node may have been found dead: whoever polls should look again.
        ctx.wakes.wake(Domain::Mailbox, key);
        if let Some(claim) = self.expire(key, ctx) {
            claim.depart(key, departures, ctx);
        }
        1
    }

    /// Whether the mailbox is pushed to a socket now.
    pub(super) fn is_attached(&self, key: &Key, incarnations: &Incarnations, now_ms: u64) -> bool {
        self.get(key).is_some_and(|claim| claim.life.attachment(incarnations, now_ms).is_some())
    }

    /// The session that holds the peer id, and the connection its signals go to.
    pub(super) fn holder(
        &self,
        key: &Key,
        incarnations: &Incarnations,
        now_ms: u64,
    ) -> Option<(Key, Option<Attachment>)> {
        let claim = self.alive(key, now_ms)?;
        Some((claim.session, claim.life.attachment(incarnations, now_ms)))
    }
}
