//! Cross-origin requests.

use conclave_tests::cluster::Cluster;
use conclave_tests::relay::Pair;
use conclave_tests::shared::{self, ORIGINS};
use hyper::Method;

#[tokio::test]
async fn a_preflight_from_a_listed_origin_is_answered_without_a_body() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for origin in ORIGINS {
        for path in ["/api/relay", "/api/v1/sessions", "/v1/transfers"] {
            let preflight = node
                .call(Method::OPTIONS, path)
                .header("origin", origin)
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "content-type,idempotency-key");
            let reply = preflight.send().await;
            assert_eq!(reply.status, 204, "{}", reply.text());
            assert!(reply.body.is_empty());
            assert_eq!(reply.header("access-control-allow-origin"), Some(origin));
            let methods = reply.header("access-control-allow-methods").expect("methods");
            for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
                assert!(methods.contains(method), "{methods}");
            }
            let headers = reply.header("access-control-allow-headers").expect("headers").to_lowercase();
            assert!(headers.contains("content-type") && headers.contains("idempotency-key"), "{headers}");
        }
    }
}

#[tokio::test]
async fn a_listed_origin_is_named_in_the_answer_and_may_bring_credentials() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for origin in ORIGINS {
        let reply = node.relay(&Pair::fresh().send(0, 1, "AAEC")).header("origin", origin).send().await;
        reply.ok();
        assert_eq!(reply.header("access-control-allow-origin"), Some(origin));
        assert_eq!(reply.header("access-control-allow-credentials"), Some("true"));
        assert!(reply.header("vary").is_some_and(|vary| vary.to_lowercase().contains("origin")));
    }
}

#[tokio::test]
async fn an_origin_that_is_not_listed_is_refused() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let strangers = [
        "https://evil.example",
        "http://app.example",
        "https://app.example.evil.example",
        "https://evil-app.example",
        "https://app.example:8443",
        "null",
    ];
    for origin in strangers {
        let reply = node.relay(&Pair::fresh().send(0, 1, "AAEC")).header("origin", origin).send().await;
        reply.refused(403, "origin_not_allowed");
        assert_eq!(reply.header("access-control-allow-origin"), None, "{origin}");
        let preflight = node
            .call(Method::OPTIONS, "/api/relay")
            .header("origin", origin)
            .header("access-control-request-method", "POST");
        preflight.send().await.refused(403, "origin_not_allowed");
    }
}

#[tokio::test]
async fn a_refused_origin_changes_nothing() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let pair = Pair::fresh();
    let refused = node.relay(&pair.send(0, 1, "AAEC")).header("origin", "https://evil.example").send().await;
    refused.refused(403, "origin_not_allowed");
    assert_eq!(node.relay(&pair.receive()).send().await.ok()["status"], "expired");
}

#[tokio::test]
async fn without_an_origin_nothing_is_said_about_origins() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let reply = node.relay(&Pair::fresh().send(0, 1, "AAEC")).send().await;
    reply.ok();
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn where_any_origin_may_come_none_may_bring_credentials() {
    let (_cluster, node) = shared::enterprise().await.and_node().await;
    let reply = node.get("/health").header("origin", "https://anybody.example").send().await;
    reply.ok();
    assert!(reply.header("access-control-allow-origin").is_some(), "the default list is open");
    assert_eq!(reply.header("access-control-allow-credentials"), None);
}

#[tokio::test]
async fn a_page_may_call_the_node_that_served_it() {
    let cluster = Cluster::builder()
        .nodes(1)
        .env("ALLOWED_ORIGINS", &ORIGINS.join(","))
        .set("http.trusted_proxies", "[\"127.0.0.1/32\"]")
        .start()
        .await;
    let node = cluster.api(1);
    let stranger = node.seen_from([127, 0, 0, 9].into());
    let own = node.address();
    let call = |headers: &[(&'static str, &str)]| {
        headers.iter().fold(node.get("/api/v1/nodes"), |call, (name, value)| call.header(name, value))
    };
    let (plain, secure) = (format!("http://{own}"), format!("https://{own}"));
    for headers in [
        &[("origin", plain.as_str())][..],
        &[("origin", secure.as_str()), ("x-forwarded-proto", "https")],
        &[
            ("origin", "https://one.example.org"),
            ("forwarded", "for=192.0.2.7;proto=https;host=one.example.org"),
        ],
    ] {
        let reply = call(headers).send().await;
        reply.ok();
        assert_eq!(reply.header("access-control-allow-origin"), Some(headers[0].1));
    }
    for headers in [
        &[("origin", secure.as_str())][..],
        &[("origin", plain.as_str()), ("x-forwarded-proto", "https")],
        &[("origin", "https://two.example.org"), ("forwarded", "proto=https;host=one.example.org")],
        &[("origin", ORIGINS[0]), ("origin", "https://evil.example")],
    ] {
        call(headers).send().await.refused(403, "origin_not_allowed");
    }
    let lied = stranger.get("/api/v1/nodes").header("origin", "https://one.example.org");
    lied.header("forwarded", "proto=https;host=one.example.org")
        .send()
        .await
        .refused(403, "origin_not_allowed");
}

#[tokio::test]
async fn a_preflight_is_answered_in_full_without_an_origin_and_allows_what_clients_send() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let reply = node.call(Method::OPTIONS, "/api/v1/transfers/7").send().await;
    assert_eq!(reply.status, 204);
    assert_eq!(reply.header("allow"), Some("GET, HEAD, DELETE, OPTIONS"));
    assert!(reply.header("access-control-allow-methods").is_some_and(|methods| methods.contains("PUT")));
    let headers = reply.header("access-control-allow-headers").expect("headers").to_lowercase();
    for name in ["authorization", "cache-control", "last-event-id", "traceparent", "tracestate"] {
        assert!(headers.contains(name), "{name} in {headers}");
    }
    node.call(Method::OPTIONS, "/api/v1/nothing").send().await.refused(404, "not_found");
}
