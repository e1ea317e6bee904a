//! `/api/v1/devices`, in both editions.
//!
//! That a lease ends is tested on the state itself: the shortest there is runs for 30 seconds.

use std::time::{SystemTime, UNIX_EPOCH};

use conclave_tests::cluster::Cluster;
use conclave_tests::issuer::Issuer;
use conclave_tests::relay::{with, word};
use conclave_tests::shared;
use serde_json::{Value, json};

const ONION: &str = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrstuvwx.onion";

/// By how much two clocks may differ here.
const CLOCKS_MS: u64 = 1_000;

fn device(user: &str) -> Value {
    json!({"userId": user, "deviceId": "laptop", "onion": ONION, "port": 8080, "ttlSec": 600})
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set").as_millis() as u64
}

#[tokio::test]
async fn the_consumer_edition_has_no_devices() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    node.post("/api/v1/devices", &device("user")).send().await.refused(403, "enterprise_required");
    node.get("/api/v1/devices/user").send().await.refused(403, "enterprise_required");
}

#[tokio::test]
async fn a_device_registered_on_one_node_is_listed_on_another() {
    let (_cluster, here, there) = shared::enterprise().await.and_two_nodes().await;
    let user = word("user");
    assert_eq!(here.post("/api/v1/devices", &device(&user)).send().await.ok(), json!({"status": "ok"}));
    let listed = there.get(&format!("/api/v1/devices/{user}")).send().await.ok();
    let devices = listed["devices"].as_array().expect("a list");
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0]["deviceId"], "laptop");
    assert_eq!(devices[0]["onion"], ONION);
    assert_eq!(devices[0]["port"], 8080);
}

#[tokio::test]
async fn a_device_registered_again_is_replaced() {
    let (_cluster, here, there) = shared::enterprise().await.and_two_nodes().await;
    let user = word("user");
    here.post("/api/v1/devices", &device(&user)).send().await.ok();
    there.post("/api/v1/devices", &with(&device(&user), "port", Some(json!(9090)))).send().await.ok();
    there.post("/api/v1/devices", &with(&device(&user), "deviceId", Some(json!("phone")))).send().await.ok();
    let listed = here.get(&format!("/api/v1/devices/{user}")).send().await.ok();
    let mut devices: Vec<(Value, Value)> = listed["devices"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|device| (device["deviceId"].clone(), device["port"].clone()))
        .collect();
    devices.sort_by_key(|(id, _)| id.to_string());
    assert_eq!(devices, [(json!("laptop"), json!(9090)), (json!("phone"), json!(8080))]);
}

#[tokio::test]
async fn a_user_without_devices_has_an_empty_list() {
    let (_cluster, node) = shared::enterprise().await.and_node().await;
    let listed = node.get(&format!("/api/v1/devices/{}", word("user"))).send().await.ok();
    assert_eq!(listed, json!({"devices": []}));
}

#[tokio::test]
async fn a_lease_is_clamped_and_has_a_default() {
    let cluster = shared::enterprise().await;
    let node = cluster.follower().await;
    let cases =
        [(Some(json!(1)), 30), (Some(json!(1_000_000)), 86_400), (Some(json!(600)), 600), (None, 180)];
    for (asked, given_s) in cases {
        let user = word("user");
        let before = now_ms();
        node.post("/api/v1/devices", &with(&device(&user), "ttlSec", asked.clone())).send().await.ok();
        let after = now_ms();
        let listed = node.get(&format!("/api/v1/devices/{user}")).send().await.ok();
        let expires = listed["devices"][0]["expires"].as_u64().expect("milliseconds since the Unix epoch");
        // The cluster's clock is the leader's, and never goes back: this machine's may have been set meanwhile.
        let lease = (before + given_s * 1000 - CLOCKS_MS)..=(after + given_s * 1000 + CLOCKS_MS);
        assert!(lease.contains(&expires), "asked for {asked:?}: {expires} is not within {lease:?}");
    }
}

