//! One name, two foundings: a node that lists only itself is a cluster, and those that list it with themselves would be another.

use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::relay::Pair;
use conclave_tests::wait::eventually;

const TOLD: &str = "two clusters of one name";

/// Starts a node that lists nobody but itself.
fn start_alone(cluster: &mut Cluster, id: u64) {
    let members = format!("[\"{id}={}\"]", cluster.installation(id).advertise);
    cluster.set("cluster.members", &members);
    cluster.restart(id);
    cluster.unset("cluster.members");
}

#[tokio::test]
async fn a_cluster_is_not_founded_with_a_member_that_has_one_of_its_own() {
    let mut cluster = Cluster::builder().unmetered().start_only(&[]).await;
    start_alone(&mut cluster, 1);
    cluster.wait_ready_at(1).await;
    for id in [2, 3] {
        cluster.restart(id);
        assert_eq!(cluster.exit_code(id).await, Some(3));
        let printed = cluster.node(id).printed();
        assert!(printed.contains("node 1 at") && printed.contains(TOLD), "{printed}");
    }
    let sent = cluster.api(1).relay(&Pair::fresh().send(0, 1, "AAEC")).send().await;
    sent.ok();

    cluster.kill(1).await;
    cluster.wipe(1);
    for id in 1..=3 {
        cluster.restart(id);
    }
    cluster.wait_ready().await;
    assert_eq!(cluster.status().await.nodes.len(), 3, "the way out that they name");
}

#[tokio::test]
async fn two_clusters_that_were_founded_apart_are_told_on_both_sides() {
    let mut cluster = Cluster::builder().nodes(5).unmetered().start_only(&[1, 2, 3, 4]).await;
    cluster.wait_ready().await;
    start_alone(&mut cluster, 5);
    cluster.wait_ready_at(5).await;

    cluster.says(5, TOLD).await;
    eventually(READY, "the leader tells, and both count", async || {
        let leader = cluster.status_from(1).await?.leader?;
        let told = cluster.node(leader).printed().contains(TOLD);
        let mut counted = true;
        for id in [leader, 5] {
            let metrics = cluster.admin(id).get("/metrics").once().await.text();
            counted &= metrics
                .lines()
                .find_map(|line| line.strip_prefix("conclave_cluster_conflicts_total "))
                .is_some_and(|count| count != "0");
        }
        (told && counted).then_some(())
    })
    .await;
}
