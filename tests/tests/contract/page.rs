//! The page at `/`, the client beside it, and the list of nodes that both read.

use conclave_tests::cluster::Cluster;
use conclave_tests::raw::PATIENCE;
use conclave_tests::shared;
use conclave_tests::wait::eventually;
use hyper::Method;

#[tokio::test]
async fn the_page_may_run_its_own_scripts_and_talk_to_the_nodes_alone() {
    let cluster = shared::standard().await;
    let page = cluster.follower().await.get("/").send().await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    let connect = policy.split(';').find_map(|rule| rule.trim().strip_prefix("connect-src 'self' "));
    let allowed: Vec<&str> = connect.expect("a rule for connections").split(' ').collect();
    let expected: Vec<String> = cluster
        .status()
        .await
        .nodes
        .into_iter()
        .flat_map(|node| [node.http.clone(), node.http.replace("http", "ws")])
        .collect();
    assert_eq!(allowed, expected);
}

#[tokio::test]
async fn every_node_lists_all_nodes() {
    let cluster = shared::standard().await;
    let urls: Vec<String> = cluster.status().await.nodes.into_iter().map(|node| node.http).collect();
    for node in cluster.apis() {
        let list = node.get("/api/v1/nodes").send().await.ok();
        let listed: Vec<&str> = list["nodes"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|node| node["url"].as_str())
            .collect();
        assert_eq!(listed, urls);
    }
}

#[tokio::test]
async fn a_copy_of_the_client_is_good_until_it_changes() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let first = node.get("/conclave.js").send().await;
    assert_eq!(first.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(first.header("cache-control"), Some("no-cache"));
    let tag = first.header("etag").expect("a tag").to_owned();
    let again = node.get("/conclave.js").header("if-none-match", &tag).send().await;
    assert_eq!((again.status, again.text().as_str()), (304, ""));
    // They are compressed while the node serves already.
    let packed = eventually(PATIENCE, "the file is compressed", async || {
        let reply = node.get("/conclave.js").header("accept-encoding", "br").send().await;
        reply.header("content-encoding").is_some().then_some(reply)
    })
    .await;
    assert_eq!(packed.header("content-encoding"), Some("br"));
    assert_ne!(packed.header("etag"), Some(tag.as_str()), "other bytes, other tag");
}

#[tokio::test]
async fn the_page_is_read_only() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    node.call(Method::POST, "/").send().await.refused(405, "method_not_allowed");
}

#[tokio::test]
async fn without_the_page_there_is_nothing_at_its_paths() {
    let cluster = Cluster::builder().nodes(1).set("http.page", "false").start().await;
    for path in ["/", "/conclave.js", "/style.css"] {
        cluster.api(1).get(path).send().await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn whoever_comes_through_a_proxy_is_not_as_near_as_the_proxy() {
    let cluster = Cluster::builder().nodes(1).set("http.trusted_proxies", "[\"127.0.0.1/32\"]").start().await;
    let node = cluster.api(1);
    let listed = |client: Option<&str>| {
        let call = node.get("/api/v1/nodes");
        client.into_iter().fold(call, |call, client| call.header("x-forwarded-for", client))
    };
    // Both ask a host of this machine. Only one of them is on it.
    for (client, count) in [(None, 1), (Some("127.0.0.1"), 1), (Some("203.0.113.9"), 0)] {
        let list = listed(client).send().await.ok();
        assert_eq!(list["nodes"].as_array().map(Vec::len), Some(count), "{client:?}");
    }
    let page = node.get("/").header("x-forwarded-for", "203.0.113.9").send().await;
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("connect-src 'self';"), "{policy}");
}
