//! Those who reach the peer ports and do not belong there.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use conclave_tests::binary;
use conclave_tests::cluster::Status;
use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::peer::{Claim, Stranger, disk_in, kind, role};
use conclave_tests::relay::Pair;
use conclave_tests::wait::eventually;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::membership::{grow, remove};

/// A heartbeat of the leader of the last term there is: after it no election could be won.
fn last_term() -> Vec<u8> {
    let mut append = vec![253];
    append.extend(u64::MAX.to_le_bytes());
    // Of node 1, committed; nothing before it, nothing committed, no entries.
    append.extend([1, 1, 0, 0, 0]);
    append
}

/// The first piece of a snapshot of nothing, said to be of so many bytes.
fn first_piece(total: u64) -> Vec<u8> {
    // Term 1, node 1, committed; no last entry, no change of members, no voters, no nodes; offset 0.
    let mut part = vec![1, 1, 1, 0, 0, 0, 0, 0, 253];
    part.extend(total.to_le_bytes());
    part.push(0);
    part
}

/// Remove node 3.
const REMOVE: [u8; 2] = [2, 3];

/// One who knows what only a node and its disk know, and is let in as that node.
async fn impostor(cluster: &Cluster, from: u64, to: u64) -> Stranger {
    let disk = disk_in(&cluster.installation(from).data_dir);
    let claim = Claim { cluster: cluster.name(), from, to, proves: false, disk };
    let (stranger, greeting) = Stranger::greet(cluster.installation(to).listen, &claim).await;
    assert_eq!(greeting.map(|greeting| greeting.role), Some(role::HELLO), "as node {from} to node {to}");
    stranger
}

async fn terms(cluster: &Cluster) -> Vec<u64> {
    let mut terms = Vec::new();
    for id in cluster.running() {
        terms.push(cluster.status_from(id).await.expect("the node answers").term);
    }
    terms
}

/// A busy machine may see an election of its own, and each is one term; what a stranger would set is far from that.
fn only_elections(before: &[u64], after: &[u64]) -> bool {
    before.len() == after.len()
        && before.iter().zip(after).all(|(before, after)| (0..=9).contains(&(after - before)))
}

fn members(status: &Status) -> Vec<u64> {
    status.nodes.iter().map(|node| node.id).collect()
}

