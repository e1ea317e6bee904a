//! An issuer of tokens, which nodes are told to trust.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use crate::builder::Builder;
use crate::leaks;
use crate::scratch::Scratch;

const SECRET: &[u8] = b"what only issuer and nodes know, 32 bytes or more";

/// Signs tokens with HMAC, and keeps the files that the nodes read.
#[derive(Debug)]
pub struct Issuer(Scratch);

impl Issuer {
    /// The `iss` of its tokens.
    pub const NAME: &str = "https://issuer.example";
    /// The `aud` of its tokens.
    pub const AUDIENCE: &str = "conclave";

    /// An issuer that revoked nothing yet.
    pub fn new() -> Self {
        let issuer = Self(Scratch::new());
        fs::write(issuer.file("secret"), SECRET).expect("the scratch folder is writable");
        fs::write(issuer.file("revoked"), "").expect("the scratch folder is writable");
        issuer
    }

    /// Lets the nodes trust this issuer, and nobody else in.
    pub fn guard(&self, builder: Builder) -> Builder {
        builder
            .set("auth.required", "true")
            .set("auth.keys", &format!("HS256:{}", self.file("secret").display()))
            .set("auth.issuer", Self::NAME)
            .set("auth.audience", Self::AUDIENCE)
            .set("auth.revoked", &self.file("revoked").display().to_string())
    }

    /// Claims for ten minutes that are in order, with what is granted beside.
    pub fn claims(sub: &str, grants: Value) -> Value {
        let mut claims = json!({"iss": Self::NAME, "aud": Self::AUDIENCE, "sub": sub, "exp": now() + 600});
        let grants = grants.as_object().expect("grants are an object").clone();
        claims.as_object_mut().expect("claims are an object").extend(grants);
        claims
    }

    /// A token that grants this.
    pub fn token(&self, sub: &str, grants: Value) -> String {
        Self::sign(SECRET, &json!({"alg": "HS256", "typ": "JWT"}), &Self::claims(sub, grants))
    }

    /// A token with these claims, in order or not.
    pub fn token_of(&self, claims: &Value) -> String {
        Self::sign(SECRET, &json!({"alg": "HS256"}), claims)
    }

    /// A token with this header, in order or not, signed as it should be.
    pub fn token_under(&self, header: &Value, claims: &Value) -> String {
        Self::sign(SECRET, header, claims)
    }

    /// A token signed with any secret.
    pub fn sign(secret: &[u8], header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(header), part(claims));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
        leaks::secret(format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag)))
    }

    /// Adds a line to what is revoked: `jti ID` or `sub NAME`.
    pub fn revoke(&self, line: &str) {
        let path = self.file("revoked");
        let list = fs::read_to_string(&path).expect("the list is there");
        // Put in place whole, as an operator should, so that no node reads half of it.
        let fresh = self.file("revoked.new");
        fs::write(&fresh, format!("{list}{line}\n")).expect("the scratch folder is writable");
        fs::rename(fresh, path).expect("a file can be replaced");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Default for Issuer {
    fn default() -> Self {
        Self::new()
    }
}

/// Seconds since the Unix epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set").as_secs()
}
