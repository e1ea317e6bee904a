//! Ways back, and ways to grow: a majority that is gone for good, addresses that change, and a node that was alone.

use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::relay::Pair;
use conclave_tests::wait::eventually;

use super::membership::grow;

#[tokio::test]
async fn a_cluster_that_lost_its_majority_goes_on_from_one_node() {
    let mut cluster = Cluster::builder().unmetered().start().await;
    let pair = Pair::fresh();
    let survivor = cluster.leader().await;
    cluster.api(survivor).relay(&pair.send(0, 1, "before")).send().await.ok();
    let lost: Vec<u64> = (1..=3).filter(|id| *id != survivor).collect();
    let (code, printed) = cluster.recover(survivor, &["--yes"]).await;
    assert_eq!(code, Some(1), "a node that runs is left alone: {printed}");
    cluster.kill_all().await;
    for id in &lost {
        cluster.wipe(*id);
    }

    let (code, printed) = cluster.recover(survivor, &[]).await;
    assert_eq!(code, Some(3), "{printed}");
    for part in ["is lost", "must never be started again", "--yes"] {
        assert!(printed.contains(part), "it says what may be lost: {printed}");
    }
    let (code, printed) = cluster.recover(survivor, &["--yes"]).await;
    assert_eq!(code, Some(0), "{printed}");

    cluster.restart(survivor);
    cluster.wait_ready_at(survivor).await;
    let got = cluster.api(survivor).relay(&pair.receive()).keyed().send().await.ok();
    assert_eq!(got["chunk"]["data"], "before", "what it had is there");
    let status = cluster.status().await;
    assert_eq!(status.nodes.len(), 1);
    grow(&mut cluster, 4).await;
    cluster.api(4).relay(&Pair::fresh().send(0, 1, "after")).send().await.ok();

    // The ids of lost disks are not used again.
    let admin = cluster.node(survivor).admin.to_string();
    let (id, peer) = (lost[0].to_string(), cluster.installation(lost[0]).advertise.to_string());
    let (code, printed) = cluster.command(&["cluster", "add", &id, &peer, "--url", &admin]).await;
    assert!(code == Some(3) && printed.contains("was removed"), "{code:?} {printed}");
}

#[tokio::test]
async fn a_change_of_members_that_cannot_complete_has_a_way_back() {
    let mut cluster = Cluster::builder().nodes(1).unmetered().start().await;
    cluster.join(2).await;
    let (admin, peer) = (cluster.node(1).admin.to_string(), cluster.installation(2).advertise.to_string());
    let (code, printed) = cluster.command(&["cluster", "add", "2", &peer, "--url", &admin]).await;
    assert_eq!(code, Some(0), "{printed}");
    cluster.kill(2).await;
    let insist = ["cluster", "promote", "2", "--force", "--timeout", "3s", "--url", &admin];
    let (code, printed) = cluster.command(&insist).await;
    assert_eq!(code, Some(1), "who insists loses the majority: {printed}");
    assert_eq!(cluster.terminate(1).await, Some(0));

    let (code, printed) = cluster.recover(1, &["--yes"]).await;
    assert_eq!(code, Some(0), "{printed}");
    cluster.restart(1);
    cluster.wait_ready_at(1).await;
    cluster.api(1).relay(&Pair::fresh().send(0, 1, "AAEC")).send().await.ok();
}

#[tokio::test]
async fn a_node_that_was_alone_becomes_the_first_of_three() {
    const PEERS: [&str; 3] = ["cluster.members", "cluster.listen", "cluster.advertise"];
    let mut plan = Cluster::builder().nodes(1).unmetered();
    for key in PEERS {
        plan = plan.set(key, "");
    }
    let mut cluster = plan.start().await;
    let pair = Pair::fresh();
    cluster.api(1).relay(&pair.send(0, 1, "before")).send().await.ok();
    let admin = cluster.node(1).admin.to_string();
    let far = ["cluster", "add", "2", "10.0.0.2:7400", "--url", &admin];
    let (code, printed) = cluster.command(&far).await;
    assert!(code == Some(3) && printed.contains("other machines cannot reach it"), "{code:?} {printed}");

    assert_eq!(cluster.terminate(1).await, Some(0));
    for key in PEERS {
        cluster.unset(key);
    }
    cluster.restart(1);
    cluster.wait_ready_at(1).await;
    grow(&mut cluster, 2).await;
    grow(&mut cluster, 3).await;
    cluster.kill(1).await;
    let got = cluster.api(2).relay(&pair.receive()).keyed().send().await.ok();
    assert_eq!(got["chunk"]["data"], "before");
}

#[tokio::test]
async fn a_node_that_is_configured_elsewhere_says_both_addresses() {
    let mut cluster = Cluster::builder().unmetered().start().await;
    let moved = cluster.followers().await[0];
    cluster.kill(moved).await;
    cluster.set("cluster.advertise", "192.0.2.7:7400");
    cluster.restart(moved);
    let known = cluster.installation(moved).advertise.to_string();
    eventually(READY, "it says both", async || {
        let printed = cluster.node(moved).printed();
        let told = |line: &str| {
            line.contains("WARN") && line.contains("192.0.2.7:7400") && line.contains(known.as_str())
        };
        printed.lines().any(told).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_member_and_a_front_that_are_restarted_at_other_addresses_say_so_and_go_on() {
    let mut cluster = Cluster::builder().nodes(4).unmetered().start().await;
    let pair = Pair::fresh();
    cluster.api(4).relay(&pair.send(0, 1, "AAEC")).send().await.ok();
    let member = cluster.followers().await.into_iter().find(|id| *id != 4).expect("two follow");
    for moved in [member, 4] {
        cluster.kill(moved).await;
        let other = free_address();
        cluster.set("cluster.listen", &other);
        cluster.set("cluster.advertise", &other);
        cluster.restart(moved);
        cluster.wait_ready_at(moved).await;
        let address = format!("\"address\":\"{other}\"");
        let leader = cluster.leader().await;
        assert!(cluster.says(leader, &address).await.contains(&format!("\"node\":{moved}")));
    }
    let got = cluster.api(4).relay(&pair.receive()).keyed().send().await.ok();
    assert_eq!(got["chunk"]["data"], "AAEC");
}

/// An address of loopback where nobody listens.
fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it is bound").to_string()
}

#[tokio::test]
async fn the_log_says_which_first_members_are_missing_and_why() {
    let cluster = Cluster::builder().unmetered().start_only(&[1]).await;
    let peers: Vec<String> = (2..=3).map(|id| cluster.installation(id).advertise.to_string()).collect();
    eventually(READY, "the missing are named", async || {
        let printed = cluster.node(1).printed();
        let told = |line: &str| {
            line.contains("waiting for the initial members")
                && line.contains("refused")
                && peers.iter().all(|peer| line.contains(peer.as_str()))
        };
        printed.lines().any(told).then_some(())
    })
    .await;
}
