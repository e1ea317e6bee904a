//! What a node logs is changed while it runs.

use std::time::Duration;

use conclave_tests::cluster::Cluster;
use conclave_tests::relay::{Pair, word};
use conclave_tests::wait::eventually;
use serde_json::json;

/// For a line to be written.
const SOON: Duration = Duration::from_secs(10);
const PATH: &str = "/admin/v1/log-level";

#[tokio::test]
async fn a_node_logs_more_for_a_while_and_then_as_it_is_configured() {
    let cluster = Cluster::builder().nodes(1).unmetered().set("log.level", "info").start().await;
    let admin = cluster.admin(1);
    let asked = async |name: &str| {
        let call = cluster.api(1).relay(&Pair::fresh().receive());
        call.header("x-request-id", name).send().await.ok();
    };
    let (quiet, loud) = (word("quiet"), word("loud"));
    asked(&quiet).await;
    let told = admin.post(PATH, &json!({"level": "debug"})).send().await.ok();
    assert_eq!(told, json!({"level": "debug", "configured": "info"}));
    asked(&loud).await;
    let says = async |word: &str| {
        cluster.node(1).printed().lines().find(|line| line.contains(word)).map(str::to_owned)
    };
    eventually(SOON, "the line of the request", async || says(&loud).await).await;
    assert_eq!(says(&quiet).await, None, "it came before");

    admin.post(PATH, &json!({"level": "trace", "forSeconds": 1})).send().await.ok();
    let back = json!({"level": "info", "configured": "info"});
    eventually(SOON, "it is as configured", async || {
        (admin.get(PATH).send().await.ok() == back).then_some(())
    })
    .await;
    let audit = admin.get("/admin/v1/audit").send().await.ok().to_string();
    assert_eq!(audit.matches("POST /admin/v1/log-level").count(), 2, "{audit}");
}

#[tokio::test]
async fn what_is_no_level_changes_nothing() {
    let cluster = Cluster::builder().nodes(1).unmetered().start().await;
    let admin = cluster.admin(1);
    let before = admin.get(PATH).send().await.ok();
    for level in ["loud", "info,conclave_cluster=loud", "info,[", "chatty,debug"] {
        let refused = admin.post(PATH, &json!({"level": level})).send().await;
        refused.refused(400, "invalid_input");
    }
    for seconds in [0, 86_401, u32::MAX] {
        let wrong = json!({"level": "debug", "forSeconds": seconds});
        admin.post(PATH, &wrong).send().await.refused(400, "invalid_input");
    }
    admin.post(PATH, &json!({"level": "debug", "for": 1})).send().await.refused(400, "invalid_json");
    assert_eq!(admin.get(PATH).send().await.ok(), before);
}
