//! How the words of requests become storage keys: every derivation there is, but for those of clients and their credentials,
//! which are [`access`](crate::access)'s.

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::slot::Slot;
use ring::rand::{SecureRandom as _, SystemRandom};
use uuid::Uuid;

use super::{Error, room_format};
use crate::access::Tenant;
use crate::actors::StateKey;

/// How long an invite code is. Every character above eight makes it 62 times as hard to guess (docs/security.md).
pub const INVITE_CHARS: RangeInclusive<usize> = 8..=16;

/// Where names mean something: within an organisation, or among those who belong to none. The same name is another key in
/// each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Namespace(Option<Key>);

impl Namespace {
    /// The namespace of an organisation.
    pub fn of(tenant: &Tenant) -> Self {
        Self(tenant.key().copied())
    }

    /// A key within it.
    fn key(self, domain: Domain, parts: &[&[u8]]) -> Key {
        let bare = Key::derive(domain, parts);
        self.0.map_or(bare, |tenant| Key::derive(domain, &[b"within", tenant.as_bytes(), bare.as_bytes()]))
    }

    /// A key within it, in a slot that is known.
    fn placed(self, slot: Slot, domain: Domain, parts: &[&[u8]]) -> Key {
        match self.0 {
            None => Key::placed(slot, domain, parts),
            Some(_) => Key::placed(slot, domain, &[self.key(domain, parts).as_bytes()]),
        }
    }

    fn place(self, domain: Domain, parts: &[&[u8]]) -> StateKey {
        StateKey { domain, key: self.key(domain, parts) }
    }

    /// The transfer of a pin and a password hash.
    pub fn transfer(self, pin: &str, password_hash: &str) -> StateKey {
        self.transfer_under(bare_transfer(pin, password_hash))
    }

    /// The transfer of an id, if it is one.
    pub fn transfer_of_id(self, id: &str) -> Option<StateKey> {
        transfer_key_of_id(id).map(|bare| self.transfer_under(bare))
    }

    fn transfer_under(self, bare: Key) -> StateKey {
        let within =
            |tenant: Key| Key::derive(Domain::Transfer, &[b"within", tenant.as_bytes(), bare.as_bytes()]);
        StateKey { domain: Domain::Transfer, key: self.0.map_or(bare, within) }
    }

    /// The negotiation of a session id, in the slot that the id tells.
    pub fn negotiation(self, session: Uuid) -> StateKey {
        let slot = Slot::of_id(session.as_u128());
        StateKey {
            domain: Domain::Negotiation,
            key: self.placed(slot, Domain::Negotiation, &[session.as_bytes()]),
        }
    }

    /// What a pin resolves by.
    pub fn pin(self, pin: &str) -> Key {
        self.key(Domain::Pin, &[pin.as_bytes()])
    }

    /// A peer's mailbox.
    pub fn mailbox(self, peer: &str) -> StateKey {
        self.place(Domain::Mailbox, &[peer.as_bytes()])
    }

    /// A room, by its name.
    pub fn room(self, name: &str) -> StateKey {
        self.place(Domain::Room, &[name.as_bytes()])
    }

    /// What an invite code resolves by.
    pub fn rendezvous(self, invite_code: &str) -> StateKey {
        self.place(Domain::Rendezvous, &[invite_code.as_bytes()])
    }

    /// The session of a socket, by its id.
    pub fn session(self, id: &str) -> Key {
        room_format::of_client(self.key(Domain::Socket, &[id.as_bytes()]))
    }

    /// A user's devices.
    pub fn devices(self, user: &str) -> StateKey {
        self.place(Domain::Devices, &[user.as_bytes()])
    }

    /// The idempotency key of a job, in the slot that its id tells.
    pub fn job(self, id: Uuid) -> Key {
        let slot = Slot::of_id(id.as_u128());
        self.placed(slot, Domain::IdempotencyKey, &[b"job", id.as_bytes()])
    }
}

fn bare_transfer(pin: &str, password_hash: &str) -> Key {
    Key::derive(Domain::Transfer, &[pin.as_bytes(), password_hash.as_bytes()])
}

