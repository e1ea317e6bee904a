//! Negotiations: one WebRTC offer and one answer (the API says "session").

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::account::Payer;
use super::body::Body;
use super::context::ApplyContext;
use super::expiry::{AgedLease, ExpiryKey, Lease};
use super::id::{Domain, Key};
use super::keyed_command::Leased;
use super::outcome;
use super::storage_quota::Load;
use super::table::{Stored, Table};
use super::weight::Kind;

/// A command about the negotiation under a key, which is derived from the session id ([`Domain::Negotiation`]).
pub type Op = Leased<Action>;

/// What can be done to a negotiation. New actions are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Begin, and let `pin` resolve to `id` if no live negotiation holds it.
    Create {
        /// The session id, a UUID as a number.
        id: u128,
        /// Derived from the pin ([`Domain::Pin`]).
        pin: Option<Key>,
    },
    /// Store one side's envelope, over an earlier one.
    Put {
        /// Whose.
        role: Role,
        /// Ciphertext, as JSON text.
        envelope: Body,
    },
    /// End it.
    Delete,
}

/// The two sides of a negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// The side that opens.
    Offer,
    /// The side that replies.
    Answer,
}

/// What happened to a negotiation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It lives.
    Created,
    /// The envelope is stored.
    Stored,
    /// It is gone.
    Deleted,
}

/// Why nothing happened to a negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Another live negotiation holds the pin.
    PinInUse,
    /// No negotiation lives under the key.
    Expired,
}

/// What a pin resolves to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolved {
    /// A live negotiation's session id.
    Live(u128),
    /// The negotiation it named is gone.
    Expired,
    /// Nothing is known of it.
    Unknown,
}

/// What a reader sees of one side of a negotiation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Envelope {
    /// It is there.
    Present(Body),
    /// The negotiation lives, this side has not spoken.
    Missing,
    /// No negotiation lives under the key.
    Expired,
}

/// All negotiations, and the pins that resolve to them.
#[derive(Debug, Clone, Default)]
pub(super) struct Negotiations {
    pub(super) negotiations: Table<Negotiation>,
    pub(super) pins: Table<Pin>,
}

/// One negotiation. The fields' order is the snapshot format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Negotiation {
    pin: Option<Key>,
    pub(super) envelopes: Arc<Envelopes>,
}

impl Stored for Negotiation {
    type Key = Key;
    type Life = AgedLease;
    const EXPIRY: fn(Key) -> ExpiryKey = ExpiryKey::Negotiation;

    /// Without the envelopes, each of which is on the account of its writer.
    fn load(&self) -> Load {
        Load::of(Kind::Negotiation, 0)
    }

    fn drop_parts(&self, ctx: &mut ApplyContext) {
        for sealed in self.envelopes.iter() {
            ctx.storage.drop(sealed.payer, sealed.load());
        }
    }

    fn restore_parts(&self, ctx: &mut ApplyContext) -> bool {
        self.envelopes.iter().all(|sealed| ctx.storage.restore(sealed.payer, sealed.load()))
    }
}

/// Both sides' envelopes, shared so that copying a node of the map copies no handles to bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Envelopes {
    pub(super) offer: Option<Sealed>,
    pub(super) answer: Option<Sealed>,
}

/// One side's envelope, and who put it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sealed {
    pub(super) body: Body,
    pub(super) payer: Payer,
}

impl Sealed {
    fn load(&self) -> Load {
        Load::of(Kind::Envelope, self.body.len() as u64)
    }
}

