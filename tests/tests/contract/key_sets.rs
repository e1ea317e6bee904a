//! Tokens by keys that somebody else serves.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use conclave_tests::cluster::Cluster;
use conclave_tests::http::{Api, Reply};
use conclave_tests::issuer::{Issuer, now};
use conclave_tests::key_server::{Answer, KeyServer, SigningKey, set};
use conclave_tests::relay::Pair;
use conclave_tests::wait::eventually;
use serde_json::{Value, json};

/// For a node to ask for a set, or to notice that it cannot be had.
const NOTICED: Duration = Duration::from_secs(20);
const DISCOVERY: &str = "/realm/.well-known/openid-configuration";

fn scope() -> Value {
    json!({"scope": "relay"})
}

async fn sent(node: &Api, token: &str) -> Reply {
    let call = node.relay(&Pair::fresh().send(0, 1, "AAEC"));
    call.header("authorization", &format!("Bearer {token}")).once().await
}

/// Waits until a token in order is taken, or until it is refused in this way.
async fn becomes(node: &Api, token: &str, status: u16) -> Reply {
    eventually(NOTICED, &format!("the token is answered with {status}"), async || {
        Some(sent(node, token).await).filter(|reply| reply.status == status)
    })
    .await
}

#[tokio::test]
async fn a_token_by_a_key_of_the_set_gets_in_and_no_attack_on_one_does() {
    // The modulus of an RSA key: public, and so no secret.
    const MODULUS: &str = "yhvNo3WzIbXxYq7ds0x8td5pZ6Poshext4QKqqvbdfoIeJdyCGdcW3kBjrYOOhZrhMz__ymaj5mTpO8CcjO8rfoAeSJPoNcEsxRGpzy7Q9cIBHPSdgBycJktnl3UDdg4MkuUFlQUcgD7kpr58G3lyYZsBs3OIosjhkAwKEuzU-uRHMC_eVNTYJj09EXppl-E9GiDoqzt4wPs4CJToRqdAVM9WbDYqhmk6AwVmqfii7sEn-nu1hccv8Uhdnl9PCSIr-TRn_G3DqHgfweaz1oys5RgaTUFYSzG19auE9gr_aCbIp-CnMQG6EFwub_AOwj0Asj3gcnSXN6DVwzVqo20Rw";
    let (key, stranger) = (SigningKey::new("one"), SigningKey::new("one"));
    let rsa = json!({"kty": "RSA", "kid": "rsa", "n": MODULUS, "e": "AQAB"});
    let secret = json!({"kty": "oct", "kid": "oct", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode([7; 32])});
    let keys = json!({"keys": [key.jwk(), rsa, secret]}).to_string();
    let server = KeyServer::start(Answer::Json(keys)).await;
    let cluster = server.guard(Cluster::builder().nodes(1)).start().await;
    let node = cluster.api(1);
    let good = Issuer::claims("alice", scope());
    becomes(&node, &key.token_of(&good), 200).await;
    cluster.says(1, "a secret (oct) is taken from a file alone").await;

    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        key.token_of(&claims)
    };
    let modulus = URL_SAFE_NO_PAD.decode(MODULUS).expect("it is base64url");
    let point = key.jwk();
    let shared = |kid: &str, secret: &[u8]| Issuer::sign(secret, &json!({"alg": "HS256", "kid": kid}), &good);
    let attacks = [
        ("expired", with("exp", json!(now() - 120))),
        ("wrong issuer", with("iss", json!("https://evil.test"))),
        ("wrong audience", with("aud", json!("other"))),
        ("wrong signature", stranger.token_of(&good)),
        ("a modulus for a secret", shared("rsa", &modulus)),
        ("a modulus in base64 for a secret", shared("rsa", MODULUS.as_bytes())),
        ("a point for a secret", shared("one", point["x"].as_str().expect("a text").as_bytes())),
        ("a secret that came over the network", shared("oct", &[7; 32])),
        ("another key's name", key.sign(&json!({"alg": "ES256", "kid": "rsa"}), &good)),
        ("another key's algorithm", key.sign(&json!({"alg": "RS256", "kid": "one"}), &good)),
        ("unknown kid", key.sign(&json!({"alg": "ES256", "kid": "two"}), &good)),
        ("kid missing", key.sign(&json!({"alg": "ES256"}), &good)),
        (
            "a place of keys",
            key.sign(&json!({"alg": "ES256", "kid": "one", "jku": server.url("/evil")}), &good),
        ),
    ];
    for (what, token) in attacks {
        let reply = sent(&node, &token).await;
        assert_eq!(reply.status, 401, "{what}: {}", reply.text());
        reply.refused(401, "unauthorized");
    }
    sent(&node, &key.token_of(&good)).await.ok();
    assert_eq!(server.asked("/evil"), 0);
    assert_eq!(server.asked(KeyServer::KEYS), 1, "no attack has the set fetched, so soon after it was");
}

