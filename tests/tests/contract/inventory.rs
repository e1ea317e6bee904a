//! What operators see of what is stored, and how they end some of it.

use std::collections::BTreeSet;

use conclave_tests::cluster::Cluster;
use conclave_tests::http::Api;
use conclave_tests::relay::{Pair, invite_code, lookup, peer_id, poll, register, signal, word};
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

/// The one thing of a kind that a cluster stores.
async fn only(admin: &Api, kind: &str) -> String {
    let listed = all(admin, kind, 500).await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    id(&listed[0])
}

async fn end(cluster: &Cluster, kind: &str, id: &str) {
    let url = cluster.node(1).admin.to_string();
    let (code, said) = cluster.command(&["end", kind, id, "--url", &url]).await;
    assert_eq!((code, said), (Some(0), format!("ended {id}\n")));
}

#[tokio::test]
async fn a_mailbox_that_is_ended_is_empty_and_is_pushed_to_nobody() {
    let cluster = Cluster::builder().unmetered().start().await;
    let (api, admin, peer) = (cluster.api(2), cluster.admin(1), peer_id());
    let send = async |n: u32| {
        cluster.api(3).relay(&signal("someone", &peer, "offer", json!(n))).send().await.ok();
    };
    // One that is polled.
    send(1).await;
    let mailbox = only(&admin, "mailboxes").await;
    end(&cluster, "mailboxes", &mailbox).await;
    assert_eq!(api.relay(&poll(&peer)).send().await.ok()["messages"], json!([]));
    // One that a socket has, and one that an event stream has: both are told, and may come again.
    let mut socket = Socket::open(&api).await;
    socket.ok(json!({"op": "claim", "peerId": peer})).await;
    send(2).await;
    assert_eq!(socket.push("signal").await["payload"], 2);
    end(&cluster, "mailboxes", &mailbox).await;
    assert_eq!(timeout(PATIENCE, socket.end()).await.expect("it is closed"), Some(1013));
    send(3).await;
    let path = format!("/api/v1/events?peerId={peer}");
    let mut stream =
        eventually(PATIENCE, "the peer id is free", async || api.get(&path).open().await.ok()).await;
    stream.expect("welcome").await;
    assert_eq!(stream.expect("signal").await.data["payload"], 3, "what was thrown away does not come back");
    end(&cluster, "mailboxes", &mailbox).await;
    stream.expect("replaced").await;
    assert_eq!(stream.next().await, None);
    let mut socket = Socket::open(&api).await;
    eventually(PATIENCE, "the peer id is free", async || {
        (socket.ask(json!({"op": "claim", "peerId": peer})).await["ok"] == true).then_some(())
    })
    .await;
    send(4).await;
    assert_eq!(socket.push("signal").await["payload"], 4);
}

#[tokio::test]
async fn a_room_that_is_ended_has_no_members_and_no_history() {
    let cluster = Cluster::builder().unmetered().start().await;
    let (room, admin) = (word("room"), cluster.admin(1));
    let (mut one, mut other) = (Socket::open(&cluster.api(2)).await, Socket::open(&cluster.api(3)).await);
    let joined = one.ok(json!({"op": "join", "room": room})).await;
    other.ok(json!({"op": "join", "room": room})).await;
    for n in 0..5 {
        one.ok(json!({"op": "publish", "data": {"secret": n}})).await;
    }
    end(&cluster, "rooms", &only(&admin, "rooms").await).await;
    for socket in [&mut one, &mut other] {
        assert_eq!(timeout(PATIENCE, socket.end()).await.expect("it is closed"), Some(1013));
    }
    assert_eq!(all(&admin, "rooms", 500).await[0]["parts"], 0, "nobody is in it, the backend neither");
    // Whoever comes back finds nothing of it.
    let mut back = Socket::open(&cluster.api(2)).await;
    let again = json!({"op": "join", "room": room, "epoch": joined["epoch"], "offset": 0});
    assert_eq!(back.ok(again).await["recovered"], false);
    let last = json!({"op": "join", "room": room, "epoch": joined["epoch"], "offset": 5});
    back.ok(json!({"op": "leave"})).await;
    assert_eq!(back.ok(last).await["recovered"], true);
    assert!(back.push("message").await["data"].is_null());
}

#[tokio::test]
async fn an_invite_code_that_is_ended_leads_nowhere() {
    let cluster = Cluster::builder().unmetered().start().await;
    let (code, api) = (invite_code(), cluster.api(2));
    api.relay(&register(&code, &peer_id())).send().await.ok();
    end(&cluster, "invite-codes", &only(&cluster.admin(3), "invite-codes").await).await;
    api.relay(&lookup(&code)).send().await.refused(404, "peer_not_found");
    assert!(all(&cluster.admin(1), "invite-codes", 500).await.is_empty());
    // Somebody else may have it now.
    api.relay(&register(&code, &peer_id())).send().await.ok();
}

#[tokio::test]
async fn the_devices_of_a_user_that_is_ended_are_gone() {
    let builder = Cluster::builder().unmetered().env("QSAFEVAULT_EDITION", "enterprise");
    let cluster = builder.env("QSAFEVAULT_ENTERPRISE_ACKNOWLEDGED", "true").start().await;
    let (user, onion) = (word("user"), "a2".repeat(28) + ".onion");
    for device in ["laptop", "phone"] {
        let body = json!({"userId": user, "deviceId": device, "onion": onion, "port": 80, "ttlSec": 600});
        cluster.api(1).post("/api/v1/devices", &body).send().await.ok();
    }
    let path = format!("/api/v1/devices/{user}");
    assert_eq!(cluster.api(2).get(&path).send().await.ok()["devices"].as_array().map(Vec::len), Some(2));
    end(&cluster, "users", &only(&cluster.admin(2), "users").await).await;
    eventually(PATIENCE, "no device is left", async || {
        let listed = cluster.api(3).get(&path).send().await;
        (listed.status == 404 || listed.json()["devices"] == json!([])).then_some(())
    })
    .await;
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
    for kind in ["rooms", "mailboxes", "invite-codes", "users"] {
        let path = format!("/admin/v1/{kind}/0123456789abcdef");
        admin.delete(&path).send().await.refused(404, "unknown_id");
    }
    admin.delete("/admin/v1/rooms?node=1").send().await.refused(400, "invalid_input");
    admin.delete("/admin/v1/sockets").send().await.refused(400, "invalid_input");
    admin.delete("/admin/v1/transfers?node=1").send().await.refused(400, "invalid_input");
    for unfit in ["tenant=acme", "subject=", "subject=a%0Ab", "subject=a&tenant=A"] {
        admin.get(&format!("/admin/v1/sockets?{unfit}")).send().await.refused(400, "invalid_input");
    }
    admin.get("/admin/v1/devices?standing=dead").send().await.refused(400, "invalid_input");
    let long = json!({"id": 9, "peer": "p".repeat(5000)});
    admin.post("/cluster/members", &long).send().await.refused(413, "payload_too_large");
}
