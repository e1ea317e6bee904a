//! What a client may touch: made of a token or a ticket, or of nothing at all.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use conclave_cluster::state::id::{Domain, Key};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::name_pattern::{Grant, is_backend};
use super::tenant;

/// Bytes of a credential written as JSON, which is how a ticket carries it.
pub const CREDENTIAL_BYTES_MAX: usize = 4096;

/// What a client may touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Who it is: derived from the token's `sub`. `None`: nobody in particular.
    #[serde(rename = "sub", default, skip_serializing_if = "Option::is_none", with = "spelled")]
    pub subject: Option<Key>,
    /// Which token it was made of: derived from the token's `jti`, if it had one.
    #[serde(rename = "jti", default, skip_serializing_if = "Option::is_none", with = "spelled")]
    pub token: Option<Key>,
    /// Which device of the subject it was given to: derived from the token's `sub` and `device`, if it had one.
    #[serde(rename = "device", default, skip_serializing_if = "Option::is_none", with = "spelled")]
    pub device: Option<Key>,
    /// The organisation that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Whether it is worth something only while its device is let in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_device: bool,
    /// The peer ids it may act as.
    pub peers: Grant,
    /// The rooms it may enter.
    pub rooms: Grant,
    /// What kinds of things it may do.
    pub scope: Scopes,
    /// From when on it is worth nothing, in milliseconds since the Unix epoch. `None`: never.
    #[serde(rename = "exp", default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}

impl Credential {
    /// What a client has that showed nothing, where nothing needs to be shown: it may try everything, as nobody. A
    /// peer id that somebody holds it does not get, because it has no subject to hold it by.
    pub fn anonymous() -> Self {
        Self {
            subject: None,
            token: None,
            device: None,
            tenant: None,
            needs_device: false,
            peers: Grant::all(),
            rooms: Grant::all(),
            scope: Scopes::all(),
            expires_ms: None,
        }
    }

    /// Whether it was made of a token.
    pub fn is_anonymous(&self) -> bool {
        self.subject.is_none()
    }

    /// Whether it may act as `peer`: claim its mailbox, send in its name, let an invite code lead to it. As the backend acts
    /// nobody by a credential.
    pub fn may_claim(&self, peer: &str) -> bool {
        self.peers.covers(peer) && !is_backend(peer)
    }

    /// Whether it may read the mailbox of `peer`: poll it, or have it streamed.
    pub fn may_read(&self, peer: &str) -> bool {
        if is_backend(peer) { self.peers.covers_backend(peer) } else { self.peers.covers(peer) }
    }

    /// Whether it may enter `room`.
    pub fn may_join(&self, room: &str) -> bool {
        self.rooms.covers(room)
    }

    /// Whether it may do this kind of thing.
    pub fn may(&self, scope: Scope) -> bool {
        self.scope.0 & scope.bit() != 0
    }

    /// Whether it may see the devices of a user: they are its own, or it looks after everybody's.
    pub fn may_see_devices_of(&self, user: &str) -> bool {
        let own = || self.subject == Some(subject(&self.qualified(user)));
        self.is_anonymous() || self.may(Scope::AllDevices) || own()
    }

    /// Whether it may register a device of a user. One that was given to a device speaks for no other.
    pub fn may_register(&self, user: &str, device: &str) -> bool {
        self.may_see_devices_of(user)
            && (self.may(Scope::AllDevices) || self.device.is_none() || self.is_given_to(user, device))
    }

    /// Whether it was given to this device of a user.
    pub fn is_given_to(&self, user: &str, device: &str) -> bool {
        self.device == Some(self::device(&self.qualified(user), device))
    }

    /// A name within the organisation that it is of.
    pub fn qualified<'a>(&self, name: &'a str) -> Cow<'a, str> {
        tenant::qualified(self.tenant.as_deref(), name)
    }

    /// Whether its time is over.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms)
    }
}

/// The key that stands for a subject, whose name is qualified by its organisation ([`tenant::qualified`]). So are those below.
pub fn subject(name: &str) -> Key {
    Key::derive(Domain::Client, &[b"subject", name.as_bytes()])
}

/// The key that stands for one token.
pub fn token(id: &str) -> Key {
    Key::derive(Domain::Client, &[b"token", id.as_bytes()])
}

/// The key that stands for one device of a subject.
pub fn device(subject: &str, device: &str) -> Key {
    Key::derive(Domain::Client, &[b"device", subject.as_bytes(), device.as_bytes()])
}

