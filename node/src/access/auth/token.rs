//! From a token's text to a credential.

use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use serde::Deserialize;

use super::Unauthorized;
use super::token_key::Key;
use crate::access::credential_rights::{self, CREDENTIAL_BYTES_MAX, Credential, Scopes};
use crate::access::name_pattern::Grant;
use crate::access::tenant;

/// Longer tokens are not looked at.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Characters of a subject, of a token's id or of a device.
const NAME_CHARS_MAX: usize = 256;

/// What every token must keep, beside its signature.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) leeway_ms: u64,
    /// The claim that names the organisation.
    pub(super) tenant_claim: Option<String>,
}

/// The claims that mean something here. The audience is looked at before.
#[derive(Deserialize)]
struct Claims {
    /// One string (RFC 7519, section 4.1.1). The library behind would take a list that contains the right one.
    #[serde(default)]
    iss: Option<String>,
    sub: String,
    #[serde(default)]
    jti: Option<String>,
    /// The device of the subject that it was given to.
    #[serde(default)]
    device: Option<String>,
    /// Seconds since the Unix epoch, perhaps with a fraction (RFC 7519, section 2).
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    peers: Grant,
    #[serde(default)]
    rooms: Grant,
    #[serde(default)]
    scope: ScopeClaim,
    /// One of them may name the organisation.
    #[serde(flatten)]
    others: serde_json::Map<String, serde_json::Value>,
}

/// Names with blanks between (RFC 8693, section 4.2), or a list of them, as some issuers have it.
#[derive(Deserialize)]
#[serde(untagged)]
enum ScopeClaim {
    Text(String),
    List(Vec<String>),
}

impl Default for ScopeClaim {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl ScopeClaim {
    fn scopes(self) -> Scopes {
        match self {
            Self::Text(text) => Scopes::of(&text),
            Self::List(names) => Scopes::of(&names.join(" ")),
        }
    }
}

/// Why a token is no credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not in order.
    Unauthorized,
    /// It is signed, and its time is over.
    Expired,
    /// Its key is not among those that are there; `named`: it has a `kid`.
    KeyUnknown { named: bool },
}

impl From<Unauthorized> for Fault {
    fn from(Unauthorized: Unauthorized) -> Self {
        Self::Unauthorized
    }
}

/// Makes a credential of a token by the configured keys or those of a set.
pub(super) fn verify(
    token: &str,
    keys: [&[Key]; 2],
    rules: &Rules,
    now_ms: u64,
) -> Result<Credential, Fault> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Fault::Unauthorized);
    }
    let header = decode_header(token).map_err(|_| Unauthorized)?;
    if names_foreign_keys(&header) {
        return Err(Fault::Unauthorized);
    }
    let named = || keys.into_iter().flatten().filter(|key| key.kid == header.kid);
    if named().next().is_none() && is_of_sets(header.alg) {
        return Err(Fault::KeyUnknown { named: header.kid.is_some() });
    }
    // Several keys may have one name while they are exchanged for each other.
    let mut candidates = named().filter(|key| key.algorithm == header.alg);
    let (key, data) = candidates
        .find_map(|key| Some((key, decode::<Claims>(token, &key.decoding, &rules.validation(key)).ok()?)))
        .ok_or(Unauthorized)?;
    rules.judge(data.claims, rules.issuer(key), now_ms)
}

/// Whether a key of a fetched set may sign by it.
fn is_of_sets(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA)
}

/// Whether the token brings its own key along, or wants something understood that is not (RFC 7515, section 4.1).
fn names_foreign_keys(header: &Header) -> bool {
    header.jku.is_some()
        || header.jwk.is_some()
        || header.x5u.is_some()
        || header.x5c.is_some()
        || header.crit.is_some()
        || header.enc.is_some()
        || header.zip.is_some()
}

impl Rules {
    /// Signature, issuer and audience. The times are judged here, by another clock than the machine's.
    fn validation(&self, key: &Key) -> Validation {
        let mut validation = Validation::new(key.algorithm);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let mut required = vec!["exp", "sub"];
        if let Some(issuer) = self.issuer(key) {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        validation
    }

    /// The organisation that a token names. One that names it otherwise than by a name is not in order.
    fn tenant(
        &self,
        claims: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Option<String>, Unauthorized> {
        match self.tenant_claim.as_ref().and_then(|claim| claims.get(claim)) {
            None | Some(serde_json::Value::Null) => Ok(None),
            Some(serde_json::Value::String(name)) if tenant::is_name(name) => Ok(Some(name.clone())),
            Some(_) => Err(Unauthorized),
        }
    }

    /// Whose tokens this key signs; `None`: anybody's.
    fn issuer<'a>(&'a self, key: &'a Key) -> Option<&'a str> {
        key.issuer.as_deref().or(self.issuer.as_deref())
    }

    fn judge(&self, claims: Claims, issuer: Option<&str>, now_ms: u64) -> Result<Credential, Fault> {
        let expires_ms = millis(claims.exp).saturating_add(self.leeway_ms);
        let begins_ms = claims.nbf.map_or(0, millis).saturating_sub(self.leeway_ms);
        if issuer.is_some() && claims.iss.as_deref() != issuer {
            return Err(Fault::Unauthorized);
        }
        if now_ms >= expires_ms {
            return Err(Fault::Expired);
        }
        if now_ms < begins_ms {
            return Err(Fault::Unauthorized);
        }
        // Control characters are kept for names that are made of two.
        let is_name = |name: &str| {
            (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && !name.contains(char::is_control)
        };
        let names = [Some(&claims.sub), claims.jti.as_ref(), claims.device.as_ref()];
        if !names.into_iter().flatten().all(|name| is_name(name)) {
            return Err(Fault::Unauthorized);
        }
        let tenant = self.tenant(&claims.others)?;
        let within = |name| tenant::qualified(tenant.as_deref(), name);
        let subject = within(&claims.sub);
        let credential = Credential {
            subject: Some(credential_rights::subject(&subject)),
            token: claims.jti.as_deref().map(|id| credential_rights::token(&within(id))),
            device: claims.device.map(|device| credential_rights::device(&subject, &device)),
            tenant: tenant.clone(),
            needs_device: false,
            peers: claims.peers,
            rooms: claims.rooms,
            scope: claims.scope.scopes(),
            expires_ms: Some(expires_ms),
        };
        // So that every credential fits a ticket.
        let json = serde_json::to_vec(&credential).map_err(|_| Unauthorized)?;
        if json.len() > CREDENTIAL_BYTES_MAX { Err(Fault::Unauthorized) } else { Ok(credential) }
    }
}

/// A date of a token. What is before the epoch is at it, what is beyond all calendars is never.
fn millis(seconds: f64) -> u64 {
    (seconds * 1000.0) as u64
}
