//! A log, or a snapshot, that does not read as it was written.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::relay::{Pair, word};
use conclave_tests::wait::eventually;
use futures_util::future::join_all;

const CHUNKS: u32 = 200;

/// A cluster that has written about a megabyte of log, the transfer it wrote, and one follower that was killed since.
async fn after_some_traffic() -> (Cluster, Pair, u64) {
    let mut cluster = Cluster::builder().unmetered().set("ttl.chunk", "10m").start().await;
    let nodes = cluster.apis();
    let pair = Pair::fresh();
    let sends = (0..CHUNKS).map(|index| {
        let data = format!("{index:A<4096}");
        nodes[index as usize % nodes.len()].relay(&pair.send(index, CHUNKS, &data)).send()
    });
    for reply in join_all(sends).await {
        reply.ok();
    }
    let victim = cluster.followers().await[0];
    // On a busy machine the traffic above may be one record, and damage to the last one passes for a torn write.
    for _ in 0..2 {
        nodes[0].relay(&Pair::fresh().send(0, 2, "AAEC")).send().await.ok();
    }
    let end = cluster.log_end().await.index;
    eventually(READY, "the follower has all of it", async || {
        let applied = cluster.status_from(victim).await?.node(victim)?.applied;
        (applied >= end).then_some(())
    })
    .await;
    cluster.kill(victim).await;
    (cluster, pair, victim)
}

fn newest(cluster: &Cluster, id: u64) -> PathBuf {
    cluster.node(id).files("wal").pop().expect("`log_files` finds at least one")
}

/// Asserts that a node has all chunks.
async fn has_everything(cluster: &Cluster, id: u64, pair: &Pair) {
    let node = cluster.api(id);
    for index in 0..CHUNKS {
        let got = node.relay(&pair.receive()).keyed().send().await.ok();
        assert_eq!(got["chunk"]["chunkIndex"], index, "{}", got["status"]);
    }
}

async fn rejoins(cluster: &mut Cluster, pair: &Pair, victim: u64) {
    cluster.restart(victim);
    cluster.wait_ready_at(victim).await;
    has_everything(cluster, victim, pair).await;
}

/// Appends to a node's log, as a write may have left it that was under way when the power failed.
fn append(cluster: &Cluster, id: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().append(true).open(newest(cluster, id)).expect("the log can be opened");
    file.write_all(bytes).expect("the log can be written");
}

/// How a record of a node's log begins, too short to be a whole one.
fn beginning(cluster: &Cluster, id: u64) -> Vec<u8> {
    let log = fs::read(newest(cluster, id)).expect("the log can be read");
    log[..10].to_vec()
}

#[tokio::test]
async fn an_entry_of_which_only_the_beginning_was_written_is_cut_off() {
    let (mut cluster, pair, victim) = after_some_traffic().await;
    append(&cluster, victim, &beginning(&cluster, victim));
    rejoins(&mut cluster, &pair, victim).await;
}

#[tokio::test]
async fn space_that_was_set_aside_and_never_written_is_cut_off() {
    let (mut cluster, pair, victim) = after_some_traffic().await;
    append(&cluster, victim, &[0; 8_192]);
    rejoins(&mut cluster, &pair, victim).await;
}

#[tokio::test]
async fn an_entry_begun_in_space_that_was_set_aside_is_cut_off() {
    let (mut cluster, pair, victim) = after_some_traffic().await;
    let mut torn = beginning(&cluster, victim);
    torn.resize(8_192, 0);
    append(&cluster, victim, &torn);
    rejoins(&mut cluster, &pair, victim).await;
}

#[tokio::test]
async fn garbage_behind_the_last_entry_is_cut_off_or_refused() {
    let (mut cluster, pair, victim) = after_some_traffic().await;
    // No power cut leaves this behind; somebody else wrote into the file.
    let garbage: Vec<u8> = (0..1_000_u32).map(|byte| (byte * 7 % 251) as u8).collect();
    append(&cluster, victim, &garbage);
    cluster.restart(victim);
    match cluster.ready_or_ended(victim).await {
        None => has_everything(&cluster, victim, &pair).await,
        Some(code) => refused(&cluster, victim, code),
    }
}

#[tokio::test]
async fn a_node_that_lost_the_end_of_its_log_takes_nobody_with_it() {
    let (mut cluster, pair, victim) = after_some_traffic().await;
    // More than a crash does: what is missing had been flushed, and acknowledged to the leader.
    let file = OpenOptions::new().write(true).open(newest(&cluster, victim)).expect("the log can be opened");
    let length = file.metadata().expect("the log has a length").len();
    file.set_len(length - 5).expect("the log can be cut");
    cluster.restart(victim);
    cluster.ready_or_ended(victim).await;
    let client = cluster.roamer();
    for index in 0..CHUNKS {
        let got = client.relay_once(0, &word("wish"), &pair.receive()).await;
        assert_eq!(got["chunk"]["chunkIndex"], index, "{}", got["status"]);
    }
    cluster.wait_ready().await;
    assert!(cluster.running().len() >= 2, "only {:?} still run", cluster.running());
}

