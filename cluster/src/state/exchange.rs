//! Exchanges: one WebRTC offer and one answer (the API says "session").

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::account::Payer;
use super::body::Body;
use super::expiry::{Lease, Thing};
use super::ground::Ground;
use super::id::{Domain, Key};
use super::outcome;
use super::storage::Load;
use super::weight::Kind;

/// A wish about the exchange under `key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Derived from the session id ([`Domain::Exchange`]).
    pub key: Key,
    /// How long the exchange lives from this touch on.
    pub ttl_ms: u32,
    /// What is wished.
    pub verb: Verb,
}

/// What can be done to an exchange. New verbs are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// Begin, and let `pin` resolve to `id` if no live exchange holds it.
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

/// The two sides of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// The side that opens.
    Offer,
    /// The side that replies.
    Answer,
}

/// What happened to an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It lives.
    Created,
    /// The envelope is stored.
    Stored,
    /// It is gone.
    Deleted,
}

/// Why nothing happened to an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Another live exchange holds the pin.
    PinInUse,
    /// No exchange lives under the key.
    Expired,
}

/// What a pin resolves to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// A live exchange's session id.
    Live(u128),
    /// The exchange it named is gone.
    Expired,
    /// Nothing is known of it.
    Unknown,
}

/// What a reader sees of one side of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Envelope {
    /// It is there.
    Present(Body),
    /// The exchange lives, this side has not spoken.
    Missing,
    /// No exchange lives under the key.
    Expired,
}

/// What a pin weighs.
const PIN: Load = Load::of(Kind::Pin, 0);

/// All exchanges, and the pins that resolve to them.
#[derive(Debug, Clone, Default)]
pub(super) struct Exchanges {
    exchanges: OrdMap<Key, Exchange>,
    pins: OrdMap<Key, Pin>,
}

/// One exchange. The fields' order is the snapshot format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exchange {
    pin: Option<Key>,
    pub(super) envelopes: Arc<Envelopes>,
    lease: Lease,
    /// Bounds how long it may be renewed.
    begun_ms: u64,
    payer: Payer,
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
    payer: Payer,
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

    fn iter(&self) -> impl Iterator<Item = &Sealed> {
        [&self.offer, &self.answer].into_iter().flatten()
    }
}

/// What a pin resolves to. It is in use while its exchange lives, and outlives it by one TTL, so that a late
/// caller hears "expired" and not "unknown". The fields' order is the snapshot format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pin {
    id: u128,
    exchange: Key,
    lease: Lease,
    payer: Payer,
}

impl Exchanges {
    pub(super) fn carry_out(&mut self, ask: Ask, ground: &mut Ground) -> Result<Outcome, outcome::Refusal> {
        let Ask { key, ttl_ms, verb } = ask;
        if ground.overdue && self.exchanges.get(&key).is_some_and(|it| !it.lease.alive(ground.now_ms)) {
            self.free(&key, ground);
        }
        match verb {
            Verb::Create { id, pin } => self.create(key, ttl_ms, id, pin, ground),
            Verb::Put { role, envelope } => self.put(key, ttl_ms, role, &envelope, ground),
            Verb::Delete => self.delete(key, ttl_ms, ground),
        }
    }

    fn create(
        &mut self,
        key: Key,
        ttl_ms: u32,
        id: u128,
        pin: Option<Key>,
        ground: &mut Ground,
    ) -> Result<Outcome, outcome::Refusal> {
        // Ids are random, so one that lives was made by this very wish.
        if self.exchanges.contains_key(&key) {
            return Ok(Outcome::Created);
        }
        let known = pin.and_then(|pin| self.pins.get(&pin));
        if known.is_some_and(|known| self.is_live(&known.exchange, ground.now_ms)) {
            return Err(Refusal::PinInUse.into());
        }
        let load = Load::of(Kind::Exchange, 0);
        let pinned = pin.is_some() && known.is_none();
        ground.storage.admit(if pinned { load.and(Kind::Pin, 0) } else { load })?;
        if let Some(pin) = pin {
            self.hold(pin, id, key, ttl_ms, ground);
        }
        let lease = ground.agenda.begin(Thing::Exchange(key), ground.after(ttl_ms));
        let (begun_ms, payer) = (ground.now_ms, ground.storage.add(load));
        self.exchanges.insert(key, Exchange { pin, envelopes: Arc::default(), lease, begun_ms, payer });
        ground.wakes.wake(Domain::Exchange, key);
        Ok(Outcome::Created)
    }

    fn put(
        &mut self,
        key: Key,
        ttl_ms: u32,
        role: Role,
        envelope: &Body,
        ground: &mut Ground,
    ) -> Result<Outcome, outcome::Refusal> {
        let exchange = self.exchanges.get_mut(&key).ok_or(Refusal::Expired)?;
        let load = Load::of(Kind::Envelope, envelope.len() as u64);
        let payer = match exchange.envelopes.of(role) {
            Some(known) => {
                ground.storage.admit_instead(known.payer, &known.load(), load)?;
                ground.storage.replace(known.payer, known.load(), load)
            }
            None => {
                ground.storage.admit(load)?;
                ground.storage.add(load)
            }
        };
        let envelopes = Arc::make_mut(&mut exchange.envelopes);
        // A body of its own: the one in the proposal is a slice of a whole batch's buffer.
        let sealed = Some(Sealed { body: envelope.detached(), payer });
        match role {
            Role::Offer => envelopes.offer = sealed,
            Role::Answer => envelopes.answer = sealed,
        }
        let age_max_ms = ground.storage.rules.ages.exchange_max_ms;
        let expires_ms = ground.after_within(ttl_ms, exchange.begun_ms, age_max_ms);
        ground.agenda.renew(&mut exchange.lease, Thing::Exchange(key), expires_ms);
        if let Some(pin) = exchange.pin {
            self.keep_pin(pin, &key, expires_ms.saturating_add(u64::from(ttl_ms)), ground);
        }
        ground.wakes.wake(Domain::Exchange, key);
        Ok(Outcome::Stored)
    }

