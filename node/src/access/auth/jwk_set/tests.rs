//! Sets in order, and every way in which one of their keys may not be.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The modulus of `testdata/rsa.pem`.
const MODULUS: &str = "yhvNo3WzIbXxYq7ds0x8td5pZ6Poshext4QKqqvbdfoIeJdyCGdcW3kBjrYOOhZrhMz__ymaj5mTpO8CcjO8rfoAeSJPoNcEsxRGpzy7Q9cIBHPSdgBycJktnl3UDdg4MkuUFlQUcgD7kpr58G3lyYZsBs3OIosjhkAwKEuzU-uRHMC_eVNTYJj09EXppl-E9GiDoqzt4wPs4CJToRqdAVM9WbDYqhmk6AwVmqfii7sEn-nu1hccv8Uhdnl9PCSIr-TRn_G3DqHgfweaz1oys5RgaTUFYSzG19auE9gr_aCbIp-CnMQG6EFwub_AOwj0Asj3gcnSXN6DVwzVqo20Rw";

fn ec() -> Value {
    let (x, y) = (URL_SAFE_NO_PAD.encode([7; 32]), URL_SAFE_NO_PAD.encode([9; 32]));
    json!({"kty": "EC", "crv": "P-256", "kid": "ec", "x": x, "y": y})
}

fn ed() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": URL_SAFE_NO_PAD.encode([7; 32])})
}

fn rsa() -> Value {
    json!({"kty": "RSA", "kid": "rsa", "n": MODULUS, "e": "AQAB"})
}

fn oct() -> Value {
    json!({"kty": "oct", "kid": "oct", "k": URL_SAFE_NO_PAD.encode([b's'; 32])})
}

fn with(mut key: Value, name: &str, value: Value) -> Value {
    key[name] = value;
    key
}

fn without(mut key: Value, name: &str) -> Value {
    key.as_object_mut().unwrap().remove(name);
    key
}

fn parse(keys: &[Value], origin: Origin) -> Result<Set, SetError> {
    Set::parse(json!({ "keys": keys }).to_string().as_bytes(), origin)
}

/// How the keys of a set are called.
fn kids(set: &Set) -> Vec<&str> {
    set.keys.iter().map(|key| key.kid.as_deref().unwrap_or("-")).collect()
}

/// What is said of the one key that is left out, beside one that is used.
fn why(key: Value) -> String {
    let set = parse(&[with(ed(), "kid", json!("good")), key], Origin::Network).unwrap();
    assert_eq!((kids(&set), set.unusable.len()), (vec!["good"], 1), "{:?}", set.unusable);
    set.unusable[0].to_string()
}

#[test]
fn every_kind_of_key_is_read_with_its_algorithm() {
    let set = parse(&[ec(), ed(), rsa(), oct()], Origin::File).unwrap();
    let read: Vec<_> = set.keys.iter().map(|key| key.algorithm).collect();
    use jsonwebtoken::Algorithm::{ES256, EdDSA, HS256, RS256};
    assert_eq!(read, [ES256, EdDSA, RS256, HS256]);
    let named = [("ES256", ec()), ("EdDSA", ed()), ("RS256", rsa())];
    let named = named.map(|(alg, key)| with(with(key, "alg", json!(alg)), "use", json!("sig")));
    assert_eq!(kids(&parse(&named, Origin::Network).unwrap()), ["ec", "ed", "rsa"]);
}

#[test]
fn what_means_nothing_here_does_no_harm() {
    let key = with(with(ec(), "x5c", json!(["MII"])), "ext", json!(true));
    let key = with(key, "key_ops", json!(["verify"]));
    let text = json!({"keys": [key], "more": 7}).to_string();
    assert_eq!(kids(&Set::parse(text.as_bytes(), Origin::Network).unwrap()), ["ec"]);
}