/// Asserts that a node ended with a failure, and said what is wrong.
fn refused(cluster: &Cluster, id: u64, code: i32) {
    assert_ne!(code, 0);
    let printed = cluster.node(id).printed().to_lowercase();
    let clear = ["damaged", "corrupt", "checksum"].iter().any(|word| printed.contains(word));
    assert!(clear, "the message says what is wrong: {printed}");
}

#[tokio::test]
async fn a_node_with_a_flipped_bit_refuses_to_start_and_the_others_go_on() {
    let (mut cluster, pair, victim) = after_some_traffic().await;
    let largest = cluster
        .node(victim)
        .files("wal")
        .into_iter()
        .max_by_key(|path| fs::metadata(path).expect("the log is there").len())
        .expect("`log_files` finds at least one");
    let mut bytes = fs::read(&largest).expect("the log can be read");
    // In the middle of what was written, not in space that was set aside.
    let written = bytes.iter().rposition(|byte| *byte != 0).expect("something was written");
    bytes[written / 2] ^= 0b0001_0000;
    fs::write(&largest, bytes).expect("the log can be written");

    cluster.restart(victim);
    let code = cluster.exit_code(victim).await.expect("it exits by itself");
    refused(&cluster, victim, code);

    let leader = cluster.leader().await;
    has_everything(&cluster, leader, &pair).await;
    let other = cluster.followers().await[0];
    cluster.api(other).relay(&Pair::fresh().send(0, 1, "AAEC")).send().await.ok();
}

#[tokio::test]
async fn a_node_with_a_damaged_snapshot_refuses_to_start_and_says_what_to_do() {
    let mut cluster = Cluster::builder()
        .unmetered()
        .set("raft.snapshot_log_bytes", "1MiB")
        .set("ttl.chunk", "2s")
        .start()
        .await;
    let victim = cluster.followers().await[0];
    let node = cluster.api(victim);
    let data = "A".repeat(40_000);
    eventually(READY, "a snapshot is on the disk", async || {
        let pair = Pair::fresh();
        join_all((0..8).map(|index| node.relay(&pair.send(index, 8, &data)).send())).await;
        (!cluster.node(victim).files("snapshot").is_empty()).then_some(())
    })
    .await;
    cluster.kill(victim).await;
    let snapshot = cluster.node(victim).files("snapshot").pop().expect("it was there a moment ago");
    let mut bytes = fs::read(&snapshot).expect("the snapshot can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&snapshot, bytes).expect("the snapshot can be written");

    cluster.restart(victim);
    let code = cluster.exit_code(victim).await.expect("it exits by itself");
    refused(&cluster, victim, code);
    assert!(cluster.node(victim).printed().contains("fresh id"), "the message says what to do");
}

/// Starts a node whose log was tampered with, and returns what it printed before it ended.
async fn refused_with(tamper: impl FnOnce(PathBuf)) -> String {
    let (mut cluster, _, victim) = after_some_traffic().await;
    tamper(newest(&cluster, victim));
    cluster.restart(victim);
    assert_eq!(cluster.exit_code(victim).await, Some(1));
    let leader = cluster.leader().await;
    cluster.api(leader).relay(&Pair::fresh().send(0, 1, "AAEC")).send().await.ok();
    cluster.node(victim).printed()
}

#[tokio::test]
async fn a_node_with_an_empty_file_in_the_middle_of_its_log_names_it_and_says_what_to_do() {
    let printed = refused_with(|file| {
        let bytes = fs::metadata(&file).expect("the log is there").len();
        let digits = format!("{bytes:020}");
        let (first, rest) = digits.split_at(2);
        let groups: Vec<_> = rest.as_bytes().chunks(3).map(|group| String::from_utf8_lossy(group)).collect();
        let next = file.with_file_name(format!("r-{first}_{}.wal", groups.join("_")));
        fs::copy(&file, next).expect("the log can be copied");
        fs::write(&file, "").expect("the log can be written");
    })
    .await;
    assert!(!printed.contains("panicked"), "{printed}");
    for word in ["r-00_000_000_000_000_000_000.wal is damaged (it is empty", "fresh id"] {
        assert!(printed.contains(word), "{word:?} is missing in {printed}");
    }
}

#[tokio::test]
async fn a_node_whose_log_is_gone_does_not_go_on_under_its_old_id() {
    let printed = refused_with(|file| {
        let folder = file.parent().expect("a file is in a folder");
        fs::remove_dir_all(folder).expect("the log can be removed");
    })
    .await;
    assert!(printed.contains("the log is gone") && printed.contains("fresh id"), "{printed}");
}