    fn delete(&mut self, key: Key, ttl_ms: u32, ground: &mut Ground) -> Result<Outcome, outcome::Refusal> {
        let exchange = self.exchanges.get(&key).ok_or(Refusal::Expired)?;
        if let Some(pin) = exchange.pin {
            self.keep_pin(pin, &key, ground.after(ttl_ms), ground);
        }
        self.free(&key, ground);
        ground.wakes.wake(Domain::Exchange, key);
        Ok(Outcome::Deleted)
    }

    /// Lets a free pin resolve to an exchange that is about to begin.
    fn hold(&mut self, pin: Key, id: u128, exchange: Key, ttl_ms: u32, ground: &mut Ground) {
        let expires_ms = ground.after(ttl_ms).saturating_add(u64::from(ttl_ms));
        match self.pins.get_mut(&pin) {
            Some(known) => {
                (known.id, known.exchange) = (id, exchange);
                known.payer = ground.storage.replace(known.payer, PIN, PIN);
                ground.agenda.renew(&mut known.lease, Thing::Pin(pin), expires_ms);
            }
            None => {
                let lease = ground.agenda.begin(Thing::Pin(pin), expires_ms);
                let payer = ground.storage.add(PIN);
                self.pins.insert(pin, Pin { id, exchange, lease, payer });
            }
        }
    }

    /// Sets a pin's expiry, if it still belongs to this exchange.
    fn keep_pin(&mut self, pin: Key, exchange: &Key, expires_ms: u64, ground: &mut Ground) {
        if let Some(known) = self.pins.get_mut(&pin).filter(|known| known.exchange == *exchange) {
            ground.agenda.renew(&mut known.lease, Thing::Pin(pin), expires_ms);
        }
    }

    fn is_live(&self, key: &Key, now_ms: u64) -> bool {
        self.exchanges.get(key).is_some_and(|exchange| exchange.lease.alive(now_ms))
    }

    fn free(&mut self, key: &Key, ground: &mut Ground) {
        if let Some(exchange) = self.exchanges.remove(key) {
            ground.agenda.end(&exchange.lease, Thing::Exchange(*key));
            ground.storage.drop(exchange.payer, Load::of(Kind::Exchange, 0));
            for sealed in exchange.envelopes.iter() {
                ground.storage.drop(sealed.payer, sealed.load());
            }
        }
    }

    /// The agenda says that an exchange is due.
    pub(super) fn lapse(&mut self, key: &Key, ground: &mut Ground) -> usize {
        match self.exchanges.get_mut(key) {
            Some(exchange) if exchange.lease.alive(ground.now_ms) => {
                ground.agenda.keep(&mut exchange.lease, Thing::Exchange(*key));
            }
            _ => {
                self.free(key, ground);
                ground.wakes.wake(Domain::Exchange, *key);
            }
        }
        1
    }

    /// The agenda says that a pin is due.
    pub(super) fn lapse_pin(&mut self, key: &Key, ground: &mut Ground) -> usize {
        match self.pins.get_mut(key) {
            Some(pin) if pin.lease.alive(ground.now_ms) => {
                ground.agenda.keep(&mut pin.lease, Thing::Pin(*key));
            }
            _ => {
                if let Some(pin) = self.pins.remove(key) {
                    ground.storage.drop(pin.payer, PIN);
                }
            }
        }
        1
    }

    pub(super) fn envelope(&self, key: &Key, role: Role, now_ms: u64) -> Envelope {
        match self.exchanges.get(key).filter(|exchange| exchange.lease.alive(now_ms)) {
            Some(exchange) => {
                let sealed = exchange.envelopes.of(role);
                sealed.map_or(Envelope::Missing, |sealed| Envelope::Present(sealed.body.clone()))
            }
            None => Envelope::Expired,
        }
    }

    pub(super) fn resolve(&self, pin: &Key, now_ms: u64) -> Resolved {
        match self.pins.get(pin).filter(|pin| pin.lease.alive(now_ms)) {
            Some(pin) if self.is_live(&pin.exchange, now_ms) => Resolved::Live(pin.id),
            Some(_) => Resolved::Expired,
            None => Resolved::Unknown,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.exchanges.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Exchange)> {
        self.exchanges.iter()
    }

    pub(super) fn iter_pins(&self) -> impl Iterator<Item = (&Key, &Pin)> {
        self.pins.iter()
    }

    /// Takes an exchange as a snapshot has it; false if that cannot be.
    pub(super) fn restore(&mut self, key: Key, exchange: Exchange, ground: &mut Ground) -> bool {
        ground.agenda.restore(&exchange.lease, Thing::Exchange(key))
            && ground.storage.restore(exchange.payer, Load::of(Kind::Exchange, 0))
            && exchange.envelopes.iter().all(|sealed| ground.storage.restore(sealed.payer, sealed.load()))
            && self.exchanges.insert(key, exchange).is_none()
    }

    /// Takes a pin as a snapshot has it; false if that cannot be.
    pub(super) fn restore_pin(&mut self, key: Key, pin: Pin, ground: &mut Ground) -> bool {
        ground.agenda.restore(&pin.lease, Thing::Pin(key))
            && ground.storage.restore(pin.payer, PIN)
            && self.pins.insert(key, pin).is_none()
    }
}