/// An id for a new session, which tells the slot of its pin: the two are created in one step, so they lie together. Who
/// knows a session id learns ten bits of a hash of its pin.
pub fn session_id(pin: Option<&Key>) -> Uuid {
    let id = Uuid::new_v4();
    match pin {
        Some(pin) => Uuid::from_u128(pin.slot().mark(id.as_u128())),
        None => id,
    }
}

/// Whether this can be an invite code: `^[A-Za-z0-9]{8,16}$`.
pub fn is_invite_code(code: &str) -> bool {
    INVITE_CHARS.contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A ticket, by its text.
pub fn ticket(text: &str) -> StateKey {
    place(Domain::Ticket, &[text.as_bytes()])
}

/// A nonce of a signature: a ticket that nobody can redeem, since its key is of three words, and those of tickets are of one.
pub fn nonce(key: &str, nonce: &str) -> StateKey {
    place(Domain::Ticket, &[b"nonce", key.as_bytes(), nonce.as_bytes()])
}

/// The session of an event stream, by the secret in the ids of its events.
pub fn stream(secret: &str) -> Key {
    Key::derive(Domain::Socket, &[b"stream", secret.as_bytes()])
}

/// A client's own number for a message, told apart from the same number of another numbering: a reloaded page has the
/// session that it had before, and counts from the beginning. Chance makes two alike once in so many sessions that nobody
/// will see it.
pub fn message_number(numbering: u64, id: u64) -> u64 {
    let named = Key::derive(Domain::Socket, &[b"number", &numbering.to_be_bytes(), &id.to_be_bytes()]);
    let (start, _) = named.as_bytes().split_at(8);
    u64::from_be_bytes(start.try_into().expect("eight bytes were split off"))
}

/// A secret of so many random bytes, as base64url.
///
/// # Errors
/// If the system has no randomness to give.
pub fn secret<const BYTES: usize>() -> Result<String, Error> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Unexpected)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Who changed what.
pub fn audit() -> StateKey {
    place(Domain::Audit, &[])
}

/// What was tried.
pub fn security_events() -> StateKey {
    place(Domain::Audit, &[b"security"])
}

/// Devices that are let in, or may be.
pub fn registrations() -> StateKey {
    place(Domain::Registrations, &[])
}

/// What is revoked.
pub fn revocations() -> StateKey {
    place(Domain::Revocations, &[])
}

/// A caller's own name for what it asks of `target`, in whose slot it lies: the same name for something else (`asked`), or of
/// somebody else, is another idempotency key. Where the caller is nobody in particular its address does not tell: a retry
/// may come from another one.
pub fn idempotency(
    name: &[u8],
    subject: Option<&Key>,
    action: &str,
    target: &StateKey,
    asked: &[&[u8]],
) -> Key {
    let subject = subject.map_or(&[][..], |subject| &subject.as_bytes()[..]);
    let parts = [&[name, subject, action.as_bytes(), target.key.as_bytes()], asked].concat();
    Key::placed(target.key.slot(), Domain::IdempotencyKey, &parts)
}

/// The same id, for a job: it tells the slot of what the job is about.
pub fn job_id(fresh: Uuid, target: &StateKey) -> Uuid {
    Uuid::from_u128(target.key.slot().mark(fresh.as_u128()))
}

/// The id of the transfer of a pin and a password hash, which is the capability to use it. It is the same in all namespaces,
/// and leads to another transfer in each.
pub fn transfer_id(pin: &str, password_hash: &str) -> String {
    URL_SAFE_NO_PAD.encode(bare_transfer(pin, password_hash).as_bytes())
}

/// Reads a transfer id.
fn transfer_key_of_id(id: &str) -> Option<Key> {
    if id.len() != 43 {
        return None;
    }
    let mut bytes = [0; 32];
    let len = URL_SAFE_NO_PAD.decode_slice(id, &mut bytes).ok()?;
    (len == bytes.len()).then(|| Key::from_bytes(bytes))
}

