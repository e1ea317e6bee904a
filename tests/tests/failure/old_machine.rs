//! A machine of a former cluster, of the same name, id and secret, comes up again beside the one that took its place.

use std::fs;
use std::path::Path;

use conclave_tests::cluster::Cluster;
use conclave_tests::http::Reply;
use conclave_tests::relay::{invite_code, lookup, peer_id, register};

/// An invite code and the peer that it leads to.
type Entry = (String, String);

async fn store(cluster: &Cluster, id: u64) -> Entry {
    let (code, peer) = (invite_code(), peer_id());
    cluster.api(id).relay(&register(&code, &peer)).send().await.ok();
    (code, peer)
}

async fn look(cluster: &Cluster, id: u64, (code, _): &Entry) -> Reply {
    cluster.api(id).relay(&lookup(code)).once().await
}

/// Puts the disk of node 3, which does not run, away, and gives it another one, if that is there.
fn exchange(cluster: &Cluster, put_away: &Path, take: &Path) {
    let data_dir = &cluster.installation(3).data_dir;
    fs::rename(data_dir, put_away).expect("a folder can be renamed");
    if take.exists() {
        fs::rename(take, data_dir).expect("a folder can be renamed");
    }
}

#[tokio::test]
async fn an_old_machine_is_no_majority_with_one_of_the_new_cluster() {
    let mut cluster = Cluster::builder().unmetered().set("ttl.register", "1h").start().await;
    let mut old = Vec::new();
    // Its log is to be the longer one.
    for _ in 0..50 {
        old.push(store(&cluster, 3).await);
    }
    cluster.kill_all().await;
    let home = cluster.installation(3).data_dir.clone();
    let (old_disk, new_disk) = (home.with_extension("old"), home.with_extension("new"));
    exchange(&cluster, &old_disk, &new_disk);
    for id in [1, 2] {
        cluster.wipe(id);
    }
    for id in 1..=3 {
        cluster.restart(id);
    }
    cluster.wait_ready().await;
    let mut new = vec![store(&cluster, 1).await];

    // Node 1, which remembers no more than is on its disk, and the old machine are the first after a power cut.
    cluster.kill_all().await;
    exchange(&cluster, &new_disk, &old_disk);
    cluster.restart(1);
    cluster.restart(3);

    // Each dials the other and is dialed by it.
    for id in [1, 3] {
        cluster.says(id, "its node id is bound to another disk").await;
        cluster.says(id, "it knows this node's id as bound to another disk").await;
    }
    for id in [1, 3] {
        for entry in [&old[0], &new[0]] {
            look(&cluster, id, entry).await.refused(503, "no_leader");
        }
    }
    let metrics = cluster.admin(1).get("/metrics").once().await.text();
    let refused = metrics.lines().find(|line| line.contains("conclave_peer_refusals_total{reason=\"disk\"}"));
    assert!(refused.is_some_and(|line| !line.ends_with(" 0")), "{refused:?}");

    // The next one is enough, though the old machine still runs.
    cluster.restart(2);
    for id in [1, 2] {
        cluster.wait_ready_at(id).await;
    }
    new.push(store(&cluster, 1).await);
    look(&cluster, 3, &old[0]).await.refused(503, "no_leader");

    cluster.kill(3).await;
    exchange(&cluster, &old_disk, &new_disk);
    cluster.restart(3);
    cluster.wait_ready_at(3).await;
    for id in 1..=3 {
        for entry in &new {
            assert_eq!(look(&cluster, id, entry).await.ok()["peerId"], entry.1, "node {id}");
        }
        for entry in &old {
            look(&cluster, id, entry).await.refused(404, "peer_not_found");
        }
    }
}
