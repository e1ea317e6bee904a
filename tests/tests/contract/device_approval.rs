//! Devices that have to be let in.

use std::time::Duration;

use conclave_tests::cluster::Cluster;
use conclave_tests::http::{Api, Reply};
use conclave_tests::issuer::Issuer;
use conclave_tests::relay::{Pair, word};
use conclave_tests::socket::Socket;
use conclave_tests::wait::eventually;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(5);
const ONION: &str = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrstuvwx.onion";

async fn cluster(issuer: &Issuer) -> Cluster {
    let builder = issuer.guard(Cluster::builder().unmetered());
    builder
        .set("auth.require_approved_device", "true")
        .env("QSAFEVAULT_EDITION", "enterprise")
        .env("QSAFEVAULT_ENTERPRISE_ACKNOWLEDGED", "true")
        .start()
        .await
}

fn token(issuer: &Issuer, user: &str, device: Option<&str>) -> String {
    let mut grants = json!({"scope": "relay socket devices"});
    if let Some(device) = device {
        grants["device"] = device.into();
    }
    issuer.token(user, grants)
}

async fn sent(node: &Api, token: &str) -> Reply {
    let call = node.relay(&Pair::fresh().send(0, 1, "x"));
    call.header("authorization", &format!("Bearer {token}")).send().await
}

async fn register(node: &Api, token: &str, body: &Value) -> Reply {
    node.post("/api/v1/devices", body).header("authorization", &format!("Bearer {token}")).send().await
}

