//! Devices that have to be let in.

use std::time::Duration;

use conclave_tests::cluster::Cluster;
use conclave_tests::http::{Api, Reply};
use conclave_tests::issuer::Issuer;
use conclave_tests::relay::{Pair, word};
use conclave_tests::socket::Socket;
use conclave_tests::wait::eventually;
use serde_json::{Value, json};
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
    assert_eq!(listed, format!("pending   {user}/phone  MCowBQYDK2VwAyEA\n"));
    let name = format!("{user}/phone");
    let (code, said) = cluster.command(&["devices", "approve", &name, "--url", &url]).await;
    assert_eq!((code, said), (Some(0), format!("{name} is approved\n")));
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