impl Envelopes {
    fn of(&self, role: Role) -> Option<&Sealed> {
        match role {
            Role::Offer => self.offer.as_ref(),
            Role::Answer => self.answer.as_ref(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Sealed> {
        [&self.offer, &self.answer].into_iter().flatten()
    }
}

/// What a pin resolves to. It is in use while its negotiation lives, and outlives it by one TTL, so that a late
/// caller hears "expired" and not "unknown". The fields' order is the snapshot format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pin {
    id: u128,
    negotiation: Key,
}

impl Stored for Pin {
    type Key = Key;
    type Life = Lease;
    const EXPIRY: fn(Key) -> ExpiryKey = ExpiryKey::Pin;

    fn load(&self) -> Load {
        Load::of(Kind::Pin, 0)
    }
}

impl Negotiations {
    pub(super) fn carry_out(&mut self, op: Op, ctx: &mut ApplyContext) -> Result<Outcome, outcome::Refusal> {
        let Op { key, ttl_ms, action } = op;
        self.negotiations.free_if_over(key, ctx);
        match action {
            Action::Create { id, pin } => self.create(key, ttl_ms, id, pin, ctx),
            Action::Put { role, envelope } => self.put(key, ttl_ms, role, &envelope, ctx),
            Action::Delete => self.delete(key, ttl_ms, ctx),
        }
    }

    fn create(
        &mut self,
        key: Key,
        ttl_ms: u32,
        id: u128,
        pin: Option<Key>,
        ctx: &mut ApplyContext,
    ) -> Result<Outcome, outcome::Refusal> {
        // Ids are random, so one that lives was made by this very command.
        if self.negotiations.contains(&key) {
            return Ok(Outcome::Created);
        }
        let known = pin.and_then(|pin| self.pins.get(&pin));
        let live = |key| self.negotiations.alive(key, ctx.now_ms).is_some();
        if known.is_some_and(|known| live(&known.negotiation)) {
            return Err(Refusal::PinInUse.into());
        }
        let negotiation = Negotiation { pin, envelopes: Arc::default() };
        let pinned = pin.is_some() && known.is_none();
        let load = negotiation.load();
        ctx.storage.admit(if pinned { load.and(Kind::Pin, 0) } else { load })?;
        if let Some(pin) = pin {
            self.hold(pin, id, key, ttl_ms, ctx);
        }
        self.negotiations.add(key, negotiation, ctx.after(ttl_ms), ctx);
        ctx.wakes.wake(Domain::Negotiation, key);
        Ok(Outcome::Created)
    }

    fn put(
        &mut self,
        key: Key,
        ttl_ms: u32,
        role: Role,
        envelope: &Body,
        ctx: &mut ApplyContext,
    ) -> Result<Outcome, outcome::Refusal> {
        let negotiation = self.negotiations.get_mut(&key).ok_or(Refusal::Expired)?;
        let load = Load::of(Kind::Envelope, envelope.len() as u64);
        let payer = match negotiation.envelopes.of(role) {
            Some(known) => {
                ctx.storage.admit_instead(known.payer, &known.load(), load)?;
                ctx.storage.replace(known.payer, known.load(), load)
            }
            None => {
                ctx.storage.admit(load)?;
                ctx.storage.add(load)
            }
        };
        let envelopes = Arc::make_mut(&mut negotiation.envelopes);
        // A body of its own: the one in the proposal is a slice of a whole batch's buffer.
        let sealed = Some(Sealed { body: envelope.detached(), payer });
        match role {
            Role::Offer => envelopes.offer = sealed,
            Role::Answer => envelopes.answer = sealed,
        }
        let age_max_ms = ctx.storage.rules.ages.exchange_max_ms;
        let expires_ms = negotiation.life.renew(ttl_ms, age_max_ms, ExpiryKey::Negotiation(key), ctx);
        if let Some(pin) = negotiation.pin {
            self.keep_pin(pin, &key, expires_ms.saturating_add(u64::from(ttl_ms)), ctx);
        }
        ctx.wakes.wake(Domain::Negotiation, key);
        Ok(Outcome::Stored)
    }

    fn delete(&mut self, key: Key, ttl_ms: u32, ctx: &mut ApplyContext) -> Result<Outcome, outcome::Refusal> {
        let negotiation = self.negotiations.get(&key).ok_or(Refusal::Expired)?;
        if let Some(pin) = negotiation.pin {
            self.keep_pin(pin, &key, ctx.after(ttl_ms), ctx);
        }
        self.negotiations.free(key, ctx);
        ctx.wakes.wake(Domain::Negotiation, key);
        Ok(Outcome::Deleted)
    }

    /// Lets a free pin resolve to a negotiation that is about to begin.
    fn hold(&mut self, pin: Key, id: u128, negotiation: Key, ttl_ms: u32, ctx: &mut ApplyContext) {
        let expires_ms = ctx.after(ttl_ms).saturating_add(u64::from(ttl_ms));
        match self.pins.get_mut(&pin) {
            Some(known) => {
                known.life.renew(expires_ms, ExpiryKey::Pin(pin), ctx);
                self.pins.replace(pin, Pin { id, negotiation }, ctx);
            }
            None => self.pins.add(pin, Pin { id, negotiation }, expires_ms, ctx),
        }
    }

    /// Sets a pin's expiry, if it still belongs to this negotiation.
    fn keep_pin(&mut self, pin: Key, negotiation: &Key, expires_ms: u64, ctx: &mut ApplyContext) {
        if let Some(known) = self.pins.get_mut(&pin).filter(|known| known.negotiation == *negotiation) {
            known.life.renew(expires_ms, ExpiryKey::Pin(pin), ctx);
        }
    }

    /// The expiry queue says that a negotiation is due.
    pub(super) fn on_expiry(&mut self, key: Key, ctx: &mut ApplyContext) -> usize {
        if self.negotiations.expire(key, ctx).is_some() {
            ctx.wakes.wake(Domain::Negotiation, key);
        }
        1
    }

    pub(super) fn envelope(&self, key: &Key, role: Role, now_ms: u64) -> Envelope {
        match self.negotiations.alive(key, now_ms) {
            Some(negotiation) => {
                let sealed = negotiation.envelopes.of(role);
                sealed.map_or(Envelope::Missing, |sealed| Envelope::Present(sealed.body.clone()))
            }
            None => Envelope::Expired,
        }
    }

    pub(super) fn resolve(&self, pin: &Key, now_ms: u64) -> Resolved {
        match self.pins.alive(pin, now_ms) {
            Some(pin) if self.negotiations.alive(&pin.negotiation, now_ms).is_some() => {
                Resolved::Live(pin.id)
            }
            Some(_) => Resolved::Expired,
            None => Resolved::Unknown,
        }
    }
}
