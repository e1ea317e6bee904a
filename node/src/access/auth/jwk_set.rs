//! JSON Web Key Sets (RFC 7517): which of their keys sign tokens here.
//!
//! A set is others' work and holds what they need: keys for encryption, of other algorithms. What cannot be used is
//! left out and named, never by its bytes; a set of which nothing can be used is none.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::token_key::{Algorithm, Key, SECRET_BYTES_MIN};

/// A longer set is not read.
pub(super) const SET_BYTES_MAX: usize = 64 << 10;
/// A set of more keys is not used.
pub(super) const KEYS_MAX: usize = 64;
/// Characters of a `kid`.
const KID_CHARS_MAX: usize = 256;
/// Characters of what a set says that are shown.
const SHOWN_CHARS_MAX: usize = 64;
/// Bytes of a coordinate on P-256, and of a point on Ed25519.
const COORDINATE_BYTES: usize = 32;
/// Bits of a modulus that ring takes.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Bytes of an exponent that ring takes.
const EXPONENT_BYTES_MAX: usize = 4;

/// What a set is good for.
#[derive(Debug, Default)]
pub(super) struct Set {
    pub(super) keys: Vec<Key>,
    /// What was left out.
    pub(super) unusable: Vec<Unusable>,
}

/// Where a set comes from, which says what may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A file of this machine, which may hold secrets.
    File,
    /// Somebody else's answer: a secret in it is one that others have seen.
    Network,
}

/// A set as a whole cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Too many bytes.
    #[error("a key set has at most {SET_BYTES_MAX} bytes")]
    Long,
    /// Something else.
    #[error("not a JSON Web Key Set: an object with a list `keys`")]
    Form,
    /// Too many keys.
    #[error("a key set has at most {KEYS_MAX} keys, and this one has {0}")]
    Many(usize),
    /// None that signs.
    #[error("no key of the set can be used{0}")]
    Empty(String),
}

/// A key that is left out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unusable {
    /// Its place in the set, from 1.
    place: usize,
    kid: Option<String>,
    why: Unfit,
}

/// Why a key is left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Unfit {
    #[error("not a JSON Web Key")]
    Form,
    #[error("its kty {0} is none of EC, RSA, OKP and oct")]
    Kind(String),
    #[error("its use is {0} and not \"sig\"")]
    Use(String),
    #[error("its key_ops are without \"verify\"")]
    Operations,
    #[error("its alg {0} is none of ES256, RS256, EdDSA and HS256")]
    Algorithm(String),
    #[error("its alg {alg} is not for its kty and crv, which make {makes}")]
    Mismatch { alg: &'static str, makes: &'static str },
    #[error("its crv {0} is neither P-256 of an EC key nor Ed25519 of an OKP key")]
    Curve(String),
    #[error("its {0} is missing, or not base64url of the right length")]
    Member(&'static str),
    #[error("an RSA key has 2048 to 8192 bits and an odd exponent from 3 up")]
    Weak,
    #[error("it has the private part, which is its issuer's alone")]
    Private,
    #[error("a secret (oct) is taken from a file alone")]
    Secret,
    #[error("a secret has at least {SECRET_BYTES_MIN} bytes and is no PEM file")]
    Short,
    #[error("its kid is empty or longer than {KID_CHARS_MAX} characters")]
    Name,
    #[error("it has no kid, which each of several keys needs")]
    Nameless,
    #[error("another key before it has this kid and alg")]
    Repeated,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}", self.place)?;
        if let Some(kid) = &self.kid {
            write!(f, " (kid {})", shown(kid))?;
        }
        write!(f, ": {}", self.why)
    }
}

/// What others wrote, so that it does no harm in a log.
fn shown(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{dots}")
}

#[derive(Deserialize)]
struct Keys<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// What means something here; of members that mean nothing none is an error (RFC 7517, section 4). One that stands twice is.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    k: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

/// Of a key that is wrong otherwise, how it is called.
#[derive(Deserialize)]
struct OnlyKid {
    kid: Option<String>,
}

impl Set {
    /// Reads a set.
    ///
    /// # Errors
    /// If it is none, too long, or has no key that can be used.
    pub(super) fn parse(bytes: &[u8], origin: Origin) -> Result<Self, SetError> {
        if bytes.len() > SET_BYTES_MAX {
            return Err(SetError::Long);
        }
        // An array would be taken for the fields in their order.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(SetError::Form);
        }
        let listed = serde_json::from_slice::<Keys<'_>>(bytes).map_err(|_| SetError::Form)?.keys;
        if listed.len() > KEYS_MAX {
            return Err(SetError::Many(listed.len()));
        }
        let mut set = Self::default();
        let mut places = Vec::new();
        for (place, raw) in (1..).zip(&listed) {
            match key(raw.get(), origin) {
                Ok(key) => {
                    set.keys.push(key);
                    places.push(place);
                }
                Err((kid, why)) => set.unusable.push(Unusable { place, kid, why }),
            }
        }
        set.tell_apart(&places);
        if set.keys.is_empty() {
            let first = set.unusable.first().map(|unusable| format!(": {unusable}"));
            return Err(SetError::Empty(first.unwrap_or_default()));
        }
        Ok(set)
    }

    /// Leaves out what a token could not name: then no token makes more than one signature to be checked.
    fn tell_apart(&mut self, places: &[usize]) {
        let several = self.keys.len() > 1;
        let found = std::mem::take(&mut self.keys);
        for (key, &place) in found.into_iter().zip(places) {
            let same = |other: &Key| other.kid == key.kid && other.algorithm == key.algorithm;
            let why = if several && key.kid.is_none() {
                Unfit::Nameless
            } else if self.keys.iter().any(same) {
                Unfit::Repeated
            } else {
                self.keys.push(key);
                continue;
            };
            self.unusable.push(Unusable { place, kid: key.kid, why });
        }
        self.unusable.sort_by_key(|unusable| unusable.place);
    }
}