#[test]
fn a_key_that_cannot_be_used_is_named_with_the_reason_and_without_its_bytes() {
    let short = URL_SAFE_NO_PAD.encode([b's'; 31]);
    let weak = URL_SAFE_NO_PAD.encode([0xff; 255]);
    let strong = URL_SAFE_NO_PAD.encode([0xff; 1025]);
    for (key, reason) in [
        (json!("text"), "key 2: not a JSON Web Key"),
        (json!(["EC"]), "key 2: not a JSON Web Key"),
        (with(ec(), "x", json!(7)), "key 2 (kid \"ec\"): not a JSON Web Key"),
        (with(ec(), "kty", json!("PQ")), "its kty \"PQ\" is none of EC, RSA, OKP and oct"),
        (with(ec(), "use", json!("enc")), "its use is \"enc\" and not \"sig\""),
        (with(ec(), "key_ops", json!(["sign"])), "its key_ops are without \"verify\""),
        (with(rsa(), "alg", json!("PS256")), "its alg \"PS256\" is none of ES256, RS256, EdDSA and HS256"),
        (with(rsa(), "alg", json!("none")), "its alg \"none\" is none of"),
        (with(rsa(), "alg", json!("HS256")), "its alg HS256 is not for its kty and crv, which make RS256"),
        (with(ec(), "alg", json!("RS256")), "its alg RS256 is not for its kty and crv, which make ES256"),
        (with(ec(), "crv", json!("P-384")), "its crv \"P-384\" is neither P-256"),
        (with(ed(), "crv", json!("Ed448")), "its crv \"Ed448\" is neither P-256"),
        (with(ec(), "crv", json!("Ed25519")), "its crv \"Ed25519\" is neither P-256"),
        (without(ec(), "crv"), "its crv is missing"),
        (without(ec(), "y"), "its y is missing"),
        (with(ec(), "x", json!(short)), "its x is missing, or not base64url of the right length"),
        (with(ed(), "x", json!("+/+/")), "its x is missing, or not base64url of the right length"),
        (without(rsa(), "n"), "its n is missing"),
        (with(rsa(), "n", json!(weak)), "an RSA key has 2048 to 8192 bits"),
        (with(rsa(), "n", json!(strong)), "an RSA key has 2048 to 8192 bits"),
        (with(rsa(), "e", json!("AQ")), "an RSA key has 2048 to 8192 bits and an odd exponent"),
        (with(rsa(), "e", json!("AQAC")), "an RSA key has 2048 to 8192 bits and an odd exponent"),
        (with(rsa(), "e", json!("AQABAQE")), "an RSA key has 2048 to 8192 bits and an odd exponent"),
        (with(rsa(), "d", json!("AQAB")), "it has the private part"),
        (oct(), "a secret (oct) is taken from a file alone"),
        (with(ec(), "kid", json!("")), "its kid is empty or longer than 256 characters"),
        (with(ec(), "kid", json!("k".repeat(257))), "its kid is empty or longer than 256 characters"),
        (without(ec(), "kid"), "key 2: it has no kid, which each of several keys needs"),
        (with(ed(), "kid", json!("good")), "another key before it has this kid and alg"),
    ] {
        let said = why(key.clone());
        assert!(said.contains(reason), "{key}: {said}");
        for secret in ["x", "y", "n", "k", "d"].iter().filter_map(|name| key[name].as_str()) {
            assert!(secret.len() < 6 || !said.contains(secret), "{said}");
        }
    }
}

#[test]
fn a_secret_of_a_file_is_long_and_no_pem() {
    let pem = URL_SAFE_NO_PAD.encode("-----BEGIN PUBLIC KEY-----\nAAAAAAAAAAAAAAAAAAA");
    for unfit in [URL_SAFE_NO_PAD.encode([b's'; 31]), pem] {
        let set = parse(&[with(oct(), "k", json!(unfit)), ec()], Origin::File).unwrap();
        assert_eq!(kids(&set), ["ec"]);
        assert!(set.unusable[0].to_string().contains("at least 32 bytes"), "{:?}", set.unusable);
    }
}