#[tokio::test]
async fn a_set_that_changes_is_followed_and_kept_for_a_while_when_its_server_is_away() {
    let (old, new) = (SigningKey::new("old"), SigningKey::new("new"));
    let server = KeyServer::start(set(&[&old])).await;
    let builder = server.guard(Cluster::builder().nodes(1)).set("auth.jwks_stale_max", "10s");
    let cluster = builder.start().await;
    let node = cluster.api(1);
    becomes(&node, &old.token("alice", scope()), 200).await;

    server.serve(KeyServer::KEYS, set(&[&old, &new]));
    becomes(&node, &new.token("alice", scope()), 200).await;
    sent(&node, &old.token("alice", scope())).await.ok();
    server.serve(KeyServer::KEYS, set(&[&new]));
    becomes(&node, &old.token("alice", scope()), 401).await.refused(401, "unauthorized");

    server.away(true);
    cluster.says(1, "the key set was not fetched; the last one is used").await;
    sent(&node, &new.token("alice", scope())).await.ok();
    let refused = becomes(&node, &new.token("alice", scope()), 503).await;
    refused.refused(503, "keys_unavailable");
    assert!(refused.header("retry-after").is_some());
    server.away(false);
    becomes(&node, &new.token("alice", scope()), 200).await;
    let metrics = cluster.admin(1).get("/metrics").send().await.text();
    assert!(metrics.contains("conclave_auth_key_set_keys 1"), "{metrics}");
    for result in ["done", "failed"] {
        let counted = format!("conclave_auth_key_set_fetches_total{{result=\"{result}\"}} ");
        let line = metrics.lines().find(|line| line.starts_with(&counted)).expect("it is counted");
        assert!(!line.ends_with(" 0"), "{line}");
    }
}

#[tokio::test]
async fn a_node_serves_before_it_has_the_first_set_and_says_that_it_cannot_check() {
    let key = SigningKey::new("one");
    let server = KeyServer::start(set(&[&key])).await;
    server.away(true);
    let cluster = server.guard(Cluster::builder().nodes(1)).start().await;
    let node = cluster.api(1);
    node.get("/health").send().await.ok();
    sent(&node, &key.token("alice", scope())).await.refused(503, "keys_unavailable");
    // What no key could make good is refused for good.
    let planted = json!({"alg": "ES256", "kid": "one", "jku": "https://evil.test"});
    let secret =
        Issuer::sign(&[7; 32], &json!({"alg": "HS256", "kid": "one"}), &Issuer::claims("alice", scope()));
    for bad in ["nonsense", "a.b.c", &key.sign(&planted, &Issuer::claims("alice", scope())), &secret] {
        sent(&node, bad).await.refused(401, "unauthorized");
    }
    node.relay(&Pair::fresh().send(0, 1, "AAEC")).once().await.refused(401, "unauthorized");
    server.away(false);
    // Others ask again by themselves, as a 503 asks them to.
    let call = node.relay(&Pair::fresh().send(0, 1, "AAEC"));
    let token = key.token("alice", scope());
    call.header("authorization", &format!("Bearer {token}")).send().await.ok();
}

