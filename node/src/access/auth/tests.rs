//! Tokens in order, and every way in which they may not be.

mod sets;

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SigningKey as _};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use ring::{digest, hmac};
use serde_json::{Value, json};

use super::*;
use crate::access::credential_rights::{self, Scope};
use crate::access::name_pattern::Grant;

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";
const NOW_MS: u64 = 1_800_000_000_000;
const NOW: u64 = NOW_MS / 1000;

/// A folder with the keys of an issuer.
struct Issuer {
    folder: tempfile::TempDir,
    elliptic: KeyPair,
    edwards: KeyPair,
}

impl Issuer {
    fn new() -> Self {
        let issuer = Self {
            folder: tempfile::tempdir().unwrap(),
            elliptic: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
            edwards: KeyPair::generate_for(&PKCS_ED25519).unwrap(),
        };
        std::fs::write(issuer.path("secret"), SECRET).unwrap();
        std::fs::write(issuer.path("ec.pem"), issuer.elliptic.public_key_pem()).unwrap();
        std::fs::write(issuer.path("ed.pem"), issuer.edwards.public_key_pem()).unwrap();
        std::fs::write(issuer.path("revoked"), "").unwrap();
        issuer
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Trusts all three keys, for one audience of one issuer.
    fn options(&self) -> Options {
        let key = |text: &str, name: &str| format!("{text}:{}", self.path(name).display()).parse().unwrap();
        Options {
            required: true,
            keys: vec![key("HS256", "secret"), key("ec=ES256", "ec.pem"), key("ed=EdDSA", "ed.pem")],
            signing: Vec::new(),
            issuer: Some("https://issuer.example".into()),
            audience: Some("conclave".into()),
            leeway: Duration::from_secs(30),
            revoked: Some(self.path("revoked")),
            ..Options::default()
        }
    }

    fn auth(&self) -> Auth {
        in_force(self.options())
    }

    fn elliptic(&self, header: &Value, claims: &Value) -> String {
        let random = SystemRandom::new();
        let der = self.elliptic.serialize_der();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random).unwrap();
        joined(header, claims, |text| pair.sign(&random, text).unwrap().as_ref().to_vec())
    }

    fn edwards(&self, header: &Value, claims: &Value) -> String {
        joined(header, claims, |text| self.edwards.sign(text).unwrap())
    }
}

/// A judge that knows that nothing is revoked in the cluster.
fn in_force(options: Options) -> Auth {
    let auth = Auth::new(options).unwrap();
    auth.revoke(&[]);
    auth
}

fn joined(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let text = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
    let signature = BASE64.encode(sign(text.as_bytes()));
    format!("{text}.{signature}")
}

fn hashed(secret: &[u8], header: &Value, claims: &Value) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    joined(header, claims, |text| hmac::sign(&key, text).as_ref().to_vec())
}

fn signed(claims: &Value) -> String {
    hashed(SECRET, &json!({"alg": "HS256", "typ": "JWT"}), claims)
}