fn key(raw: &str, origin: Origin) -> Result<Key, (Option<String>, Unfit)> {
    if !raw.starts_with('{') {
        return Err((None, Unfit::Form));
    }
    let Ok(jwk) = serde_json::from_str::<Jwk>(raw) else {
        let kid = serde_json::from_str::<OnlyKid>(raw).ok().and_then(|only| only.kid);
        return Err((kid, Unfit::Form));
    };
    jwk.key(origin).map_err(|why| (jwk.kid, why))
}

impl Jwk {
    fn key(&self, origin: Origin) -> Result<Key, Unfit> {
        if self.kid.as_ref().is_some_and(|kid| !(1..=KID_CHARS_MAX).contains(&kid.chars().count())) {
            return Err(Unfit::Name);
        }
        if let Some(other) = self.usage.as_deref().filter(|usage| *usage != "sig") {
            return Err(Unfit::Use(shown(other)));
        }
        if self.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return Err(Unfit::Operations);
        }
        let makes = self.algorithm()?;
        if let Some(alg) = &self.alg {
            let named = Algorithm::named(alg).ok_or_else(|| Unfit::Algorithm(shown(alg)))?;
            if named != makes {
                return Err(Unfit::Mismatch { alg: named.name(), makes: makes.name() });
            }
        }
        if self.d.is_some() {
            return Err(Unfit::Private);
        }
        let decoding = match makes {
            Algorithm::Hs256 => self.secret(origin)?,
            Algorithm::Rs256 => self.rsa()?,
            Algorithm::Es256 => self.elliptic()?,
            Algorithm::EdDsa => DecodingKey::from_ed_der(&exactly("x", self.x.as_deref())?),
        };
        Ok(Key { kid: self.kid.clone(), algorithm: makes.of_tokens(), issuer: None, decoding })
    }

    /// What a key of this kind signs by: the one algorithm of its kind that there is here.
    fn algorithm(&self) -> Result<Algorithm, Unfit> {
        let curve = self.crv.as_deref();
        match (self.kty.as_str(), curve) {
            ("RSA", _) => Ok(Algorithm::Rs256),
            ("oct", _) => Ok(Algorithm::Hs256),
            ("EC", Some("P-256")) => Ok(Algorithm::Es256),
            ("OKP", Some("Ed25519")) => Ok(Algorithm::EdDsa),
            ("EC" | "OKP", Some(other)) => Err(Unfit::Curve(shown(other))),
            ("EC" | "OKP", None) => Err(Unfit::Member("crv")),
            (other, _) => Err(Unfit::Kind(shown(other))),
        }
    }

    fn secret(&self, origin: Origin) -> Result<DecodingKey, Unfit> {
        if origin == Origin::Network {
            return Err(Unfit::Secret);
        }
        let secret = bytes("k", self.k.as_deref())?;
        if secret.len() < SECRET_BYTES_MIN || secret.starts_with(b"-----BEGIN ") {
            return Err(Unfit::Short);
        }
        Ok(DecodingKey::from_secret(&secret))
    }

    fn elliptic(&self) -> Result<DecodingKey, Unfit> {
        let (x, y) = (exactly("x", self.x.as_deref())?, exactly("y", self.y.as_deref())?);
        // A point that is not compressed (SEC 1, section 2.3.3).
        Ok(DecodingKey::from_ec_der(&[&[4], &x[..], &y[..]].concat()))
    }

    fn rsa(&self) -> Result<DecodingKey, Unfit> {
        let (n, e) = (bytes("n", self.n.as_deref())?, bytes("e", self.e.as_deref())?);
        let (n, e) = (significant(&n), significant(&e));
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        let odd = e.last().is_some_and(|last| last % 2 == 1);
        if !MODULUS_BITS.contains(&bits) || !odd || e == [1] || e.len() > EXPONENT_BYTES_MAX {
            return Err(Unfit::Weak);
        }
        // `RSAPublicKey` (RFC 8017, appendix A.1.1), which is what ring reads.
        let body = [der(INTEGER, &unsigned(n)), der(INTEGER, &unsigned(e))].concat();
        Ok(DecodingKey::from_rsa_der(&der(SEQUENCE, &body)))
    }
}

fn bytes(name: &'static str, text: Option<&str>) -> Result<Vec<u8>, Unfit> {
    text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or(Unfit::Member(name))
}

fn exactly(name: &'static str, text: Option<&str>) -> Result<[u8; COORDINATE_BYTES], Unfit> {
    bytes(name, text)?.try_into().map_err(|_| Unfit::Member(name))
}

/// A number without the zeros before it, which some issuers write.
fn significant(number: &[u8]) -> &[u8] {
    let first = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    &number[first..]
}

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;

/// A number that is not negative, as DER writes it: with a zero before it where its first bit is set.
fn unsigned(number: &[u8]) -> Vec<u8> {
    let zero: &[u8] = if number.first().is_some_and(|first| first & 0x80 != 0) { &[0] } else { &[] };
    [zero, number].concat()
}

/// One value of DER (X.690, section 8.1).
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let spelled = len.to_be_bytes();
    let head = match significant(&spelled) {
        short if len < 0x80 => [&[tag], &[short.first().copied().unwrap_or(0)][..]].concat(),
        long => [&[tag, 0x80 | long.len() as u8], long].concat(),
    };
    [&head, content].concat()
}

#[cfg(test)]
mod tests;