macro_rules! scopes {
    ($($variant:ident $name:literal $about:literal;)*) => {
        /// A kind of thing to do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Scope { $(#[doc = $about] $variant),* }

        impl Scope {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name in a token's `scope`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

scopes! {
    Relay "relay" "Chunks and transfers.";
    Signal "signal" "Signals, invite codes, sessions, mailboxes.";
    Socket "socket" "Sockets, rooms and their events.";
    Devices "devices" "The subject's own devices.";
    AllDevices "devices:*" "The devices of everybody.";
    Ice "ice" "Credentials for TURN servers.";
}

impl Scope {
    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of [`Scope`]s. Written as in a token: names with blanks between (RFC 8693, section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope there is.
    pub fn all() -> Self {
        Self(Scope::ALL.iter().fold(0, |bits, scope| bits | scope.bit()))
    }

    /// Every scope over what is one's own.
    pub fn own() -> Self {
        Self(Self::all().0 & !Scope::AllDevices.bit())
    }

    /// Reads a token's `scope`. Names that mean something elsewhere are passed over.
    pub fn of(text: &str) -> Self {
        let known = |name: &str| Scope::ALL.iter().find(|scope| scope.name() == name);
        let named = text.split(' ').filter_map(known).fold(0, |bits, scope| bits | scope.bit());
        // Who looks after everybody's devices looks after devices.
        let devices = if named & Scope::AllDevices.bit() != 0 { Scope::Devices.bit() } else { 0 };
        Self(named | devices)
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let names: Vec<_> =
            Scope::ALL.iter().filter(|scope| self.0 & scope.bit() != 0).map(|scope| scope.name()).collect();
        out.serialize_str(&names.join(" "))
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self::of(&text))
    }
}

/// Keys in JSON: 43 characters of base64url.
mod spelled {
    use serde::de::Error as _;

    use super::*;

    pub(super) fn serialize<S: Serializer>(key: &Option<Key>, out: S) -> Result<S::Ok, S::Error> {
        key.map(|key| URL_SAFE_NO_PAD.encode(key.as_bytes())).serialize(out)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Key>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(D::Error::custom)?;
        let bytes = bytes.try_into().map_err(|_| D::Error::custom("a key has 32 bytes"))?;
        Ok(Some(Key::from_bytes(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> Credential {
        Credential {
            subject: Some(subject("alice")),
            token: Some(token("t-1")),
            device: Some(device("alice", "phone")),
            tenant: None,
            needs_device: false,
            peers: Grant::of(["alice-*"]).unwrap(),
            rooms: Grant::of(["lobby"]).unwrap(),
            scope: Scopes::of("socket signal"),
            expires_ms: Some(5_000),
        }
    }

    #[test]
    fn a_credential_goes_through_json_unchanged() {
        for credential in [alice(), Credential::anonymous()] {
            let json = serde_json::to_string(&credential).unwrap();
            assert_eq!(serde_json::from_str::<Credential>(&json).unwrap(), credential, "{json}");
        }
        assert!(!serde_json::to_string(&alice()).unwrap().contains("t-1"));
    }

    #[test]
    fn it_covers_what_it_names_and_no_more() {
        let alice = alice();
        assert!(alice.may_claim("alice-phone") && !alice.may_claim("bob"));
        assert!(alice.may_join("lobby") && !alice.may_join("lobby2"));
        assert!(alice.may(Scope::Socket) && alice.may(Scope::Signal) && !alice.may(Scope::Relay));
        assert!(!alice.is_expired(4_999) && alice.is_expired(5_000));
    }

    #[test]
    fn nobody_acts_as_the_backend_and_who_is_granted_its_mailbox_reads_it() {
        let of = |peers: &[&str]| Credential { peers: Grant::of(peers).unwrap(), ..alice() };
        let shop = "backend:shop";
        for credential in [of(&["*"]), of(&["backend:*"]), Credential::anonymous()] {
            assert!(!credential.may_claim(shop), "{credential:?}");
        }
        assert!(of(&["backend:shop"]).may_read(shop) && !of(&["*"]).may_read(shop));
        assert!(!Credential::anonymous().may_read(shop) && Credential::anonymous().may_read("x"));
    }

    #[test]
    fn devices_are_their_user_s_and_a_token_of_one_is_for_no_other() {
        let alice = Credential { device: None, ..alice() };
        assert!(alice.may_see_devices_of("alice") && !alice.may_see_devices_of("bob"));
        assert!(alice.may_register("alice", "phone") && !alice.may_register("bob", "phone"));
        let phone = Credential { device: Some(device("alice", "phone")), ..alice.clone() };
        assert!(phone.may_register("alice", "phone") && !phone.may_register("alice", "desk"));
        assert!(phone.may_see_devices_of("alice"));
        let keeper = Credential { scope: Scopes::of("devices:*"), ..phone };
        assert!(keeper.may_register("bob", "desk") && keeper.may_see_devices_of("bob"));
    }

    #[test]
    fn nobody_in_particular_may_try_everything() {
        let nobody = Credential::anonymous();
        assert!(nobody.is_anonymous() && nobody.may_claim("x") && nobody.may_join("x"));
        assert!(Scope::ALL.iter().all(|scope| nobody.may(*scope)));
        assert!(!nobody.is_expired(u64::MAX));
    }

    #[test]
    fn scopes_are_whole_words() {
        assert_eq!(Scopes::of("relays sock et openid"), Scopes::default());
        assert_eq!(Scopes::of("relay signal socket devices ice"), Scopes::own());
        assert_eq!(Scopes::of("relay signal socket devices:* ice"), Scopes::all());
    }

    #[test]
    fn subjects_tokens_and_addresses_never_meet() {
        assert_ne!(subject("x"), token("x"));
        assert_ne!(subject("x"), Key::derive(Domain::Client, &[b"x"]));
    }
}