#[tokio::test]
async fn a_device_out_of_shape_is_refused() {
    let (_cluster, node) = shared::enterprise().await.and_node().await;
    let cases = [
        ("userId", None),
        ("userId", Some(json!(""))),
        ("deviceId", None),
        ("deviceId", Some(json!(7))),
        ("onion", None),
        ("onion", Some(json!("abcdefghijklmno.onion"))),
        ("onion", Some(json!(format!("{}.onion", "a".repeat(57))))),
        ("onion", Some(json!("ABCDEFGHIJKLMNOP.onion"))),
        ("onion", Some(json!("abcdefghijklmno1.onion"))),
        ("onion", Some(json!("abcdefghijklmnop.example"))),
        ("onion", Some(json!("x.abcdefghijklmnop.onion"))),
        ("port", Some(json!(0))),
        ("port", Some(json!(65_536))),
        ("port", Some(json!("80"))),
    ];
    let user = word("user");
    for (field, value) in cases {
        node.post("/api/v1/devices", &with(&device(&user), field, value))
            .send()
            .await
            .refused(400, "invalid_input");
    }
    node.post("/api/v1/devices", &Value::Null).json("{").send().await.refused(400, "invalid_json");
    let listed = node.get(&format!("/api/v1/devices/{user}")).send().await.ok();
    assert_eq!(listed, json!({"devices": []}), "nothing refused was stored");
}

#[tokio::test]
async fn a_port_may_be_left_out() {
    let (_cluster, node) = shared::enterprise().await.and_node().await;
    let user = word("user");
    node.post("/api/v1/devices", &with(&device(&user), "port", None)).send().await.ok();
    let listed = node.get(&format!("/api/v1/devices/{user}")).send().await.ok();
    assert_eq!(listed["devices"][0]["port"], Value::Null);
}

#[tokio::test]
async fn a_user_has_so_many_devices_and_is_told_so() {
    let (_cluster, node) = shared::enterprise().await.and_node().await;
    let user = word("user");
    let named = |number: u32| with(&device(&user), "deviceId", Some(json!(format!("d{number}"))));
    for number in 0..256 {
        node.post("/api/v1/devices", &named(number)).send().await.ok();
    }
    node.post("/api/v1/devices", &named(256)).send().await.refused(409, "too_many_devices");
    node.post("/api/v1/devices", &named(7)).send().await.ok();
}

#[tokio::test]
async fn devices_are_their_user_s() {
    let issuer = Issuer::new();
    let cluster = issuer
        .guard(Cluster::builder().nodes(1).unmetered())
        .env("QSAFEVAULT_EDITION", "enterprise")
        .env("QSAFEVAULT_ENTERPRISE_ACKNOWLEDGED", "true")
        .start()
        .await;
    let node = cluster.api(1);
    let register = async |token: &str, user: &str, device_id: &str| {
        let body = with(&device(user), "deviceId", Some(json!(device_id)));
        node.post("/api/v1/devices", &body).header("authorization", &format!("Bearer {token}")).send().await
    };
    let list = async |token: &str, user: &str| {
        let path = format!("/api/v1/devices/{user}");
        node.get(&path).header("authorization", &format!("Bearer {token}")).send().await
    };
    let ann = issuer.token("ann", json!({"scope": "devices"}));
    let phone = issuer.token("ann", json!({"scope": "devices", "device": "phone"}));
    let eve = issuer.token("eve", json!({"scope": "devices"}));
    let keeper = issuer.token("keeper", json!({"scope": "devices:*"}));
    register(&ann, "ann", "laptop").await.ok();
    register(&phone, "ann", "phone").await.ok();
    register(&keeper, "ann", "desk").await.ok();
    register(&phone, "ann", "laptop").await.refused(403, "forbidden");
    register(&eve, "ann", "laptop").await.refused(403, "forbidden");
    list(&eve, "ann").await.refused(403, "forbidden");
    for token in [&ann, &phone, &keeper] {
        assert_eq!(list(token, "ann").await.ok()["devices"].as_array().map(Vec::len), Some(3));
    }
    let other = issuer.token("ann", json!({"scope": "relay"}));
    list(&other, "ann").await.refused(403, "forbidden");
}