fn place(domain: Domain, parts: &[&[u8]]) -> StateKey {
    StateKey { domain, key: Key::derive(domain, parts) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Namespace = Namespace(None);

    #[test]
    fn a_transfer_id_leads_back_to_its_transfer() {
        let id = transfer_id("pin", "hash");
        assert_eq!(id.len(), 43);
        assert_eq!(NONE.transfer_of_id(&id), Some(NONE.transfer("pin", "hash")));
        let acme = Namespace(Some(Key::derive(Domain::Client, &[b"acme"])));
        assert_eq!(acme.transfer_of_id(&id), Some(acme.transfer("pin", "hash")));
        assert_ne!(acme.transfer_of_id(&id), NONE.transfer_of_id(&id));
    }

    #[test]
    fn a_malformed_transfer_id_leads_nowhere() {
        let id = transfer_id("pin", "hash");
        assert_eq!(NONE.transfer_of_id(&id[1..]), None);
        assert_eq!(NONE.transfer_of_id(&format!("{id}=")), None);
        assert_eq!(NONE.transfer_of_id(&format!("{}+", &id[1..])), None);
    }

    #[test]
    fn an_invite_code_is_8_to_16_letters_or_digits() {
        for good in ["aB3dE6gH", "aB3dE6gHi", "aB3dE6gHaB3dE6gH"] {
            assert!(is_invite_code(good), "{good}");
        }
        for bad in ["", "aB3dE6g", "aB3dE6gHaB3dE6gHi", "aB3dE6g-", "aB3dE6gä"] {
            assert!(!is_invite_code(bad), "{bad}");
        }
    }

    #[test]
    fn a_number_is_itself_within_its_numbering_only() {
        assert_eq!(message_number(1, 7), message_number(1, 7));
        assert_ne!(message_number(1, 7), message_number(2, 7));
        assert_ne!(message_number(1, 7), message_number(1, 8));
    }

    #[test]
    fn an_idempotency_key_belongs_to_one_request_of_one_subject() {
        let (one, other) = (NONE.transfer("a", "b"), NONE.transfer("ab", ""));
        fn key(action: &str, target: &StateKey, asked: &[&[u8]]) -> Key {
            idempotency(b"k", None, action, target, asked)
        }
        assert_ne!(key("receive", &one, &[]), key("receive", &other, &[]));
        assert_ne!(key("receive", &one, &[]), key("ack", &one, &[]));
        assert_eq!(key("receive", &one, &[]), key("receive", &NONE.transfer("a", "b"), &[]));
        assert_ne!(key("signal", &one, &[b"a", b"b"]), key("signal", &one, &[b"ab", b""]));
        let (alice, bob) = (NONE.pin("alice"), NONE.pin("bob"));
        let of = |subject| idempotency(b"k", subject, "receive", &one, &[]);
        assert!(of(Some(&alice)) == of(Some(&alice)) && of(Some(&alice)) != of(Some(&bob)));
        assert_ne!(of(Some(&alice)), of(None));
    }

    #[test]
    fn what_belongs_together_lies_in_one_slot() {
        let acme = Namespace(Some(Key::derive(Domain::Client, &[b"acme"])));
        for (name, within) in [("rose", NONE), ("tulip", NONE), ("daisy", acme)] {
            let pin = within.pin(name);
            assert_eq!(within.negotiation(session_id(Some(&pin))).key.slot(), pin.slot());
            let target = within.transfer(name, "hash");
            assert_eq!(idempotency(b"k", None, "receive", &target, &[]).slot(), target.key.slot());
            let fresh = Uuid::now_v7();
            let id = job_id(fresh, &target);
            assert_eq!(within.job(id).slot(), target.key.slot());
            assert_eq!((id.get_version_num(), id.get_timestamp()), (7, fresh.get_timestamp()));
        }
        assert_eq!(session_id(Some(&NONE.pin("rose"))).get_version_num(), 4);
        assert_ne!(session_id(None), session_id(None));
    }
}