/// As `printf %s KEY | sha256sum` prints it.
fn digest(key: &str) -> String {
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn decide(cluster: &Cluster, what: &str, user: &str, device: &str) {
    let which = json!({"subject": user, "device": device});
    cluster.admin(2).post(&format!("/admin/v1/devices/{what}"), &which).send().await.ok();
}

async fn until_taken(cluster: &Cluster, token: &str, status: u16) {
    for node in cluster.apis() {
        eventually(PATIENCE, "the decision is known", async || {
            (sent(&node, token).await.status == status).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_device_registers_waits_is_let_in_and_kept_out_on_every_node() {
    let issuer = Issuer::new();
    let mut cluster = cluster(&issuer).await;
    let user = word("user");
    let phone = token(&issuer, &user, Some("phone"));
    sent(&cluster.api(1), &phone).await.refused(403, "device_not_approved");
    sent(&cluster.api(2), &token(&issuer, &user, None)).await.refused(403, "device_not_approved");

    let body = json!({"userId": user, "deviceId": "phone", "publicKey": "MCowBQYDK2VwAyEA"});
    let registered = register(&cluster.api(2), &phone, &body).await.ok();
    assert_eq!(registered["approval"], "pending");
    // Where it is reached is for devices that are let in.
    let presence = json!({"userId": user, "deviceId": "phone", "onion": ONION});
    register(&cluster.api(1), &phone, &presence).await.refused(403, "device_not_approved");
    // A token of one device registers no other.
    let other = json!({"userId": user, "deviceId": "desk", "publicKey": "k"});
    register(&cluster.api(1), &phone, &other).await.refused(403, "forbidden");
    sent(&cluster.api(3), &phone).await.refused(403, "device_not_approved");

    let url = cluster.node(3).admin.to_string();
    let (_, listed) = cluster.command(&["devices", "list", "--pending", "--url", &url]).await;
    let digest = digest("MCowBQYDK2VwAyEA");
    assert_eq!(listed, format!("pending   {user}/phone  MCowBQYDK2VwAyEA  {digest}\n"));
    let name = format!("{user}/phone");
    let (code, said) = cluster.command(&["devices", "approve", &name, "--url", &url]).await;
    assert_eq!((code, said), (Some(0), format!("{name} is approved, key {digest}\n")));
    until_taken(&cluster, &phone, 200).await;
    assert_eq!(register(&cluster.api(1), &phone, &presence).await.ok(), json!({"status": "ok"}));
    assert_eq!(register(&cluster.api(1), &phone, &body).await.ok()["approval"], "approved");

    cluster.kill_all().await;
    for id in 1..=3 {
        cluster.restart(id);
    }
    cluster.wait_ready().await;
    until_taken(&cluster, &phone, 200).await;

    let bearer = format!("Bearer {phone}");
    let open = async |node: &Api| Socket::try_at(node, "/ws", &[("authorization", &bearer)]).await;
    let mut socket = open(&cluster.api(1)).await.expect("opened");
    socket.ok(json!({"op": "hello"})).await;
    let which = json!({"subject": user, "device": "phone"});
    let decided = cluster.admin(2).post("/admin/v1/devices/revoke", &which).send().await.ok();
    assert_eq!(decided["standing"], "revoked");
    let closed = timeout(PATIENCE, socket.end()).await.expect("its sockets are closed");
    assert_eq!(closed, Some(1008));
    until_taken(&cluster, &phone, 403).await;
    assert_eq!(open(&cluster.api(3)).await.err(), Some(403));
    // Whatever key it shows.
    let another = json!({"userId": user, "deviceId": "phone", "publicKey": "another"});
    assert_eq!(register(&cluster.api(1), &phone, &another).await.ok()["approval"], "revoked");

    let audit = cluster.admin(1).get("/admin/v1/audit").send().await.ok().to_string();
    assert!(audit.contains("POST /admin/v1/devices/approve") && !audit.contains(&user), "{audit}");
    let forgotten = cluster.admin(1).post("/admin/v1/devices/forget", &which).send().await.ok();
    assert_eq!(forgotten["wasKnown"], true);
    let unknown = cluster.admin(1).post("/admin/v1/devices/approve", &which).send().await;
    unknown.refused(404, "unknown_device");
    assert_eq!(register(&cluster.api(1), &phone, &another).await.ok()["approval"], "pending");
}

#[tokio::test]
async fn where_a_device_is_reached_is_told_of_those_that_are_let_in_alone() {
    let issuer = Issuer::new();
    let cluster = cluster(&issuer).await;
    let (user, keeping) = (word("user"), word("keeper"));
    let keeper = issuer.token(&keeping, json!({"scope": "relay devices:*", "device": "server"}));
    let server = json!({"userId": keeping, "deviceId": "server", "publicKey": "server"});
    register(&cluster.api(1), &keeper, &server).await.ok();
    decide(&cluster, "approve", &keeping, "server").await;
    until_taken(&cluster, &keeper, 200).await;
    let told = async |node: &Api| {
        let call = node.get(&format!("/api/v1/devices/{user}"));
        let told = call.header("authorization", &format!("Bearer {keeper}")).send().await.ok();
        told["devices"].as_array().expect("a list").len()
    };

    let phone = token(&issuer, &user, Some("phone"));
    let body =
        json!({"userId": user, "deviceId": "phone", "publicKey": "key", "onion": ONION, "ttlSec": 600});
    assert_eq!(register(&cluster.api(1), &phone, &body).await.ok()["approval"], "pending");
    assert_eq!(told(&cluster.api(1)).await, 0);
    decide(&cluster, "approve", &user, "phone").await;
    until_taken(&cluster, &phone, 200).await;
    assert_eq!(register(&cluster.api(2), &phone, &body).await.ok()["approval"], "approved");
    assert_eq!(told(&cluster.api(1)).await, 1);
    // Another key is another device, and nowhere to be reached.
    let another = json!({"userId": user, "deviceId": "phone", "publicKey": "another", "onion": ONION});
    assert_eq!(register(&cluster.api(2), &phone, &another).await.ok()["approval"], "pending");
    until_taken(&cluster, &phone, 403).await;
    assert_eq!(told(&cluster.api(3)).await, 0);
    decide(&cluster, "revoke", &user, "phone").await;
    assert_eq!(register(&cluster.api(3), &phone, &body).await.ok()["approval"], "revoked");
    assert_eq!(told(&cluster.api(3)).await, 0);
}

#[tokio::test]
async fn who_is_not_let_in_throws_nobody_out() {
    let issuer = Issuer::new();
    let cluster = cluster(&issuer).await;
    let (user, node) = (word("user"), cluster.api(1));
    let phone = token(&issuer, &user, Some("phone"));
    let shown = |device: &str, key: &str| json!({"userId": user, "deviceId": device, "publicKey": key});
    register(&node, &phone, &shown("phone", "key")).await.ok();
    decide(&cluster, "approve", &user, "phone").await;
    until_taken(&cluster, &phone, 200).await;
    let bearer = format!("Bearer {phone}");
    let mut socket = Socket::try_at(&node, "/ws", &[("authorization", &bearer)]).await.expect("opened");
    socket.ok(json!({"op": "hello"})).await;

    // A token of no device introduces devices, and changes none.
    let bare = token(&issuer, &user, None);
    register(&node, &bare, &shown("phone", "another")).await.refused(403, "forbidden");
    let mut reached = shown("phone", "key");
    reached["onion"] = ONION.into();
    assert_eq!(register(&node, &bare, &reached).await.ok()["approval"], "approved");
    for _ in 0..2 {
        assert_eq!(register(&node, &bare, &shown("tablet", "key")).await.ok()["approval"], "pending");
    }
    register(&node, &bare, &shown("tablet", "another")).await.refused(403, "forbidden");
    // Nor does one of who would look after everybody's, before he is let in himself.
    let keeping = word("keeper");
    for device in [Some("server"), None] {
        let mut grants = json!({"scope": "relay devices:*"});
        if let Some(device) = device {
            grants["device"] = device.into();
        }
        let keeper = issuer.token(&keeping, grants);
        register(&node, &keeper, &shown("phone", "another")).await.refused(403, "device_not_approved");
        register(&node, &keeper, &shown("watch", "key")).await.refused(403, "device_not_approved");
    }
    let call = node.get(&format!("/api/v1/devices/{user}")).header("authorization", &bearer);
    assert_eq!(call.send().await.ok(), json!({"devices": []}), "nobody else said where it is reached");
    socket.ok(json!({"op": "ping"})).await;

    let keeper = issuer.token(&keeping, json!({"scope": "relay devices:*", "device": "server"}));
    let server = json!({"userId": keeping, "deviceId": "server", "publicKey": "server"});
    register(&node, &keeper, &server).await.ok();
    decide(&cluster, "approve", &keeping, "server").await;
    until_taken(&cluster, &keeper, 200).await;
    assert_eq!(register(&node, &keeper, &shown("phone", "another")).await.ok()["approval"], "pending");
}

#[tokio::test]
async fn a_device_is_let_in_with_the_key_that_was_seen() {
    let issuer = Issuer::new();
    let cluster = cluster(&issuer).await;
    let (user, node, admin) = (word("user"), cluster.api(1), cluster.admin(3));
    let phone = token(&issuer, &user, Some("phone"));
    let shown = |key: &str| json!({"userId": user, "deviceId": "phone", "publicKey": key});
    register(&node, &phone, &shown("seen")).await.ok();
    let listed = admin.get("/admin/v1/devices?standing=pending").send().await.ok();
    assert_eq!(listed["devices"][0]["keyDigest"], digest("seen"));
    register(&node, &phone, &shown("swapped")).await.ok();

    let approve = async |more: Value| {
        let mut which = json!({"subject": user, "device": "phone"});
        which.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        admin.post("/admin/v1/devices/approve", &which).send().await
    };
    approve(json!({"publicKey": "seen"})).await.refused(409, "device_changed");
    approve(json!({"keyDigest": digest("seen")})).await.refused(409, "device_changed");
    for wrong in
        [json!({"keyDigest": "seen"}), json!({"publicKey": "swapped", "keyDigest": digest("swapped")})]
    {
        approve(wrong).await.refused(400, "invalid_input");
    }
    let (url, name) = (cluster.node(1).admin.to_string(), format!("{user}/phone"));
    let said = async |key: &str| {
        let digest = digest(key);
        cluster.command(&["devices", "approve", &name, "--key-digest", &digest, "--url", &url]).await
    };
    assert_ne!(said("seen").await.0, Some(0));
    assert_eq!(register(&node, &phone, &shown("swapped")).await.ok()["approval"], "pending");
    assert_eq!(said("swapped").await, (Some(0), format!("{name} is approved, key {}\n", digest("swapped"))));
    approve(json!({"publicKey": "swapped"})).await.ok();
    assert_eq!(register(&node, &phone, &shown("swapped")).await.ok()["approval"], "approved");
    let nobody = format!("{user}/desk");
    assert_ne!(cluster.command(&["devices", "approve", &nobody, "--url", &url]).await.0, Some(0));
}

#[tokio::test]
async fn a_registration_is_checked() {
    let issuer = Issuer::new();
    let cluster = cluster(&issuer).await;
    let user = word("user");
    let phone = token(&issuer, &user, Some("phone"));
    let body = |key: &str| json!({"userId": user, "deviceId": "phone", "publicKey": key});
    for wrong in [&"k".repeat(513), "two\nlines", "schlüssel"] {
        register(&cluster.api(1), &phone, &body(wrong)).await.refused(400, "invalid_input");
    }
    let nobody = cluster.api(1).post("/api/v1/devices", &body("key")).send().await;
    nobody.refused(401, "unauthorized");
    let admin = cluster.admin(1);
    admin
        .post("/admin/v1/devices/approve", &json!({"subject": ""}))
        .send()
        .await
        .refused(400, "invalid_json");
    let empty = json!({"subject": "", "device": "d"});
    admin.post("/admin/v1/devices/approve", &empty).send().await.refused(400, "invalid_input");
}