#[test]
fn a_member_that_stands_twice_is_no_key() {
    let twice = ec().to_string().replacen('{', r#"{"kty":"EC","#, 1);
    let text = format!(r#"{{"keys":[{twice},{}]}}"#, ed());
    let set = Set::parse(text.as_bytes(), Origin::Network).unwrap();
    assert_eq!((kids(&set), set.unusable.len()), (vec!["ed"], 1));
}

#[test]
fn one_key_alone_needs_no_name() {
    let set = parse(&[without(ec(), "kid"), with(ed(), "use", json!("enc"))], Origin::Network).unwrap();
    assert_eq!(kids(&set), ["-"], "the other one is no choice");
}

#[test]
fn keys_of_one_name_and_different_algorithms_are_told_apart() {
    let set = parse(&[ec(), with(ed(), "kid", json!("ec"))], Origin::Network).unwrap();
    assert_eq!(kids(&set), ["ec", "ec"]);
}

#[test]
fn a_set_is_an_object_of_bounded_size_with_a_key_that_can_be_used() {
    let parse = |text: &str| Set::parse(text.as_bytes(), Origin::Network).map(drop);
    for text in ["", "7", "[]", "[[]]", "{}", r#"{"keys":7}"#, r#"{"keys":{}}"#, "{\"keys\":[]"] {
        assert_eq!(parse(text), Err(SetError::Form), "{text}");
    }
    assert_eq!(parse(r#"{"keys":[]}"#), Err(SetError::Empty(String::new())));
    let error = parse(&json!({"keys": [oct()]}).to_string()).unwrap_err().to_string();
    assert!(error.ends_with("key 1 (kid \"oct\"): a secret (oct) is taken from a file alone"), "{error}");

    let many = |count: usize| -> Vec<_> {
        (0..count).map(|at| with(ed(), "kid", json!(format!("k{at}")))).collect()
    };
    let all = super::Set::parse(json!({"keys": many(KEYS_MAX)}).to_string().as_bytes(), Origin::Network);
    assert_eq!(all.unwrap().keys.len(), KEYS_MAX);
    assert_eq!(parse(&json!({"keys": many(KEYS_MAX + 1)}).to_string()), Err(SetError::Many(65)));

    let text = json!({"keys": [ec()]}).to_string();
    let padded = |len: usize| format!("{text}{}", " ".repeat(len - text.len()));
    assert_eq!(parse(&padded(SET_BYTES_MAX)), Ok(()));
    assert_eq!(parse(&padded(SET_BYTES_MAX + 1)), Err(SetError::Long));
}

#[test]
fn what_a_set_says_cannot_break_a_line_of_the_log() {
    let said = why(with(with(ec(), "use", json!("a\nb\u{1b}[31m")), "kid", json!("k\n".repeat(100))));
    assert!(!said.contains(['\n', '\u{1b}']) && said.chars().count() < 400, "{said}");
}

#[test]
fn an_rsa_key_is_written_as_it_was_in_pem() {
    let pem = jsonwebtoken::DecodingKey::from_rsa_pem(include_bytes!("../testdata/rsa.pem")).unwrap();
    let zeros = [&[0, 0][..], &URL_SAFE_NO_PAD.decode(MODULUS).unwrap()].concat();
    for key in [rsa(), with(rsa(), "n", json!(URL_SAFE_NO_PAD.encode(zeros)))] {
        let set = parse(&[key], Origin::Network).unwrap();
        assert_eq!(set.keys[0].decoding.as_bytes(), pem.as_bytes());
    }
}

/// A member's value: of the right kind, or anything.
fn value() -> impl Strategy<Value = Value> {
    const KNOWN: &[&str] =
        &["EC", "RSA", "OKP", "oct", "P-256", "Ed25519", "sig", "ES256", "RS256", "EdDSA", "AQAB", MODULUS];
    prop_oneof![
        proptest::sample::select(KNOWN).prop_map(Value::from),
        "[A-Za-z0-9_-]{0,50}".prop_map(Value::from),
        Just(json!(URL_SAFE_NO_PAD.encode([1; 32]))),
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        Just(json!(["verify"])),
        Just(json!({"a": 1})),
    ]
}

proptest! {
    #[test]
    fn garbage_is_no_set(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Set::parse(&bytes, Origin::File).is_err());
    }

    #[test]
    fn a_set_of_any_members_is_read_without_harm(
        keys in proptest::collection::vec(
            proptest::collection::hash_map(
                proptest::sample::select(&["kty", "use", "key_ops", "alg", "kid", "crv", "x", "y", "n", "e", "k", "d", "z"][..]),
                value(),
                0..13,
            ),
            0..70,
        ),
    ) {
        let count = keys.len();
        let keys: Vec<Value> = keys.into_iter().map(|key| json!(key)).collect();
        match parse(&keys, Origin::Network) {
            Ok(set) => {
                prop_assert_eq!(set.keys.len() + set.unusable.len(), count);
                let secret = |key: &Key| key.algorithm == jsonwebtoken::Algorithm::HS256;
                prop_assert!(!set.keys.iter().any(secret));
            }
            Err(SetError::Many(many)) => prop_assert!(many == count && count > KEYS_MAX),
            Err(SetError::Long | SetError::Empty(_)) => {}
            Err(SetError::Form) => prop_assert!(false, "it is one"),
        }
    }
}