#[tokio::test]
async fn a_set_that_comes_in_no_good_way_is_not_used() {
    let key = SigningKey::new("one");
    let Answer::Json(good) = set(&[&key]) else { panic!("a set is JSON") };
    let long = format!("{good}{}", " ".repeat(64 << 10));
    let server = KeyServer::start(Answer::Redirect("/elsewhere.json".to_owned())).await;
    server.serve("/elsewhere.json", set(&[&key]));
    let cluster = server.guard(Cluster::builder().nodes(1)).start().await;
    let node = cluster.api(1);
    for (answer, said) in [
        (Answer::Redirect("/elsewhere.json".to_owned()), "it answered 302, and redirects are not followed"),
        (Answer::Status(500), "it answered 500"),
        (Answer::Json(long), "its answer is longer than 65536 bytes"),
        (Answer::Json("[]".to_owned()), "not a JSON Web Key Set"),
        (Answer::Json(r#"{"keys":[]}"#.to_owned()), "no key of the set can be used"),
        (Answer::Silence, "it did not answer within 5 s"),
    ] {
        server.serve(KeyServer::KEYS, answer);
        // The last one is the most patient of them; each is asked for within the pause of those before.
        eventually(Duration::from_secs(90), said, async || {
            cluster.node(1).printed().contains(said).then_some(())
        })
        .await;
        sent(&node, &key.token("alice", scope())).await.refused(503, "keys_unavailable");
    }
    assert_eq!(server.asked("/elsewhere.json"), 0, "nobody is sent on");
}

#[tokio::test]
async fn a_set_at_an_address_of_this_machine_is_asked_for_only_where_that_is_allowed() {
    let server = KeyServer::start(set(&[&SigningKey::new("one")])).await;
    let builder = server.guard(Cluster::builder().nodes(1)).set("auth.jwks_allow_private", "false");
    let cluster = builder.start().await;
    cluster.says(1, "is not of the public internet").await;
    assert_eq!(server.connections(), 0, "it was not connected to");
}

#[tokio::test]
async fn a_server_whose_certificate_nobody_believes_is_not_listened_to() {
    let key = SigningKey::new("one");
    let (server, other) = (KeyServer::start(set(&[&key])).await, KeyServer::start(set(&[])).await);
    let builder = other.believed(Cluster::builder().nodes(1)).set("auth.jwks_allow_private", "true");
    let cluster = builder.set("auth.jwks", &server.url(KeyServer::KEYS)).start().await;
    cluster.says(1, "no TLS: invalid peer certificate").await;
    assert_eq!(server.asked(KeyServer::KEYS), 0);
}

#[tokio::test]
async fn an_issuer_says_where_its_keys_are_and_signs_for_itself_alone() {
    let key = SigningKey::new("one");
    let server = KeyServer::start(set(&[&key])).await;
    let issuer = server.url("/realm");
    let configuration = |issuer: &str, keys: &str| {
        server
            .serve(DISCOVERY, Answer::Json(json!({"issuer": issuer, "jwks_uri": keys, "x": []}).to_string()));
    };
    configuration(&format!("{issuer}/"), &server.url(KeyServer::KEYS));
    let builder = server.believed(Cluster::builder().nodes(1)).set("auth.jwks_allow_private", "true");
    let cluster = builder.set("auth.oidc_issuer", &issuer).set("auth.issuer", Issuer::NAME).start().await;
    let node = cluster.api(1);
    cluster.says(1, "its `issuer` is not letter by letter auth.oidc_issuer").await;
    configuration(&issuer, "http://localhost:1/keys.json");
    cluster.says(1, "its `jwks_uri`: https it must be").await;
    assert_eq!(server.asked(KeyServer::KEYS), 0);

    configuration(&issuer, &server.url(KeyServer::KEYS));
    let mut claims = Issuer::claims("alice", scope());
    claims["iss"] = json!(issuer);
    becomes(&node, &key.token_of(&claims), 200).await;
    for other in [Issuer::NAME, &format!("{issuer}/"), ""] {
        claims["iss"] = json!(other);
        sent(&node, &key.token_of(&claims)).await.refused(401, "unauthorized");
    }
}
