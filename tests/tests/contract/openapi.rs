//! The OpenAPI document says what the nodes do: every path is there, with just those methods.

use std::collections::BTreeMap;

use conclave_tests::http::Api;
use conclave_tests::{openapi, shared};
use hyper::Method;
use serde_json::Value;

/// The methods of each path.
fn documented() -> BTreeMap<String, Vec<String>> {
    let mut paths: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (method, path) in openapi::endpoints() {
        paths.entry(path).or_default().push(method);
    }
    paths
}

/// A path with its parameters filled in.
fn example(path: &str) -> String {
    let part = |part: &str| if part.starts_with('{') { "7".to_owned() } else { part.to_owned() };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_path_takes_the_methods_that_are_documented_and_no_others() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let paths = documented();
    assert!(paths.len() > 15, "the document was not understood");
    for (path, methods) in paths {
        let reply = node.call(Method::PATCH, &example(&path)).send().await;
        reply.refused(405, "method_not_allowed");
        let allow = reply.header("allow").expect("405 says what is allowed").to_owned();
        let mut allowed: Vec<&str> = allow.split(',').map(str::trim).collect();
        // HEAD is wherever GET is, and OPTIONS is everywhere, without lines of their own.
        assert_eq!(allowed.contains(&"HEAD"), allowed.contains(&"GET"), "{path}");
        assert!(allowed.contains(&"OPTIONS"), "{path}");
        allowed.retain(|method| !["HEAD", "OPTIONS"].contains(method));
        allowed.sort_unstable();
        let mut methods = methods;
        methods.sort_unstable();
        assert_eq!(allowed, methods, "{path}");
    }
}

#[tokio::test]
async fn every_node_tells_the_document_and_shows_it() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let printed: Value =
        serde_json::from_str(include_str!("../../../docs/openapi.json")).expect("it is JSON");
    assert_eq!(node.get("/api/v1/openapi.json").send().await.ok(), printed);
    shows(&node, "GET</b> <code>/api/v1/sessions/resolve</code>").await;
}

/// The page names what is described, and may load nothing and run nothing.
async fn shows(node: &Api, what: &str) {
    let reply = node.get("/docs").send().await;
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = reply.header("content-security-policy").expect("a policy").to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    let page = reply.text();
    assert!(page.contains(what) && !page.contains("<script") && !page.contains("src="), "{page}");
}

#[tokio::test]
async fn the_admin_listener_tells_its_own() {
    let cluster = shared::standard().await;
    let admin = cluster.admin(1);
    let printed = include_str!("../../../docs/admin-openapi.json");
    let printed: Value = serde_json::from_str(printed).expect("it is JSON");
    assert_eq!(admin.get("/admin/v1/openapi.json").send().await.ok(), printed);
    shows(&admin, "DELETE</b> <code>/admin/v1/{kind}/{id}</code>").await;
}
