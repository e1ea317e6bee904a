//! `Prefer: respond-async`: accepted now, looked up later, on any node.

use std::time::Duration;

use conclave_tests::relay::Pair;
use conclave_tests::shared;
use conclave_tests::wait::eventually;
use uuid::Uuid;

#[tokio::test]
async fn a_job_is_accepted_carried_out_and_found_on_another_node() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let pair = Pair::fresh();
    let accepted = here.relay(&pair.send(0, 1, "AAEC")).header("prefer", "respond-async").send().await;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let job = accepted.header("location").expect("where the job is").to_owned();
    assert!(job.starts_with("/api/v1/jobs/"), "{job}");

    eventually(Duration::from_secs(10), "the job is done", async || {
        let reply = there.get(&job).send().await;
        assert!(matches!(reply.status, 200 | 202 | 404), "{} {}", reply.status, reply.text());
        (reply.status == 200).then_some(())
    })
    .await;
    assert_eq!(there.relay(&pair.receive()).send().await.ok()["chunk"]["data"], "AAEC");
}

#[tokio::test]
async fn a_job_nobody_started_is_not_found() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    node.get(&format!("/api/v1/jobs/{}", Uuid::new_v4())).send().await.refused(404, "not_found");
}

#[tokio::test]
async fn a_list_of_preferences_that_nobody_has_is_not_looked_at() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for (bytes, status) in [(1024, 202), (1025, 200)] {
        let preferences = format!("{:,>bytes$}", "respond-async");
        let reply = node.relay(&Pair::fresh().send(0, 1, "AAEC")).header("prefer", &preferences).send().await;
        assert_eq!(reply.status, status, "{bytes} bytes");
    }
}