fn claims() -> Value {
    json!({
        "iss": "https://issuer.example", "aud": "conclave", "sub": "alice", "jti": "t-1", "exp": NOW + 600,
        "peers": ["alice-*"], "rooms": "*", "scope": "socket signal",
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

#[test]
fn a_token_in_order_is_a_credential() {
    let credential = Issuer::new().auth().verify(&signed(&claims()), NOW_MS).unwrap();
    assert_eq!(credential.subject, Some(credential_rights::subject("alice")));
    assert_eq!(credential.token, Some(credential_rights::token("t-1")));
    assert_eq!(credential.peers, Grant::of(["alice-*"]).unwrap());
    assert_eq!(credential.rooms, Grant::all());
    assert!(credential.may(Scope::Socket) && !credential.may(Scope::Relay));
    assert_eq!(credential.expires_ms, Some((NOW + 630) * 1000));
}

#[test]
fn scopes_may_come_as_a_list() {
    let auth = Issuer::new().auth();
    let verify = |scope: Value| auth.verify(&signed(&with("scope", scope)), NOW_MS);
    let credential = verify(json!(["socket", "signal", "email"])).unwrap();
    assert!(credential.may(Scope::Socket) && credential.may(Scope::Signal) && !credential.may(Scope::Relay));
    assert!(!verify(json!([])).unwrap().may(Scope::Socket));
    for wrong in [json!(["socket", 1]), json!({"socket": true}), json!(1)] {
        assert!(verify(wrong).is_err());
    }
}

#[test]
fn every_kind_of_key_signs() {
    let issuer = Issuer::new();
    let auth = issuer.auth();
    let elliptic = issuer.elliptic(&json!({"alg": "ES256", "kid": "ec"}), &claims());
    assert!(auth.verify(&elliptic, NOW_MS).is_ok());
    let edwards = issuer.edwards(&json!({"alg": "EdDSA", "kid": "ed"}), &claims());
    assert!(auth.verify(&edwards, NOW_MS).is_ok());
}

#[test]
fn an_rsa_key_signs() {
    // openssl genrsa 2048; the token was signed by `openssl dgst -sha256 -sign`.
    let inline = format!("rsa=RS256:{}", include_str!("testdata/rsa.pem"));
    let keys = vec![inline.parse().unwrap()];
    let auth = in_force(Options { keys, ..Options::default() });
    let token = include_str!("testdata/rsa.jwt").trim();
    assert!(auth.verify(token, NOW_MS).is_ok());
    let (text, _) = token.rsplit_once('.').unwrap();
    assert!(auth.verify(&format!("{text}.{}", BASE64.encode([0; 256])), NOW_MS).is_err());
}

#[test]
fn what_is_not_granted_is_not_had() {
    let mut bare = claims();
    for name in ["peers", "rooms", "scope", "jti"] {
        bare.as_object_mut().unwrap().remove(name);
    }
    let credential = Issuer::new().auth().verify(&signed(&bare), NOW_MS).unwrap();
    assert!(!credential.may_claim("alice") && !credential.may_join("lobby"));
    assert!(Scope::ALL.iter().all(|scope| !credential.may(*scope)));
}

#[test]
fn the_time_is_the_callers_and_clocks_may_differ_by_the_leeway() {
    let auth = Issuer::new().auth();
    let verify = |claims: &Value, now_ms: u64| auth.verify(&signed(claims), now_ms).is_ok();
    assert!(verify(&claims(), (NOW + 630) * 1000 - 1));
    assert!(!verify(&claims(), (NOW + 630) * 1000));
    let early = with("nbf", json!(NOW + 100));
    assert!(!verify(&early, (NOW + 70) * 1000 - 1));
    assert!(verify(&early, (NOW + 70) * 1000));
    assert!(verify(&with("exp", json!(NOW as f64 + 0.5)), NOW_MS));
}

#[test]
fn claims_that_are_not_in_order_prove_nothing() {
    let auth = Issuer::new().auth();
    for (what, claims) in [
        ("no expiry", without("exp")),
        ("an expiry that is no number", with("exp", json!("never"))),
        ("over", with("exp", json!(NOW - 31))),
        ("over since ever", with("exp", json!(-1))),
        ("not begun", with("nbf", json!(NOW + 31))),
        ("no issuer", without("iss")),
        ("another issuer", with("iss", json!("https://issuer.example.evil.test"))),
        ("several issuers", with("iss", json!(["https://issuer.example"]))),
        ("no audience", without("aud")),
        ("another audience", with("aud", json!("conclave2"))),
        ("other audiences", with("aud", json!(["a", "b"]))),
        ("no subject", without("sub")),
        ("an empty subject", with("sub", json!(""))),
        ("a subject without end", with("sub", json!("x".repeat(257)))),
        ("an id without end", with("jti", json!("x".repeat(257)))),
        ("peers that are no names", with("peers", json!([1]))),
        ("peers without end", with("peers", json!(vec!["x"; 65]))),
        ("more than a ticket holds", with("peers", json!(vec!["x".repeat(100); 64]))),
    ] {
        let why = match what {
            "over" => Unverified::Expired(Unauthorized),
            _ => Unauthorized.into(),
        };
        assert_eq!(auth.verify(&signed(&claims), NOW_MS), Err(why), "{what}");
    }
    let several = with("aud", json!(["other", "conclave"]));
    assert!(auth.verify(&signed(&several), NOW_MS).is_ok(), "meant for us, too");
}

#[test]
fn a_token_meant_for_somebody_is_not_for_a_server_that_is_nobody() {
    let issuer = Issuer::new();
    let auth = in_force(Options { audience: None, issuer: None, ..issuer.options() });
    assert!(auth.verify(&signed(&claims()), NOW_MS).is_err());
    assert!(auth.verify(&signed(&without("aud")), NOW_MS).is_ok());
}

#[test]
fn the_key_decides_the_algorithm() {
    let issuer = Issuer::new();
    let auth = issuer.auth();
    let refused = |what: &str, token: String| {
        assert_eq!(auth.verify(&token, NOW_MS), Err(Unauthorized.into()), "{what}")
    };
    for none in ["none", "None", "NONE", ""] {
        let token = joined(&json!({"alg": none}), &claims(), |_| Vec::new());
        refused("no algorithm", token);
    }
    refused("no signature", joined(&json!({"alg": "HS256"}), &claims(), |_| Vec::new()));
    // The classic: a public key is no secret, but may be taken for one.
    let pem = issuer.elliptic.public_key_pem();
    for header in [json!({"alg": "HS256", "kid": "ec"}), json!({"alg": "HS256"})] {
        refused("signed with a public key", hashed(pem.as_bytes(), &header, &claims()));
    }
    refused("ES256 said, HS256 done", hashed(SECRET, &json!({"alg": "ES256"}), &claims()));
    refused("EdDSA said, ES256 done", issuer.elliptic(&json!({"alg": "EdDSA", "kid": "ec"}), &claims()));
    refused("another key's name", issuer.elliptic(&json!({"alg": "ES256", "kid": "ed"}), &claims()));
    for algorithm in ["HS384", "HS512", "RS256", "PS256", "ES384"] {
        refused(algorithm, hashed(SECRET, &json!({"alg": algorithm}), &claims()));
    }
}

#[test]
fn unknown_keys_prove_nothing() {
    let issuer = Issuer::new();
    let auth = issuer.auth();
    let refused = |what: &str, token: String| {
        assert_eq!(auth.verify(&token, NOW_MS), Err(Unauthorized.into()), "{what}")
    };
    refused("a name nobody has", issuer.elliptic(&json!({"alg": "ES256", "kid": "other"}), &claims()));
    refused("no name where the key has one", issuer.elliptic(&json!({"alg": "ES256"}), &claims()));
    refused("a name where the key has none", hashed(SECRET, &json!({"alg": "HS256", "kid": "x"}), &claims()));
    refused("another secret", hashed(&[b'x'; 40], &json!({"alg": "HS256"}), &claims()));
    let stranger = Issuer::new();
    refused("another issuer's key", stranger.elliptic(&json!({"alg": "ES256", "kid": "ec"}), &claims()));
    for planted in [
        json!({"alg": "ES256", "kid": "ec", "jku": "https://evil.test/keys"}),
        json!({"alg": "ES256", "kid": "ec", "x5u": "https://evil.test/chain"}),
        json!({"alg": "ES256", "kid": "ec", "x5c": ["AAAA"]}),
        json!({"alg": "ES256", "kid": "ec", "jwk": {"kty": "oct", "k": "AAAA"}}),
        json!({"alg": "ES256", "kid": "ec", "crit": ["exp"]}),
        json!({"alg": "ES256", "kid": "ec", "b64": false, "crit": ["b64"]}),
    ] {
        refused("a planted key, though the signature is ours", issuer.elliptic(&planted, &claims()));
        refused("a planted key", stranger.elliptic(&planted, &claims()));
    }
}

#[test]
fn a_changed_token_proves_nothing() {
    let auth = Issuer::new().auth();
    let token = signed(&claims());
    assert!(auth.verify(&token, NOW_MS).is_ok());
    let parts: Vec<&str> = token.split('.').collect();
    let other = BASE64.encode(with("sub", json!("mallory")).to_string());
    for changed in [
        format!("{}.{other}.{}", parts[0], parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}.{}", parts[2]),
        format!("{token}="),
        format!(" {token}"),
        String::new(),
        "..".to_owned(),
        "x".repeat(9000),
    ] {
        assert_eq!(auth.verify(&changed, NOW_MS), Err(Unauthorized.into()), "{changed}");
    }
    // A digest is no signature.
    let bare = joined(&json!({"alg": "HS256"}), &claims(), |text| {
        digest::digest(&digest::SHA256, text).as_ref().to_vec()
    });
    assert_eq!(auth.verify(&bare, NOW_MS), Err(Unauthorized.into()));
}

#[tokio::test]
async fn what_is_revoked_is_worth_nothing_as_soon_as_the_file_says_so() {
    let issuer = Issuer::new();
    let auth = issuer.auth();
    let credential = auth.verify(&signed(&claims()), NOW_MS).unwrap();
    assert!(auth.holds(&credential, NOW_MS));
    let watching = tokio::spawn(auth.clone().keep_current(channel::Sender::new(0).subscribe()));
    let mut changes = auth.changes();
    changes.changed().await.unwrap();
    std::fs::write(issuer.path("revoked"), "jti t-1\n").unwrap();
    changes.changed().await.unwrap();
    assert!(!auth.holds(&credential, NOW_MS));
    let revoked = Unverified::Revoked(Unauthorized);
    assert_eq!(auth.verify(&signed(&claims()), NOW_MS), Err(revoked));
    assert!(auth.verify(&signed(&with("jti", json!("t-2"))), NOW_MS).is_ok());
    watching.abort();
}

#[test]
fn before_it_is_known_what_is_revoked_no_credential_is_worth_anything() {
    let auth = Auth::new(Issuer::new().options()).unwrap();
    assert!(!auth.knows_revoked() && !auth.is_ready());
    assert!(Auth::new(Options::default()).unwrap().is_ready(), "nobody can show anything");
    assert_eq!(auth.verify(&signed(&claims()), NOW_MS), Err(Unverified::KeysUnavailable));
    assert_eq!(
        auth.judge(&Credential::anonymous(), NOW_MS),
        Ok(()),
        "nobody in particular cannot be revoked"
    );
    let changes = auth.changes();
    auth.revoke(&[]);
    assert!(auth.knows_revoked() && auth.is_ready() && changes.has_changed().unwrap());
    assert!(auth.verify(&signed(&claims()), NOW_MS).is_ok());
}

#[test]
fn a_broken_file_changes_nothing() {
    let issuer = Issuer::new();
    let auth = issuer.auth();
    std::fs::write(issuer.path("secret"), "short").unwrap();
    assert!(auth.reload().is_err());
    assert!(auth.verify(&signed(&claims()), NOW_MS).is_ok());
    std::fs::write(issuer.path("secret"), "another secret of more than thirty-two bytes").unwrap();
    auth.reload().unwrap();
    assert!(auth.verify(&signed(&claims()), NOW_MS).is_err());
}

#[test]
fn while_a_key_is_exchanged_both_hold() {
    let issuer = Issuer::new();
    let mut options = issuer.options();
    std::fs::write(issuer.path("next"), [b'n'; 40]).unwrap();
    options.keys.insert(0, format!("HS256:{}", issuer.path("next").display()).parse().unwrap());
    let auth = in_force(options);
    assert!(auth.verify(&signed(&claims()), NOW_MS).is_ok());
    assert!(auth.verify(&hashed(&[b'n'; 40], &json!({"alg": "HS256"}), &claims()), NOW_MS).is_ok());
}

#[test]
fn an_expired_credential_holds_no_longer() {
    let auth = Issuer::new().auth();
    let credential = auth.verify(&signed(&claims()), NOW_MS).unwrap();
    assert!(auth.holds(&credential, (NOW + 629) * 1000));
    assert!(!auth.holds(&credential, (NOW + 630) * 1000));
}
