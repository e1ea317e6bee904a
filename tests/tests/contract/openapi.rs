//! The OpenAPI document says what the nodes do: every path is there, with just those methods.

use std::collections::BTreeMap;

use conclave_tests::shared;
use hyper::Method;

const DOCUMENT: &str = include_str!("../../../docs/openapi.yaml");

/// The methods of each path. The document keeps to one layout: paths two blanks deep, methods four.
fn documented() -> BTreeMap<&'static str, Vec<String>> {
    let mut paths: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut path = None;
    let lines = DOCUMENT.lines().skip_while(|line| *line != "paths:").skip(1);
    for line in lines.take_while(|line| line.is_empty() || line.starts_with([' ', '#'])) {
        let indent = line.len() - line.trim_start().len();
        let Some(name) = line.trim().strip_suffix(':') else { continue };
        match indent {
            2 => path = Some(name),
            4 if ["get", "put", "post", "delete", "head"].contains(&name) => {
                paths.entry(path.expect("a method below its path")).or_default().push(name.to_uppercase());
            }
            _ => {}
        }
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
        let reply = node.call(Method::PATCH, &example(path)).send().await;
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
