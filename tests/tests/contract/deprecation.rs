//! Paths that clients should leave (RFC 9745, RFC 8594).

use conclave_tests::cluster::Cluster;

#[tokio::test]
async fn a_deprecated_path_says_so_and_is_gone_after_its_last_day() {
    let cluster = Cluster::builder()
        .nodes(1)
        .set(
            "http.deprecated",
            "[\"/v1 since 2026-01-01 until 2126-01-01 for /api/v1\", \"/api/v1/ice since 2020-01-01 until 2021-01-01\"]",
        )
        .start()
        .await;
    let node = cluster.api(1);
    let old = node.get("/v1/edition").send().await;
    old.ok();
    assert_eq!(old.header("deprecation"), Some("@1767225600"));
    assert_eq!(old.header("sunset"), Some("Tue, 01 Jan 2126 00:00:00 GMT"));
    assert_eq!(old.header("link"), Some("</api/v1>; rel=\"successor-version\""));
    let refused = node.get("/v1/nothing").send().await;
    refused.refused(404, "not_found");
    assert!(refused.header("deprecation").is_some(), "errors say so, too");

    let new = node.get("/api/v1/edition").send().await;
    new.ok();
    assert_eq!((new.header("deprecation"), new.header("sunset")), (None, None));

    let gone = node.get("/api/v1/ice").send().await;
    gone.refused(410, "gone");
    assert!(gone.header("sunset").is_some());
}
