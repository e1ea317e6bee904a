//! Keys that come in sets.

use super::*;

/// A set with the RSA key of `testdata/` and a secret.
fn key_set() -> Value {
    let modulus = "yhvNo3WzIbXxYq7ds0x8td5pZ6Poshext4QKqqvbdfoIeJdyCGdcW3kBjrYOOhZrhMz__ymaj5mTpO8CcjO8rfoAeSJPoNcEsxRGpzy7Q9cIBHPSdgBycJktnl3UDdg4MkuUFlQUcgD7kpr58G3lyYZsBs3OIosjhkAwKEuzU-uRHMC_eVNTYJj09EXppl-E9GiDoqzt4wPs4CJToRqdAVM9WbDYqhmk6AwVmqfii7sEn-nu1hccv8Uhdnl9PCSIr-TRn_G3DqHgfweaz1oys5RgaTUFYSzG19auE9gr_aCbIp-CnMQG6EFwub_AOwj0Asj3gcnSXN6DVwzVqo20Rw";
    json!({"keys": [
        {"kty": "RSA", "kid": "rsa", "n": modulus, "e": "AQAB"},
        {"kty": "oct", "kid": "oct", "k": BASE64.encode(SECRET)},
    ]})
}

#[test]
fn the_keys_of_a_set_in_a_file_sign_beside_those_that_are_configured() {
    let issuer = Issuer::new();
    std::fs::write(issuer.path("set.json"), key_set().to_string()).unwrap();
    let set = Some(KeySetSource::File(issuer.path("set.json")));
    let auth = in_force(Options { set: set.clone(), ..issuer.options() });
    let by_set = hashed(SECRET, &json!({"alg": "HS256", "kid": "oct"}), &claims());
    assert!(auth.verify(&by_set, NOW_MS).is_ok());
    assert!(auth.verify(&signed(&claims()), NOW_MS).is_ok(), "a configured one");
    let alone = in_force(Options { set, ..Options::default() });
    assert!(alone.is_enabled());
    assert!(alone.verify(include_str!("../testdata/rsa.jwt").trim(), NOW_MS).is_ok());
    // What anybody knows of a public key is no secret.
    for known in [
        BASE64.decode(key_set()["keys"][0]["n"].as_str().unwrap()).unwrap(),
        include_bytes!("../testdata/rsa.pem").to_vec(),
    ] {
        let forged = hashed(&known, &json!({"alg": "HS256", "kid": "rsa"}), &claims());
        assert_eq!(alone.verify(&forged, NOW_MS), Err(Unauthorized.into()));
    }
    let unknown = hashed(SECRET, &json!({"alg": "RS256", "kid": "other"}), &claims());
    assert_eq!(alone.verify(&unknown, NOW_MS), Err(Unauthorized.into()), "a file is all there is");
}

#[test]
fn a_set_in_a_file_that_is_none_is_named_and_changes_nothing_later() {
    let issuer = Issuer::new();
    let path = issuer.path("set.json");
    let options = Options { set: Some(KeySetSource::File(path.clone())), ..Options::default() };
    let error = Auth::new(options.clone()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("auth.jwks: {}", path.display())), "{error}");
    std::fs::write(&path, key_set().to_string()).unwrap();
    let auth = in_force(options);
    std::fs::write(&path, r#"{"keys":[]}"#).unwrap();
    let error = auth.reload().unwrap_err().to_string();
    assert!(error.ends_with("no key of the set can be used"), "{error}");
    assert!(auth.verify(include_str!("../testdata/rsa.jwt").trim(), NOW_MS).is_ok());
}

#[test]
fn a_key_of_a_discovered_issuer_signs_for_it_alone() {
    let issuer = Issuer::new();
    let rules = Rules { issuer: None, audience: Some("conclave".into()), leeway_ms: 0, tenant_claim: None };
    let source = format!("HS256:{}", issuer.path("secret").display()).parse().unwrap();
    let key = |name: Option<&str>| Key { issuer: name.map(Into::into), ..Key::read(&source).unwrap() };
    signature_backend::install();
    let verify = |key: Key, rules: &Rules| token::verify(&signed(&claims()), [&[key], &[]], rules, NOW_MS);
    assert!(verify(key(Some("https://issuer.example")), &rules).is_ok());
    assert_eq!(verify(key(Some("https://issuer.example/")), &rules), Err(Fault::Unauthorized));
    let other = Rules { issuer: Some("https://other.example".into()), ..rules };
    assert!(verify(key(Some("https://issuer.example")), &other).is_ok(), "auth.issuer is for other keys");
    assert_eq!(verify(key(None), &other), Err(Fault::Unauthorized));
}
