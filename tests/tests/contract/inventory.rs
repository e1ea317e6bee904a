//! What operators see of what is stored, and how they end some of it.

use std::collections::BTreeSet;

use conclave_tests::cluster::Cluster;
use conclave_tests::http::Api;
use conclave_tests::relay::{Pair, peer_id, signal, word};
use conclave_tests::shared;
use conclave_tests::socket::Socket;
use conclave_tests::wait::eventually;
use serde_json::{Value, json};
use tokio::time::{Duration, timeout};

const PATIENCE: Duration = Duration::from_secs(5);

fn id(item: &Value) -> String {
    item["id"].as_str().expect("an id").to_owned()
}

/// All of a list, in pages of so many.
async fn all(admin: &Api, kind: &str, count: usize) -> Vec<Value> {
    let (mut items, mut after) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("/admin/v1/{kind}?count={count}{after}")).send().await.ok();
        let listed = page["items"].as_array().expect("a list");
        assert!(listed.len() <= count);
        items.extend(listed.clone());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return items,
        }
    }
}

#[tokio::test]
async fn a_list_is_the_same_on_every_node_whole_in_pages_and_tells_no_names() {
    let cluster = Cluster::builder().unmetered().start().await;
    let pairs: Vec<Pair> = (0..9).map(|_| Pair::fresh()).collect();
    for pair in &pairs {
        cluster.api(1).relay(&pair.send(0, 3, "AAEC")).send().await.ok();
    }
    let peer = peer_id();
    cluster.api(2).relay(&signal(&peer_id(), &peer, "offer", json!({"n": 1}))).send().await.ok();
    let whole = all(&cluster.admin(1), "transfers", 500).await;
    assert_eq!(whole.len(), 9);
    for item in &whole {
        assert!(item["parts"] == 1 && item["of"] == 3 && item["expiresMs"].is_u64(), "{item}");
        assert_eq!(id(item).len(), 16);
    }
    for node in 2..=3 {
        assert_eq!(all(&cluster.admin(node), "transfers", 2).await, whole);
    }
    let mailboxes = all(&cluster.admin(3), "mailboxes", 500).await;
    assert_eq!(mailboxes[0]["parts"], 1);
    let told = json!([whole, mailboxes]).to_string();
    assert!(!told.contains(&peer));
    for kind in ["sessions", "rooms", "sockets", "invite-codes", "users"] {
        assert_eq!(all(&cluster.admin(1), kind, 500).await, Vec::<Value>::new(), "{kind}");
    }
}

#[tokio::test]
async fn what_is_ended_is_gone_for_its_clients() {
    let cluster = Cluster::builder().unmetered().start().await;
    let (kept, ended) = (Pair::fresh(), Pair::fresh());
    cluster.api(1).relay(&kept.send(0, 1, "AAEC")).send().await.ok();
    let before: BTreeSet<String> = all(&cluster.admin(1), "transfers", 500).await.iter().map(id).collect();
    cluster.api(1).relay(&ended.send(0, 1, "AAEC")).send().await.ok();
    let after = all(&cluster.admin(1), "transfers", 500).await;
    let new = after.iter().map(id).find(|id| !before.contains(id)).expect("there is another one");
    let url = cluster.node(3).admin.to_string();
    let (code, said) = cluster.command(&["end", "transfers", &new, "--url", &url]).await;
    assert_eq!((code, said), (Some(0), format!("ended {new}\n")));
    let gone = cluster.admin(2).delete(&format!("/admin/v1/transfers/{new}")).send().await;
    gone.refused(404, "unknown_id");
    assert_eq!(cluster.api(2).relay(&ended.receive()).send().await.ok()["status"], "expired");
    assert_eq!(cluster.api(2).relay(&kept.receive()).send().await.ok()["chunk"]["data"], "AAEC");
}

#[tokio::test]
async fn the_sockets_of_a_subject_are_listed_and_ended_wherever_they_are() {
    let (cluster, issuer) = shared::guarded().await;
    let (alice, bob) = (word("alice"), word("bob"));
    let open = async |node: &Api, subject: &str| {
        let token = issuer.token(subject, json!({"scope": "socket"}));
        Socket::try_at(node, "/ws", &[("authorization", &format!("Bearer {token}"))]).await.expect("opened")
    };
    let (one, other) = cluster.two_followers().await;
    let (mut here, mut there, mut bobs) =
        (open(&one, &alice).await, open(&other, &alice).await, open(&one, &bob).await);
    for socket in [&mut here, &mut there, &mut bobs] {
        socket.ok(json!({"op": "hello"})).await;
    }
    let admin = cluster.admin(1);
    let path = format!("/admin/v1/sockets?subject={alice}");
    let listed = admin.get(&path).send().await.ok();
    let nodes: BTreeSet<u64> =
        listed["items"].as_array().expect("a list").iter().filter_map(|item| item["node"].as_u64()).collect();
    assert_eq!(nodes.len(), 2, "{listed}");
    assert_eq!(admin.delete(&path).send().await.ok()["ended"], 2);
    for socket in [&mut here, &mut there] {
        let code = timeout(PATIENCE, socket.end()).await.expect("it is closed");
        assert_eq!(code, Some(1013));
    }
    bobs.ok(json!({"op": "ping"})).await;
    eventually(PATIENCE, "none is left", async || {
        admin.get(&path).send().await.ok()["items"].as_array()?.is_empty().then_some(())
    })
    .await;
    // Who was sent away may come again.
    open(&one, &alice).await.ok(json!({"op": "hello"})).await;
}

#[tokio::test]
async fn what_cannot_be_listed_or_ended_so_is_told() {
    let cluster = shared::standard().await;
    let admin = cluster.admin(1);
    admin.get("/admin/v1/secrets").send().await.refused(404, "not_found");
    admin.get("/admin/v1/transfers?count=x").send().await.refused(400, "invalid_query");
    admin.get("/admin/v1/transfers?subject=alice").send().await.refused(400, "invalid_input");
    admin.get("/admin/v1/transfers?after=zz").send().await.refused(400, "invalid_input");
    admin.delete("/admin/v1/transfers/12").send().await.refused(400, "invalid_input");
    admin.delete("/admin/v1/rooms/0123456789abcdef").send().await.refused(405, "method_not_allowed");
    admin.delete("/admin/v1/sockets").send().await.refused(400, "invalid_input");
    admin.delete("/admin/v1/transfers?node=1").send().await.refused(400, "invalid_input");
    for unfit in ["tenant=acme", "subject=", "subject=a%0Ab", "subject=a&tenant=A"] {
        admin.get(&format!("/admin/v1/sockets?{unfit}")).send().await.refused(400, "invalid_input");
    }
    admin.get("/admin/v1/devices?standing=dead").send().await.refused(400, "invalid_input");
    let long = json!({"id": 9, "peer": "p".repeat(5000)});
    admin.post("/cluster/members", &long).send().await.refused(413, "payload_too_large");
}