/// That nodes lead, write and read as before.
async fn works(cluster: &Cluster) {
    let (pair, node) = (Pair::fresh(), cluster.follower().await);
    node.relay(&pair.send(0, 1, "still here")).keyed().send().await.ok();
    let (other, _) = cluster.two_followers().await;
    assert_eq!(other.relay(&pair.receive()).keyed().send().await.ok()["chunk"]["data"], "still here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_secret_nothing_can_be_read_or_changed() {
    let cluster = Cluster::builder().unmetered().start().await;
    let begun = Instant::now();
    let (terms_before, members_before) = (terms(&cluster).await, members(&cluster.status().await));
    for to in 1..=3 {
        for from in [2, 3, 999].into_iter().filter(|from| *from != to) {
            for proves in [false, true] {
                let claim = Claim { cluster: cluster.name(), from, to, proves, disk: 5 };
                for kind in (0..=16).chain([kind::FAILED]) {
                    let header = match kind {
                        kind::APPEND => last_term(),
                        kind::ADMIN => REMOVE.to_vec(),
                        _ => vec![0; 8],
                    };
                    nothing_said(cluster.installation(to).listen, &claim, kind, &header).await;
                }
            }
        }
    }
    assert!(only_elections(&terms_before, &terms(&cluster).await));
    assert_eq!(members(&cluster.status().await), members_before);
    works(&cluster).await;
    let printed = cluster.says(1, "peer connection refused").await;
    let told = printed.lines().filter(|line| line.contains("peer connection refused")).count();
    let minutes = usize::try_from(begun.elapsed().as_secs() / 60).expect("a test is short") + 1;
    assert!((1..=2 * minutes).contains(&told), "once a minute for each of two reasons: {told}");
}

/// Asks with no proof, with a wrong one, and with the request in its place. No frame but a greeting and a refusal comes back.
async fn nothing_said(address: SocketAddr, claim: &Claim, asked: u8, header: &[u8]) {
    let (mut stranger, greeting) = Stranger::greet(address, claim).await;
    let greeting = greeting.expect("a greeting or a refusal");
    if !claim.proves {
        assert_eq!(greeting.role, role::REFUSAL);
    } else {
        assert_eq!(greeting.role, role::HELLO);
        let (role, kind, bytes) = if asked.is_multiple_of(2) {
            (role::PROOF, 0, &[5; 48][..])
        } else {
            (role::REQUEST, asked, header)
        };
        let answer = stranger.exchange(role, kind, bytes, b"payload").await;
        assert!(answer.as_ref().is_none_or(|answer| answer.role == role::REFUSAL), "{answer:?}");
    }
    let answer = stranger.exchange(role::REQUEST, asked, header, b"payload").await;
    assert!(answer.is_none(), "the connection has ended: {answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_random_frames_of_one_who_is_no_member_change_no_term() {
    let cluster = Cluster::builder().unmetered().unguarded().start().await;
    let (terms_before, members_before) = (terms(&cluster).await, members(&cluster.status().await));
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut sent = 0;
    while sent < 10_000 {
        let to = random.random_range(1..=3);
        let claim = Claim { cluster: cluster.name(), from: 999, to, proves: false, disk: 5 };
        let (mut stranger, greeting) = Stranger::greet(cluster.installation(to).listen, &claim).await;
        assert_eq!(greeting.map(|greeting| greeting.role), Some(role::HELLO), "on loopback it is let in");
        for _ in 0..250 {
            let kind = random.random_range(0..=18);
            // Small numbers make the most sense to a decoder.
            let small = random.random_bool(0.5);
            let byte =
                |random: &mut SmallRng| if small { random.random_range(0..=3) } else { random.random() };
            let header: Vec<u8> = (0..random.random_range(0..48)).map(|_| byte(&mut random)).collect();
            let answer = stranger.exchange(role::REQUEST, kind, &header, &[0; 16]).await;
            sent += 1;
            let answer = answer.expect("the connection stays");
            // Kind 9 asks whether the stranger's own id is free, which one who joins must know.
            assert!([kind::FAILED, 9].contains(&answer.kind), "kind {kind}: {answer:?}");
        }
    }
    for (kind, header) in [(kind::ADMIN, REMOVE.to_vec()), (kind::APPEND, last_term())] {
        for to in 1..=3 {
            let claim = Claim { cluster: cluster.name(), from: 999, to, proves: false, disk: 5 };
            let (mut stranger, _) = Stranger::greet(cluster.installation(to).listen, &claim).await;
            let answer = stranger.exchange(role::REQUEST, kind, &header, &[]).await;
            assert_eq!(answer.map(|answer| answer.kind), Some(kind::FAILED));
        }
    }
    assert!(only_elections(&terms_before, &terms(&cluster).await));
    assert_eq!(members(&cluster.status().await), members_before);
    works(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_term_there_is_does_not_end_elections_whoever_claims_it() {
    let mut cluster = Cluster::builder().unmetered().unguarded().start().await;
    let before = terms(&cluster).await;
    for to in 1..=3 {
        let from = to % 3 + 1;
        let mut stranger = impostor(&cluster, from, to).await;
        let answer = stranger.exchange(role::REQUEST, kind::APPEND, &last_term(), &[]).await;
        assert_eq!(answer.map(|answer| answer.kind), Some(kind::FAILED), "as node {from} to node {to}");
        cluster.says(to, "absurd").await;
    }
    let (to, from) = (1, 2);
    let mut stranger = impostor(&cluster, from, to).await;
    for (snapshot, why) in [(first_piece(u64::MAX), "too_large"), (first_piece(10), "malformed")] {
        let answer = stranger.exchange(role::REQUEST, kind::SNAPSHOT, &snapshot, &[0; 16]).await;
        assert_eq!(answer.map(|answer| answer.kind), Some(kind::FAILED), "{why}");
        cluster.says(to, why).await;
    }
    assert!(cluster.node(to).files("part").is_empty(), "nothing was written");
    assert!(only_elections(&before, &terms(&cluster).await));
    works(&cluster).await;
    let leader = cluster.leader().await;
    cluster.kill(leader).await;
    cluster.restart(leader);
    cluster.wait_ready().await;
    works(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_removed_governs_no_more() {
    let mut cluster = Cluster::builder().unmetered().unguarded().start().await;
    grow(&mut cluster, 4).await;
    remove(&cluster, 4).await;
    for to in 1..=3 {
        let mut removed = impostor(&cluster, 4, to).await;
        // Everything but the question whether its id is free.
        for asked in (1..=14).filter(|kind| *kind != 9) {
            let header = if asked == kind::ADMIN { REMOVE.to_vec() } else { vec![1; 8] };
            let refused = eventually(READY, "the removal is known everywhere", async || {
                let answer = removed.exchange(role::REQUEST, asked, &header, &[]).await?;
                (answer.kind == kind::FAILED).then_some(())
            });
            refused.await;
        }
    }
    assert_eq!(members(&cluster.status().await), [1, 2, 3]);
    works(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_follows_a_leader_it_never_heard_of() {
    let mut cluster = Cluster::builder().unmetered().start().await;
    let away = cluster.followers().await[0];
    cluster.kill(away).await;
    grow(&mut cluster, 4).await;
    eventually(READY, "node 4 leads", async || {
        let admin = cluster.node(cluster.leader().await).admin.to_string();
        // It may not take over in time on a busy machine; then it is asked again.
        cluster.command(&["cluster", "transfer-leader", "4", "--url", &admin]).await;
        (cluster.leader().await == 4).then_some(())
    })
    .await;
    cluster.restart(away);
    cluster.wait_ready_at(away).await;
    eventually(READY, "it follows node 4", async || {
        let status = cluster.status_from(away).await?;
        (status.leader == Some(4) && members(&status).contains(&4)).then_some(())
    })
    .await;
    works(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secret_is_exchanged_while_the_cluster_works() {
    let mut cluster = Cluster::builder().unmetered().start().await;
    let file = cluster.secret_file();
    let old = fs::read_to_string(&file).expect("the nodes have a secret");
    let new = "another secret, which is the one from now on";
    for (round, text) in [format!("{old}\n{new}\n"), format!("{new}\n")].into_iter().enumerate() {
        let fresh = file.with_extension("fresh");
        fs::write(&fresh, text).expect("the folder is writable");
        fs::rename(&fresh, &file).expect("a file can be replaced");
        // Once when the node started, and once for each change.
        for id in 1..=3 {
            eventually(READY, &format!("node {id} reads the secret"), async || {
                let read = cluster.node(id).printed().matches("read the secret of the peers").count();
                (read >= round + 2).then_some(())
            })
            .await;
        }
        works(&cluster).await;
    }
    for id in 1..=3 {
        cluster.kill(id).await;
        cluster.restart(id);
        cluster.wait_ready_at(id).await;
    }
    works(&cluster).await;
    let printed: String = (1..=3).map(|id| cluster.node(id).printed()).collect();
    assert!(!printed.contains(new) && !printed.contains(old.trim()), "no secret is logged");
}

#[test]
fn a_peer_port_that_others_reach_does_not_open_without_secret_or_certificates() {
    let serve = |args: &[&str]| {
        let mut command = Command::new(binary::conclave());
        let output = command.arg("serve").args(args).env_clear().output().expect("the binary can be run");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for args in [
        &["--member", "1=10.0.0.1:7400", "--member", "2=10.0.0.2:7400"][..],
        &["--peer", "0.0.0.0:7400"],
        &["--join", "--peer", "10.0.0.4:7400"],
    ] {
        let (code, printed) = serve(args);
        assert_eq!(code, Some(2), "{args:?}: {printed}");
        assert!(printed.contains("cluster.secret_file") && printed.contains("cluster.tls.ca"), "{printed}");
    }
}
